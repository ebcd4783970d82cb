"""`table.query`: choose columns and rows of a table, sort, group and aggregate them."""
# ruff: noqa: S608 - statements are put together from quoted names, or are checked, see `statements`

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fileproc.operations import columnar, conditions, results, statements, tables
from fileproc.operations.columnar import Query, literal, quoted
from fileproc.operations.conditions import Columns, Compiler, Filter, Name
from fileproc.operations.registry import operation
from fileproc.operations.tables import FORMATS, TYPES, Delimiter, EscapeFormulas, Reading
from fileproc.operations.types import PARQUET, extension_for_type
from fileproc.operations.work import BadInput, Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST: Final = 1_000  # columns that are chosen, grouped by, sorted by, or made
_NUMERIC: Final = {"sum": "sum", "avg": "avg", "median": "median", "stddev": "stddev_samp"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


class Chosen(_Part):
    """A column under another name."""

    column: Name = Field(description="Name of the column.")
    label: Name | None = Field(None, alias="as", description="Its name in the result.")


class Aggregate(_Part):
    """One figure for each group."""

    function: Literal["count", "count_distinct", "sum", "avg", "min", "max", "median", "stddev"] = (
        Field(description="What is told of the values that are not null.")
    )
    column: Name | None = Field(
        None, description="Of which column. Not given, for count only: how many rows."
    )
    label: Name | None = Field(
        None, alias="as", description="Name in the result; else function_column, or count."
    )

    @property
    def name(self) -> str:
        """What the figure is called in the result."""
        return self.label or "_".join(filter(None, (self.function, self.column)))

    @model_validator(mode="after")
    def _has_column(self) -> Aggregate:
        if self.column is None and self.function != "count":
            raise ValueError(f"{self.function} needs a column")
        return self


class Sorted(_Part):
    """A column that is sorted by; nulls come last."""

    column: Name = Field(description="Name of a column of the result, or of the table.")
    descending: bool = Field(False, description="Whether the largest come first.")


_Json = BeforeValidator(conditions.from_text)


class QueryParams(Reading):
    select: list[Annotated[Name | Chosen, _Json]] = Field(
        [],
        max_length=_MOST,
        description='Columns of the result, in order: names, or {"column": ..., "as": ...}.'
        " Not given: all.",
    )
    filter: Annotated[Filter, AfterValidator(conditions.bounded)] = Field(
        None,
        description='Which rows: {"column": ..., "op": ..., "value": ...}, and {"all": [...]},'
        ' {"any": [...]} or {"not": ...} of such. op is one of = != < <= > >= in not_in between'
        " contains starts_with ends_with is_null not_null.",
    )
    group_by: list[Name] = Field(
        [], max_length=_MOST, description="Columns whose values make the groups, in the result."
    )
    aggregate: list[Annotated[Aggregate, _Json]] = Field(
        [],
        max_length=_MOST,
        description='Figures for each group, or for all rows: {"function": ..., "column": ...,'
        ' "as": ...}; function is one of count count_distinct sum avg min max median stddev.',
    )
    having: Annotated[Filter, AfterValidator(conditions.bounded)] = Field(
        None, description="Which groups: as filter, over the columns of the result."
    )
    distinct: bool = Field(False, description="Whether equal rows of the result are given once.")
    sort: list[Annotated[Name | Sorted, _Json]] = Field(
        [],
        max_length=_MOST,
        description='Order of the rows: names, or {"column": ..., "descending": true}.',
    )
    limit: int | None = Field(None, ge=1, le=10**12, description="How many rows at most.")
    offset: int = Field(0, ge=0, le=10**12, description="How many rows are left out before.")
    sql: str | None = Field(
        None,
        min_length=1,
        max_length=statements.MAX_LENGTH,
        description="Instead of all these: one SELECT of SQL (DuckDB's) over the table data."
        " It reaches nothing else: no files, no network, no settings. No WITH RECURSIVE.",
    )
    types: Literal["infer", "text"] = Field(
        "infer",
        description="Types of the columns of CSV, TSV, XLSX and JSON lines; infer: as in"
        " table.convert. text: every column is text.",
    )
    to: Literal["same", "csv", "tsv", "jsonl", "parquet", "xlsx"] = Field(
        "same", description="Format of the result; same: that of the input."
    )
    output_delimiter: Delimiter = Field(
        ",",
        pattern=r'^([^"\r\n\w\s]|\t)$',
        description="What separates the cells of a CSV that is written.",
    )
    escape_formulas: EscapeFormulas = False

    @model_validator(mode="after")
    def _one_way(self) -> QueryParams:
        ours = (self.select, self.filter, self.group_by, self.aggregate, self.having)
        rest = (self.distinct, self.sort, self.limit, self.offset)
        if self.sql is not None and any((*ours, *rest)):
            raise ValueError("give sql, or the other parameters of the query, not both")
        if self.select and (self.group_by or self.aggregate):
            raise ValueError("with group_by or aggregate, these make the columns: no select")
        if self.having and not (self.group_by or self.aggregate):
            raise ValueError("having goes with group_by or aggregate")
        return self


@operation(
    "table.query",
    summary="Select, filter, sort, group and aggregate the rows of a table",
    params=QueryParams,
    accepts=tuple(TYPES.values()),
    produces=tuple(TYPES.values()),
    example={"aggregate": [{"function": "count", "as": "rows"}]},
    engines=("duckdb", "python_calamine"),
)
def query(work: Work, params: QueryParams) -> None:
    """Ask a table one question, by parameters or by one SELECT of SQL.

    In the query of an address, parts that are no plain names are JSON, and lists are given by
    repeating the parameter. Text is compared with texts, numbers with numbers (decimals and
    whole numbers of more than 63 bits also with texts, which keep every digit), dates and times
    with texts in ISO 8601; nothing is guessed. What is written is the value: 1.50 becomes 1.5,
    unless types is text. Names of columns that differ in case only get _2, _3, as in table.convert.
    Texts are sorted by their code points, nulls last.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_csv`, `bad_encoding`, `bad_json`,
            `bad_query`, `corrupt_input`, `empty_table`, `password_required`, `ragged_rows`,
            `record_too_long`, `table_too_large`, `too_many_columns`, `type_mismatch`,
            `unknown_column`, `unknown_sheet`, `unsupported_table`, `unsupported_variant`,
            `xml_dtd`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    tables.check_type(work)
    target = work.input.type if params.to == "same" else TYPES[params.to]
    work.engine = tables.engine(work.input.type, target, PARQUET)
    path = work.output(work.input.stem + extension_for_type(target), target)
    writing = results.Writing(
        to=FORMATS[target],
        delimiter=params.output_delimiter,
        null=params.null or "",
        escape_formulas=params.escape_formulas,
    )
    with tables.scratch_watched(), tables.staged(work, params, infer=params.types == "infer") as it:
        if params.sql is not None:
            _by_statement(work, params.sql, it, path, writing)
        else:
            _by_parameters(work, params, it, path, writing)
    work.progress(1, 1, phase="done")


# --- by parameters ---------------------------------------------------------------------------


def _by_parameters(
    work: Work, params: QueryParams, source: Path, path: Path, writing: results.Writing
) -> None:
    with columnar.connected(work) as connection:
        try:
            question = _compiled(connection, params, str(source))
            results.write_from(connection, work, question, path, writing)
        except columnar.Refused as exc:
            raise _unanswered(work, exc) from exc


def _unanswered(work: Work, exc: columnar.Refused) -> BadInput:
    import duckdb

    if isinstance(exc.__cause__, (duckdb.OutOfRangeException, duckdb.ConversionException)):
        return BadInput("A figure is larger than numbers can be.", code="bad_query")
    if work.input.type == PARQUET:
        return tables.damaged()
    return BadInput("The query cannot be answered.", code="bad_query")


def _compiled(connection: DuckDBPyConnection, params: QueryParams, source: str) -> Query:
    scan = "SELECT * FROM read_parquet($1)"
    columns = Columns(columnar.describe(connection, scan, source))
    compiler = Compiler(connection, [source])
    where = "true" if params.filter is None else compiler.condition(params.filter, columns)
    rows = f"FROM read_parquet($1) WHERE {where}"
    if params.group_by or params.aggregate:
        keys = [columns.quoted(name) for name in params.group_by]
        made = [_aggregated(part, columns) for part in params.aggregate]
        _check_names([*params.group_by, *(part.name for part in params.aggregate)])
        groups = f" GROUP BY {', '.join(keys)}" if keys else ""
        inner = f"SELECT {', '.join([*keys, *made])} {rows}{groups}"
        columns = Columns(columnar.describe(connection, inner, *compiler.values))
        having = "true" if params.having is None else compiler.condition(params.having, columns)
        sql = f"SELECT {_DISTINCT[params.distinct]} * FROM ({inner}) WHERE {having}"
    else:
        sql = f"SELECT {_DISTINCT[params.distinct]} {_chosen(params, columns)} {rows}"
        if params.distinct and params.sort:
            sql = f"SELECT * FROM ({sql})"
            columns = Columns(columnar.describe(connection, sql, *compiler.values))
    return Query(sql + _order(params, columns), compiler.values)


_DISTINCT: Final = {True: "DISTINCT", False: ""}


def _chosen(params: QueryParams, columns: Columns) -> str:
    parts = [Chosen(column=c) if isinstance(c, str) else c for c in params.select]
    _check_names([part.label or part.column for part in parts])
    cells = (
        f"{columns.quoted(part.column)} AS {quoted(part.label or part.column)}" for part in parts
    )
    return ", ".join(cells) or "*"


def _check_names(names: list[str]) -> None:
    if len({name.casefold() for name in names}) < len(names):
        raise BadInput(
            "Two columns of the result have one name; give another by as.", code="bad_query"
        )
    if any(not name.strip() or "\x00" in name for name in names):
        raise BadInput("A column of the result has no proper name.", code="bad_query")


def _aggregated(part: Aggregate, columns: Columns) -> str:
    name = quoted(part.name)
    if part.column is None:
        return f"count(*) AS {name}"
    cell = columns.quoted(part.column)
    if part.function == "count_distinct":
        return f"count(DISTINCT {cell}) AS {name}"
    if part.function in _NUMERIC:
        if not columns.numeric(part.column):
            raise BadInput(
                f"{part.function} needs a column of numbers, and {part.column[:100]!r} is none.",
                code="bad_query",
            )
        return f"{_NUMERIC[part.function]}({cell}) AS {name}"
    return f"{part.function}({cell}) AS {name}"


def _order(params: QueryParams, columns: Columns) -> str:
    """ORDER BY, LIMIT and OFFSET."""
    parts = [Sorted(column=s) if isinstance(s, str) else s for s in params.sort]
    keys = ", ".join(
        f"{columns.quoted(part.column)} {'DESC' if part.descending else 'ASC'} NULLS LAST"
        for part in parts
    )
    order = f" ORDER BY {keys}" if keys else ""
    limit = "" if params.limit is None else f" LIMIT {params.limit}"
    return f"{order}{limit}" + (f" OFFSET {params.offset}" if params.offset else "")


# --- by SQL ----------------------------------------------------------------------------------


def _by_statement(work: Work, sql: str, source: Path, path: Path, writing: results.Writing) -> None:
    """In a database that may open two files, the table and the result, and nothing else."""
    import duckdb

    made = work.folder / secrets.token_hex(16)  # which the statement cannot name
    with columnar.connected(work, [source, made]) as connection:
        try:
            with columnar.judged():
                connection.execute(
                    f"CREATE VIEW {statements.TABLE} AS"
                    f" SELECT * FROM read_parquet({literal(str(source.resolve()))})"
                )
        except columnar.Refused as exc:
            raise tables.damaged() from exc
        try:
            question = Query(statements.checked(connection, sql), [])
            _check_names([c.name for c in columnar.describe(connection, question.sql)])
            results.write_from(connection, work, question, made, writing)
            made.rename(path)
        except columnar.Refused as exc:
            cause = exc.__cause__
            known = isinstance(cause, duckdb.Error) and not isinstance(cause, duckdb.IOException)
            raise statements.complaint(str(cause) if known else "") from exc
        finally:
            made.unlink(missing_ok=True)
