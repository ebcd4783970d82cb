"""`table.convert`: CSV, TSV, JSON lines, Parquet and XLSX, each into each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from fileproc.operations import checked, results, rows, schemas, tables, texts
from fileproc.operations.registry import operation
from fileproc.operations.tables import TYPES, Delimiter, EscapeFormulas, Reading, Storing
from fileproc.operations.types import PARQUET, XLSX, extension_for_type
from fileproc.operations.work import Work


class Convert(Reading):
    model_config = ConfigDict(serialize_by_alias=True)

    to: Literal["csv", "tsv", "jsonl", "parquet", "xlsx"] = Field(
        description="Format of the result."
    )
    output_delimiter: Delimiter = Field(
        ",",
        pattern=r'^([^"\r\n\w\s]|\t)$',
        description="What separates the cells of a CSV that is written.",
    )
    types: Literal["infer", "text"] = Field(
        "infer",
        description="For Parquet and XLSX. infer: a column is typed where every cell is exactly a"
        " whole number, a number, true or false, an ISO date or time; 007 or 1e5 stay text."
        " text: every column is text.",
    )
    columns: Annotated[
        dict[str, schemas.Type], AfterValidator(schemas.bounded), BeforeValidator(schemas.read)
    ] = Field(
        default_factory=dict,
        alias="schema",
        description="Types that columns must have, by name: text, integer (64 bits), number (a"
        " double), decimal(digits,places), boolean (true, false, 1, 0), date (2026-11-22),"
        " timestamp (ISO 8601) or time. A row with a cell that is neither of its type nor empty"
        " nor null fails the job, or is rejected (see on_error). In a query, as a JSON object.",
    )
    on_error: Literal["fail", "reject"] = Field(
        "fail",
        description="What becomes of bad rows: too many or too few cells, cells that do not fit"
        " the schema, lines that are no JSON object. fail: the first one fails the job. reject:"
        " they go, with line number and reason, to a second file, name-rejected.csv.",
    )
    compression: Literal["zstd", "snappy", "gzip", "none"] = Field(
        "zstd", description="Compression of Parquet."
    )
    escape_formulas: EscapeFormulas = False


@operation(
    "table.convert",
    summary="Convert between CSV, TSV, JSON lines, Parquet and XLSX",
    params=Convert,
    accepts=tuple(TYPES.values()),
    produces=tuple(TYPES.values()),
    example={"to": "parquet"},
    engines=("duckdb", "python_calamine"),
)
def convert(work: Work, params: Convert) -> None:
    """Turn one table format into another, streaming, with bounded memory.

    Between text formats every cell keeps its exact text: leading zeros, long numbers, dates.
    Rows of uneven length, quotes that are never closed and bytes that are not in the encoding are
    refused with the number of the line. Nested values become JSON in CSV, TSV and XLSX, binary ones
    base64; NaN and the infinities are null in JSON lines and XLSX. Repeated names of columns get
    _2, _3. Of an XLSX one sheet is read, values and not formulas; its rows without anything are
    left out. In an XLSX that is written nothing is a formula; numbers that a double cannot hold are
    text.

    With a schema, typed cells are numbers and booleans in JSON lines, and columns of that type in
    Parquet and XLSX. The file of rejected rows has the columns line (row, in Parquet and XLSX),
    reason, record.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_csv`, `bad_encoding`, `bad_json`,
            `corrupt_input`, `empty_table`, `password_required`, `ragged_rows`, `record_too_long`,
            `schema_mismatch`, `table_too_large`, `too_many_columns`, `type_mismatch`,
            `unknown_column`, `unknown_sheet`, `xml_dtd`, `unsupported_table`,
            `unsupported_variant`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    tables.check_type(work)
    source, target = work.input.type, TYPES[params.to]
    work.engine = tables.engine(source, target)
    path = work.output(work.input.stem + extension_for_type(target), target)
    with tables.scratch_watched():
        if params.columns or params.on_error == "reject":
            _checked(work, params, path)
        elif source == PARQUET:
            results.write(work, results.whole(source=work.input.path), path, _writing(params))
        elif target == XLSX:
            with tables.staged(work, params, infer=params.types == "infer") as staged:
                results.write(work, results.whole(source=staged), path, _writing(params))
        elif target == PARQUET:
            tables.store(work, params, path, _storing(params))
        else:
            _between_texts(work, params, path)
    work.progress(1, 1, phase="done")


def _writing(params: Convert) -> results.Writing:
    return results.Writing(
        to=params.to,
        delimiter=params.output_delimiter,
        null=params.null or "",
        compression=params.compression,
        escape_formulas=params.escape_formulas,
    )


def _storing(params: Convert) -> Storing:
    return Storing(infer=params.types == "infer", compression=params.compression)


# --- text to text ----------------------------------------------------------------------------


def _between_texts(work: Work, params: Convert, path: Path) -> None:
    with tables.writing(path) as file:
        if work.input.type == texts.JSONL and params.to == "jsonl":
            items = tables.some(tables.objects(work, params, "convert"))
            file.writelines(rows.json_text(item) + "\n" for item in items)
        elif work.input.type == texts.JSONL:
            _objects_to_cells(work, params, file)
        elif params.to == "jsonl":
            _cells_to_objects(work, params, file)
        else:
            _writer(work, file, params)(tables.some(tables.cells(work, params, "convert")))


def _writer(
    work: Work, file: IO[str], params: Convert
) -> Callable[[Iterable[Sequence[str]]], None]:
    """What writes rows as the CSV or TSV that is asked for."""
    delimiter = "\t" if params.to == "tsv" else params.output_delimiter
    careful = work.input.type == XLSX or rows.may_hold_returns(work.input.path)
    write = rows.cell_writer(file, delimiter, careful=careful)
    if not params.escape_formulas:
        return write
    return lambda table: write(map(rows.without_formulas, table))


def _cells_to_objects(work: Work, params: Convert, file: IO[str]) -> None:
    table = tables.opened(work, params, unique=True)
    if table is None:
        raise tables.empty()
    encoded, template = rows.cell_json, rows.object_template(table.names)
    if params.null is None:
        file.writelines(template % tuple(map(encoded, row)) for row in table.body)
        return
    null = params.null
    file.writelines(
        template % tuple("null" if cell == null else encoded(cell) for cell in row)
        for row in table.body
    )


def _objects_to_cells(work: Work, params: Convert, file: IO[str]) -> None:
    def write(names: list[str], table: Iterable[list[str]]) -> None:
        if not names:
            raise tables.empty()
        _writer(work, file, params)(chain([names], table))

    tables.cells_of_objects(work, params, file, write, null=params.null or "")


# --- checked ---------------------------------------------------------------------------------


def _checked(work: Work, params: Convert, path: Path) -> None:
    """With a schema, or with bad rows put aside."""
    with checked.rejecting(work, params.on_error, escape=params.escape_formulas) as reject:
        if work.input.type == PARQUET:
            checked.columnar(work, params.columns, reject, path, _writing(params))
            return
        table = checked.opened(work, params, params.columns, reject)
        if params.to in {"parquet", "xlsx"}:
            _store_checked(work, params, path, table)
            return
        with tables.writing(path) as file:
            if params.to == "jsonl":
                file.writelines(checked.json_lines(table, params.null))
            else:
                _write_cells(file, params, table)


def _write_cells(file: IO[str], params: Convert, table: checked.Table) -> None:
    null, delimiter = params.null or "", "\t" if params.to == "tsv" else params.output_delimiter
    body: Iterator[list[str]] = (
        [null if cell is None else cell for cell in row] for row in table.cells()
    )
    everything = chain([table.given_names], body) if table.given_names else body
    if params.escape_formulas:
        everything = map(rows.without_formulas, everything)
    rows.cell_writer(file, delimiter, careful=True)(everything)


def _store_checked(work: Work, params: Convert, path: Path, table: checked.Table) -> None:
    staged = path if params.to == "parquet" else work.folder / "checked.parquet"
    storing = Storing(
        infer=params.types == "infer",
        compression=params.compression,
        fixed={name: schemas.sql_type(kind) for name, kind in table.columns.items()},
    )
    try:
        tables.store_rows(work, params, staged, storing, tables.Table(table.names, table.cells()))
        if staged != path:
            results.write(work, results.whole(source=staged), path, _writing(params))
    finally:
        if staged != path:
            staged.unlink(missing_ok=True)
