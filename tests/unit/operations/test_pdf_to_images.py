from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from fileproc.operations.documents import check_pages, chosen_pages
from fileproc.operations.programs import installed
from samples import pdf, run


def names(folder: Path, data: bytes, name: str = "paper.pdf", **params: Any) -> list[str]:
    return [out.name for out in run("pdf.to_images", folder, data, name, **params).work.outputs]


def refusal(folder: Path, data: bytes, **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("pdf.to_images", folder, data, "paper.pdf", **params)
    return caught.value


def dark(image: Image.Image) -> int:
    """How many pixels of an upright page are nearly black: its text."""
    return sum(image.convert("L").histogram()[:60])


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("1", [0]),
        ("last", [9]),
        ("1-3,7,last", [0, 1, 2, 6, 9]),
        ("8-", [7, 8, 9]),
        ("8-last", [7, 8, 9]),
        ("last-last", [9]),
        ("3, 1 - 2", [2, 0, 1]),
        ("2,2,1-3", [1, 0, 2]),
    ],
)
def test_pages_are_chosen_as_written(text: str, pages: list[int]) -> None:
    assert chosen_pages(check_pages(text), 10, most=100) == pages


@pytest.mark.parametrize("text", ["0", "11", "3-2", "last-9", "1-11", "9999999"])
def test_page_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        chosen_pages(check_pages(text) if text != "0" else "11", 10, most=100)
    assert caught.value.job_code == "page_out_of_range"
    assert "10 pages" in caught.value.detail


@pytest.mark.parametrize(
    "text", ["", "0", "a", "-3", "1,,2", "1;2", "last-x", "1-2-3", "all,1", "٣", "99999999", "1,"]
)
def test_nonsense_is_no_choice_of_pages(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("pdf.to_images").parse({"pages": text})
    assert caught.value.errors[0]["pointer"] == "/params/pages"


def test_endless_choice_is_cut_short() -> None:
    with pytest.raises(BadInput) as caught:
        chosen_pages("1-9999999", 9_999_999, most=50)
    assert caught.value.job_code == "too_many_outputs"


def test_page_becomes_a_picture_of_its_size(tmp_path: Path) -> None:
    ran = run("pdf.to_images", tmp_path, pdf(("Hi",), size=(200, 100)), "a.pdf", dpi=144)
    image = ran.image()
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (400, 200))
    assert image.getpixel((20, 180)) == (255, 0, 0)  # the square in the lower left corner
    assert image.getpixel((390, 10)) == (255, 255, 255)
    assert dark(image) > 100


def test_pages_differ_and_come_in_order(tmp_path: Path) -> None:
    ran = run("pdf.to_images", tmp_path, pdf(("I", "WWWW", "WW")), "a.pdf", pages="2-3,1")
    assert [out.name for out in ran.work.outputs] == ["a-002.png", "a-003.png", "a-001.png"]
    inks = [dark(ran.image(i)) for i in range(3)]
    assert inks == sorted(inks, reverse=True)
    assert [r[1:] for r in ran.reports] == [(1, 3, "pages"), (2, 3, "pages"), (3, 3, "pages")]


@pytest.mark.parametrize(("kind", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_formats(kind: str, suffix: str, tmp_path: Path) -> None:
    ran = run("pdf.to_images", tmp_path, pdf(("One",)), "Übung 1.pdf", format=kind)
    assert ran.work.outputs[0].name == f"Übung 1-001.{suffix}"
    assert ran.image().format == kind.upper()
    assert dark(ran.image()) > 100


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_background_can_be_clear(kind: str, tmp_path: Path) -> None:
    ran = run(
        "pdf.to_images", tmp_path, pdf(("One",)), "a.pdf", format=kind, background="transparent"
    )
    image = ran.image()
    assert image.mode == "RGBA"
    assert image.getpixel((image.width - 2, 2))[3] == 0  # type: ignore[index]  # RGBA: a tuple
    red, green, blue, alpha = image.getpixel((20, image.height - 20))  # type: ignore[misc]  # as above
    assert (red > 240, green < 15, blue < 15, alpha) == (True, True, True, 255)


def test_rotated_page_lies_as_its_dictionary_says(tmp_path: Path) -> None:
    ran = run("pdf.to_images", tmp_path, pdf(("One",), extra="/Rotate 90"), "a.pdf", dpi=72)
    assert ran.image().size == (100, 200)
    assert ran.image().getpixel((10, 10)) == (255, 0, 0)


def test_form_fields_are_drawn(tmp_path: Path) -> None:
    for data, colour in [(pdf(("",), form=True), (0, 0, 255)), (pdf(("",)), (255, 255, 255))]:
        ran = run("pdf.to_images", tmp_path, data, "a.pdf", dpi=72)
        assert ran.image().getpixel((150, 80)) == colour


def test_locked_document_needs_its_password(tmp_path: Path) -> None:
    locked = pdf(("Secret",), password="sesame")
    assert refusal(tmp_path, locked).job_code == "password_required"
    assert refusal(tmp_path, locked, password="simsalabim").job_code == "wrong_password"
    ran = run("pdf.to_images", tmp_path, locked, "a.pdf", password="sesame")
    assert dark(ran.image()) > 100
    assert names(tmp_path, pdf(), password="not needed") == [f"paper-00{i}.png" for i in (1, 2, 3)]


def test_damaged_document_is_refused(tmp_path: Path) -> None:
    for data in (b"%PDF-1.4\n", b"%PDF-1.4\n" + bytes(2000), pdf()[:60]):
        assert refusal(tmp_path, data).job_code == "corrupt_input"


def test_page_tree_that_counts_wrong_ends_in_a_clear_error(tmp_path: Path) -> None:
    error = refusal(tmp_path, pdf(("One",), count=10**6))
    assert error.job_code in {"too_many_outputs", "corrupt_input"}
    error = refusal(tmp_path, pdf(("One",), count=1000), pages="900", dpi=20)
    assert error.job_code in {"page_out_of_range", "corrupt_input"}


def test_page_tree_that_bites_its_tail_ends_in_a_clear_error(tmp_path: Path) -> None:
    looped = pdf(("One", "Two")).replace(b"/Kids [4 0 R 6 0 R]", b"/Kids [2 0 R 2 0 R]")
    error = refusal(tmp_path, looped)
    assert error.job_code in {"corrupt_input", "page_out_of_range"}


def test_huge_page_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    poster = pdf(("One",), size=(14_400, 14_400))
    error = refusal(tmp_path, poster, dpi=600)
    assert error.job_code == "image_too_large"
    assert "120,000 x 120,000" in error.detail
    small = Limits(pixels=10_000)
    assert refusal(tmp_path, pdf(), limits=small).job_code == "image_too_large"
    long = pdf(("One",), size=(20, 14_400))
    assert refusal(tmp_path, long, dpi=100, format="webp").job_code == "output_too_large"


def test_more_pages_than_a_job_may_make_are_refused_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, pdf(), limits=Limits(output_files=2))
    assert error.job_code == "too_many_outputs"
    assert not (tmp_path / "out").exists()
    assert len(names(tmp_path, pdf(), pages="1-2", limits=Limits(output_files=2))) == 2


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"dpi": 0}, "/params/dpi"),
        ({"dpi": 1201}, "/params/dpi"),
        ({"format": "bmp"}, "/params/format"),
        ({"format": "jpeg", "background": "transparent"}, "/params"),
        ({"password": ""}, "/params/password"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("pdf.to_images").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


needs_tesseract = pytest.mark.skipif(
    "tesseract" not in installed(), reason="Tesseract is not installed here"
)


@pytest.mark.parametrize(
    "operation", ["pdf.to_images", "file.preview", pytest.param("image.ocr", marks=needs_tesseract)]
)
def test_page_whose_boxes_do_not_overlap_is_refused(tmp_path: Path, operation: str) -> None:
    boxes = b"/CropBox [300 300 400 400] /MediaBox"
    document = pdf(("Hi",), size=(200, 100)).replace(b"/MediaBox", boxes)
    with pytest.raises(BadInput) as caught:
        run(operation, tmp_path, document, "paper.pdf")
    assert caught.value.job_code == "corrupt_input"
    assert "no area" in caught.value.detail
