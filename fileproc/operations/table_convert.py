"""`table.convert`: CSV, TSV, JSON lines and Parquet, each into each."""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fileproc.operations import columnar, rows, texts
from fileproc.operations.registry import Params, operation
from fileproc.operations.rows import Dialect, Lines
from fileproc.operations.types import PARQUET, extension_for_type
from fileproc.operations.work import BadInput, OutOfResources, Work

_TYPES = {"csv": texts.CSV, "tsv": texts.TSV, "jsonl": texts.JSONL, "parquet": PARQUET}
_FIRST_OBJECTS = 1_000  # lines of JSON whose names make the columns, unless later ones add some


def _delimiter(value: object) -> object:
    return {"\\t": "\t", "tab": "\t"}.get(value, value) if isinstance(value, str) else value


Delimiter = Annotated[str, BeforeValidator(_delimiter)]


class Convert(Params):
    to: Literal["csv", "tsv", "jsonl", "parquet"] = Field(description="Format of the result.")
    delimiter: Delimiter = Field(
        "auto",
        pattern=r'^(auto|[^"\r\n\w\s]|\t)$',
        description="What separates the cells of a CSV or TSV that is read: one character, or"
        " auto (judged from the first rows among comma, tab, semicolon and bar).",
    )
    output_delimiter: Delimiter = Field(
        ",",
        pattern=r'^([^"\r\n\w\s]|\t)$',
        description="What separates the cells of a CSV that is written.",
    )
    header: bool = Field(
        True, description="Whether the first row of a CSV or TSV that is read names the columns."
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
    null: str | None = Field(
        None,
        max_length=100,
        pattern=r"^[^\x00-\x1f]*$",
        description="Text that stands for null: such cells become null in JSON lines and Parquet,"
        " and nulls become this text in CSV and TSV. Not given: empty cells stay empty texts"
        " (null in typed columns of Parquet), and nulls become empty cells.",
    )
    types: Literal["infer", "text"] = Field(
        "infer",
        description="For Parquet. infer: a column is typed where every cell is exactly a whole"
        " number, a number, true or false, an ISO date or time; 007 or 1e5 stay text."
        " text: every column is text.",
    )
    compression: Literal["zstd", "snappy", "gzip", "none"] = Field(
        "zstd", description="Compression of Parquet."
    )
    escape_formulas: bool = Field(
        False,
        description="In CSV and TSV, put an apostrophe before cells that a spreadsheet would run"
        " (those that begin with = + - @, tab or return and are no plain number).",
    )


@operation(
    "table.convert",
    summary="Convert between CSV, TSV, JSON lines and Parquet",
    params=Convert,
    accepts=tuple(_TYPES.values()),
    produces=tuple(_TYPES.values()),
    example={"to": "parquet"},
    engines=("duckdb",),
)
def convert(work: Work, params: Convert) -> None:
    """Turn one table format into another, streaming, with bounded memory.

    Between text formats every cell keeps its exact text: leading zeros, long numbers, dates.
    Rows of uneven length, quotes that are never closed and bytes that are not in the encoding are
    refused with the number of the line. Nested values become JSON in CSV and TSV, binary ones
    base64; NaN and the infinities are null in JSON lines. Repeated names of columns get _2, _3.

    Raises:
        BadInput: `ragged_rows`, `bad_csv`, `bad_json`, `bad_encoding`, `record_too_long`,
            `too_many_columns`, `corrupt_input`, `type_mismatch`, `unsupported_table`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    source, target = work.input.type, _TYPES[params.to]
    if source not in _TYPES.values():
        raise BadInput(f"Files of type {source} cannot be read here.", code="type_mismatch")
    work.engine = columnar.engine() if PARQUET in {source, target} else _python()
    path = work.output(work.input.stem + extension_for_type(target), target)
    with _scratch_watched():
        if source == PARQUET:
            _from_parquet(work, params, path)
        elif target == PARQUET:
            _to_parquet(work, params, path)
        else:
            _between_texts(work, params, path)
    work.progress(1, 1, phase="done")


def _python() -> str:
    return f"csv and json of Python {platform.python_version()}"


@contextmanager
def _scratch_watched() -> Iterator[None]:
    """A full disk is a limit that was used up, not a bad file."""
    try:
        yield
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}:
            raise OutOfResources("The scratch space is used up.", code="scratch_full") from exc
        raise


# --- text to text ----------------------------------------------------------------------------


def _lines(work: Work, params: Convert, path: Path, phase: str = "convert") -> Lines:
    size = path.stat().st_size
    return Lines(
        path,
        rows.encoding_of(path, params.encoding),
        lambda done: work.progress(done, size, unit="bytes", phase=phase),
    )


def _dialect(work: Work, params: Convert) -> Dialect:
    path, delimiter = work.input.path, params.delimiter
    if delimiter == "auto":
        delimiter = rows.sniff_delimiter(
            path,
            rows.encoding_of(path, params.encoding),
            fallback="\t" if work.input.type == texts.TSV else ",",
        )
    return Dialect(delimiter, '"' if params.quote == "double" else None)


def _between_texts(work: Work, params: Convert, path: Path) -> None:
    lines = _lines(work, params, work.input.path)
    with _writing(path) as file:
        if work.input.type == texts.JSONL and params.to == "jsonl":
            file.writelines(rows.json_text(item) + "\n" for item in rows.objects(lines))
        elif work.input.type == texts.JSONL:
            _objects_to_cells(work, params, file)
        elif params.to == "jsonl":
            _cells_to_objects(rows.records(lines, _dialect(work, params)), params, file)
        else:
            _writer(work, file, params)(rows.records(lines, _dialect(work, params)))


@contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 file to write to.

    Raises:
        BadInput: `bad_json` for half a surrogate pair, which JSON can spell but nobody can store.
    """
    try:
        with path.open("w", encoding="utf-8", newline="", buffering=rows.CHUNK_BYTES) as file:
            yield file
    except UnicodeEncodeError as exc:
        raise BadInput(
            "A text in the file holds half of a surrogate pair (\\ud800 to \\udfff), which is"
            " no character.",
            code="bad_json",
        ) from exc


def _writer(
    work: Work, file: IO[str], params: Convert
) -> Callable[[Iterable[Sequence[str]]], None]:
    """What writes rows as the CSV or TSV that is asked for."""
    delimiter = "\t" if params.to == "tsv" else params.output_delimiter
    careful = rows.may_hold_returns(work.input.path)
    write = rows.cell_writer(file, delimiter, careful=careful)
    if not params.escape_formulas:
        return write
    return lambda table: write(map(rows.without_formulas, table))


def _cells_to_objects(table: Iterator[list[str]], params: Convert, file: IO[str]) -> None:
    first = next(table, None)
    if first is None:
        return
    encoded = rows.cell_json
    if params.header:
        names = rows.unique_names(first)
    else:
        names = rows.unique_names("" for _ in first)
        table = chain([first], table)
    template = rows.object_template(names)
    if params.null is None:
        file.writelines(template % tuple(map(encoded, row)) for row in table)
        return
    null = params.null
    file.writelines(
        template % tuple("null" if cell == null else encoded(cell) for cell in row) for row in table
    )


def _objects_to_cells(work: Work, params: Convert, file: IO[str]) -> None:
    def write(names: list[str], table: Iterable[list[str]]) -> None:
        if names:
            _writer(work, file, params)(chain([names], table))

    _with_names(work, params, file, write, null=params.null or "")


def _with_names(
    work: Work,
    params: Convert,
    file: IO[str],
    write: Callable[[list[str], Iterable[list[Any]]], None],
    *,
    null: str | None,
) -> list[str]:
    """Have the objects written as cells, under all names in the order in which they first appear.

    Those of the first lines are a good guess; when a later line adds one, everything is read once
    more for the names, and written anew.
    """
    source = work.input.path
    names = _names(islice(rows.objects(_lines(work, params, source, "scan")), _FIRST_OBJECTS))
    try:
        write(names, _cells(work, params, names, null))
    except _NewNameError:
        names = _names(rows.objects(_lines(work, params, source, "scan")))
        file.seek(0)
        file.truncate()
        write(names, _cells(work, params, names, null))
    return names


class _NewNameError(Exception):
    """A line has a name that none of the first had."""


def _names(items: Iterable[dict[str, object]]) -> list[str]:
    names: dict[str, None] = {}
    for item in items:
        names.update(dict.fromkeys(item))
        if len(names) > rows.MAX_COLUMNS:
            raise BadInput(
                f"The lines have more than {rows.MAX_COLUMNS:,} different names.",
                code="too_many_columns",
            )
    return list(names)


def _cells(work: Work, params: Convert, names: list[str], null: str | None) -> Iterator[list[Any]]:
    """The values of each object under these names, as texts; `null` where there is none."""
    known, text = set(names), rows.cell_text
    for item in rows.objects(_lines(work, params, work.input.path)):
        if not item.keys() <= known:
            raise _NewNameError
        cells = map(item.get, names)
        yield [cell if isinstance(cell, str) else text(cell, null) for cell in cells]


# --- Parquet ---------------------------------------------------------------------------------


def _from_parquet(work: Work, params: Convert, path: Path) -> None:
    source = work.input.path
    try:
        if params.to == "parquet":
            columnar.recompress(work, source, path, params.compression)
        else:
            delimiters = {"csv": params.output_delimiter, "tsv": "\t"}
            columnar.export(
                work,
                source,
                path,
                delimiter=delimiters.get(params.to),
                null=params.null or "",
                escape=params.escape_formulas,
            )
    except columnar.Refused as exc:
        raise BadInput(
            "The Parquet file is damaged and cannot be read.", code="corrupt_input"
        ) from exc


def _to_parquet(work: Work, params: Convert, path: Path) -> None:
    if work.input.type == texts.JSONL:
        (_jsonl_to_parquet if params.types == "infer" else _texts_to_parquet)(work, params, path)
        return
    source = work.input.path
    dialect, encoding = _dialect(work, params), rows.encoding_of(source, params.encoding)
    first = next(rows.records(Lines(source, encoding), dialect), None)
    if first is None:
        raise BadInput("The table has no rows, not even names of columns.", code="empty_table")
    names = rows.unique_names(first if params.header else [""] * len(first), ignore_case=True)
    direct = encoding == "utf-8-sig" and dialect.quote is not None and len(first) > 1
    if direct and rows.is_plain(source, dialect.delimiter):
        scan = columnar.csv_scan(len(first), delimiter=dialect.delimiter, header=params.header)
        try:
            _store(work, params, source, path, names=names, scan=scan)
        except columnar.Refused:  # no good: our own reader says which line
            path.unlink(missing_ok=True)
        else:
            return
    _rows_to_parquet(work, params, path, names)


def _store(
    work: Work, params: Convert, source: Path, target: Path, *, names: Sequence[str], scan: str
) -> None:
    columnar.from_texts(
        work,
        source,
        target,
        [name.replace("\x00", "\ufffd") for name in names],
        scan=scan,
        null=params.null,
        infer=params.types == "infer",
        compression=params.compression,
    )


@contextmanager
def _plain_copy(work: Work, name: str, write: Callable[[IO[str]], object]) -> Iterator[Path]:
    """A file of our own in the scratch folder, written by `write`; gone afterwards."""
    path = work.folder / name
    try:
        with _writing(path) as file:
            write(file)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _rows_to_parquet(work: Work, params: Convert, path: Path, names: list[str]) -> None:
    """By way of JSON lines of our own: exact whatever the CSV is like, at the price of a copy."""

    def write(file: IO[str]) -> None:
        table = rows.records(_lines(work, params, work.input.path), _dialect(work, params))
        if params.header:
            next(table)
        _write_plain(file, len(names), table)

    with _plain_copy(work, "plain.jsonl", write) as plain:
        _store_plain(work, params, plain, path, names)


def _texts_to_parquet(work: Work, params: Convert, path: Path) -> None:
    """JSON lines with every value as text."""
    names: list[str] = []

    def write(file: IO[str]) -> None:
        names.extend(
            _with_names(
                work,
                params,
                file,
                lambda found, table: _write_plain(file, len(found), table),
                null=None,
            )
        )

    with _plain_copy(work, "plain.jsonl", write) as plain:
        if not names:
            raise BadInput("The table has no rows with a name in them.", code="empty_table")
        _store_plain(work, params, plain, path, rows.unique_names(names, ignore_case=True))


def _write_plain(file: IO[str], width: int, table: Iterable[Sequence[str | None]]) -> None:
    template = rows.object_template([f"c{i}" for i in range(width)])
    encoded = rows.cell_json
    file.writelines(template % tuple(map(encoded, row)) for row in table)


def _store_plain(
    work: Work, params: Convert, plain: Path, path: Path, names: Sequence[str]
) -> None:
    try:
        _store(work, params, plain, path, names=names, scan=columnar.json_scan(len(names)))
    except columnar.Refused as exc:
        raise BadInput("The table cannot be stored as Parquet.", code="unsupported_table") from exc


def _jsonl_to_parquet(work: Work, params: Convert, path: Path) -> None:
    source = work.input.path
    if rows.encoding_of(source, params.encoding) == "utf-8-sig":
        _import_jsonl(work, params, source, path)
        return

    def write(file: IO[str]) -> None:
        items = rows.objects(_lines(work, params, source))
        file.writelines(rows.json_text(item) + "\n" for item in items)

    with _plain_copy(work, "normalised.jsonl", write) as plain:
        _import_jsonl(work, params, plain, path)


def _import_jsonl(work: Work, params: Convert, source: Path, target: Path) -> None:
    try:
        columnar.from_jsonl(work, source, target, params.compression)
    except columnar.Refused as exc:
        for _ in rows.objects(_lines(work, params, work.input.path, "check")):
            pass  # our own reader says which line is no good, if one is
        raise BadInput(
            "The lines do not make one table: names that differ in case only, or twice the same"
            " name in an object.",
            code="unsupported_table",
        ) from exc
