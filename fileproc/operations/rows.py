"""Rows of text tables (CSV, TSV, JSON lines), streamed: every value exactly as it is written.

Nothing here guesses types: a cell is its text, and a number of JSON keeps its digits, so leading
zeros, long integers and dates come out as they went in. Memory stays flat: one megabyte is read
at a time, and a record, a line and a row of names have limits.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

from fileproc.operations import texts
from fileproc.operations.work import BadInput

CHUNK_BYTES: Final = 1024 * 1024
MAX_RECORD: Final = 8 * 1024 * 1024  # characters of one record, newlines in quotes included
MAX_COLUMNS: Final = 10_000
MAX_DEPTH: Final = 200  # of objects and lists within each other, in JSON
DELIMITERS: Final = (",", "\t", ";", "|")

_encoded = json.encoder.encode_basestring
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class Number(str):
    """A number of JSON: its digits as they stood in the file."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text table is written. `quote` is None where quotes mean nothing."""

    delimiter: str
    quote: str | None = '"'

    @property
    def options(self) -> dict[str, Any]:
        """For the csv module."""
        if self.quote is None:
            return {"delimiter": self.delimiter, "quoting": csv.QUOTE_NONE}
        return {"delimiter": self.delimiter, "quotechar": self.quote, "strict": True}


class Lines:
    """The lines of a text file, with their ends, read a megabyte at a time.

    `pending` counts the megabytes begun since whoever makes records of the lines set it to 0,
    which is to happen after each record: so a record without end is noticed.
    """

    def __init__(
        self, path: Path, encoding: str, on_bytes: Callable[[int], None] = lambda _: None
    ) -> None:
        self.pending = 0
        self._before = 0  # lines in the megabytes before this one
        self._path = path
        self._encoding = encoding
        self._on_bytes = on_bytes

    def __iter__(self) -> Iterator[str]:
        """The lines.

        Raises:
            BadInput: `bad_encoding`, or `record_too_long`.
        """
        return chain.from_iterable(io.StringIO(text, newline="") for text in self._texts())

    def _texts(self) -> Iterator[str]:
        """Whole lines, about a megabyte of them at a time."""
        decoder = codecs.getincrementaldecoder(self._encoding)()
        tail, done = "", 0
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                text = tail + self._decoded(decoder, chunk)
                cut = _end_of_last_line(text)
                tail = text[cut:]
                self.pending += 1
                if max(len(tail), self.pending * CHUNK_BYTES) > MAX_RECORD + CHUNK_BYTES:
                    raise self._too_long()
                yield text[:cut]
                self._before += text.count("\n", 0, cut)
                done += len(chunk)
                self._on_bytes(done)
        yield tail + self._decoded(decoder, b"")

    def _decoded(self, decoder: codecs.IncrementalDecoder, chunk: bytes) -> str:
        try:
            return decoder.decode(chunk, final=not chunk)
        except UnicodeError as exc:  # that of UTF-16 without a mark says no more
            line = self._before + 1
            if isinstance(exc, UnicodeDecodeError):
                line += exc.object[: exc.start].count(b"\n")
            raise BadInput(
                f"Line {line:,} is not valid {self._encoding.removesuffix('-sig').upper()};"
                " say which encoding the file has with the parameter encoding.",
                code="bad_encoding",
            ) from exc

    def _too_long(self) -> BadInput:
        return BadInput(
            f"A record after line {self._before:,} is longer than {MAX_RECORD:,} characters"
            " (is a quote never closed?).",
            code="record_too_long",
        )


def _end_of_last_line(text: str) -> int:
    """Where the last whole line ends; a return at the very end may be half of a newline."""
    return max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1


def encoding_of(path: Path, wanted: str) -> str:
    """The encoding to read a file in: as asked for, or by its byte order mark, or UTF-8."""
    if wanted != "auto":
        return "utf-8-sig" if wanted == "utf-8" else wanted
    with path.open("rb") as file:
        head = file.read(4)
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if utf16 else "utf-8-sig"


def is_plain(path: Path, delimiter: str) -> bool:
    """Whether every reader of CSV takes this UTF-8 file in the same way.

    DuckDB 2.0 loses rows where newlines in quotes differ from those between rows, is lenient with
    blanks around quotes even in its strict mode, and takes a blank line at the top for the names.
    So: one kind of newline all over, none at the top, quotes only at the edges of cells or doubled
    within quotes, no NUL. A fuzz against the csv module holds it.
    A delimiter of several bytes is none: parts of it are parts of other characters.
    """
    if not delimiter.isascii():
        return False
    cells = _cells_of(delimiter)
    newlines: set[bytes] = set()  # the kinds that were met
    line, open_ = b"", b"\n"  # what is not yet counted; what is not yet judged, and a byte before
    with path.open("rb") as file:
        start = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        file.seek(start)
        if file.read(1) in {b"\r", b"\n"}:
            return False
        file.seek(start)
        while chunk := file.read(CHUNK_BYTES):
            text = line + chunk
            cut = text.rfind(b"\n") + 1
            text, line = text[:cut], text[cut:]
            newlines.add(_newline_of(text))
            open_ = _unjudged(cells, open_ + text)
            if b"\x00" in chunk or max(len(line), len(open_)) > MAX_RECORD:
                return False
    newlines.add(_newline_of(line))
    same = newlines <= {b"", b"\n"} or newlines <= {b"", b"\r\n"}
    return same and len(_unjudged(cells, open_ + line + b"\n")) == 1


def _newline_of(text: bytes) -> bytes:
    """The newline that all of these whole lines have; b"" if they have none, else a bare return."""
    if b"\r" not in text:
        return b"\n" if b"\n" in text else b""
    newlines = text.count(b"\n")
    return b"\r\n" if text.count(b"\r") == newlines == text.count(b"\r\n") else b"\r"


def _cells_of(delimiter: str) -> re.Pattern[bytes]:
    """Matches from an edge up to the first quote that is misplaced, or never closed."""
    edge = rb"[\r\n" + re.escape(delimiter.encode()) + rb"]"
    cell = rb'(?<=%b)"(?:[^"]++|"")*+"(?=%b)' % (edge, edge)
    return re.compile(rb'(?:[^"]*+%b)*+[^"]*+' % cell)


def _unjudged(cells: re.Pattern[bytes], text: bytes) -> bytes:
    """What is left of whole lines from the first quote on that is not well closed in them.

    With the byte before, whatever is left: whether that is an edge is judged with what follows.
    """
    match = cells.match(text)
    return text[max(0, match.end() - 1) :] if match else text


def may_hold_returns(path: Path) -> bool:
    """Whether a cell could hold a carriage return without a newline, which csv leaves bare.

    In JSON it would be spelled with a backslash; UTF-16 has no plain bytes to look for.
    """
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            chunk = tail + chunk
            tail = b"\r" if chunk.endswith(b"\r") else b""
            lone = chunk.count(b"\r") - chunk.count(b"\r\n") - len(tail)
            if lone or b"\\r" in chunk or b"\\u000" in chunk or b"\x00" in chunk:
                return True
    return bool(tail)


def cell_writer(
    file: IO[str], delimiter: str, *, careful: bool
) -> Callable[[Iterable[Sequence[str]]], None]:
    """What writes rows as CSV, with quotes where they are needed.

    Python before 3.13 does not quote a cell with a lone carriage return (bpo-12178): `careful`
    looks for those, at some cost.
    """
    write = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    if not careful:
        return write.writerows
    quoting = csv.writer(
        file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
    ).writerow

    def write_all(table: Iterable[Sequence[str]]) -> None:
        for row in table:
            if any("\r" in cell for cell in row):
                quoting(row)
            else:
                write.writerow(row)

    return write_all


def sniff_delimiter(path: Path, encoding: str, *, fallback: str) -> str:
    """The delimiter that cuts the first rows into the most, equally many columns."""
    with path.open("rb") as file:
        head = file.read(64 * 1024)
        whole = not file.read(1)
    try:
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(head)
    except UnicodeError:  # UTF-16 without a mark: whoever reads it says so
        return fallback
    whole = whole or not _end_of_last_line(text)  # a first row that is longer than that
    best, most = fallback, 1
    for delimiter in (fallback, *DELIMITERS):
        widths = [len(row) for row in texts.rows_of(text, delimiter, whole=whole)]
        if widths and min(widths) == max(widths) > most:
            best, most = delimiter, widths[0]
    return best


def records(lines: Lines, dialect: Dialect) -> Iterator[list[str]]:
    """The rows of a CSV, all of the width of the first; blank lines between them are left out.

    In a table of one column a blank line is an empty cell.

    Raises:
        BadInput: `ragged_rows`, `bad_csv`, `too_many_columns`, and what `Lines` raises.
    """
    csv.field_size_limit(MAX_RECORD)
    reader = csv.reader(lines, **dialect.options)
    width, start = 0, 0
    try:
        for row in reader:
            lines.pending = 0
            if len(row) != width or not row:
                if not row and width != 1:
                    continue
                width = width or checked_width(row)
                row = _judged(row, width, start + 1)  # noqa: PLW2901 - a blank line is a cell here
            yield row
            start = reader.line_num
    except csv.Error as exc:
        raise BadInput(csv_complaint(str(exc), start + 1, reader.line_num), code="bad_csv") from exc


def _judged(row: list[str], width: int, line: int) -> list[str]:
    if not row and width == 1:
        return [""]
    if len(row) != width:
        raise BadInput(f"Line {line:,} has {ragged(len(row), width)}", code="ragged_rows")
    return row


def checked_width(row: Sequence[object]) -> int:
    """How many columns a table with this first row has.

    Raises:
        BadInput: `too_many_columns`.
    """
    if len(row) > MAX_COLUMNS:
        raise BadInput(
            f"The table has {len(row):,} columns; at most {MAX_COLUMNS:,} are taken.",
            code="too_many_columns",
        )
    return len(row)


def ragged(count: int, width: int) -> str:
    """The end of a sentence about a row of another length."""
    return f"{count:,} cell{'' if count == 1 else 's'}, the first row has {width:,}."


def csv_complaint(message: str, start: int, end: int) -> str:
    """What the csv module says of a record that begins and ends in these lines, as a sentence."""
    if "end of data" in message:
        return f"A quote that is opened in the record at line {start:,} is never closed."
    if "field limit" in message:
        return f"A cell in the record at line {start:,} is longer than {MAX_RECORD:,} characters."
    return f"Line {end:,}: a quoted cell goes on after its closing quote."


def objects(lines: Lines) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines; numbers are `Number`. Blank lines are left out.

    Raises:
        BadInput: `bad_json` with the line, and what `Lines` raises.
    """
    decode = object_decoder()
    for number, line in enumerate(lines, 1):
        lines.pending = 0
        if line.isspace():
            continue
        value = decode(line)
        if isinstance(value, str):
            raise BadInput(f"Line {number:,} {value}", code="bad_json")
        yield value


def object_decoder() -> Callable[[str], dict[str, Any] | str]:
    """What reads one line of JSON lines; where it is no object, the end of a sentence that says so.

    Numbers are `Number`.
    """
    decode = json.JSONDecoder(
        parse_float=Number, parse_int=Number, parse_constant=_refused_constant
    ).decode

    def read(line: str) -> dict[str, Any] | str:
        try:
            value = decode(line)
        except (ValueError, RecursionError):
            return "is not valid JSON."
        if not isinstance(value, dict):
            return "is not a JSON object, as each line has to be."
        # Quotes may hold brackets as well, so this is no more than a reason to look.
        if line.count("{") + line.count("[") > MAX_DEPTH and _is_deep(value):
            return f"is JSON nested deeper than {MAX_DEPTH} levels."
        return value

    return read


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for one in level for part in _within(one)]
    return bool(level)


def _within(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    parts = value.values() if isinstance(value, dict) else value
    return (part for part in parts if isinstance(part, dict | list))


def _refused_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


def json_text(value: Any) -> str:
    """Compact JSON of what `objects` gives; numbers keep their digits."""
    if isinstance(value, Number):
        return value
    if isinstance(value, str):
        return _encoded(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_encoded(k)}:{json_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return {None: "null", True: "true", False: "false"}[value]


def cell_text(value: Any, null: Any = None) -> Any:
    """A value of JSON as the text of a cell: strings bare, nested values as JSON, or `null`."""
    if isinstance(value, str):
        return value
    return null if value is None else json_text(value)


def cell_json(cell: str | None) -> str:
    """A cell as JSON text: its text as a string, whatever it looks like."""
    return "null" if cell is None else _encoded(cell)


def object_template(names: Sequence[str]) -> str:
    """A %-template of one line of JSON; each value is given as JSON text."""
    return "{" + ",".join(_encoded(name).replace("%", "%%") + ":%s" for name in names) + "}\n"


def unique_names(header: Iterable[str], *, ignore_case: bool = False) -> list[str]:
    """Names of columns: blank ones are numbered, repeated ones get _2, _3, ..."""
    taken: set[str] = set()
    names = []
    for number, given in enumerate(header, 1):
        base = name = given if given.strip() else f"column_{number}"
        copies = 1
        while (name.casefold() if ignore_case else name) in taken:
            copies += 1
            name = f"{base}_{copies}"
        taken.add(name.casefold() if ignore_case else name)
        names.append(name)
    return names


def without_formulas(row: Iterable[str]) -> list[str]:
    """Cells that a spreadsheet would run get an apostrophe in front; plain numbers do not.

    Source: OWASP, CSV Injection: cells that begin with = + - @, tab or carriage return.
    """
    return [
        f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell for cell in row
    ]
