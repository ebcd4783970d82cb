"""`pdf.split`: one PDF cut into several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from fileproc.operations import documents, outlines, structures
from fileproc.operations.assembly import Assembly
from fileproc.operations.outlines import Bookmark
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import MAX_PAGES, PDF
from fileproc.operations.work import BadInput, Work

_GUESSES = 6  # of how many pages fit, by their average size; then by halves


def check_ranges(text: str) -> str:
    """Selections of pages between semicolons, without spaces.

    Raises:
        ValueError: with a sentence for the one who wrote it.
    """
    return ";".join(documents.check_pages(part) for part in text.split(";"))


class Split(Params):
    """One of `ranges`, `every` and `max_bytes`; without any, each page becomes a file."""

    ranges: Annotated[str, AfterValidator(check_ranges)] | None = Field(
        None,
        max_length=5000,
        description="Pages of each file, the files divided by semicolons: 1-3;4,6;7- makes three.",
    )
    every: int | None = Field(
        None, ge=1, le=MAX_PAGES, description="Pages in each file; the last may have fewer."
    )
    max_bytes: int | None = Field(
        None,
        ge=1000,
        description="Bytes that no file is to exceed: each has as many pages as fit.",
    )
    password: str | None = structures.password_field()

    @model_validator(mode="after")
    def _is_split_one_way(self) -> Self:
        ways = [self.ranges, self.every, self.max_bytes]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give only one of ranges, every and max_bytes")
        return self


@operation(
    "pdf.split",
    summary="Split a PDF by ranges of pages, every N pages, or by size",
    params=Split,
    accepts=(PDF,),
    produces=(PDF,),
    example={"every": 2},
    engines=("pikepdf",),
)
def split(work: Work, params: Split) -> None:
    """Cut a document into files named `report-001.pdf`, `report-002.pdf` and so on.

    Each file has its pages' links, form fields and layers, the bookmarks that lead to them, and
    title and author of the document; what a file does not use is not in it. Attachments, tags,
    page labels and scripts of the document do not come along. The files are not encrypted;
    signatures do not hold in them.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `output_too_large` (a single page is
            larger than the part may be), `page_out_of_range`, `password_required`,
            `too_many_outputs`, `type_mismatch`, `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    with structures.opened(work.input.path, params.password) as pdf:
        cutter = _Cutter(work, pdf)
        if params.max_bytes is not None:
            cutter.cut_by_size(params.max_bytes)
        else:
            cutter.cut(list(_chosen(params, len(pdf.pages))))


def _chosen(params: Split, count: int) -> Iterator[list[int]]:
    """The pages (from 0) of each file."""
    if params.ranges is not None:
        for text in params.ranges.split(";"):
            yield documents.chosen_pages(text, count, most=MAX_PAGES)
        return
    every = params.every or 1
    for start in range(0, count, every):
        yield list(range(start, min(start + every, count)))


class _Cutter:
    """Writes parts of a document into the outputs of a job."""

    def __init__(self, work: Work, pdf: Any) -> None:
        self._work, self._pdf = work, pdf
        self._count = len(pdf.pages)
        self._bookmarks: list[Bookmark] = outlines.read(pdf)

    def cut(self, parts: list[list[int]]) -> None:
        if len(parts) > self._work.limits.output_files:
            raise BadInput(
                f"The document would become {len(parts):,} files; one job makes at most"
                f" {self._work.limits.output_files:,}.",
                code="too_many_outputs",
            )
        for done, indices in enumerate(parts, 1):
            self._write(indices, self._next_path())
            self._work.progress(done, len(parts), unit="files", phase="split")

    def cut_by_size(self, max_bytes: int) -> None:
        start, guess = 0, self._first_guess(max_bytes)
        while start < self._count:
            guess = self._fill(start, guess, max_bytes)
            start += guess
            self._work.progress(start, self._count, unit="pages", phase="split")

    def _first_guess(self, max_bytes: int) -> int:
        share = max_bytes / max(1, self._work.input.path.stat().st_size)
        return max(1, min(self._count, int(self._count * share)))

    def _fill(self, start: int, guess: int, max_bytes: int) -> int:
        """Write as many pages as fit, from `start` on; returns how many.

        Raises:
            BadInput: `output_too_large` where not even one does.
        """
        path, left = self._next_path(), self._count - start
        fits, too_many, written, tries = 0, left + 1, 0, 0
        guess = min(guess, left)
        while fits + 1 < too_many:
            size = self._write(list(range(start, start + guess)), path)
            written, tries = guess, tries + 1
            if size <= max_bytes:
                fits = guess
            else:
                too_many = guess
            by_size = int(guess * max_bytes / size) if tries < _GUESSES else (fits + too_many) // 2
            guess = max(fits + 1, min(by_size, too_many - 1))
        if not fits:
            raise BadInput(
                f"Page {start + 1} alone makes a file of more than {max_bytes:,} bytes.",
                code="output_too_large",
            )
        if written != fits:
            self._write(list(range(start, start + fits)), path)
        return fits

    def _next_path(self) -> Any:
        name = f"{self._work.input.stem}-{len(self._work.outputs) + 1:03}.pdf"
        return self._work.output(name, PDF)

    def _write(self, indices: list[int], path: Any) -> int:
        """One file; returns its size in bytes."""
        assembly = Assembly()
        positions = assembly.add(self._pdf, indices, prune=True)
        assembly.describe_as(self._pdf)
        assembly.bookmarks = outlines.relocated(self._bookmarks, positions)
        structures.save(assembly.finish(), self._work, path, progress=None)
        return int(path.stat().st_size)
