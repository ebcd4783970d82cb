"""Parquet, by DuckDB, locked down: it reaches the scratch folder and nothing else.

Names of files are given as parameters and never become part of a statement; the statements are
ours. What DuckDB says to a broken file may name paths: it is not passed on.
"""
# ruff: noqa: S608 - statements are put together from quoted names and literals, see `quoted`

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fileproc.operations.rows import MAX_COLUMNS, MAX_RECORD
from fileproc.operations.work import BadInput, OutOfResources, Work

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_SHARE = 0.5  # DuckDB counts its buffers, not all it allocates
_WIDE_MEMORY_SHARE = 0.75  # of which it touches half
_GROUP_ROWS, _GROUP_CELLS = 122_880, 40_000_000  # of a row group, which is made in memory
_POLL_S = 0.25
_ROWS_AT_ONCE = 1_000


class Refused(Exception):  # noqa: N818 - a verdict, not a failure: the caller knows what to do
    """DuckDB does not take the file as it is."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT of ours, and the values of $1, $2, ... in it."""

    sql: str
    values: Sequence[Any]


def engine() -> str:
    """Name and version, for `Work.engine`."""
    import duckdb

    return f"duckdb {duckdb.__version__}"


def quoted(name: str) -> str:
    """A name as a quoted identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def fresh_name(wanted: str, taken: Iterable[str]) -> str:
    """A name for a column of ours that none of the others has, quoted."""
    known = {name.casefold() for name in taken}
    while wanted in known:
        wanted += "_"
    return quoted(wanted)


def literal(text: str) -> str:
    """A text as a literal of SQL; for texts of ours and one-character options only."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def connected(
    work: Work, paths: Sequence[Path] | None = None, *, wide: bool = False
) -> Iterator[DuckDBPyConnection]:
    """A database in memory that may read and write `work.folder`, within `work.limits`.

    Where `paths` are given, it may read and write those files only: for statements of others.
    Where statements are `wide`, with an expression for each of thousands of columns, it does not
    look for what they have in common, which takes the square of their number; and one thread has
    the memory for itself, as it holds 2,048 rows of all columns several times.
    """
    import duckdb

    folder = literal(f"{work.folder.resolve()}/")
    reach = f"allowed_directories=[{folder}]"
    if paths is not None:
        reach = f"allowed_paths=[{', '.join(literal(str(path.resolve())) for path in paths)}]"
    spill = literal(str(work.folder.resolve() / "spill"))
    share = _WIDE_MEMORY_SHARE if wide else _MEMORY_SHARE
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "threads": str(1 if wide else max(1, work.limits.threads)),
            "memory_limit": f"{int(work.limits.memory_bytes * share) // 1_000_000}MB",
        },
    )
    try:
        for setting in (
            reach,
            f"temp_directory={spill}",
            f"home_directory={folder}",
            f"custom_extension_repository={spill}",  # else INSTALL would ask the network
            "allow_extension_repositories='forbidden'",
            f"max_temp_directory_size='{work.limits.scratch_bytes // 2_000_000}MB'",
            "python_enable_replacements=false",
            "TimeZone='UTC'",
            "enable_progress_bar=true",
            "enable_progress_bar_print=false",
            f"disabled_optimizers={literal('common_subexpressions' if wide else '')}",
            "enable_external_access=false",
            "lock_configuration=true",
        ):
            connection.execute(f"SET {setting}")
        yield connection
    finally:
        connection.close()


@contextmanager
def judged() -> Iterator[None]:
    """Around statements that read a file.

    Raises:
        Refused: the file is not as it should be; the cause is DuckDB's error, for the log only.
        OutOfResources: `out_of_memory` or `scratch_full`.
    """
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as exc:
        raise OutOfResources(
            "The table needs more memory than one attempt may use.", code="out_of_memory"
        ) from exc
    except duckdb.IOException as exc:
        if "No space left" in str(exc) or "max_temp_directory_size" in str(exc):
            raise OutOfResources("The scratch space is used up.", code="scratch_full") from exc
        raise Refused from exc
    except (duckdb.Error, UnicodeError) as exc:
        raise Refused from exc


@contextmanager
def reporting(connection: DuckDBPyConnection, work: Work, phase: str) -> Iterator[None]:
    """Tell how far the running statement is, from a thread of its own, in percent."""
    over = threading.Event()

    def poll() -> None:
        while not over.wait(_POLL_S):
            percent = float(connection.query_progress())
            if percent >= 0:  # -1: not known yet
                work.progress(percent, 100, unit="percent", phase=phase)

    watcher = threading.Thread(target=poll, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def describe(connection: DuckDBPyConnection, query: str, *values: Any) -> list[Column]:
    """The columns that a query gives.

    Raises:
        BadInput: `too_many_columns`.
        Refused: see `judged`.
    """
    with judged():
        found = connection.execute(f"DESCRIBE {query}", list(values)).fetchall()
    if len(found) > MAX_COLUMNS:
        raise BadInput(
            f"The table has {len(found):,} columns; at most {MAX_COLUMNS:,} are taken.",
            code="too_many_columns",
        )
    return [Column(row[0], row[1]) for row in found]


def fetched(connection: DuckDBPyConnection, query: Query) -> Iterator[tuple[Any, ...]]:
    """The rows that a query gives, some at a time; the connection is taken until the last.

    Raises:
        Refused, OutOfResources: see `judged`.
    """
    with judged():
        found = connection.execute(query.sql, list(query.values))
    while True:
        with judged():
            batch = found.fetchmany(_ROWS_AT_ONCE)
        if not batch:
            return
        yield from batch


def summary(work: Work, source: Path) -> tuple[list[Column], int]:
    """Columns and number of rows of a Parquet file, from its footer.

    Raises:
        Refused: see `judged`.
    """
    with connected(work) as connection:
        columns = describe(connection, "SELECT * FROM read_parquet($1)", str(source))
        with judged():
            found = connection.execute(
                "SELECT num_rows FROM parquet_file_metadata($1)", [str(source)]
            ).fetchone()
    return columns, int(found[0]) if found else 0


# --- out of Parquet --------------------------------------------------------------------------


_NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")


def _is_nested(kind: str) -> bool:
    return kind.startswith(_NESTED) or kind.endswith("]")


def as_cell(column: Column, *, escape: bool = False) -> str:
    """SQL: the column as the text of a cell, or NULL."""
    name = quoted(column.name)
    if column.type == "BLOB":
        return f"base64({name})"
    if _is_nested(column.type):
        return f"to_json({name})::VARCHAR"
    if escape and column.type == "VARCHAR":
        return (
            rf"CASE WHEN regexp_matches({name}, '^[=+\-@\t\r]') AND NOT regexp_full_match({name},"
            rf" '[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{{1,3}})?') THEN '''' || {name}"
            f" ELSE {name} END"
        )
    return f"{name}::VARCHAR"


def _as_json(column: Column) -> str:
    """SQL: the column as JSON text, or NULL. Decimals and big integers keep their digits."""
    name = quoted(column.name)
    if column.type in {"FLOAT", "DOUBLE"}:  # NaN and the infinities are no JSON
        return f"CASE WHEN isfinite({name}) THEN {name}::VARCHAR END"
    if column.type == "BOOLEAN" or column.type.endswith("INT") or column.type == "INTEGER":
        return f"{name}::VARCHAR"
    if column.type == "UINTEGER" or column.type.startswith("DECIMAL"):
        return f"{name}::VARCHAR"
    if column.type == "BLOB":
        return f"to_json(base64({name}))::VARCHAR"
    return f"to_json({name})::VARCHAR"


@dataclass(frozen=True, slots=True)
class Text:
    """How a table is written as text: as CSV with this delimiter, or JSON lines where it is None.

    `null` is what stands for null in CSV; `escape` disarms formulas there.
    """

    delimiter: str | None
    null: str = ""
    escape: bool = False


def export(
    connection: DuckDBPyConnection, work: Work, query: Query, target: Path, text: Text
) -> None:
    """Write what a query gives as text.

    Raises:
        Refused: the query cannot be run, or what it reads is no good Parquet.
        BadInput, OutOfResources: see `describe` and `judged`.
    """
    columns = describe(connection, query.sql, *query.values)
    if text.delimiter is None:
        cells = json_line(columns)
        options = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01'"
    else:
        # DuckDB refuses such a text for null, although it can be quoted as any other.
        odd = '"' in text.null or text.delimiter in text.null
        shown = (as_cell(column, escape=text.escape) for column in columns)
        filled = (f"coalesce({cell}, {literal(text.null)})" if odd else cell for cell in shown)
        cells = ", ".join(
            f"{cell} AS {quoted(column.name)}" for cell, column in zip(filled, columns, strict=True)
        )
        options = (
            f"FORMAT csv, HEADER true, DELIMITER {literal(text.delimiter)},"
            f" NULLSTR {literal('' if odd else text.null)}"
        )
    with judged(), reporting(connection, work, "write"):
        connection.execute(
            f"COPY (SELECT {cells} FROM ({query.sql})) TO ${len(query.values) + 1} ({options})",
            [*query.values, str(target)],
        )


def json_line(columns: Sequence[Column]) -> str:
    """SQL: a row as a JSON object."""
    parts = [
        f"{literal(comma + encode_basestring(column.name) + ':')}, coalesce({_as_json(column)},"
        " 'null')"
        for comma, column in zip(["", *[","] * len(columns)], columns, strict=False)
    ]
    return f"concat('{{', {', '.join(parts)}, '}}')"


# --- into Parquet ----------------------------------------------------------------------------


def copy(
    connection: DuckDBPyConnection,
    work: Work,
    query: Query,
    target: Path,
    compression: str,
    *,
    width: int = 1,
) -> None:
    """Write what a query gives, in so many columns, as Parquet.

    Raises:
        Refused, OutOfResources: see `judged`.
    """
    codec = "uncompressed" if compression == "none" else compression
    if codec == "zstd":
        codec += (
            ", COMPRESSION_LEVEL 1"  # as Arrow has it: more costs time and saves next to nothing
        )
    options = f"FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {_rows_of_a_group(width)}"
    with judged(), reporting(connection, work, "write"):
        connection.execute(
            f"COPY ({query.sql}) TO ${len(query.values) + 1} ({options})",
            [*query.values, str(target)],
        )


def _rows_of_a_group(width: int) -> int:
    return min(_GROUP_ROWS, max(2048, _GROUP_CELLS // width))


def csv_scan(width: int, *, delimiter: str, header: bool) -> str:
    """SQL: a UTF-8 CSV as texts c0, c1, ...; exact only where `rows.is_plain` holds."""
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(width))
    return (
        f"read_csv($1, columns={{{columns}}}, auto_detect=false, strict_mode=true, skip=0,"
        f" header={str(header).lower()}, delim={literal(delimiter)}, quote='\"', escape='\"',"
        f" nullstr='\x00', encoding='utf-8', max_line_size={MAX_RECORD},"
        f" buffer_size={4 * MAX_RECORD})"
    )


def json_scan(width: int) -> str:
    """SQL: JSON lines of objects with texts (or null) under the names c0, c1, ..."""
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(width))
    return (
        f"read_json($1, columns={{{columns}}}, format='newline_delimited', records=true,"
        f" maximum_object_size={4 * MAX_RECORD})"
    )


def from_jsonl(work: Work, source: Path, target: Path, compression: str) -> None:
    """Write JSON lines as Parquet with JSON's own types; strings stay strings, dates too.

    Raises:
        Refused: not JSON lines of objects, or names that differ in case only.
    """
    reading = (
        f"format='newline_delimited', records=true, maximum_object_size={MAX_RECORD},"
        " map_inference_threshold=-1"
    )
    with connected(work) as connection:
        with reporting(connection, work, "infer"):
            found = describe(
                connection, f"SELECT * FROM read_json($1, {reading}, sample_size=-1)", str(source)
            )
        columns = ", ".join(f"{literal(c.name)}: {literal(_json_type(c.type))}" for c in found)
        query = f"SELECT * FROM read_json($1, {reading}, columns={{{columns}}})"
        copy(connection, work, Query(query, [str(source)]), target, compression)


def _json_type(inferred: str) -> str:
    """The type to read: what was guessed from strings goes back to text, nothing overflows."""
    parts = inferred.split('"')  # every second part is the quoted name of a member
    parts[::2] = [_plain(part) for part in parts[::2]]
    return '"'.join(parts)


def _plain(types: str) -> str:
    types = re.sub(r"(?<![\w])(TIMESTAMP( WITH TIME ZONE)?|DATE|TIME|UUID)(?=$|[\[\],)])",
                   "VARCHAR", types)  # fmt: skip
    return re.sub(r"(?<![\w])U?HUGEINT(?=$|[\[\],)])", "DECIMAL(38,0)", types)
