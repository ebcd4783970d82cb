"""Tables of every format that is read here, for the operations on them.

Text tables and workbooks are read by us, row for row, and staged as Parquet where a query needs
columns; Parquet is read by DuckDB. Either way memory stays flat, however long the table is.
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field

from fileproc.operations import casting, columnar, naming, rows, texts, workbooks
from fileproc.operations.registry import Params
from fileproc.operations.rows import Dialect, Lines
from fileproc.operations.types import PARQUET, XLSX
from fileproc.operations.work import BadInput, OutOfResources, Work

TYPES: Final = {
    "csv": texts.CSV,
    "tsv": texts.TSV,
    "jsonl": texts.JSONL,
    "parquet": PARQUET,
    "xlsx": XLSX,
}
FORMATS: Final = {media_type: name for name, media_type in TYPES.items()}
_Row = TypeVar("_Row")
_FIRST_OBJECTS: Final = 1_000  # lines of JSON whose names make the columns, unless later ones add


def _delimiter(value: object) -> object:
    return {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value


Delimiter = Annotated[str, BeforeValidator(_delimiter)]


class Reading(Params):
    """How a table is read; the same for every operation on tables."""

    delimiter: Delimiter = Field(
        "auto",
        pattern=r'^(auto|[^"\r\n\w\s]|\t)$',
        description="What separates the cells of a CSV or TSV that is read: one character, or"
        " auto (judged from the first rows among comma, tab, semicolon and bar).",
    )
    header: bool = Field(
        True,
        description="Whether the first row of a CSV, TSV or XLSX that is read names the columns.",
    )
    quote: Literal["double", "none"] = Field(
        "double",
        description='double: cells may stand in "quotes" (RFC 4180). none: quotes mean nothing.',
    )
    encoding: Literal["auto", "utf-8", "utf-16", "windows-1252", "latin-1"] = Field(
        "auto",
        description="Encoding of the text that is read; auto: by its byte order mark, else UTF-8."
        " What is written is UTF-8.",
    )
    sheet: str | None = Field(
        None,
        min_length=1,
        max_length=31,
        description="Sheet of an XLSX that is read: its name, or its number from 1."
        " Not given: the first one.",
    )
    null: str | None = Field(
        None,
        max_length=100,
        pattern=r"^[^\x00-\x1f]*$",
        description="Text that stands for null: such cells become null in JSON lines and Parquet,"
        " and nulls become this text in CSV and TSV. Not given: empty cells stay empty texts"
        " (null in typed columns of Parquet), and nulls become empty cells.",
    )


EscapeFormulas = Annotated[
    bool,
    Field(
        description="In CSV and TSV that is written, put an apostrophe before cells that a"
        " spreadsheet would run (those that begin with = + - @, tab or return and are no plain"
        " number).",
    ),
]


def engine(*types: str) -> str:
    """Names and versions of what is at work on these media types, for `Work.engine`."""
    names = []
    if XLSX in types:
        names.append(workbooks.engine())
    if {PARQUET, XLSX} & {*types}:
        names.append(columnar.engine())
    return ", ".join(names) or f"csv and json of Python {platform.python_version()}"


def check_type(work: Work) -> None:
    """Refuse what is no table.

    Raises:
        BadInput: `type_mismatch`.
    """
    if work.input.type not in FORMATS:
        raise BadInput(
            f"Files of type {work.input.type} cannot be read here.", code="type_mismatch"
        )


@contextmanager
def scratch_watched() -> Iterator[None]:
    """A full disk is a limit that was used up, not a bad file."""
    try:
        yield
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            raise OutOfResources("The scratch space is used up.", code="scratch_full") from exc
        raise


def empty() -> BadInput:
    return BadInput("The table has no rows, not even names of columns.", code="empty_table")


def unknown_column(name: str, names: Sequence[str], why: str = "") -> BadInput:
    """A complaint that tells the names there are."""
    return BadInput(
        f"The table has no column {naming.quoted(name)}{why}; it has {naming.listed(names)}"
        " (names are exact, also in case).",
        code="unknown_column",
    )


def damaged() -> BadInput:
    return BadInput("The Parquet file is damaged and cannot be read.", code="corrupt_input")


@contextmanager
def writing(path: Path, *, more: bool = False) -> Iterator[IO[str]]:
    """A UTF-8 file to write to, from its start, or with `more` from its end on.

    Raises:
        BadInput: `bad_json` for half a surrogate pair, which JSON can spell but nobody can store.
    """
    try:
        with path.open(
            "a" if more else "w", encoding="utf-8", newline="", buffering=rows.CHUNK_BYTES
        ) as file:
            yield file
    except UnicodeEncodeError as exc:
        raise BadInput(
            "A text in the file holds half of a surrogate pair (\\ud800 to \\udfff), which is"
            " no character.",
            code="bad_json",
        ) from exc


# --- rows ------------------------------------------------------------------------------------


def lines(work: Work, params: Reading, phase: str = "read") -> Lines:
    """The lines of the input, which tell how far they are."""
    path = work.input.path
    size = path.stat().st_size
    return Lines(
        path,
        rows.encoding_of(path, params.encoding),
        lambda done: work.progress(done, size, unit="bytes", phase=phase),
    )


def dialect(work: Work, params: Reading) -> Dialect:
    """How the CSV or TSV is written."""
    path, delimiter = work.input.path, params.delimiter
    if delimiter == "auto":
        delimiter = rows.sniff_delimiter(
            path,
            rows.encoding_of(path, params.encoding),
            fallback="\t" if work.input.type == texts.TSV else ",",
        )
    return Dialect(delimiter, '"' if params.quote == "double" else None)


def cells(work: Work, params: Reading, phase: str = "read") -> Iterator[list[str]]:
    """The rows of a CSV, TSV or workbook as texts, with the names if there are any.

    Raises:
        BadInput: as `rows.records` or `workbooks.rows`.
    """
    if work.input.type == XLSX:
        return (row for _, row in workbooks.rows(work, params.sheet))
    return rows.records(lines(work, params, phase), dialect(work, params))


def objects(work: Work, params: Reading, phase: str = "read") -> Iterator[dict[str, Any]]:
    """The objects of JSON lines.

    Raises:
        BadInput: as `rows.objects`.
    """
    return rows.objects(lines(work, params, phase))


def some(table: Iterator[_Row]) -> Iterator[_Row]:
    """The same rows or objects.

    Raises:
        BadInput: `empty_table`.
    """
    for first in table:
        return chain([first], table)
    raise empty()


@dataclass(frozen=True, slots=True)
class Table:
    """Names of columns, and the rows below them."""

    names: list[str]
    body: Iterator[list[str]]


def opened(work: Work, params: Reading, *, unique: bool, ignore_case: bool = False) -> Table | None:
    """A CSV, TSV or workbook with its names told from its rows; None where it has no row.

    With `unique` no two names are alike, nor blank (see `rows.unique_names`).
    """
    table = cells(work, params)
    first = next(table, None)
    if first is None:
        return None
    if not params.header:
        names, table = [""] * len(first), chain([first], table)
        return Table(rows.unique_names(names), table)
    return Table(rows.unique_names(first, ignore_case=ignore_case) if unique else first, table)


def cells_of_objects(
    work: Work,
    params: Reading,
    file: IO[str],
    write: Callable[[list[str], Iterable[list[Any]]], None],
    *,
    null: str | None,
) -> list[str]:
    """Have objects written as cells, under all names in the order in which they first appear.

    Those of the first lines are a good guess; when a later line adds one, everything is read once
    more for the names, and written anew.
    """
    names = names_of(islice(objects(work, params, "scan"), _FIRST_OBJECTS))
    try:
        write(names, _cells(work, params, names, null))
    except _NewNameError:
        names = names_of(objects(work, params, "scan"))
        file.seek(0)
        file.truncate()
        write(names, _cells(work, params, names, null))
    return names


class _NewNameError(Exception):
    """A line has a name that none of the first had."""


def names_of(items: Iterable[Mapping[str, object]]) -> list[str]:
    """All names in the objects.

    Raises:
        BadInput: `too_many_columns`.
    """
    names: dict[str, None] = {}
    for item in items:
        names.update(dict.fromkeys(item))
        if len(names) > rows.MAX_COLUMNS:
            raise BadInput(
                f"The lines have more than {rows.MAX_COLUMNS:,} different names.",
                code="too_many_columns",
            )
    return list(names)


def _cells(work: Work, params: Reading, names: list[str], null: str | None) -> Iterator[list[Any]]:
    """The values of each object under these names, as texts; `null` where there is none."""
    known, text = set(names), rows.cell_text
    for item in objects(work, params):
        if not item.keys() <= known:
            raise _NewNameError
        found = map(item.get, names)
        yield [cell if isinstance(cell, str) else text(cell, null) for cell in found]


# --- as Parquet ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Storing:
    """How a table is stored as Parquet: types guessed or not, and those that are known."""

    infer: bool = True
    compression: str = "zstd"
    fixed: Mapping[str, str] | None = None


@contextmanager
def staged(work: Work, params: Reading, *, infer: bool = True) -> Iterator[Path]:
    """The input as a Parquet file: itself, or one of ours in scratch that is gone afterwards.

    Raises:
        BadInput: as `store`.
    """
    if work.input.type == PARQUET:
        yield work.input.path
        return
    path = work.folder / "staged.parquet"
    try:
        store(work, params, path, Storing(infer=infer, compression="snappy"))
        yield path
    finally:
        path.unlink(missing_ok=True)


def store(work: Work, params: Reading, path: Path, storing: Storing) -> None:
    """Write the input, of any kind but Parquet, as Parquet.

    Raises:
        BadInput: `empty_table`, `unsupported_table`, and as `cells` and `objects`.
    """
    if work.input.type == texts.JSONL:
        (_jsonl if storing.infer else _objects_as_texts)(work, params, path, storing)
        return
    table = opened(work, params, unique=True, ignore_case=True)
    if table is None:
        raise empty()
    if work.input.type == XLSX or not _stored_directly(work, params, path, storing, table.names):
        store_rows(work, params, path, storing, table)


def _stored_directly(
    work: Work, params: Reading, path: Path, storing: Storing, names: list[str]
) -> bool:
    """Let DuckDB read the CSV, where it does so exactly: far faster."""
    source, how = work.input.path, dialect(work, params)
    encoding = rows.encoding_of(source, params.encoding)
    if encoding != "utf-8-sig" or how.quote is None or len(names) == 1:
        return False
    if not rows.is_plain(source, how.delimiter):
        return False
    scan = columnar.csv_scan(len(names), delimiter=how.delimiter, header=params.header)
    try:
        _store(work, params, source, path, storing, names=names, scan=scan)
    except columnar.Refused:  # no good: our own reader says which line
        path.unlink(missing_ok=True)
        return False
    return True


def _store(
    work: Work,
    params: Reading,
    source: Path,
    target: Path,
    storing: Storing,
    *,
    names: Sequence[str],
    scan: str,
) -> None:
    fixed = storing.fixed or {}
    casting.from_texts(
        work,
        source,
        target,
        [name.replace("\x00", "\ufffd") for name in names],
        scan=scan,
        null=params.null,
        infer=storing.infer,
        codec=storing.compression,
        fixed={i: fixed[name] for i, name in enumerate(names) if name in fixed},
    )


@contextmanager
def _plain_copy(work: Work, write: Callable[[IO[str]], object]) -> Iterator[Path]:
    """JSON lines of our own in the scratch folder, written by `write`; gone afterwards."""
    path = work.folder / "plain.jsonl"
    try:
        with writing(path) as file:
            write(file)
        yield path
    finally:
        path.unlink(missing_ok=True)


def store_rows(
    work: Work,
    params: Reading,
    path: Path,
    storing: Storing,
    table: Table,
) -> None:
    """By way of JSON lines of our own: exact whatever the CSV is like, at the price of a copy.

    Raises:
        BadInput: `unsupported_table`.
    """
    width = len(table.names)
    with _plain_copy(work, lambda file: _write_plain(file, width, table.body)) as plain:
        _store_plain(work, params, plain, path, storing, names=table.names)


def _objects_as_texts(work: Work, params: Reading, path: Path, storing: Storing) -> None:
    """JSON lines with every value as text."""
    names: list[str] = []

    def write(file: IO[str]) -> None:
        names.extend(
            cells_of_objects(
                work,
                params,
                file,
                lambda found, table: _write_plain(file, len(found), table),
                null=None,
            )
        )

    with _plain_copy(work, write) as plain:
        if not names:
            raise empty()
        names = rows.unique_names(names, ignore_case=True)
        _store_plain(work, params, plain, path, storing, names=names)


def _write_plain(file: IO[str], width: int, table: Iterable[Sequence[str | None]]) -> None:
    template = rows.object_template([f"c{i}" for i in range(width)])
    encoded = rows.cell_json
    file.writelines(template % tuple(map(encoded, row)) for row in table)


def _store_plain(
    work: Work, params: Reading, plain: Path, path: Path, storing: Storing, *, names: Sequence[str]
) -> None:
    scan = columnar.json_scan(len(names))
    try:
        _store(work, params, plain, path, storing, names=names, scan=scan)
    except columnar.Refused as exc:
        raise BadInput("The table cannot be stored as Parquet.", code="unsupported_table") from exc


def _jsonl(work: Work, params: Reading, path: Path, storing: Storing) -> None:
    """JSON lines with JSON's own types."""
    if rows.encoding_of(work.input.path, params.encoding) == "utf-8-sig":
        _import_jsonl(work, params, work.input.path, path, storing)
        return

    def write(file: IO[str]) -> None:
        file.writelines(rows.json_text(item) + "\n" for item in objects(work, params))

    with _plain_copy(work, write) as plain:
        _import_jsonl(work, params, plain, path, storing)


def _import_jsonl(
    work: Work, params: Reading, source: Path, target: Path, storing: Storing
) -> None:
    try:
        columnar.from_jsonl(work, source, target, storing.compression)
    except columnar.Refused as exc:
        if not names_of(
            objects(work, params, "check")
        ):  # our own reader says which line is no good
            raise empty() from exc
        raise BadInput(
            "The lines do not make one table: names that differ in case only, or twice the same"
            " name in an object.",
            code="unsupported_table",
        ) from exc
