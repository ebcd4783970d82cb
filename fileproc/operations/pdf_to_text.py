"""`pdf.to_text`: the text of a PDF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fileproc.operations import documents, structures, texts
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import MAX_PAGES, PDF
from fileproc.operations.work import BadInput, Work

_PAGE_BREAK = "\f"
# PDFium joins two lines by a mark where a hyphen ends the first; half a pair is no character.
_MENDED = {0x02: "-\n", 0xFFFE: "-\n", 0x00: None, 0x0D: None} | dict.fromkeys(
    range(0xD800, 0xE000)
)


class ToText(Params):
    pages: Annotated[str, AfterValidator(documents.check_pages)] = Field(
        "all",
        max_length=1000,
        description="Which pages, in this order: such as 1-3,7,last or 5- (from the fifth on).",
    )
    format: Literal["text", "json"] = Field(
        "text",
        description="text: plain, with a form feed between pages. json: one entry for each page.",
    )
    password: str | None = structures.password_field()


@operation(
    "pdf.to_text",
    summary="Extract the text of a PDF, plain or as JSON for each page",
    params=ToText,
    accepts=(PDF,),
    produces=(texts.PLAIN, texts.JSON),
    example={"format": "json"},
    engines=("pypdfium2", "pikepdf"),
)
def to_text(work: Work, params: ToText) -> None:
    """Read the text that the chosen pages hold, in the order in which it is drawn.

    Text in pictures is not read: a scanned page gives an empty text. The result is UTF-8 with
    plain newlines. As JSON it is an object with `page_count` (of the document) and `pages`, each
    with `page` (from 1), `width_pt`, `height_pt` (as the page is looked at, in points) and `text`.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `image_too_large`, `page_out_of_range`,
            `password_required`, `type_mismatch`, `unsupported_variant`, `wrong_password`.
    """
    work.engine = documents.engine()
    structures.check_is_pdf(work.input)
    with documents.opened(work.input.path, params.password) as document:
        pages = documents.chosen_pages(params.pages, len(document), most=MAX_PAGES)
        documents.check_drawing(work, params.password, pages)
        read = _read(document, pages, work)
        kind, suffix = (texts.PLAIN, ".txt") if params.format == "text" else (texts.JSON, ".json")
        path = work.output(work.input.stem + suffix, kind)
        with path.open("w", encoding="utf-8", newline="") as file:
            if params.format == "text":
                _write_plain(file, read)
            else:
                _write_json(file, read, len(document))


def _read(document: Any, pages: list[int], work: Work) -> Iterator[dict[str, Any]]:
    """The entry of each page, one at a time."""
    for done, index in enumerate(pages, 1):
        width, height, text = _page_text(document, index)
        yield {
            "page": index + 1,
            "width_pt": round(width, 2),
            "height_pt": round(height, 2),
            "text": text.translate(_MENDED),
        }
        work.progress(done, len(pages), unit="pages", phase="read")


def _page_text(document: Any, index: int) -> tuple[float, float, str]:
    import pypdfium2

    try:
        page = document[index]
        try:
            text = page.get_textpage()
            try:
                return *page.get_size(), text.get_text_range()
            finally:
                text.close()
        finally:
            page.close()
    except pypdfium2.PdfiumError as exc:
        raise BadInput(
            f"Page {index + 1} is damaged and cannot be read.", code="corrupt_input"
        ) from exc


def _write_plain(file: IO[str], read: Iterator[dict[str, Any]]) -> None:
    for number, page in enumerate(read):
        file.write((_PAGE_BREAK if number else "") + page["text"].rstrip("\n") + "\n")


def _write_json(file: IO[str], read: Iterator[dict[str, Any]], count: int) -> None:
    """Page by page, so that a long document is never held as a whole."""
    file.write(f'{{"page_count": {count}, "pages": [')
    for number, page in enumerate(read):
        file.write((",\n" if number else "\n") + json.dumps(page, ensure_ascii=False))
    file.write("\n]}\n")
