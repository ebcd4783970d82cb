"""`image.ocr`: the text in pictures and scanned pages."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fileproc.operations import documents, frames, rasters, structures, tesseract, texts
from fileproc.operations.documents import POINTS_PER_INCH
from fileproc.operations.rasters import PICTURES, PNG, TIFF
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import BadInput, Work

_MAX_PAGES = 1_000
_PAGE_BREAK = "\f"
_HOCR = "text/html"
_QUALITY = 85  # of the pictures in a PDF that is made of pictures
_MODES = {"auto": 3, "column": 4, "block": 6, "line": 7, "word": 8, "sparse": 11}
_KINDS = {"text": "txt", "json": "tsv", "hocr": "hocr", "pdf": "pdf"}


class Ocr(Params):
    languages: list[
        Annotated[str, Field(pattern=r"^(script/)?[A-Za-z][A-Za-z_]{1,40}$", max_length=50)]
    ] = Field(
        ["eng"],
        min_length=1,
        max_length=8,
        description="Languages of the text, by Tesseract's codes (such as eng, deu, chi_sim), the"
        " most likely one first. The error for one that is missing names those that are installed.",
    )
    format: Literal["text", "json", "hocr", "pdf"] = Field(
        "text",
        description="text: plain, with a form feed between pages. json: lines and words with"
        " confidences and boxes. hocr: the same as HTML. pdf: the pages, with text to search for.",
    )
    pages: Annotated[str, AfterValidator(documents.check_pages)] = Field(
        "all",
        max_length=1000,
        description="Which pages of a PDF or TIFF: such as 1-3,7,last or 5- (from the fifth on).",
    )
    dpi: int = Field(
        300,
        ge=70,
        le=600,
        description="Pixels per inch: at so many, pages of a PDF are drawn; of a picture, what it"
        " was scanned at.",
    )
    layout: Literal["auto", "column", "block", "line", "word", "sparse"] = Field(
        "auto",
        description="What the text looks like: a page to be analysed, one column, one block, one"
        " line, one word, or words here and there.",
    )
    password: str | None = structures.password_field("Opens an encrypted PDF.")


@dataclass(frozen=True, slots=True)
class _Page:
    """One page as a picture, drawn when it is asked for.

    Attributes:
        number: in the document, from 1.
        width, height: pixels.
        draw: gives the picture, an image of libvips in grey or sRGB.
        has_text: whether the document has text on it already.
    """

    number: int
    width: int
    height: int
    draw: Callable[[], Any]
    has_text: bool = False


@operation(
    "image.ocr",
    summary="Read the text in pictures and scanned PDFs: text, boxes, searchable PDF",
    params=Ocr,
    accepts=(*PICTURES, PDF),
    produces=(texts.PLAIN, texts.JSON, _HOCR, PDF),
    example={"languages": ["eng"], "format": "text"},
    lane="heavy",
    engines=("pyvips", "pypdfium2", "pikepdf"),
    programs=(tesseract.NAME,),
)
def ocr(work: Work, params: Ocr) -> None:
    """Recognize the printed text of a picture, a TIFF of several pages, or a PDF.

    Of an animation the first frame is read. Pictures are turned upright by their metadata first.
    As JSON the result is an object with `page_count` (of the input) and `pages`, each with `page`
    (from 1), `width`, `height` (pixels), `text` and `lines`; lines and words have `text`,
    `confidence` (0 to 100) and `box` (left, top, width, height). A PDF as PDF keeps all its pages
    as they are; invisible text is laid over those that are chosen and had none. An encryption is
    gone from the result. Of pictures, pages are made.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `image_too_large`, `language_missing`,
            `page_out_of_range`, `password_required`, `too_many_outputs`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`, `xml_dtd`.
        OutOfResources: `cpu_time`, `out_of_memory`, `scratch_full`.
    """
    tesseract.check_languages(params.languages, work.programs[tesseract.NAME])
    work.engine = tesseract.engine(work)
    folder = work.folder / "ocr"
    folder.mkdir()
    try:
        with _pages(work, params) as (pages, count):
            _WRITERS[params.format](_Reading(work, params, folder, pages, count))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- pages -------------------------------------------------------------------------------------


@contextmanager
def _pages(work: Work, params: Ocr) -> Iterator[tuple[list[_Page], int]]:
    """The chosen pages, judged, and how many there are in all."""
    if work.input.type == PDF:
        with documents.opened(work.input.path, params.password) as document:
            chosen = documents.chosen_pages(params.pages, len(document), most=_MAX_PAGES)
            sizes = [_size_in_pdf(work, document, index, params) for index in chosen]
            documents.check_drawing(work, params.password, chosen)
            # PDFium draws a page, in a way, to know its text: not before that was judged.
            yield (
                [
                    _page_of_pdf(document, index, size, params)
                    for index, size in zip(chosen, sizes, strict=True)
                ],
                len(document),
            )
        return
    with rasters.decoding():
        header, _ = rasters.read_header(work.input.path, work.input.type)
    count = header.frames if work.input.type == TIFF else 1
    chosen = documents.chosen_pages(params.pages, count, most=_MAX_PAGES)
    yield [_page_of_picture(work, index) for index in chosen], count


def _check_size(number: int, width: int, height: int, work: Work) -> None:
    """Judge a page before it is drawn.

    Raises:
        BadInput: `image_too_large`.
    """
    most = min(work.limits.pixels, tesseract.MAX_PIXELS)
    if width * height > most or max(width, height) > tesseract.MAX_SIDE:
        raise BadInput(
            f"Page {number} has {width:,} x {height:,} pixels; at most {most:,} pixels, and"
            f" {tesseract.MAX_SIDE:,} on a side, are read.",
            code="image_too_large",
        )


def _page_of_picture(work: Work, index: int) -> _Page:
    options = {"page": index} if index else {}
    with rasters.decoding():
        header, opened = rasters.read_header(work.input.path, work.input.type, **options)
    width, height = header.upright
    _check_size(index + 1, width, height, work)

    def draw() -> Any:
        with rasters.decoding():
            image = rasters.pixels(work.input.path, work.input.type, opened)
            image = rasters.to_srgb(frames.upright(image, header))
            return image.flatten(background=255) if image.hasalpha() else image

    return _Page(index + 1, width, height, draw)


def _size_in_pdf(work: Work, document: Any, index: int, params: Ocr) -> tuple[int, int]:
    """Width and height of the picture that a page becomes, judged by the page's box alone.

    Raises:
        BadInput: `corrupt_input` or `image_too_large`.
    """
    points = documents.page_size(document, index)
    width, height = (max(1, round(side * params.dpi / POINTS_PER_INCH)) for side in points)
    _check_size(index + 1, width, height, work)
    return width, height


def _page_of_pdf(document: Any, index: int, size: tuple[int, int], params: Ocr) -> _Page:
    """A page of an open document.

    Raises:
        BadInput: `corrupt_input`.
    """
    import pypdfium2

    try:
        page = document[index]
        text = page.get_textpage()
        has_text = bool(text.get_text_range().strip())
        text.close()
        page.close()
    except pypdfium2.PdfiumError as exc:
        raise documents.page_damaged(index) from exc
    return _Page(index + 1, *size, lambda: _drawn(document, index, params), has_text)


def _drawn(document: Any, index: int, params: Ocr) -> Any:
    import pypdfium2
    import pyvips

    try:
        page = document[index]
        bitmap = page.render(scale=params.dpi / POINTS_PER_INCH, grayscale=True)
        page.close()
    except pypdfium2.PdfiumError as exc:
        raise documents.page_damaged(index) from exc
    data = bytes(bitmap.buffer)
    size = bitmap.width, bitmap.height
    image = pyvips.Image.new_from_memory(data, bitmap.stride, size[1], 1, "uchar")
    bitmap.close()
    return image.crop(0, 0, *size).copy(interpretation="b-w")


# --- reading -----------------------------------------------------------------------------------


class _Made(NamedTuple):
    """A page as a picture (PNG), and what Tesseract found on it."""

    picture: Path
    found: Path


@dataclass(frozen=True, slots=True)
class _Reading:
    """The pages of one job on their way through Tesseract."""

    work: Work
    params: Ocr
    folder: Path
    pages: list[_Page]
    count: int

    def read(self, *, skip: bool = False) -> Iterator[tuple[_Page, _Made]]:
        """Each page with what was made of it, which is gone when the next one is asked for.

        With `skip` pages that have text already are left out.
        """
        pages = [page for page in self.pages if not (skip and page.has_text)]
        for done, page in enumerate(pages):
            self.work.progress(done, len(pages), unit="pages", phase="read")
            picture = self.folder / f"{page.number}.png"
            self._draw(page, picture)
            found = tesseract.read(
                self.work,
                picture,
                _KINDS[self.params.format],
                wanted=self.params.languages,
                mode=_MODES[self.params.layout],
                dpi=self.params.dpi,
            )
            yield page, _Made(picture, found)
            picture.unlink()
            found.unlink()
        self.work.progress(len(pages), len(pages), unit="pages", phase="read")

    def _draw(self, page: _Page, path: Path) -> None:
        image = page.draw()
        with rasters.decoding():
            per_mm = self.params.dpi / 25.4
            image.copy(xres=per_mm, yres=per_mm).pngsave(str(path), compression=1, keep="none")

    def output(self, suffix: str, media_type: str) -> Path:
        return self.work.output(self.work.input.stem + suffix, media_type)


def _write_text(reading: _Reading) -> None:
    path = reading.output(".txt", texts.PLAIN)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, (_, made) in enumerate(reading.read()):
            text = made.found.read_text(encoding="utf-8", errors="replace")
            text = text.replace(_PAGE_BREAK, "").rstrip("\n") + "\n"
            file.write((_PAGE_BREAK if number else "") + text)


def _write_json(reading: _Reading) -> None:
    """Page by page, so that a long document is never held as a whole."""
    path = reading.output(".json", texts.JSON)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f'{{"page_count": {reading.count}, "pages": [')
        for number, (page, made) in enumerate(reading.read()):
            lines = tesseract.lines(made.found)
            entry = {
                "page": page.number,
                "width": page.width,
                "height": page.height,
                "text": "\n".join(line["text"] for line in lines),
                "lines": lines,
            }
            file.write((",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False))
        file.write("\n]}\n")


def _write_hocr(reading: _Reading) -> None:
    found = [tesseract.hocr_page(made.found, page.number) for page, made in reading.read()]
    path = reading.output(".hocr.html", _HOCR)
    document = tesseract.hocr_document(found, reading.work.engine or "")
    path.write_text(document, encoding="utf-8", newline="")


# --- PDF ---------------------------------------------------------------------------------------


def _write_pdf(reading: _Reading) -> None:
    """The PDF itself, or pages with a picture each, with invisible text over them."""
    import pikepdf

    work, params = reading.work, reading.params
    with ExitStack() as stack:
        if work.input.type == PDF:
            result = stack.enter_context(structures.opened(work.input.path, params.password))
        else:
            result = stack.enter_context(pikepdf.new())
        for page, made in reading.read(skip=True):
            # What is laid over is copied when the result is written: until then it stays open.
            text = stack.enter_context(pikepdf.open(io.BytesIO(made.found.read_bytes())))
            if work.input.type != PDF:
                _append_picture(result, made.picture, params.dpi)
            with structures.reading():
                target = result.pages[-1 if work.input.type != PDF else page.number - 1]
                target.add_overlay(text.pages[0], pikepdf.Rectangle(target.cropbox))
        structures.save(result, work, reading.output(".pdf", PDF), encryption=False)


def _append_picture(result: Any, picture: Path, dpi: int) -> None:
    """A page of the picture's size at `dpi`, with the picture as JPEG."""
    import pikepdf

    with rasters.decoding():
        image = rasters.load(picture, PNG)
        data = image.jpegsave_buffer(Q=_QUALITY, keep="none")
    stream = pikepdf.Stream(
        result,
        data,
        Type=pikepdf.Name.XObject,
        Subtype=pikepdf.Name.Image,
        Width=image.width,
        Height=image.height,
        BitsPerComponent=8,
        ColorSpace=pikepdf.Name.DeviceGray if image.bands == 1 else pikepdf.Name.DeviceRGB,
        Filter=pikepdf.Name.DCTDecode,
    )
    width, height = (side * POINTS_PER_INCH / dpi for side in (image.width, image.height))
    added = result.add_blank_page(page_size=(width, height))
    name = added.add_resource(stream, pikepdf.Name.XObject)
    added.Contents = result.make_stream(f"q {width} 0 0 {height} 0 0 cm {name} Do Q".encode())


_WRITERS: dict[str, Callable[[_Reading], None]] = {
    "text": _write_text,
    "json": _write_json,
    "hocr": _write_hocr,
    "pdf": _write_pdf,
}
