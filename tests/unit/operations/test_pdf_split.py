from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from pdfs import blank, book, outline_of, reopened, saved, texts_of
from samples import pdf, run

FIVE = ("One", "Two", "Three", "Four", "Five")


def parts(folder: Path, data: bytes, **params: Any) -> list[bytes]:
    ran = run("pdf.split", folder, data, "paper.pdf", **params)
    assert ran.work.outputs[0].name == "paper-001.pdf"
    return [output.path.read_bytes() for output in ran.work.outputs]


def refusal(folder: Path, data: bytes, limits: Limits | None = None, **params: Any) -> str:
    with pytest.raises(BadInput) as caught:
        run("pdf.split", folder, data, "paper.pdf", limits=limits, **params)
    return caught.value.job_code


def heavy(pages: int, shared: int = 0) -> bytes:
    """Pages of 20,000 bytes each, and so many bytes that all of them use."""
    document, first = blank()
    chance = random.Random(1)
    common = pikepdf.Stream(document, chance.randbytes(shared))
    for number in range(pages):
        if number:
            document.add_blank_page(page_size=(200, 100))
        page = document.pages[number].obj
        page.Own = pikepdf.Stream(document, chance.randbytes(20_000))
        page.Common = common
    del first
    return saved(document)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [["One"], ["Two"], ["Three"], ["Four"], ["Five"]]),
        ({"every": 2}, [["One", "Two"], ["Three", "Four"], ["Five"]]),
        ({"every": 9}, [list(FIVE)]),
        ({"ranges": "2-; 1"}, [["Two", "Three", "Four", "Five"], ["One"]]),
        ({"ranges": "5,1;2-3"}, [["Five", "One"], ["Two", "Three"]]),
    ],
)
def test_parts_hold_the_pages_asked_for(
    params: dict[str, Any], expected: list[list[str]], tmp_path: Path
) -> None:
    assert [texts_of(part) for part in parts(tmp_path, pdf(FIVE), **params)] == expected


def test_parts_by_size_are_as_full_as_can_be(tmp_path: Path) -> None:
    for shared in (0, 50_000):
        made = parts(tmp_path, heavy(12, shared), max_bytes=115_000)
        counts = [len(reopened(part).pages) for part in made]
        full = (115_000 - shared) // 20_000
        assert counts == [full] * (12 // full) + ([12 % full] if 12 % full else [])
        assert all(len(part) <= 115_000 for part in made)


def test_whole_document_that_fits_is_one_part(tmp_path: Path) -> None:
    made = parts(tmp_path, heavy(3), max_bytes=1_000_000)
    assert [len(reopened(part).pages) for part in made] == [3]


def test_page_that_is_larger_than_may_be_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, heavy(3), max_bytes=5_000) == "output_too_large"


def test_part_has_only_what_its_pages_use(tmp_path: Path) -> None:
    document = reopened(pdf(("One", "Two")))
    for number, page in enumerate(document.pages):
        own = pikepdf.Stream(document, b"%d" % number * 50_000, Subtype=pikepdf.Name.Image)
        page.contents_add(b"/I%d Do" % number)
        document.pages[0].Resources["/XObject"] = pikepdf.Dictionary(
            {**dict(document.pages[0].Resources.get("/XObject", {})), f"/I{number}": own}
        )
    document.pages[1].obj.Resources = document.make_indirect(document.pages[0].Resources)
    assert all(50_000 < len(part) < 60_000 for part in parts(tmp_path, saved(document)))


def test_bookmarks_and_title_come_along(tmp_path: Path) -> None:
    first, second = parts(tmp_path, saved(book()), ranges="1-2;3-")
    assert outline_of(first) == [("Chapter", 1, [("Part", 2, [])])]
    assert outline_of(second) == [("End", 2, [])]
    document = reopened(second)
    assert str(document.docinfo["/Title"]) == "A book"


def test_too_many_parts_and_missing_pages_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, pdf(FIVE), Limits(output_files=4)) == "too_many_outputs"
    assert refusal(tmp_path, pdf(FIVE), ranges="1;6") == "page_out_of_range"


@pytest.mark.parametrize(
    "params", [{"ranges": "1;;2"}, {"ranges": ""}, {"every": 0}, {"every": 1, "max_bytes": 5000}]
)
def test_parameters_that_do_not_hold_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("pdf.split").parse(params)
