from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput
from pdfs import book, outline_of, pictures_of, reopened, saved, texts_of
from samples import pdf, run

FOUR = ("One", "Two", "Three", "Four")


def result(folder: Path, data: bytes, **params: Any) -> bytes:
    return run("pdf.pages", folder, data, "paper.pdf", **params).data


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["One", "Two", "Three", "Four"]),
        ({"pages": "2-3"}, ["Two", "Three"]),
        ({"pages": "4,1-3"}, ["Four", "One", "Two", "Three"]),
        ({"pages": "last,1"}, ["Four", "One"]),
        ({"delete": "2,last"}, ["One", "Three"]),
        ({"pages": "3-,1", "delete": "3"}, ["Four", "One"]),
    ],
)
def test_pages_are_kept_as_asked(
    params: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    assert texts_of(result(tmp_path, pdf(FOUR), **params)) == expected


def test_pages_are_turned_from_how_they_lie(tmp_path: Path) -> None:
    data = pdf(FOUR[:2], extra="/Rotate 90")
    turned = reopened(result(tmp_path, data, rotate=270, rotate_pages="2"))
    assert [page.rotation for page in turned.pages] == [90, 0]
    picture = pictures_of(result(tmp_path, pdf(("One",)), rotate=90))[0]
    assert picture.size == (100, 200)
    assert picture.getpixel((10, 10)) == (255, 0, 0)  # the lower left corner came to the top


def test_pages_to_turn_are_numbered_as_in_the_given_document(tmp_path: Path) -> None:
    turned = reopened(result(tmp_path, pdf(FOUR), pages="3-4", rotate=180, rotate_pages="1,4"))
    assert [page.rotation for page in turned.pages] == [0, 180]


def test_nothing_of_a_deleted_page_stays_in_the_file(tmp_path: Path) -> None:
    document = book(("One", "Two", "Three", "Classified"))
    document.pages[3].contents_add(b"% classified")
    data = saved(document)
    assert b"lassified" in data
    kept = result(tmp_path, data, delete="4")
    assert b"lassified" not in kept
    assert len(reopened(kept).objects) < len(reopened(data).objects)
    assert outline_of(kept) == [("Chapter", 1, [("Part", 2, [])])]


def test_all_else_stays_where_all_pages_do(tmp_path: Path) -> None:
    moved = result(tmp_path, saved(book()), pages="2-,1", rotate=90)
    document = reopened(moved)
    assert document.attachments["data.csv"].get_file().read_bytes() == b"a,b\n1,2\n"
    assert "/JavaScript" in document.Root.Names
    assert outline_of(moved) == [("Chapter", 4, [("Part", 1, [])]), ("End", 3, [])]


def test_extracted_pages_keep_field_layer_and_title(tmp_path: Path) -> None:
    kept = result(tmp_path, saved(book()), pages="1")
    document = reopened(kept)
    assert str(document.Root.AcroForm.Fields[0].V) == "Anna"
    assert str(document.docinfo["/Title"]) == "A book"
    assert pictures_of(kept)[0].getpixel((170, 30)) == (255, 255, 255)  # the layer is hidden


@pytest.mark.parametrize("params", [{"pages": "5"}, {"delete": "all"}, {"rotate_pages": "9"}])
def test_pages_that_are_not_there_are_refused(params: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        result(tmp_path, pdf(FOUR), **params)
    assert caught.value.job_code == "page_out_of_range"


def test_locked_document_needs_its_password(tmp_path: Path) -> None:
    locked = pdf(("Secret", "More"), password="sesame")
    assert texts_of(result(tmp_path, locked, pages="2", password="sesame")) == ["More"]
    with pytest.raises(BadInput) as caught:
        result(tmp_path, locked)
    assert caught.value.job_code == "password_required"
