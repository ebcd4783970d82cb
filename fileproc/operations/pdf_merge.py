"""`pdf.merge`: one PDF from many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fileproc.operations import documents, outlines, structures
from fileproc.operations.assembly import Assembly
from fileproc.operations.outlines import Bookmark
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import MAX_PAGES, PDF, too_complex
from fileproc.operations.work import BadInput, Work

_MAX_INPUTS = 100  # all are open at once, and a child may open 256 files

Selection = Annotated[str, Field(max_length=1000), AfterValidator(documents.check_pages)]
Password = Annotated[str, Field(max_length=500)]


class Merge(Params):
    pages: list[Selection] | None = Field(
        None,
        max_length=_MAX_INPUTS,
        description="Which pages of each input, in the order of the inputs: such as 1-3,7,last or"
        " 5- or all; one entry for each. Not given: all pages of all.",
    )
    bookmarks: Literal["files", "keep", "none"] = Field(
        "files",
        description="files: one for each input, by its name, with its own below. keep: those of"
        " the inputs, one after the other. none: no bookmarks.",
    )
    passwords: list[Password] | None = Field(
        None,
        max_length=_MAX_INPUTS,
        description="Opens encrypted inputs: one entry for each input, in their order; empty for"
        " one that needs none.",
        json_schema_extra={"writeOnly": True},
    )


def _misfit(params: Merge, count: int) -> str | None:
    for name, given in (("pages", params.pages), ("passwords", params.passwords)):
        if given is not None and len(given) != count:
            entries = f"{len(given)} entr{'y' if len(given) == 1 else 'ies'}"
            files = f"{count} file{'' if count == 1 else 's'}"
            return f"There are {entries} in {name} for {files}: give one for each."
    return None


@operation(
    "pdf.merge",
    summary="Merge PDFs into one, whole or chosen pages of each",
    params=Merge,
    accepts=(PDF,),
    produces=(PDF,),
    example={"bookmarks": "files"},
    engines=("pikepdf",),
    judge=_misfit,
    max_inputs=_MAX_INPUTS,
)
def merge(work: Work, params: Merge) -> None:
    """Put the pages of all inputs into one document, in the order of the inputs.

    Links, form fields (renamed where two have the same name), layers and annotations come along
    with their pages, scripts of fields and links included. What belongs to a whole document does
    not: its title, attachments, tags, page labels and scripts of its own. Links to pages that are
    left out lead nowhere. The result is named after the first input; it is not encrypted, and
    signatures no longer hold.

    Raises:
        BadInput: `corrupt_input`, `count_mismatch`, `document_too_complex`, `page_out_of_range`,
            `password_required`, `type_mismatch`, `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    work.engine = structures.engine()
    for source in work.inputs:
        structures.check_is_pdf(source)
    if (misfit := _misfit(params, len(work.inputs))) is not None:
        raise BadInput(misfit, code="count_mismatch")
    selections = params.pages or ["all"] * len(work.inputs)
    passwords = params.passwords or [""] * len(work.inputs)
    assembly = Assembly()
    with ExitStack() as stack:
        for number, (source, pages, password) in enumerate(
            zip(work.inputs, selections, passwords, strict=True)
        ):
            with _named(number, source.name, len(work.inputs)):
                pdf = stack.enter_context(structures.opened(source.path, password or None))
                _append(assembly, pdf, pages, source.stem, params)
            work.progress(number + 1, len(work.inputs), unit="files", phase="merge")
        path = work.output(f"{work.input.stem}-merged.pdf", PDF)
        structures.save(assembly.finish(), work, path)


@contextmanager
def _named(number: int, name: str, count: int) -> Iterator[None]:
    """An error in one of several inputs says in which."""
    try:
        yield
    except BadInput as exc:
        if count == 1:
            raise
        raise BadInput(f"Input {number + 1} ({name}): {exc.detail}", code=exc.job_code) from exc


def _append(assembly: Assembly, pdf: Any, pages: str, title: str, params: Merge) -> None:
    indices = documents.chosen_pages(pages, len(pdf.pages), most=MAX_PAGES)
    if len(assembly.pdf.pages) + len(indices) > MAX_PAGES:
        raise too_complex(f"The result would have more than {MAX_PAGES:,} pages.")
    positions = assembly.add(pdf, indices, prune=len(indices) < len(pdf.pages))
    if params.bookmarks == "none":
        return
    own = outlines.relocated(outlines.read(pdf), positions)
    if params.bookmarks == "files":
        own = [Bookmark(title, positions[indices[0]], [], own)]
    assembly.bookmarks.extend(own)
