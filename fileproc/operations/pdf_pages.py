"""`pdf.pages`: pages taken out, left out, turned, put in another order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fileproc.operations import documents, outlines, structures
from fileproc.operations.assembly import Assembly
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import MAX_PAGES, PDF
from fileproc.operations.work import BadInput, Work

Selection = Annotated[str, Field(max_length=1000), AfterValidator(documents.check_pages)]


class Pages(Params):
    pages: Selection = Field(
        "all",
        description="Which pages to keep, in this order: such as 3,1-2,last or 5- (from the fifth"
        " on). Each page comes once: naming it again makes no copy. 4-,1-3 moves the first three to"
        " the end.",
    )
    delete: Selection | None = Field(
        None, description="Pages to leave out of those, such as 2,last."
    )
    rotate: Literal[0, 90, 180, 270] = Field(
        0, description="Degrees to turn pages clockwise, from how they lie now."
    )
    rotate_pages: Selection = Field(
        "all", description="Which pages to turn, by their numbers in the document that is given."
    )
    password: str | None = structures.password_field()


@operation(
    "pdf.pages",
    summary="Extract, delete, reorder and rotate pages of a PDF",
    params=Pages,
    accepts=(PDF,),
    produces=(PDF,),
    example={"pages": "1-3,last", "rotate": 90, "rotate_pages": "last"},
    engines=("pikepdf",),
)
def pages(work: Work, params: Pages) -> None:
    """Make a document of some pages of another, in any order, turned or not.

    Pages are counted as in the document that is given, from 1. Where all are kept, so is all else
    in the document, scripts included. Where some are left out, nothing of them stays behind in
    the file: a new document is made of the others, with their links, form fields, layers and
    bookmarks and the title and author of the old; attachments, tags, page labels and scripts of
    the document do not come along. The result is not encrypted; signatures no longer hold.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `page_out_of_range`,
            `password_required`, `type_mismatch`, `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    with structures.opened(work.input.path, params.password) as pdf:
        count = len(pdf.pages)
        kept = _kept(params, count)
        _rotate(pdf, params, set(kept))
        result = _reordered(pdf, kept) if len(kept) == count else _extracted(pdf, kept)
        structures.save(result, work, work.output(work.input.stem + ".pdf", PDF))


def _kept(params: Pages, count: int) -> list[int]:
    """The pages of the result, by their index in the document.

    Raises:
        BadInput: `page_out_of_range`.
    """
    chosen = documents.chosen_pages(params.pages, count, most=MAX_PAGES)
    if params.delete is not None:
        deleted = set(documents.chosen_pages(params.delete, count, most=MAX_PAGES))
        chosen = [index for index in chosen if index not in deleted]
    if not chosen:
        raise BadInput("No page would be left.", code="page_out_of_range")
    return chosen


def _rotate(pdf: Any, params: Pages, kept: set[int]) -> None:
    chosen = documents.chosen_pages(params.rotate_pages, len(pdf.pages), most=MAX_PAGES)
    if params.rotate:
        for index in kept.intersection(chosen):
            pdf.pages[index].rotate(params.rotate, relative=True)


def _reordered(pdf: Any, order: list[int]) -> Any:
    if order != sorted(order):
        found = [pdf.pages[index] for index in order]
        del pdf.pages[:]
        pdf.pages.extend(found)
    return pdf


def _extracted(pdf: Any, kept: list[int]) -> Any:
    assembly = Assembly()
    positions = assembly.add(pdf, kept, prune=True)
    assembly.describe_as(pdf)
    assembly.bookmarks = outlines.relocated(outlines.read(pdf), positions)
    return assembly.finish()
