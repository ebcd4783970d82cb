"""PDF documents, opened by PDFium; shared by the operations that read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fileproc.operations import drawing_cost, structures
from fileproc.operations.work import BadInput, Work

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

PDF: Final = structures.PDF
POINTS_PER_INCH: Final = 72
_ITEM = re.compile(r"([1-9][0-9]{0,6}|last)(?:(-)([1-9][0-9]{0,6}|last)?)?")


def engine() -> str:
    """Name and version, for `Work.engine`."""
    import pypdfium2

    return (
        f"pypdfium2 {pypdfium2.version.PYPDFIUM_INFO.tag}"
        f" (PDFium {pypdfium2.version.PDFIUM_INFO.build})"
    )


@contextmanager
def opened(path: Path, password: str | None) -> Iterator[PdfDocument]:
    """A document, with its form fields ready to be drawn.

    qpdf has had a look at it first: unlike PDFium it unpacks only so much of a table of objects.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`,
            `unsupported_variant` or `wrong_password`.
    """
    import pypdfium2
    import pypdfium2.raw

    with structures.opened(path, password):
        pass
    try:
        document = pypdfium2.PdfDocument(path, password=password)
    except pypdfium2.PdfiumError as exc:
        raise _not_opened(exc, password, pypdfium2.raw.FPDF_ERR_PASSWORD) from exc
    try:
        document.init_forms()
        if len(document) < 1:
            raise BadInput("The PDF has no pages.", code="corrupt_input")
        yield document
    except pypdfium2.PdfiumError as exc:
        raise _damaged() from exc
    finally:
        document.close()


def _not_opened(exc: Exception, password: str | None, password_code: int) -> BadInput:
    if getattr(exc, "err_code", None) == password_code or "password" in str(exc).lower():
        if password is None:
            return BadInput("The PDF is encrypted: give its password.", code="password_required")
        return BadInput("The password does not open the PDF.", code="wrong_password")
    return _damaged()


def _damaged() -> BadInput:
    return BadInput("The PDF is damaged and cannot be opened.", code="corrupt_input")


def page_damaged(index: int) -> BadInput:
    """For a page (from 0) that PDFium cannot draw."""
    return BadInput(f"Page {index + 1} is damaged and cannot be drawn.", code="corrupt_input")


def page_size(document: PdfDocument, index: int) -> tuple[float, float]:
    """Width and height of a page (from 0) in points, turned as it is shown.

    Raises:
        BadInput: `corrupt_input`, also for a page without an area: its boxes do not overlap.
    """
    import pypdfium2

    try:
        width, height = document.get_page_size(index)
    except pypdfium2.PdfiumError as exc:
        raise page_damaged(index) from exc
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise BadInput(
            f"Page {index + 1} has no area that could be drawn: its boxes are wrong.",
            code="corrupt_input",
        )
    return width, height


def check_drawing(work: Work, password: str | None, pages: Iterable[int]) -> None:
    """Refuse pages (from 0) that would keep PDFium busy for ever; even to read them it must draw.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex` or `image_too_large`.
    """
    path = work.input.path
    with structures.opened(path, password) as pdf:
        size = path.stat().st_size
        drawing_cost.check(pdf, pages, file_bytes=size, pixels=work.limits.pixels)


def check_pages(text: str) -> str:
    """The text without spaces, if it is `all` or a list of pages and ranges.

    Raises:
        ValueError: with a sentence for the one who wrote it.
    """
    text = text.replace(" ", "")
    if text != "all" and not all(_ITEM.fullmatch(item) for item in text.split(",")):
        raise ValueError("give pages and ranges of them, such as 1-3,7,last or 5-, or all")
    return text


def chosen_pages(text: str, count: int, *, most: int) -> list[int]:
    """The pages (from 0) that `1-3,7,last` means in a document of `count`; each one once.

    `last` is the last page, `7-` all from the seventh on, `all` every one. The order is kept.

    Raises:
        BadInput: `page_out_of_range`, or `too_many_outputs` for more than `most`.
    """
    chosen: dict[int, None] = {}
    for item in text.split(","):
        first, last = _range("1-" if item == "all" else item, count)
        for page in range(first, last + 1):
            chosen[page - 1] = None
            if len(chosen) > most:
                raise BadInput(
                    f"More than {most:,} pages are asked for; one job makes at most so many.",
                    code="too_many_outputs",
                )
    return list(chosen)


def _range(item: str, count: int) -> tuple[int, int]:
    parts = _ITEM.fullmatch(item)
    if parts is None:
        raise AssertionError(f"not checked: {item!r}")
    first = count if parts[1] == "last" else int(parts[1])
    last = first if not parts[2] else count
    if parts[3] not in {None, "last"}:
        last = int(parts[3])
    if not 1 <= first <= last <= count:
        pages = "1 page" if count == 1 else f"{count:,} pages"
        raise BadInput(
            f"The document has {pages}; {item[:50]!r} asks for something else.",
            code="page_out_of_range",
        )
    return first, last
