from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pikepdf
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from fileproc.errors import Crashed
from fileproc.operations import BadInput, Limits, OutOfResources, tesseract
from fileproc.operations.programs import Ended, Program, installed
from fileproc.operations.types import detect_file
from pdfs import ENDLESS_DRAWING
from samples import Ran, run

needs_tesseract = pytest.mark.skipif(
    "tesseract" not in installed() or "eng" not in tesseract.languages(installed()["tesseract"]),
    reason="Tesseract with the language eng is not installed",
)
LINES = ["Invoice number 4711", "Total: 99.50 EUR"]
DPI = 200


def scan(*lines: str, size: tuple[int, int] = (900, 300)) -> Image.Image:
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=44)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 100 * number), line, font=font, fill=0)
    return image


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def ocr(folder: Path, data: bytes, name: str = "scan.png", **params: Any) -> Ran:
    folder.mkdir(exist_ok=True)
    ran = run("image.ocr", folder, data, name, dpi=DPI, **params)
    assert {path.name for path in folder.iterdir()} == {"in", "out"}
    return ran


def scanned_pdf(rotate: int) -> bytes:
    """A picture on a larger page, its cut and its rotation showing it upright."""
    image = scan(*LINES).rotate(rotate, expand=True)
    width, height = (side * 72 / DPI for side in image.size)
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(width + 100, height + 60))
        stream = pikepdf.Stream(
            pdf,
            saved(image, "JPEG", quality=90),
            Type=pikepdf.Name.XObject,
            Subtype=pikepdf.Name.Image,
            Width=image.width,
            Height=image.height,
            BitsPerComponent=8,
            ColorSpace=pikepdf.Name.DeviceGray,
            Filter=pikepdf.Name.DCTDecode,
        )
        name = page.add_resource(stream, pikepdf.Name.XObject)
        page.Contents = pdf.make_stream(f"q {width} 0 0 {height} 70 40 cm {name} Do Q".encode())
        page.obj.CropBox = [70, 40, 70 + width, 40 + height]
        page.obj.Rotate = rotate
        file = io.BytesIO()
        pdf.save(file)
    return file.getvalue()


@needs_tesseract
def test_text_is_read(tmp_path: Path) -> None:
    ran = ocr(tmp_path, saved(scan(*LINES), "PNG"), "Grüße.png")
    assert ran.data.decode().split("\n") == [LINES[0], "", LINES[1], ""]
    assert ran.work.outputs[0].name == "Grüße.txt"
    assert (ran.work.engine or "").startswith("Tesseract ")
    assert ran.reports == [("read", 0, 1, "pages"), ("read", 1, 1, "pages")]


@needs_tesseract
def test_boxes_lie_around_the_words(tmp_path: Path) -> None:
    image = scan(*LINES)
    found = json.loads(ocr(tmp_path, saved(image, "PNG"), format="json").data)
    assert found["page_count"] == 1
    (page,) = found["pages"]
    assert (page["page"], page["width"], page["height"]) == (1, 900, 300)
    assert page["text"].split("\n") == LINES
    for line in page["lines"]:
        assert line["confidence"] > 50
        for word in line["words"]:
            left, top, width, height = word["box"]
            cut = image.crop((left - 3, top - 3, left + width + 3, top + height + 3))
            box = cut.point(lambda value: 255 * (value < 128)).getbbox()
            assert box is not None
            assert abs(box[2] - box[0] - width) < 8


@needs_tesseract
def test_pages_of_a_tiff_are_read_one_by_one(tmp_path: Path) -> None:
    pages = [scan(f"Page number {number}") for number in (1, 2, 3)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    ran = ocr(tmp_path / "text", data, "a.tif")
    assert [text.strip() for text in ran.data.decode().split("\f")] == [
        f"Page number {number}" for number in (1, 2, 3)
    ]
    ran = ocr(tmp_path / "hocr", data, "a.tif", format="hocr", pages="2-3")
    tree = ET.fromstring(ran.data)
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if name and name.startswith("page_")] == ["page_2", "page_3"]
    assert str(tmp_path) not in ran.data.decode()
    assert "".join(tree.itertext()).split().count("Page") == 2


@needs_tesseract
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_invisible_text_lies_over_the_words_of_a_scan(rotate: int, tmp_path: Path) -> None:
    ran = ocr(tmp_path, scanned_pdf(rotate), "a.pdf", format="pdf")
    with pypdfium2.PdfDocument(ran.path) as document:
        page = document[0]
        assert page.get_size() == (324, 108)
        text = page.get_textpage()
        assert [line.strip() for line in text.get_text_range().splitlines()] == LINES
        left, bottom, right, top = text.get_charbox(0)
    x, y = {
        0: (left - 70, 40 + 108 - top),
        90: (bottom - 40, left - 70),
        180: (70 + 324 - right, bottom - 40),
        270: (40 + 324 - top, 70 + 108 - right),
    }[rotate]
    assert abs(x - 40 * 72 / DPI) < 4
    assert abs(y - 50 * 72 / DPI) < 8


@needs_tesseract
def test_pages_with_text_of_their_own_stay_as_they_are(tmp_path: Path) -> None:
    first = ocr(tmp_path / "a", scanned_pdf(0), "a.pdf", format="pdf")
    second = ocr(tmp_path / "b", first.data, "a.pdf", format="pdf")
    with pypdfium2.PdfDocument(second.path) as document:
        text = document[0].get_textpage().get_text_range()
    assert text.count("4711") == 1


@needs_tesseract
def test_picture_becomes_a_page_with_its_picture(tmp_path: Path) -> None:
    image = Image.merge("RGB", [scan(*LINES)] * 3)
    image.paste("red", (700, 200, 800, 280))
    ran = ocr(tmp_path, saved(image, "JPEG"), "a.jpg", format="pdf")
    assert detect_file(ran.path) == "application/pdf"
    with pypdfium2.PdfDocument(ran.path) as document:
        assert document[0].get_size() == (324, 108)
        assert "4711" in document[0].get_textpage().get_text_range()
        drawn = document[0].render(scale=DPI / 72).to_pil()
    red, green, blue = drawn.getpixel((750, 240))
    assert (red > 240, green < 20, blue < 20) == (True, True, True)


@needs_tesseract
def test_language_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        ocr(tmp_path, saved(scan("x"), "PNG"), languages=["eng", "xyz"])
    assert error.value.job_code == "language_missing"
    assert "xyz" in error.value.detail
    assert "eng" in error.value.detail.split("installed")[1]


@needs_tesseract
@pytest.mark.parametrize(
    ("data", "name", "params", "code"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.png", {}, "corrupt_input"),
        (saved(scan("x"), "PNG")[:-200], "a.png", {}, "corrupt_input"),
        (b"%PDF-1.7\n", "a.pdf", {}, "corrupt_input"),
        (saved(scan("x"), "PNG"), "a.png", {"pages": "2"}, "page_out_of_range"),
        (saved(Image.new("1", (40_000, 10)), "PNG"), "a.png", {}, "image_too_large"),
        (b"hello", "a.txt", {}, "type_mismatch"),
    ],
)
def test_hostile_and_unlucky_files_are_refused(
    data: bytes, name: str, params: dict[str, Any], code: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as error:
        ocr(tmp_path, data, name, **params)
    assert error.value.job_code == code
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


@needs_tesseract
def test_page_of_a_pdf_that_would_be_too_large_is_refused(tmp_path: Path) -> None:
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(14_000, 14_000))
        file = io.BytesIO()
        pdf.save(file)
    with pytest.raises(BadInput) as error:
        run("image.ocr", tmp_path, file.getvalue(), "a.pdf", limits=Limits())
    assert error.value.job_code == "image_too_large"


@needs_tesseract
@pytest.mark.parametrize("what", ENDLESS_DRAWING)
def test_endless_drawing_is_refused_before_it_is_begun(what: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        ocr(tmp_path, ENDLESS_DRAWING[what](), "a.pdf", format="pdf")
    assert error.value.job_code == "document_too_complex"


@needs_tesseract
def test_empty_page_has_no_text(tmp_path: Path) -> None:
    data = saved(Image.new("L", (300, 300), 255), "PNG")
    assert ocr(tmp_path / "a", data).data == b"\n"
    found = json.loads(ocr(tmp_path / "b", data, format="json").data)
    assert found["pages"][0]["lines"] == []


# --- without Tesseract -------------------------------------------------------------------------


def test_languages_are_those_with_data(tmp_path: Path) -> None:
    (tmp_path / "script").mkdir()
    for name in ("deu", "osd", "script/Latin"):
        (tmp_path / f"{name}.traineddata").touch()
    (tmp_path / "pdf.ttf").touch()
    program = Program(Path("/nowhere/tesseract"), (tmp_path,))
    assert tesseract.languages(program) == ["deu", "script/Latin"]


@pytest.mark.parametrize("name", ["../eng", "-l", "eng+deu", "eng ", "", "/etc/passwd", "a" * 60])
def test_names_that_are_no_languages_are_refused(name: str) -> None:
    from fileproc.operations.image_ocr import Ocr

    with pytest.raises(ValueError, match="languages"):
        Ocr(languages=[name])


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (-11, "", Crashed),
        (-9, "", OutOfResources),
        (1, "terminate called after throwing an instance of 'std::bad_alloc'", OutOfResources),
        (1, "something else", Crashed),
    ],
)
def test_every_end_without_a_text_has_a_class(
    code: int, said: str, expected: type[Exception]
) -> None:
    assert isinstance(tesseract._failure(Ended(code, said)), expected)
