"""`table.split`: one table into several, by rows, by size or by the values of a column."""
# ruff: noqa: S608 - statements are put together from quoted names, see `columnar`

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator

from fileproc.operations import columnar, naming, results, rows, tables, texts
from fileproc.operations.columnar import Query
from fileproc.operations.conditions import Columns, Name
from fileproc.operations.registry import operation
from fileproc.operations.results import Writing
from fileproc.operations.tables import FORMATS, TYPES, Reading
from fileproc.operations.types import PARQUET, XLSX, extension_for_type
from fileproc.operations.work import BadInput, Work

_BUFFERED: Final = 16 * 1024 * 1024  # characters that wait for being written, in all parts
_HEADROOM: Final = 0.9  # a part of Parquet is made a little smaller than it may be


class Split(Reading):
    rows: int | None = Field(
        None, ge=1, le=10**12, description="At most how many rows go into one part."
    )
    bytes: int | None = Field(
        None,
        ge=1_000,
        le=10**13,
        description="At most how many bytes a part has, the names of the columns included;"
        " more only where one row alone has more.",
    )
    column: Name | None = Field(
        None, description="Column of which each value gets a part of its own."
    )
    max_files: int = Field(
        100, ge=1, le=2_000, description="At most how many parts; more fail the job."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Split:
        if sum(way is not None for way in (self.rows, self.bytes, self.column)) != 1:
            raise ValueError("give one of: rows, bytes, column")
        return self


@operation(
    "table.split",
    summary="Split a table by rows, by size or by the values of a column",
    params=Split,
    accepts=tuple(TYPES.values()),
    produces=tuple(TYPES.values()),
    example={"rows": 100_000},
    engines=("duckdb", "python_calamine"),
)
def split(work: Work, params: Split) -> None:
    """Cut a table into parts of its own format, each with the names of the columns.

    Rows keep their order, and in CSV, TSV and JSON lines their exact texts. Parts are named after
    the file and their number, or their value: `orders-0001.csv`, `orders-Oslo.csv`. Null and empty
    values share the part `empty`. Of an XLSX one sheet is read, and typed as in table.convert.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_csv`, `bad_encoding`, `bad_json`,
            `corrupt_input`, `empty_table`, `password_required`, `ragged_rows`, `record_too_long`,
            `table_too_large`, `too_many_columns`, `too_many_outputs`, `type_mismatch`,
            `unknown_column`, `unknown_sheet`, `unsupported_table`, `unsupported_variant`,
            `xml_dtd`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    tables.check_type(work)
    kind = work.input.type
    work.engine = tables.engine(kind)
    parts = Parts(work, min(params.max_files, work.limits.output_files))
    with tables.scratch_watched():
        if kind in {PARQUET, XLSX}:
            with tables.staged(work, params) as source:
                _split_columns(work, params, source, parts)
        else:
            _split_rows(work, params, parts)
    work.progress(1, 1, phase="done")


@dataclass(slots=True)
class Parts:
    """The outputs, by number or by value."""

    work: Work
    most: int
    names: set[str] = field(default_factory=set)

    def open(self, value: str | None = None) -> Path:
        """A path for the next part, or for the part of a value.

        Raises:
            BadInput: `too_many_outputs`.
        """
        if len(self.names) >= self.most:
            raise too_many(self.most)
        label = f"{len(self.names) + 1:04}" if value is None else _label(value)
        for copy in count(1):
            name = label if copy == 1 else f"{label}_{copy}"
            if name.casefold() not in self.names:
                break
        self.names.add(name.casefold())
        kind = self.work.input.type
        return self.work.output(f"{self._stem()}-{name}{extension_for_type(kind)}", kind)

    def _stem(self) -> str:
        return self.work.input.stem.encode()[:100].decode("utf-8", "ignore")


def too_many(most: int) -> BadInput:
    return BadInput(f"The table would become more than {most:,} parts.", code="too_many_outputs")


def _label(value: str) -> str:
    """A value as part of a name: what no path and no shell minds, and not too much of it."""
    kept = "".join(char if char.isalnum() or char in "-_+,=@ " else "_" for char in value.strip())
    return kept.encode("utf-8", "ignore")[:60].decode("utf-8", "ignore").strip() or "empty"


# --- text ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A text table: what stands at the head of each part, and its rows, as they are written.

    Each row comes with its value in the column that is split by, if there is one.
    """

    head: str
    rows: Iterator[tuple[str, str]]


def _split_rows(work: Work, params: Split, parts: Parts) -> None:
    read = _objects if work.input.type == texts.JSONL else _cells
    source = read(work, params)
    if params.column is not None:
        _by_value(source, parts)
    elif params.rows is not None:
        _in_order(source, parts, params.rows, lambda _: 1)
    else:
        room = max(1, (params.bytes or 0) - len(source.head.encode()))
        _in_order(source, parts, room, lambda text: len(text.encode()))


def _cells(work: Work, params: Split) -> _Source:
    table = tables.opened(work, params, unique=False)
    if table is None:
        raise tables.empty()
    index = _index(params.column, rows.unique_names(table.names)) if params.column else 0
    spelled = _speller(work, params)
    head = spelled(table.names) if params.header else ""
    return _Source(head, ((spelled(row), row[index]) for row in table.body))


def _index(name: str, names: list[str]) -> int:
    if name not in names:
        raise tables.unknown_column(name, names)
    return names.index(name)


def _unknown(name: str) -> BadInput:
    return BadInput(f"No object has a value {naming.quoted(name)}.", code="unknown_column")


def _speller(work: Work, params: Split) -> Callable[[list[str]], str]:
    """What makes a line of CSV of a row."""
    buffer = io.StringIO(newline="")
    delimiter = tables.dialect(work, params).delimiter
    careful = rows.may_hold_returns(work.input.path)
    write = rows.cell_writer(buffer, delimiter, careful=careful)

    def spelled(row: list[str]) -> str:
        buffer.seek(0)
        buffer.truncate()
        write([row])
        return buffer.getvalue()

    return spelled


def _objects(work: Work, params: Split) -> _Source:
    name = params.column

    def lines() -> Iterator[tuple[str, str]]:
        seen = name is None
        for item in tables.objects(work, params):
            seen = seen or name in item
            value = rows.cell_text(item.get(name), "") if name is not None else ""
            yield rows.json_text(item) + "\n", value
        if name is not None and not seen:
            raise _unknown(name)

    return _Source("", lines())


def _in_order(source: _Source, parts: Parts, room: int, weigh: Callable[[str], int]) -> None:
    """One part after the other, each as full as it may be."""
    row = next(source.rows, None)
    if row is None:  # names only: a part with those
        with tables.writing(parts.open()) as file:
            file.write(source.head)
    while row is not None:
        with tables.writing(parts.open()) as file:
            file.write(source.head)
            left = room
            while row is not None and (left == room or weigh(row[0]) <= left):
                file.write(row[0])
                left -= weigh(row[0])
                row = next(source.rows, None)


def _by_value(source: _Source, parts: Parts) -> None:
    """Rows wait for their part in memory, so that no more than one file is open at a time."""
    paths: dict[str, Path] = {}
    waiting: dict[str, list[str]] = {}
    buffered = 0
    for text, value in source.rows:
        if value not in waiting:
            if len(waiting) >= parts.most:
                raise too_many(parts.most)
            waiting[value] = [source.head]
        waiting[value].append(text)
        buffered += len(text)
        if buffered > _BUFFERED:
            _flush(waiting, paths, parts)
            buffered = 0
    _flush(waiting, paths, parts)
    if not waiting:
        with tables.writing(parts.open("")) as file:
            file.write(source.head)


def _flush(waiting: dict[str, list[str]], paths: dict[str, Path], parts: Parts) -> None:
    for value, lines in waiting.items():
        if lines:
            more = value in paths
            path = paths.setdefault(value, paths.get(value) or parts.open(value))
            with tables.writing(path, more=more) as file:
                file.writelines(lines)
            lines.clear()


# --- Parquet and XLSX ------------------------------------------------------------------------


def _split_columns(work: Work, params: Split, source: Path, parts: Parts) -> None:
    with columnar.connected(work) as connection:
        try:
            cut = _Cut(connection, work, source, parts)
            if params.column is not None:
                cut.by_value(params.column)
            else:
                cut.in_order(params.rows, params.bytes)
        except columnar.Refused as exc:
            raise tables.damaged() from exc


class _Cut:
    """Writes parts of a Parquet file, in the format of the input."""

    def __init__(self, connection: Any, work: Work, source: Path, parts: Parts) -> None:
        self._connection, self._work, self._parts = connection, work, parts
        self._source = str(source)
        self._writing = Writing(to=FORMATS[work.input.type])
        self._size = work.input.path.stat().st_size
        scan = "SELECT * FROM read_parquet($1)"
        self._columns = columnar.describe(connection, scan, self._source)
        with columnar.judged():
            found = connection.execute(f"SELECT count(*) FROM ({scan})", [self._source]).fetchone()
        self._total = int(found[0])

    def in_order(self, most_rows: int | None, most_bytes: int | None) -> None:
        """Parts of so many rows, or of as many as fit."""
        size = most_rows or max(
            1, int(self._total * (most_bytes or 0) * _HEADROOM / max(1, self._size))
        )
        if self._total > size * self._parts.most:
            raise too_many(self._parts.most)
        for start in range(0, max(1, self._total), size):
            self._range(start, min(size, self._total - start), most_bytes)
            self._work.progress(start + size, self._total, unit="rows", phase="write")

    def _range(self, start: int, size: int, most_bytes: int | None) -> None:
        """One part; two or more where it turns out larger than it may be."""
        draft = self._work.folder / "part"
        query = f"SELECT * FROM read_parquet($1) LIMIT {size} OFFSET {start}"
        try:
            self._write(Query(query, [self._source]), draft)
            if most_bytes is None or size <= 1 or draft.stat().st_size <= most_bytes:
                draft.rename(self._parts.open())
                return
        finally:
            draft.unlink(missing_ok=True)
        half = size // 2
        self._range(start, half, most_bytes)
        self._range(start + half, size - half, most_bytes)

    def by_value(self, name: str) -> None:
        """A part for each value, in the order in which they first appear."""
        cell = f"coalesce({Columns(self._columns).quoted(name)}::VARCHAR, '')"
        number = columnar.fresh_name("row", [column.name for column in self._columns])
        numbered = f"SELECT row_number() OVER () AS {number}, * FROM read_parquet($1)"
        query = (
            f"SELECT {cell} FROM ({numbered}) GROUP BY 1 ORDER BY min({number})"
            f" LIMIT {self._parts.most + 1}"
        )
        found = columnar.fetched(self._connection, Query(query, [self._source]))
        values = [row[0] for row in found]
        if len(values) > self._parts.most:
            raise too_many(self._parts.most)
        for done, value in enumerate(values or [""], 1):
            only = f"SELECT * FROM read_parquet($1) WHERE {cell} = $2"
            self._write(Query(only, [self._source, value]), self._parts.open(value))
            self._work.progress(done, len(values), unit="parts", phase="write")

    def _write(self, query: Query, path: Path) -> None:
        results.write_from(self._connection, self._work, query, path, self._writing)
