"""The structure of PDF documents, by qpdf (pikepdf): opened under limits, and written again.

qpdf never draws: it reads objects and writes them anew. What it unpacks to do so is bounded by
limits of its own, which are set here, and pages are counted before the library lists them.
"""

from __future__ import annotations

import errno
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from fileproc.operations.work import BadInput, Input, OutOfResources, Work

PDF: Final = "application/pdf"
MAX_PAGES: Final = 50_000  # a shelf of books; listing them takes about a second
MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024  # of one stream, where anything is unpacked at all
MAX_OBJECTS: Final = 2_000_000
_FREE_OBJECTS = 500_000  # some 400 bytes of memory each; more of them only where the file is large
_BYTES_PER_OBJECT = 15  # of a file, at least, in honest documents
_MAX_TABLE_BYTES = 16 * 1024 * 1024  # of the table of objects: at least 5 bytes for each
_MAX_NODES = 100_000  # of the tree of pages
_LIMITS: Final[dict[str, Any]] = {
    "flate_max_memory": MAX_UNPACKED_BYTES,
    "run_length_max_memory": MAX_UNPACKED_BYTES,
    "png_max_memory": MAX_UNPACKED_BYTES,
    "tiff_max_memory": MAX_UNPACKED_BYTES,
    "dct_max_memory": MAX_UNPACKED_BYTES,
    "max_stream_filters": 5,
    "parser_max_container_size": 1_000_000,
    "parser_max_nesting": 100,
    "doc_max_warnings": 10_000,
}


def password_field(description: str = "Opens an encrypted document.") -> Any:
    """A parameter for a password: never shown again."""
    return Field(
        None,
        min_length=1,
        max_length=500,
        description=description,
        json_schema_extra={"format": "password", "writeOnly": True},
    )


def engine() -> str:
    """Name and version, for `Work.engine`."""
    import pikepdf

    return f"pikepdf {pikepdf.__version__} (qpdf {pikepdf.__libqpdf_version__})"


def check_is_pdf(source: Input) -> None:
    """Refuse what our own look at the bytes did not find to be a PDF.

    Raises:
        BadInput: `type_mismatch`.
    """
    if source.type != PDF:
        raise BadInput(f"Files of type {source.type} cannot be read here.", code="type_mismatch")


@contextmanager
def opened(path: Path, password: str | None) -> Iterator[Any]:
    """A `pikepdf.Pdf` with at least one page and not too many.

    Everything that qpdf or pikepdf say about a broken document while it is open, becomes a clear
    error.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`,
            `unsupported_variant` or `wrong_password`.
    """
    import pikepdf

    pikepdf.settings.set_qpdf_limits(**{**_LIMITS, "flate_max_memory": _MAX_TABLE_BYTES})
    with reading():
        try:
            with warnings.catch_warnings(action="ignore"):  # of a password that nothing needs
                pdf = pikepdf.Pdf.open(path, password=password or "", suppress_warnings=True)
        except pikepdf.PasswordError as exc:
            raise _locked(password) from exc
        with pdf:
            pikepdf.settings.set_qpdf_limits(**_LIMITS)
            _check_objects(pdf, path.stat().st_size)
            _check_pages(pdf)
            yield pdf


@contextmanager
def reading() -> Iterator[None]:
    """Around everything that reads an opened document.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex` or `unsupported_variant`.
    """
    import pikepdf

    # pikepdf has these errors of Python for objects of another kind than the one expected; in a
    # hostile document any object can be of any kind.
    surprises = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
    try:
        yield
    except (pikepdf.PikepdfError, RuntimeError, *surprises) as exc:
        raise _translated(exc) from exc


def _locked(password: str | None) -> BadInput:
    if password is None:
        return BadInput("The PDF is encrypted: give its password.", code="password_required")
    return BadInput("The password does not open the PDF.", code="wrong_password")


def _translated(exc: Exception) -> BadInput:
    said = str(exc).lower()
    if "limit" in said or "too many" in said or isinstance(exc, RecursionError):
        return too_complex("The PDF unpacks to more, or nests deeper, than is taken.")
    if "unsupported" in said and "encrypt" in said:
        return BadInput(
            "The PDF is encrypted in a way that no password opens here.",
            code="unsupported_variant",
        )
    return BadInput("The PDF is damaged and cannot be read.", code="corrupt_input")


def too_complex(sentence: str) -> BadInput:
    """The refusal of a document that is made to exhaust its reader."""
    return BadInput(sentence, code="document_too_complex")


def _check_objects(pdf: Any, file_bytes: int) -> None:
    """Refuse an endless table of objects: qpdf goes on without it, other readers would not."""
    if any("limit exceeded" in str(warning) for warning in pdf.get_warnings()):
        raise too_complex("A table in the PDF unpacks to more than is taken.")
    said = pdf.trailer.get("/Size")
    count = said if isinstance(said, int) else 0
    if count > min(MAX_OBJECTS, max(_FREE_OBJECTS, file_bytes // _BYTES_PER_OBJECT)):
        raise too_complex(f"The PDF has {count:,} objects, more than are taken for its size.")


def _check_pages(pdf: Any) -> None:
    """Count the pages node by node, so that no list of a million is ever made.

    Raises:
        BadInput: `corrupt_input` or `document_too_complex`.
    """
    import pikepdf

    waiting, seen, leaves = [pdf.Root.get("/Pages")], set(), 0
    while waiting:
        node = waiting.pop()
        kids = node.get("/Kids") if isinstance(node, pikepdf.Dictionary) else None
        if not isinstance(kids, pikepdf.Array):
            leaves += 1
            continue
        if node.is_indirect and node.objgen in seen:
            raise BadInput("The PDF lists the same pages over and over.", code="corrupt_input")
        seen.add(node.objgen)
        if leaves + len(waiting) + len(kids) > MAX_PAGES or len(seen) > _MAX_NODES:
            raise too_complex(f"The PDF has more than {MAX_PAGES:,} pages; no more are taken.")
        waiting.extend(kids)
    if not len(pdf.pages):
        raise BadInput("The PDF has no pages.", code="corrupt_input")


def save(pdf: Any, work: Work, path: Path, **options: Any) -> None:
    """Write a document; its streams stay packed as they are, unless `options` say otherwise.

    Raises:
        BadInput: `corrupt_input`.
        OutOfResources: `scratch_full`.
    """
    import pikepdf

    defaults = {
        "compress_streams": False,
        "fix_metadata_version": False,  # it would parse the XMP: XML of anybody's making
        "object_stream_mode": pikepdf.ObjectStreamMode.preserve,
        "progress": lambda done: work.progress(done, 100, unit="percent", phase="write"),
    }
    try:
        with reading():
            pdf.save(path, **{**defaults, **options})
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            raise OutOfResources("The scratch space is used up.", code="scratch_full") from exc
        raise


# --- objects of any kind ---------------------------------------------------------------------


def dictionary(value: Any) -> Any:
    """The value if it is a dictionary, else None."""
    import pikepdf

    return value if isinstance(value, pikepdf.Dictionary) else None


def array(value: Any) -> list[Any]:
    """The items of an array; of anything else none."""
    import pikepdf

    return list(value) if isinstance(value, pikepdf.Array) else []


def is_stream(value: Any) -> bool:
    """Whether it is a stream: data, with a dictionary."""
    import pikepdf

    return isinstance(value, pikepdf.Stream)


def sides(box: Any) -> tuple[float, float, float, float]:
    """The numbers of a rectangle; a document can write some that are beyond all counting.

    Raises:
        ValueError, TypeError: it is no rectangle; see `reading`.
    """
    left, bottom, right, top = (float(side) for side in box)
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise ValueError("a rectangle without end")
    return left, bottom, right, top


def plain_text(value: Any) -> str:
    """A text string without what nobody can write down; of anything else nothing."""
    import pikepdf

    if not isinstance(value, pikepdf.String):
        return ""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
