"""XLSX workbooks: read by calamine once every part is unpacked and judged, written row by row.

calamine gets a copy of ours, with the parts stored as they are: two readers of ZIP can see two
different files in one, and what was not judged is not parsed.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, Final

from fileproc.operations import directories, naming
from fileproc.operations.rows import CHUNK_BYTES, MAX_COLUMNS
from fileproc.operations.work import BadInput, Work

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

MAX_PARTS: Final = 10_000  # files in the ZIP; a large workbook has some hundreds
MAX_RATIO: Final = 100  # sheets shrink to a tenth or a fiftieth; POI draws the line here as well
MAX_ROWS: Final = 1_048_576  # rows, columns, characters of a cell: what Excel takes
_MAX_WIDTH: Final = 16_384
_MAX_TEXT: Final = 32_767
_RATIO_FROM: Final = 100 * 1024  # bytes; less may shrink as it likes
_BYTES_PER_CELL: Final = 128  # calamine holds the sheet in memory, empty cells of its box as well
_BYTES_PER_TAG: Final = (
    1024  # in lists of sheets, styles and parts, which are short in honest files
)
_EXACT_INT: Final = 2**53  # Excel's numbers are doubles
_PART = re.compile(r"(xl/|_rels/|\[Content_Types\]\.xml$).*", re.IGNORECASE)
_DTD = re.compile(rb"<!(?!--|\[CDATA\[)")
_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]*)([0-9]+)["']""")
_CELL = re.compile(rb"<(?:[\w.-]{1,60}:)?(row|c)([\s/>][^<>]*)")
# The attributes of a tag up to the one that is its place; a text that looks like one is none.
_PLACED_CELL = re.compile(
    rb"""<(?:[\w.-]{1,60}:)?c(?:\s+[^\s=<>"']+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))*?"""
    rb"""\s+r\s*=\s*["'][A-Za-z]+[0-9]+["']"""
)
# Where tags can stand that are none: comments and the like, and values of attributes.
_HIDING = re.compile(rb"""<!|(?!^)<\?|=\s*(?:"[^"<]*<|'[^'<]*<)""")
_ITEM = re.compile(rb"<(?:[\w.-]{1,60}:)?si[\s/>]")
_LIST = re.compile(r"(.*\.rels|xl/(workbook|styles)\.xml|\[content_types\]\.xml)", re.IGNORECASE)


def engine() -> str:
    """Name and version of the reader, for `Work.engine`."""
    from importlib.metadata import version

    return f"python-calamine {version('python-calamine')}"


def writer_engine() -> str:
    """Name and version of the writer."""
    from importlib.metadata import version

    return f"XlsxWriter {version('XlsxWriter')}"


# --- in --------------------------------------------------------------------------------------


def rows(work: Work, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    """Number and cells, as texts, of each row of a sheet that has something in it.

    All rows are as wide as the sheet. Cells have the values that Excel kept, formulas their last
    result; numbers at their shortest, dates and times as in ISO 8601, durations as 42:00:00,
    errors as nothing.

    Raises:
        BadInput: `corrupt_input`, `archive_bomb`, `archive_too_large`, `xml_dtd`,
            `too_many_columns`, `table_too_large`, `unknown_sheet`, `unsupported_variant`.
    """
    copy = work.folder / "workbook.xlsx"
    try:
        _unpack(work, copy)
        with _parsing():
            found = _sheet(_opened(copy), sheet)
            height = found.total_height
            table = enumerate(found.iter_rows(), 1)
        if found.total_width > MAX_COLUMNS:
            raise BadInput(
                f"The sheet has {found.total_width:,} columns; at most {MAX_COLUMNS:,} are taken.",
                code="too_many_columns",
            )
        yield from _texts(work, table, height)
    finally:
        copy.unlink(missing_ok=True)


def _texts(
    work: Work, table: Iterator[tuple[int, list[Any]]], height: int
) -> Iterator[tuple[int, list[str]]]:
    while True:
        with _parsing():
            number, row = next(table, (0, []))
        if not number:
            return
        cells = [cell if isinstance(cell, str) else _text(cell) for cell in row]
        if any(cells):
            yield number, cells
        if number % 1_000 == 0:
            work.progress(number, height, unit="rows", phase="read")


@contextmanager
def _parsing() -> Iterator[None]:
    """Around calamine, which panics on some broken files: a BaseException of its own.

    Raises:
        BadInput: `corrupt_input` or `unsupported_variant`.
    """
    from python_calamine import CalamineError, PasswordError

    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, BadInput):
        raise
    except PasswordError as exc:
        raise BadInput("The workbook is encrypted.", code="password_required") from exc
    except (CalamineError, Exception) as exc:
        raise _corrupt() from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":
            raise
        raise _corrupt() from exc


def _corrupt() -> BadInput:
    return BadInput("The workbook is damaged and cannot be read.", code="corrupt_input")


def _opened(path: Path) -> CalamineWorkbook:
    from python_calamine import CalamineWorkbook

    return CalamineWorkbook.from_path(str(path))


def _sheet(book: CalamineWorkbook, wanted: str | None) -> CalamineSheet:
    from python_calamine import SheetTypeEnum

    names = [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    if wanted is None and names:
        return book.get_sheet_by_name(names[0])
    if wanted in names:
        return book.get_sheet_by_name(wanted or "")
    if wanted and re.fullmatch("[0-9]{1,4}", wanted) and 1 <= int(wanted) <= len(names):
        return book.get_sheet_by_name(names[int(wanted) - 1])
    if not names:
        raise BadInput("The workbook has no sheet of cells.", code="unknown_sheet")
    raise BadInput(
        f"The workbook has no sheet {naming.quoted(wanted or '')}; it has {naming.listed(names)}.",
        code="unknown_sheet",
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < _EXACT_INT
        return str(int(value)) if whole else repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)


# --- unpacking -------------------------------------------------------------------------------


def _unpack(work: Work, target: Path) -> None:
    """Copy the parts that hold tables, each judged on the way, without compression."""
    try:
        with (
            directories.opened(work.input.path) as source,
            zipfile.ZipFile(target, "w") as copy,
        ):
            parts = _judged_parts(work, source)
            for done, part in enumerate(parts, 1):
                with source.open(part) as packed, copy.open(part.filename, "w") as plain:
                    _copy_part(work, packed, plain, part)
                work.progress(done, len(parts), unit="parts", phase="unpack")
    except directories.TooLong as exc:
        raise _too_many_parts() from exc
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as exc:
        raise _corrupt() from exc
    except RuntimeError as exc:  # of zipfile: an entry is encrypted
        raise BadInput("The workbook is encrypted.", code="password_required") from exc


def _judged_parts(work: Work, source: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The parts to be read, if the list of all of them can be true.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `corrupt_input`.
    """
    entries = source.infolist()
    if len(entries) > MAX_PARTS:
        raise _too_many_parts()
    parts = [
        entry
        for entry in entries
        if _PART.match(entry.filename)
        and entry.filename.lower().endswith((".xml", ".rels"))
        and ".." not in entry.filename.split("/")
    ]
    names = {part.filename.casefold() for part in parts}
    if len(names) < len(parts):
        raise BadInput("The workbook has two parts of one name.", code="corrupt_input")
    if sum(entry.compress_size for entry in entries) > work.input.path.stat().st_size:
        raise _bomb()  # entries that overlap: the same bytes unpacked many times
    if any(_too_dense(part.file_size, part.compress_size) for part in parts):
        raise _bomb()
    if sum(part.file_size for part in parts) > _most_unpacked(work):
        raise _too_large(work)
    return parts


def _too_dense(unpacked: int, packed: int) -> bool:
    return unpacked > max(_RATIO_FROM, MAX_RATIO * packed)


def _most_unpacked(work: Work) -> int:
    return work.limits.memory_bytes // 4


def _bomb() -> BadInput:
    return BadInput(
        f"Parts of the workbook unpack to more than {MAX_RATIO} times their size, or to the same"
        " bytes again and again.",
        code="archive_bomb",
    )


def _too_many_parts() -> BadInput:
    return BadInput(f"The workbook has more than {MAX_PARTS:,} parts.", code="archive_too_large")


def _too_large(work: Work) -> BadInput:
    return BadInput(
        f"A sheet is too large: at most {_most_unpacked(work) // 1_000_000:,} MB of XML and"
        f" {work.limits.memory_bytes // _BYTES_PER_CELL:,} cells, in the box from the first to the"
        " last one, are read.",
        code="table_too_large",
    )


def _copy_part(work: Work, packed: IO[bytes], plain: IO[bytes], part: zipfile.ZipInfo) -> None:
    done, tail, box = 0, b"", _Box(is_list=bool(_LIST.fullmatch(part.filename)))
    while chunk := packed.read(CHUNK_BYTES):
        done += len(chunk)
        if _too_dense(done, part.compress_size):
            raise _bomb()
        plain.write(chunk)
        text = tail + chunk
        cut = max(text.rfind(b"<"), 0)  # a tag that is cut is seen whole
        text, tail = text[:cut], text[cut:]
        if len(tail) > CHUNK_BYTES:
            raise _corrupt()  # no cell holds a text of a megabyte
        _judge(work, text, box)
    _judge(work, tail, box)


class _Box:
    """The box that the cells of a sheet lie in: no smaller than calamine will make it.

    In the parts that are no sheets, what it keeps of them is counted.
    """

    __slots__ = (
        "across",
        "cells",
        "down",
        "hiding",
        "is_list",
        "items",
        "loose",
        "rows",
        "run",
        "tags",
    )

    def __init__(self, *, is_list: bool) -> None:
        self.is_list = is_list
        self.across = self.down = 1  # as far as the places go that cells say they have
        self.rows = self.cells = self.items = self.tags = 0
        self.run = self.loose = 0  # cells without a place, in this row, and in the longest
        self.hiding = False  # what looks like the begin of a row may be none

    @property
    def area(self) -> int:
        if not self.loose:
            return self.across * self.down
        return (self.across + self.loose) * (self.down + self.rows)

    def fits(self, memory_bytes: int) -> bool:
        """Whether it can be laid out in so much memory, and is no larger than any sheet."""
        cells = max(self.area, self.cells, self.items)
        return (
            cells <= memory_bytes // _BYTES_PER_CELL
            and self.tags <= memory_bytes // _BYTES_PER_TAG
            and self.across <= _MAX_WIDTH
            and self.down <= MAX_ROWS
        )

    def take(self, text: bytes) -> None:
        """Look at some whole tags."""
        if self.is_list:
            self.tags += text.count(b"<")
            return
        places = _PLACE.findall(text)
        for letters in {letters for letters, _ in places}:
            self.across = max(self.across, _column(letters))
        self.down = max([self.down, *map(_number, {number for _, number in places})])
        self.rows += text.count(b"<row") + text.count(b":row")
        self.items += len(_ITEM.findall(text))
        placed = len(_PLACED_CELL.findall(text))
        self.cells += placed
        if text.count(b"<c") + text.count(b":c") > placed:
            self._take_loose(text)

    def _take_loose(self, text: bytes) -> None:
        self.hiding = self.hiding or bool(_HIDING.search(text))
        for kind, attributes in _CELL.findall(text):
            if kind == b"row":
                self.run = self.run if self.hiding else 0
            elif not _PLACED_CELL.match(b"<c" + attributes):
                self.cells += 1
                self.run += 1
                self.loose = max(self.loose, self.run)


def _number(digits: bytes) -> int:
    """A row; where it has more digits than any, one beyond the last."""
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 10 else MAX_ROWS + 1  # noqa: PLR2004 - as said


def _column(letters: bytes) -> int:
    """A column; where it has more letters than any, one beyond the last."""
    if len(letters) > 3:  # noqa: PLR2004 - as said
        return _MAX_WIDTH + 1
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _judge(work: Work, text: bytes, box: _Box) -> None:
    """Whole tags of a part.

    Raises:
        BadInput: `xml_dtd`, `unsupported_variant`, `table_too_large`.
    """
    if _DTD.search(text):
        raise BadInput(
            "The workbook has XML with a document type (DTD), which is not read.",
            code="xml_dtd",
        )
    if b"\x00" in text:
        raise BadInput("The workbook has XML that is not in UTF-8.", code="unsupported_variant")
    box.take(text)
    if not box.fits(work.limits.memory_bytes):
        raise _too_large(work)


# --- out -------------------------------------------------------------------------------------


class SheetWriter:
    """One sheet of a workbook, written row by row with flat memory. Nothing is ever a formula."""

    def __init__(self, book: Any, names: Sequence[str]) -> None:
        self._sheet = book.add_worksheet("Table")
        self._formats = {
            kind: book.add_format({"num_format": form})
            for kind, form in (
                (dt.date, "yyyy-mm-dd"),
                (dt.datetime, "yyyy-mm-dd hh:mm:ss"),
                (dt.time, "hh:mm:ss"),
            )
        }
        if len(names) > _MAX_WIDTH:
            raise BadInput(
                f"The table has {len(names):,} columns; XLSX holds {_MAX_WIDTH:,}.",
                code="unsupported_table",
            )
        self._row = 1
        self._sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        for column, name in enumerate(names):
            self._sheet.write_string(0, column, self._fitting(name), bold)

    def write(self, row: Iterable[Any]) -> None:
        """One row of values.

        Raises:
            BadInput: `unsupported_table`.
        """
        if self._row >= MAX_ROWS:
            raise BadInput(
                f"The table has more rows than the {MAX_ROWS:,} that XLSX holds, with the names.",
                code="unsupported_table",
            )
        for column, value in enumerate(row):
            if value is not None and value != "":
                self._write(column, value)
        self._row += 1

    def _write(self, column: int, value: Any) -> None:
        sheet, at = self._sheet, (self._row, column)
        if isinstance(value, bool):
            sheet.write_boolean(*at, value)
        elif isinstance(value, str):
            sheet.write_string(*at, self._fitting(value))
        elif isinstance(value, (dt.datetime, dt.date, dt.time)):
            if isinstance(value, dt.time) or value.year > 1900:  # noqa: PLR2004 - where Excel begins
                sheet.write_datetime(*at, value, self._formats[type(value)])
            else:
                sheet.write_string(*at, str(value))
        elif _is_double(value):
            sheet.write_number(*at, value)
        elif math.isfinite(value):
            sheet.write_string(*at, str(value))

    def _fitting(self, text: str) -> str:
        if len(text) > _MAX_TEXT:
            raise BadInput(
                f"A cell in row {self._row:,} has {len(text):,} characters; XLSX holds"
                f" {_MAX_TEXT:,}.",
                code="unsupported_table",
            )
        return text


def _is_double(value: float | Decimal) -> bool:
    """Whether a number is what Excel would make of it."""
    if isinstance(value, int):
        return abs(value) <= _EXACT_INT
    if isinstance(value, Decimal):
        return len(value.as_tuple().digits) <= 15  # noqa: PLR2004 - what any double keeps
    return math.isfinite(value)


@contextmanager
def sheet(work: Work, path: Path, names: Sequence[str]) -> Iterator[SheetWriter]:
    """A workbook of one sheet with these names of columns, complete when the block ends."""
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import FileCreateError

    folder = work.folder / "parts"
    folder.mkdir()
    options = {"constant_memory": True, "tmpdir": str(folder), "use_zip64": True}
    book = Workbook(str(path), options)
    try:
        book.set_properties({"created": dt.datetime(2000, 1, 1)})  # noqa: DTZ001 - same file each time
        yield SheetWriter(book, names)
        with _times_left_alone():
            book.close()
    except FileCreateError as exc:  # how the library says that the disk is full
        raise (exc.__context__ if isinstance(exc.__context__, OSError) else exc) from exc
    finally:
        for made in book.worksheets():  # the library leaves them open where a row is refused
            made.row_data_fh.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _times_left_alone() -> Iterator[None]:
    """XlsxWriter dates its temporary files by os.utime, which the sandbox denies to everyone."""
    from xlsxwriter import workbook

    everything = vars(os) | {"utime": lambda *_: None}
    workbook.os = SimpleNamespace(**everything)
    try:
        yield
    finally:
        workbook.os = os
