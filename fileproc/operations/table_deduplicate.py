"""`table.deduplicate`: each row once."""
# ruff: noqa: S608 - statements are put together from quoted names, see `columnar`

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Literal, TypeVar

from pydantic import Field

from fileproc.operations import columnar, results, rows, tables, texts
from fileproc.operations.columnar import Column, Query, quoted
from fileproc.operations.conditions import Columns, Name
from fileproc.operations.registry import operation
from fileproc.operations.tables import FORMATS, TYPES, Reading
from fileproc.operations.types import PARQUET, XLSX, extension_for_type
from fileproc.operations.work import BadInput, Work

_Row = TypeVar("_Row")


class Deduplicate(Reading):
    columns: list[Name] = Field(
        [],
        max_length=1_000,
        description="Columns by which rows are the same. Not given: by all of them.",
    )
    keep: Literal["first", "last"] = Field(
        "first", description="Which of the rows that are the same is kept, at its place."
    )


@operation(
    "table.deduplicate",
    summary="Leave out the rows of a table that are there already",
    params=Deduplicate,
    accepts=tuple(TYPES.values()),
    produces=tuple(TYPES.values()),
    example={},
    engines=("duckdb", "python_calamine"),
)
def deduplicate(work: Work, params: Deduplicate) -> None:
    """Keep one of the rows that are the same, in the order of the file, and in its format.

    Cells of CSV and TSV and values of JSON lines are the same if their texts are, to the character,
    and come out as they went in; null is the same as null. Of an XLSX one sheet is read, and typed
    as in table.convert.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_csv`, `bad_encoding`, `bad_json`,
            `corrupt_input`, `empty_table`, `password_required`, `ragged_rows`, `record_too_long`,
            `table_too_large`, `too_many_columns`, `type_mismatch`, `unknown_column`,
            `unknown_sheet`, `unsupported_table`, `unsupported_variant`, `xml_dtd`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    tables.check_type(work)
    target = work.input.type
    work.engine = tables.engine(target, PARQUET)
    path = work.output(work.input.stem + extension_for_type(target), target)
    typed = target in {PARQUET, XLSX}
    with tables.scratch_watched(), tables.staged(work, params, infer=typed) as source:
        if typed:
            _by_query(work, params, source, path)
        else:
            _by_row(work, params, source, path)
    work.progress(1, 1, phase="done")


def _kept(columns: Sequence[Column], params: Deduplicate) -> tuple[str, str]:
    """SQL for the numbers, from 1, of the rows of the Parquet file $1 that stay; their name.

    Raises:
        BadInput: `unknown_column`.
    """
    number = columnar.fresh_name("row", [column.name for column in columns])
    known = Columns(columns)
    keys = ", ".join(map(known.quoted, params.columns)) or ", ".join(
        quoted(column.name) for column in columns
    )
    which = {"first": "min", "last": "max"}[params.keep]
    numbered = f"SELECT row_number() OVER () AS {number}, * FROM read_parquet($1)"
    return f"SELECT {which}({number}) AS {number} FROM ({numbered}) GROUP BY {keys}", number


def _by_query(work: Work, params: Deduplicate, source: Path, path: Path) -> None:
    with columnar.connected(work) as connection:
        try:
            columns = columnar.describe(connection, "SELECT * FROM read_parquet($1)", str(source))
            kept, number = _kept(columns, params)
            query = Query(
                f"SELECT * EXCLUDE ({number}) FROM"
                f" (SELECT row_number() OVER () AS {number}, * FROM read_parquet($1))"
                f" WHERE {number} IN ({kept}) ORDER BY {number}",
                [str(source)],
            )
            writing = results.Writing(to=FORMATS[work.input.type])
            results.write_from(connection, work, query, path, writing)
        except columnar.Refused as exc:
            raise tables.damaged() from exc


def _by_row(work: Work, params: Deduplicate, source: Path, path: Path) -> None:
    """DuckDB says which rows stay; the rows themselves pass by as they are written."""
    with columnar.connected(work) as connection:
        try:
            columns = columnar.describe(connection, "SELECT * FROM read_parquet($1)", str(source))
            kept, number = _kept(columns, params)
            query = Query(f"{kept} ORDER BY {number}", [str(source)])
            with columnar.reporting(connection, work, "compare"):
                found = columnar.fetched(connection, query)
                numbers = (row[0] for row in chain([next(found, (0,))], found))
            with tables.writing(path) as file:
                _write(work, params, file, numbers)
        except columnar.Refused as exc:
            raise BadInput("The rows cannot be compared.", code="unsupported_table") from exc


def _write(work: Work, params: Deduplicate, file: IO[str], numbers: Iterator[int]) -> None:
    if work.input.type == texts.JSONL:
        items = tables.objects(work, params, "write")
        file.writelines(rows.json_text(item) + "\n" for item in _chosen(items, numbers))
        return
    table = tables.cells(work, params, "write")
    delimiter = tables.dialect(work, params).delimiter
    careful = rows.may_hold_returns(work.input.path)
    write = rows.cell_writer(file, delimiter, careful=careful)
    if params.header:
        write([next(table)])
    write(_chosen(table, numbers))


def _chosen(table: Iterator[_Row], numbers: Iterator[int]) -> Iterator[_Row]:
    """The rows with these numbers, which ascend from 1.

    Both count the same rows: what is left over at the end would mean that they do not.
    """
    wanted = next(numbers, 0)
    for number, row in enumerate(table, 1):
        if number == wanted:
            yield row
            wanted = next(numbers, 0)
    if wanted:
        raise AssertionError("the rows that were compared are not those that were read")
