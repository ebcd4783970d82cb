"""The result of a query on Parquet, written in any format of tables."""
# ruff: noqa: S608 - statements are put together from quoted names, see `columnar`

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fileproc.operations import columnar, tables, workbooks
from fileproc.operations.columnar import Column, Query, Refused, quoted
from fileproc.operations.work import BadInput, Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_BETWEEN: Final = 1_000  # two reports of how far it is


@dataclass(frozen=True, slots=True)
class Writing:
    """How a result is written."""

    to: str
    delimiter: str = ","
    null: str = ""
    compression: str = "zstd"
    escape_formulas: bool = False


def whole(source: Path) -> Query:
    """All of a Parquet file."""
    return Query("SELECT * FROM read_parquet($1)", [str(source)])


def write(work: Work, query: Query, path: Path, writing: Writing) -> None:
    """Run a query that reads Parquet and write what it gives.

    Raises:
        BadInput: `corrupt_input`, `too_many_columns`, `unsupported_table`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    with columnar.connected(work) as connection:
        try:
            write_from(connection, work, query, path, writing)
        except Refused as exc:
            raise tables.damaged() from exc


def write_from(
    connection: DuckDBPyConnection, work: Work, query: Query, path: Path, writing: Writing
) -> None:
    """`write` over a connection.

    Raises:
        Refused: DuckDB cannot run it.
    """
    if writing.to == "parquet":
        kept = _with_long_numbers(connection, query)
        columnar.copy(connection, work, kept, path, writing.compression)
    elif writing.to == "xlsx":
        _write_sheet(connection, work, query, path)
    else:
        delimiters = {"csv": writing.delimiter, "tsv": "\t"}
        text = columnar.Text(delimiters.get(writing.to), writing.null, writing.escape_formulas)
        columnar.export(connection, work, query, path, text)


def _with_long_numbers(connection: DuckDBPyConnection, query: Query) -> Query:
    """The same with sums of whole numbers as decimals: Parquet would have doubles of them."""
    columns = columnar.describe(connection, query.sql, *query.values)
    cells = ", ".join(
        f"{quoted(column.name)}::DECIMAL(38,0) AS {quoted(column.name)}"
        if column.type in {"HUGEINT", "UHUGEINT"}
        else quoted(column.name)
        for column in columns
    )
    long = any(column.type in {"HUGEINT", "UHUGEINT"} for column in columns)
    return Query(f"SELECT {cells} FROM ({query.sql})", query.values) if long else query


_AS_THEY_ARE: Final = ("DATE", "TIME", "TIMESTAMP", "BOOLEAN", "FLOAT", "DOUBLE", "VARCHAR")


def _for_sheet(column: Column) -> str:
    """SQL: the column as numbers, dates, booleans or texts."""
    kind = column.type
    if kind in _AS_THEY_ARE or kind.startswith("DECIMAL") or kind.endswith(("INT", "INTEGER")):
        return quoted(column.name)
    return columnar.as_cell(column)


def _write_sheet(connection: DuckDBPyConnection, work: Work, query: Query, path: Path) -> None:
    columns = columnar.describe(connection, query.sql, *query.values)
    cells = ", ".join(map(_for_sheet, columns))
    found = Query(f"SELECT {cells} FROM ({query.sql})", query.values)
    table = columnar.fetched(connection, found)
    with workbooks.sheet(work, path, [column.name for column in columns]) as sheet:
        try:
            for done, row in enumerate(table, 1):
                sheet.write(row)
                if done % _ROWS_BETWEEN == 0:
                    work.progress(done, unit="rows", phase="write")
        except (OverflowError, ValueError) as exc:
            raise BadInput(
                "A date is before the year 1 or after 9999.", code="unsupported_table"
            ) from exc
