"""Rows that are held against a schema one by one, and those that are put aside."""
# ruff: noqa: S608 - statements are put together from quoted names and literals, see `columnar`

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from fileproc.operations import columnar as duck
from fileproc.operations import results, rows, schemas, tables, texts, workbooks
from fileproc.operations.columnar import Column, Query, literal, quoted
from fileproc.operations.results import Writing
from fileproc.operations.types import XLSX
from fileproc.operations.work import BadInput, Work

_SHOWN: Final = 100  # characters of a cell in a sentence


class Reject(Protocol):
    """What is done with a bad row; `code` is that of the error it would be."""

    def __call__(
        self, number: int, reason: str, record: Callable[[], str], *, code: str
    ) -> None: ...


@contextmanager
def rejecting(work: Work, on_error: str, *, escape: bool) -> Iterator[Reject]:
    """What fails the job, or writes a file of rejected rows as a further output.

    Raises:
        BadInput: with the code of the row.
    """
    place = "Row" if _by_row(work) else "Line"
    if on_error == "fail":

        def fail(number: int, reason: str, record: Callable[[], str], *, code: str) -> None:
            del record
            raise BadInput(
                reason if code == "bad_csv" else f"{place} {number:,}: {reason}", code=code
            )

        yield fail
        return
    with tables.writing(work.output(f"{work.input.stem}-rejected.csv", texts.CSV)) as file:
        write = rows.cell_writer(file, ",", careful=True)
        write([(place.lower(), "reason", "record")])

        def put_aside(number: int, reason: str, record: Callable[[], str], *, code: str) -> None:
            del code
            row = [str(number), reason, record()]
            write([rows.without_formulas(row) if escape else row])

        yield put_aside


def _by_row(work: Work) -> bool:
    return work.input.type not in {texts.CSV, texts.TSV, texts.JSONL}


@dataclass(slots=True)
class Row:
    """One row: where it stands, its cells (None is null), and the whole of it as text."""

    number: int
    cells: list[str | None]
    record: Callable[[], str]
    item: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is checked as it is read.

    Attributes:
        names: of the columns, no two alike.
        given_names: as they stand in the file, empty where it has none.
        columns: types by name, for those columns that must have one.
        rows: to be asked for once, by `good`, `cells` or `json_lines`.
        null: the text that stands for null.
        reject: what is done with a bad row.
    """

    names: list[str]
    given_names: list[str]
    columns: dict[str, str]
    rows: Iterator[Row]
    null: str | None
    reject: Reject

    def good(self) -> Iterator[Row]:
        """The rows that hold; the others are rejected."""
        tests = [
            (self.names.index(name), name, kind, schemas.fits(kind))
            for name, kind in self.columns.items()
            if kind != "text"
        ]
        for row in self.rows:
            for index, name, kind, fits in tests:
                cell = row.cells[index]
                if not (cell is None or cell in {"", self.null} or fits(cell)):
                    reason = _complaint(name, cell, kind)
                    self.reject(row.number, reason, row.record, code="schema_mismatch")
                    break
            else:
                yield row

    def cells(self) -> Iterator[list[Any]]:
        """The cells of the good rows."""
        return (row.cells for row in self.good())


def _complaint(name: str, cell: str, kind: str) -> str:
    shown = cell if len(cell) <= _SHOWN else cell[: _SHOWN - 3] + "..."
    return f"{_plain(name)!r} is {_plain(shown)!r}, {schemas.article(kind)}."


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def opened(work: Work, params: tables.Reading, columns: Mapping[str, str], reject: Reject) -> Table:
    """A CSV, TSV, JSON lines or workbook, to be checked.

    Raises:
        BadInput: `empty_table`, `unknown_column`, and as `tables.cells`.
    """
    if work.input.type == texts.JSONL:
        given = tables.names_of(item for _, item, _ in _objects(work, params, _ignored))
        body = _rows_of_objects(work, params, given, reject)
    else:
        read = _sheet_rows if work.input.type == XLSX else _text_rows
        body = read(work, params, reject)
        first = next(body, None)
        given = [cell or "" for cell in first.cells] if first else []
        if first and not params.header:
            given, body = [""] * len(given), _chained(first, body)
    if not given:
        raise tables.empty()
    names = rows.unique_names(given, ignore_case=True)
    return Table(
        names=names,
        given_names=given if params.header or work.input.type == texts.JSONL else [],
        columns=known(columns, given, names),
        rows=body,
        null=params.null,
        reject=reject,
    )


def _ignored(number: int, reason: str, record: Callable[[], str], *, code: str) -> None:
    """The names are gathered first; bad lines are told of when they are read for good."""
    del number, reason, record, code


def _chained(first: Row, others: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from others


def known(columns: Mapping[str, str], given: list[str], names: list[str]) -> dict[str, str]:
    """The schema by the unique names of the columns, whichever way it calls them.

    Raises:
        BadInput: `unknown_column`.
    """
    as_given = dict(zip(reversed(given), reversed(names), strict=True))
    found = {as_given.get(name, name): kind for name, kind in columns.items()}
    if absent := schemas.missing(found, names):
        raise tables.unknown_column(absent[0], given, ", which the schema names")
    return found


def json_lines(table: Table, null: str | None) -> Iterator[str]:
    """The good rows as JSON lines; typed cells as numbers and booleans, others as they were."""
    template = rows.object_template(table.names)
    kinds = [table.columns.get(name) for name in table.names]
    values = [schemas.json_value(kind) if kind else rows.cell_json for kind in kinds]
    typed = [kind not in {None, "text"} for kind in kinds]
    for row in table.good():
        written = [
            "null" if cell is None or cell == null or (strict and not cell) else value(cell)
            for cell, value, strict in zip(row.cells, values, typed, strict=True)
        ]
        if row.item is None:
            yield template % tuple(written)
            continue
        item = dict(row.item)
        for name, text, kind in zip(table.given_names, written, kinds, strict=True):
            if kind is not None and name in item:
                item[name] = rows.Number(text)
        yield rows.json_text(item) + "\n"


# --- reading, with bad rows put aside --------------------------------------------------------


def _text_rows(work: Work, params: tables.Reading, reject: Reject) -> Iterator[Row]:
    """The rows of a CSV; those of another length than the first are told of."""
    width = 0
    for number, row, record in _records(work, params, reject):
        if not row and width != 1:
            continue
        width = width or rows.checked_width(row)
        cells = list[str | None](row or [""])  # a blank line is a cell here
        if len(cells) == width:
            yield Row(number, cells, record)
        else:
            reason = f"The row has {rows.ragged(len(row), width)}"
            reject(number, reason, record, code="ragged_rows")


def _records(
    work: Work, params: tables.Reading, reject: Reject
) -> Iterator[tuple[int, list[str], Callable[[], str]]]:
    """First line, cells and text of each record. One with a quote amiss is told of, and skipped.

    Raises:
        BadInput: `bad_csv` where nothing behind can be told: a quote that is never closed.
    """
    lines, kept = tables.lines(work, params), list[str]()

    def recorded() -> Iterator[str]:
        for line in lines:
            kept.append(line)
            yield line

    def record() -> str:
        return "".join(kept).rstrip("\r\n")

    csv.field_size_limit(rows.MAX_RECORD)
    reader = csv.reader(recorded(), **tables.dialect(work, params).options)
    while True:
        number, lines.pending = reader.line_num + 1, 0
        kept.clear()
        try:
            row = next(reader, None)
        except csv.Error as exc:
            reason = rows.csv_complaint(str(exc), number, reader.line_num)
            if "end of data" in str(exc) or "field limit" in str(exc):
                raise BadInput(reason, code="bad_csv") from exc
            reject(number, reason, record, code="bad_csv")
            continue
        if row is None:
            return
        yield number, row, record


def _sheet_rows(work: Work, params: tables.Reading, reject: Reject) -> Iterator[Row]:
    del reject  # all rows of a sheet are as wide as the sheet
    for number, row in workbooks.rows(work, params.sheet):
        yield Row(number, list[str | None](row), partial(rows.json_text, row))


def _objects(
    work: Work, params: tables.Reading, reject: Reject
) -> Iterator[tuple[int, dict[str, Any], str]]:
    lines, decode = tables.lines(work, params), rows.object_decoder()
    for number, line in enumerate(lines, 1):
        lines.pending = 0
        if line.isspace():
            continue
        item = decode(line)
        if isinstance(item, str):
            reject(number, item, line.rstrip, code="bad_json")
        else:
            yield number, item, line


def _rows_of_objects(
    work: Work, params: tables.Reading, names: list[str], reject: Reject
) -> Iterator[Row]:
    text = rows.cell_text
    for number, item, line in _objects(work, params, reject):
        yield Row(number, [text(item.get(name)) for name in names], line.rstrip, item)


# --- Parquet ---------------------------------------------------------------------------------


def columnar(
    work: Work, columns: Mapping[str, str], reject: Reject, path: Path, writing: Writing
) -> None:
    """Parquet into columns of the types that are asked for.

    Raises:
        BadInput: as `opened` and `results.write`.
    """
    source = str(work.input.path)
    with duck.connected(work) as connection:
        try:
            found = duck.describe(connection, "SELECT * FROM read_parquet($1)", source)
            names = [column.name for column in found]
            shape = _Shape(found, known(columns, names, names), writing.null)
            for number, index, cell, record in duck.fetched(
                connection, Query(shape.bad(), [source])
            ):
                name, kind = shape.strict[index]
                reason = _complaint(name, cell, kind)
                reject(number, reason, record.rstrip, code="schema_mismatch")
            query = Query(shape.good(), [source])
            results.write_from(connection, work, query, path, writing)
        except duck.Refused as exc:
            raise tables.damaged() from exc


class _Shape:
    """SQL that holds the rows of a Parquet file, $1, against a schema."""

    def __init__(self, columns: list[Column], kinds: Mapping[str, str], null: str) -> None:
        self._columns, self._kinds, self._null = columns, kinds, null
        self.strict = [(name, kind) for name, kind in kinds.items() if kind != "text"]
        self._tests = [self._holds(name, kind) for name, kind in self.strict]

    def good(self) -> str:
        """The rows that hold, in columns of the types."""
        cells = ", ".join(map(self._cast, self._columns))
        return f"SELECT {cells} FROM read_parquet($1) WHERE {' AND '.join(self._tests) or 'true'}"

    def bad(self) -> str:
        """Of the others: number, which of `strict` it is that does not hold, its cell, the row."""
        number = duck.fresh_name("row", [column.name for column in self._columns])
        which = "".join(f" WHEN NOT {test} THEN {i}" for i, test in enumerate(self._tests))
        cell = "".join(
            f" WHEN NOT {test} THEN {quoted(name)}::VARCHAR"
            for test, (name, _) in zip(self._tests, self.strict, strict=True)
        )
        scan = f"(SELECT row_number() OVER () AS {number}, * FROM read_parquet($1))"
        if not self.strict:
            return f"SELECT {number}, 0, '', '' FROM {scan} WHERE false"
        return (
            f"SELECT {number}, CASE{which} END, CASE{cell} END, {duck.json_line(self._columns)}"
            f" FROM {scan} WHERE NOT ({' AND '.join(self._tests)})"
        )

    def _absent(self, name: str) -> str:
        cell = f"{quoted(name)}::VARCHAR"
        return f"({cell} IS NULL OR {cell} IN ('', {literal(self._null)}))"

    def _holds(self, name: str, kind: str) -> str:
        return f"({self._absent(name)} OR {schemas.sql_fits(kind, f'{quoted(name)}::VARCHAR')})"

    def _cast(self, column: Column) -> str:
        name, kind = quoted(column.name), self._kinds.get(column.name)
        if kind is None or column.type == schemas.sql_type(kind):
            return name
        cell = duck.as_cell(column)
        if kind == "text":
            return f"{cell} AS {name}"
        absent = self._absent(column.name)
        return f"CASE WHEN NOT {absent} THEN {cell}::{schemas.sql_type(kind)} END AS {name}"
