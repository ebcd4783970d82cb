"""`table.profile`: what is in the columns of a table, as JSON and as a page to read."""
# ruff: noqa: S608 - statements are put together from quoted names, see `columnar`

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from fileproc.operations import columnar, profile_page, tables, texts
from fileproc.operations.columnar import Column, Query, as_cell, quoted
from fileproc.operations.conditions import Columns
from fileproc.operations.registry import operation
from fileproc.operations.tables import FORMATS, TYPES, Reading
from fileproc.operations.types import PARQUET
from fileproc.operations.work import BadInput, Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_COLUMNS: Final = 1_000  # the page has a section for each
_AT_ONCE: Final = 5  # columns in one pass: DuckDB sets memory aside by the square of their figures
_COUNTED: Final = 100_000  # up to about so many different values are counted one by one
_CANDIDATES: Final = 100  # of columns with more, so many frequent ones are looked for, and counted
_SHOWN: Final = 200  # characters of a value
_EXACT_DIGITS: Final = 15  # of a decimal that a double keeps; longer ones are told as texts
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_ORDERED: Final = ("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


class Profile(Reading):
    report: Literal["both", "json", "html"] = Field(
        "both",
        description="What is made: profile.json for programs, profile.html to read, or both.",
    )
    top: int = Field(
        10, ge=0, le=50, description="How many of the most frequent values are told, per column."
    )
    types: Literal["infer", "text"] = Field(
        "infer",
        description="Types of the columns of CSV, TSV, XLSX and JSON lines; infer: as in"
        " table.convert. text: every column is text.",
    )


@operation(
    "table.profile",
    summary="Tell what is in each column: types, nulls, range, frequent values",
    params=Profile,
    accepts=tuple(TYPES.values()),
    produces=("application/json", texts.HTML),
    example={"report": "both"},
    engines=("duckdb", "python_calamine"),
)
def profile(work: Work, params: Profile) -> None:
    """Look at every row, and tell of each column what a person asks first.

    The JSON has `name, format, bytes, rows, columns`; of each column `name, type, nulls, empty`
    (texts of no length), `distinct` (an estimate where `distinct_exact` is false), `min, max, mean,
    stddev, quantiles` (estimates, by t-digest), lengths of texts, and `top`: the most frequent
    values with their counts (where `distinct_exact` is false, of the hundred likeliest). Values of
    more than 200 characters are cut. The page shows the same; it loads nothing and runs nothing.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_csv`, `bad_encoding`, `bad_json`,
            `corrupt_input`, `empty_table`, `password_required`, `ragged_rows`, `record_too_long`,
            `table_too_large`, `too_many_columns`, `type_mismatch`, `unknown_sheet`,
            `unsupported_table`, `unsupported_variant`, `xml_dtd`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    tables.check_type(work)
    work.engine = tables.engine(work.input.type, PARQUET)
    with tables.scratch_watched():
        with tables.staged(work, params, infer=params.types == "infer") as source:
            told = _told(work, params, source)
        if params.report != "html":
            path = work.output(f"{work.input.stem}-profile.json", "application/json")
            text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
        if params.report != "json":
            path = work.output(f"{work.input.stem}-profile.html", texts.HTML)
            path.write_text(profile_page.page(told), encoding="utf-8")
    work.progress(1, 1, phase="done")


def _told(work: Work, params: Profile, source: Path) -> dict[str, Any]:
    with columnar.connected(work) as connection:
        try:
            scan = "SELECT * FROM read_parquet($1)"
            columns = columnar.describe(connection, scan, str(source))
            if len(columns) > _MOST_COLUMNS:
                raise BadInput(
                    f"The table has {len(columns):,} columns; at most {_MOST_COLUMNS:,} are"
                    " profiled.",
                    code="too_many_columns",
                )
            told = _Teller(connection, work, columns, source).tell(params.top)
        except columnar.Refused as exc:
            raise tables.damaged() from exc
    return {
        "name": work.input.name,
        "format": FORMATS[work.input.type],
        "bytes": work.input.path.stat().st_size,
        **told,
    }


class _Teller:
    """Asks a Parquet file for what is told of its columns, a few at a time."""

    def __init__(
        self, connection: DuckDBPyConnection, work: Work, columns: list[Column], source: Path
    ) -> None:
        self._connection, self._work = connection, work
        self._columns, self._source = columns, str(source)
        self._known = Columns(columns)

    def tell(self, top: int) -> dict[str, Any]:
        """Number of rows, and every column."""
        found: list[dict[str, Any]] = []
        rows = self._row("SELECT count(*) FROM read_parquet($1)")[0]
        waiting = iter(self._columns)
        while some := list(islice(waiting, _AT_ONCE)):
            found += self._figures(some)
            self._work.progress(len(found), len(self._columns), unit="columns", phase="measure")
        for done, (column, told) in enumerate(zip(self._columns, found, strict=True), 1):
            self._count(column, told, top)
            told["null_share"] = round(told["nulls"] / rows, 6) if rows else 0.0
            self._work.progress(done, len(self._columns), unit="columns", phase="count")
        return {"rows": rows, "columns": found}

    def _row(self, sql: str) -> tuple[Any, ...]:
        return next(columnar.fetched(self._connection, Query(sql, [self._source])))

    def _figures(self, columns: Sequence[Column]) -> list[dict[str, Any]]:
        """What one pass over the table can tell."""
        wanted = [(column, self._aggregates(column)) for column in columns]
        cells = ", ".join(sql for _, parts in wanted for sql in parts.values())
        with columnar.reporting(self._connection, self._work, "scan"):
            row = iter(self._row(f"SELECT {cells} FROM read_parquet($1)"))
        return [
            {"name": column.name, "type": column.type} | {name: _plain(next(row)) for name in parts}
            for column, parts in wanted
        ]

    def _aggregates(self, column: Column) -> dict[str, str]:
        """SQL for each figure of a column."""
        cell, text = quoted(column.name), as_cell(column)
        parts = {
            "nulls": f"count(*) FILTER ({cell} IS NULL)",
            "distinct": f"approx_count_distinct({text})",
        }
        if self._known.numeric(column.name):
            good = f"FILTER (isfinite({cell}::DOUBLE))"
            parts |= {
                "min": f"min({cell}) {good}",
                "max": f"max({cell}) {good}",
                "mean": f"avg({cell}::DOUBLE) {good}",
                "stddev": f"CASE WHEN coalesce(max(abs({cell}::DOUBLE)) {good}, 0) < 1e150 THEN"
                f" stddev_samp({cell}::DOUBLE) FILTER (abs({cell}::DOUBLE) < 1e150) END",
                "quantiles": f"approx_quantile({cell}::DOUBLE, {list(_QUANTILES)}) {good}",
            }
        elif column.type in _ORDERED:
            parts |= {"min": f"min({cell})::VARCHAR", "max": f"max({cell})::VARCHAR"}
        elif column.type == "VARCHAR":
            parts |= {
                "empty": f"count(*) FILTER ({cell} = '')",
                "min": f"left(min({cell}), {_SHOWN})",
                "max": f"left(max({cell}), {_SHOWN})",
                "min_length": f"min(length({cell}))",
                "max_length": f"max(length({cell}))",
                "mean_length": f"avg(length({cell}))",
            }
        return parts

    def _count(self, column: Column, told: dict[str, Any], top: int) -> None:
        """Different values, and the most frequent ones."""
        if (quantiles := told.get("quantiles")) is not None:
            names = (f"p{round(share * 100)}" for share in _QUANTILES)
            told["quantiles"] = dict(zip(names, quantiles, strict=True))
        told["distinct_exact"] = told["distinct"] <= _COUNTED
        cell = as_cell(column)
        if told["distinct_exact"]:
            groups = f"SELECT {cell} AS v, count(*) AS n FROM read_parquet($1) GROUP BY 1"
            told["distinct"] = self._row(f"SELECT count(v) FROM ({groups})")[0]
        else:
            likely = f"SELECT unnest(approx_top_k({cell}, {_CANDIDATES})) FROM read_parquet($1)"
            groups = (
                f"SELECT {cell} AS v, count(*) AS n FROM read_parquet($1)"
                f" WHERE {cell} IN ({likely}) GROUP BY 1"
            )
        most = (
            f"SELECT left(v, {_SHOWN}), n FROM ({groups}) WHERE v IS NOT NULL"
            f" ORDER BY n DESC, v LIMIT {top}"
        )
        found = columnar.fetched(self._connection, Query(most, [self._source]))
        told["top"] = [{"value": value, "count": number} for value, number in found]


def _plain(value: Any) -> Any:
    """A figure as JSON has it."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value) if len(value.as_tuple().digits) <= _EXACT_DIGITS else str(value)
    return str(value) if isinstance(value, (dt.date, dt.time)) else value
