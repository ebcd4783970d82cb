"""Columns of texts become typed columns of Parquet, where every cell says exactly a value.

What is likely by the first rows is held against every row, in SQL.
"""
# ruff: noqa: S608 - statements are put together from quoted names and literals, see `columnar`

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from fileproc.operations.columnar import (
    Query,
    Refused,
    connected,
    copy,
    judged,
    literal,
    quoted,
    reporting,
)
from fileproc.operations.work import Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SAMPLE_ROWS, _SAMPLE_CELLS = 8_000, 4_000_000
_WIDE_COLUMNS = 200
_COLUMNS_AT_ONCE = 1_000


def from_texts(
    work: Work,
    source: Path,
    target: Path,
    names: Sequence[str],
    *,
    scan: str,
    null: str | None,
    infer: bool,
    codec: str,
    fixed: Mapping[int, str] | None = None,
) -> None:
    """Write what a scan reads as Parquet. `names` are those of its columns, unlike but in case.

    `fixed` has the types of columns (by index) that are known, and hold for every cell.

    Raises:
        Refused: DuckDB cannot read it so (see `judged`).
    """
    known, width = fixed or {}, len(names)

    def write(kinds: Sequence[str], guessed: Callable[[str, str, str | None], str] = _cast) -> None:
        casts = [
            (known[i], _cast) if i in known else (kind, guessed) for i, kind in enumerate(kinds)
        ]
        cells = ", ".join(
            f"{cast(f'c{i}', kind, null)} AS {quoted(names[i])}"
            for i, (kind, cast) in enumerate(casts)
        )
        query = Query(f"SELECT {cells} FROM {scan}", [str(source)])
        copy(connection, work, query, target, codec, width=width)

    with connected(work, wide=width > _WIDE_COLUMNS) as connection:
        if not infer:
            write(["VARCHAR"] * width)
            return
        kinds = _likely(connection, source, scan, null=null, width=width)
        if width <= _WIDE_COLUMNS:
            # Most files go on as they begin: one look at each row is enough for them.
            with suppress(Refused):
                write(kinds, _checked_cast)
                return
        write(_settled(connection, work, source, scan, null=null, kinds=kinds))


# SQL that holds where text `c` says exactly a value of the type: it reads the same when written
# again, or is a decimal fraction short enough for a double, or just as a double prints itself. So
# `007`, `1e5`, 20-digit numbers and dates in other orders stay text.
_EXACT: dict[str, str] = {
    "BOOLEAN": "{c} IN ('true', 'false', 'True', 'False', 'TRUE', 'FALSE')",
    "BIGINT": "TRY_CAST({c} AS BIGINT)::VARCHAR = {c}",
    "DOUBLE": r"(length({c}) <= 17 AND regexp_full_match({c},"
    r" '-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]{{1,2}})?)?'))"
    r" OR (regexp_full_match({c}, '-?[0-9][-+.0-9e]*') AND TRY_CAST({c} AS DOUBLE)::VARCHAR = {c})",
    "DATE": "TRY_CAST({c} AS DATE)::VARCHAR = {c}",
    "TIMESTAMP": "TRY_CAST({c} AS TIMESTAMP)::VARCHAR = replace({c}, 'T', ' ')",
}


def _exact(cell: str, kind: str) -> str:
    """SQL: whether a cell says exactly a value of the type."""
    return f"coalesce({_EXACT[kind].format(c=cell)}, false)"


def _absent(cell: str, null: str | None) -> str:
    """SQL: whether a cell is null in a typed column: empty, or the user's text for null."""
    also = "" if null is None else f" OR {cell} = {literal(null)}"
    return f"({cell} IS NULL OR {cell} = ''{also})"


def _cast(cell: str, kind: str, null: str | None) -> str:
    if kind == "VARCHAR":
        return cell if null is None else f"nullif({cell}, {literal(null)})"
    return f"CASE WHEN {_absent(cell, null)} THEN NULL ELSE {cell}::{kind} END"


def _checked_cast(cell: str, kind: str, null: str | None) -> str:
    """As `_cast`, and the statement fails at a cell that is not exactly of the type."""
    if kind == "VARCHAR":
        return _cast(cell, kind, null)
    # The same cast as in the check, which is then done once.
    return (
        f"CASE WHEN {_absent(cell, null)} THEN NULL"
        f" WHEN {_exact(cell, kind)} THEN TRY_CAST({cell} AS {kind})"
        " ELSE error('not of its type') END"
    )


def _likely(
    connection: DuckDBPyConnection, source: Path, scan: str, *, null: str | None, width: int
) -> list[str]:
    """The type of each column by the first rows."""
    sample_rows = min(_SAMPLE_ROWS, max(100, _SAMPLE_CELLS // width))
    sample = f"(SELECT * FROM {scan} LIMIT {sample_rows})"
    fitting = _fitting(connection, source, sample, range(width), kinds=list(_EXACT), null=null)
    return [next(iter(fitting.get(i, ())), "VARCHAR") for i in range(width)]


def _settled(
    connection: DuckDBPyConnection,
    work: Work,
    source: Path,
    scan: str,
    *,
    null: str | None,
    kinds: list[str],
) -> list[str]:
    """The type of each column: likely ones, held against every row."""
    likely = {i: kind for i, kind in enumerate(kinds) if kind != "VARCHAR"}
    # Whole numbers may go on as fractions.
    tried = [kind for kind in _EXACT if kind in likely.values() or kind == "DOUBLE"]
    with reporting(connection, work, "infer"):
        fitting = _fitting(connection, source, scan, likely, kinds=tried, null=null)
    for i, kind in likely.items():
        if kind not in fitting.get(i, ()):
            fractions = kind == "BIGINT" and "DOUBLE" in fitting.get(i, ())
            kinds[i] = "DOUBLE" if fractions else "VARCHAR"
    return kinds


def _fitting(
    connection: DuckDBPyConnection,
    source: Path,
    scan: str,
    columns: Iterable[int],
    *,
    kinds: Sequence[str],
    null: str | None,
) -> dict[int, list[str]]:
    """Those of the types that all cells of a column fit; without columns that are empty.

    The cells are put below each other, some columns at a time: of a statement with a check for
    each column DuckDB's planner takes the square of their number.
    """
    checks = ", ".join(f"bool_and({_exact('c', kind)})" for kind in kinds)
    fitting: dict[int, list[str]] = {}
    waiting = iter(columns)
    while some := list(islice(waiting, _COLUMNS_AT_ONCE)):
        cells = f"unnest({some}) AS place, unnest([{', '.join(f'c{i}' for i in some)}]) AS c"
        query = (
            f"SELECT place, {checks} FROM (SELECT {cells} FROM {scan})"
            f" WHERE NOT {_absent('c', null)} GROUP BY place"
        )
        with judged():
            found = connection.execute(query, [str(source)]).fetchall()
        for place, *fits in found:
            fitting[place] = [kind for kind, fit in zip(kinds, fits, strict=True) if fit]
    return fitting
