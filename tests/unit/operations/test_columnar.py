from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fileproc.operations import BadInput, Work, columnar, rows
from samples import TABLE, parquet, rows_of_parquet, run

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


def converted(
    folder: Path, data: bytes | str, to: str, media_type: str = CSV, **params: Any
) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return run("table.convert", folder, data, "t.csv", media_type=media_type, to=to, **params).data


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def stored(folder: Path, data: bytes | str, **params: Any) -> tuple[dict[str, str], list[Any]]:
    """Types and rows of what becomes of a file as Parquet."""
    (folder / "made.parquet").write_bytes(converted(folder, data, "parquet", **params))
    return rows_of_parquet(folder / "made.parquet")


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-20", ""], "BIGINT", [1, -20, None]),
        (["007", "1"], "VARCHAR", ["007", "1"]),
        (["+1", "2"], "VARCHAR", ["+1", "2"]),
        (["9223372036854775807"], "BIGINT", [2**63 - 1]),
        (["9223372036854775808"], "VARCHAR", ["9223372036854775808"]),
        (["1.5", "2", "-0.25"], "DOUBLE", [1.5, 2.0, -0.25]),
        (["1.10"], "DOUBLE", [1.1]),
        (["1.5e3"], "DOUBLE", [1500.0]),
        (["1e5"], "VARCHAR", ["1e5"]),
        (["0.12345678901234567"], "VARCHAR", ["0.12345678901234567"]),
        (["00.5"], "VARCHAR", ["00.5"]),
        (["true", "False"], "BOOLEAN", [True, False]),
        (["yes", "no"], "VARCHAR", ["yes", "no"]),
        (["2026-02-30"], "VARCHAR", ["2026-02-30"]),
        (["22.11.2026"], "VARCHAR", ["22.11.2026"]),
        (["", ""], "VARCHAR", ["", ""]),
        (["x", ""], "VARCHAR", ["x", ""]),
        (["nan"], "VARCHAR", ["nan"]),
        (["2026-11-22 10:00:00+02"], "VARCHAR", ["2026-11-22 10:00:00+02"]),
    ],
)
def test_column_is_typed_where_every_cell_is_exactly_that(
    cells: list[str], kind: str, values: list[Any], tmp_path: Path
) -> None:
    data = "c,other\n" + "".join(f"{text},x\n" for text in cells)
    types, table = stored(tmp_path, data)
    assert types["c"] == kind
    assert [row[0] for row in table] == values


def test_dates_and_times_are_typed(tmp_path: Path) -> None:
    types, table = stored(tmp_path, "d,t\n2026-11-22,2026-11-22T10:00:00\n,2026-11-22 10:00:00\n")
    assert types == {"d": "DATE", "t": "TIMESTAMP"}
    assert str(table[0][0]) == "2026-11-22"
    assert table[0][1] == table[1][1]


def test_cell_beyond_the_sample_changes_the_type(tmp_path: Path) -> None:
    many = "".join(f"{i},{i}\n" for i in range(30_000))
    types, table = stored(tmp_path, "a,b\n" + many + "007,1.5\n")
    assert types == {"a": "VARCHAR", "b": "DOUBLE"}
    assert table[-1] == ("007", 1.5)
    assert table[7] == ("7", 7.0)


def test_parquet_as_text_is_exact(tmp_path: Path) -> None:
    query = """SELECT 12345678901234567890::DECIMAL(38,0) AS big, 1.10::DECIMAL(5,2) AS money,
        'nan'::DOUBLE AS nothing, 1e20::DOUBLE AS far, '\\x00\\xFF'::BLOB AS raw,
        DATE '2026-11-22' AS d,
        TIMESTAMP '2026-11-22 10:00:00' AS t, [1, 2] AS list, {'x': 'y"'} AS thing, true AS yes,
        'a"b' AS text, NULL::INTEGER AS none"""
    row = json.loads(
        converted(tmp_path, parquet(query), "jsonl", PARQUET), parse_int=str, parse_float=str
    )
    assert row == {
        "big": "12345678901234567890", "money": "1.10", "nothing": None, "far": "1e+20",
        "raw": "AP8=", "d": "2026-11-22", "t": "2026-11-22 10:00:00", "list": ["1", "2"],
        "thing": {"x": 'y"'}, "yes": True, "text": 'a"b', "none": None,
    }  # fmt: skip
    names, cells = read(converted(tmp_path, parquet(query), "csv", PARQUET))
    assert dict(zip(names, cells, strict=True)) == {
        "big": "12345678901234567890", "money": "1.10", "nothing": "nan", "far": "1e+20",
        "raw": "AP8=", "d": "2026-11-22", "t": "2026-11-22 10:00:00", "list": "[1,2]",
        "thing": '{"x":"y\\""}', "yes": "true", "text": 'a"b', "none": "",
    }  # fmt: skip


def test_compression_is_what_is_asked_for(tmp_path: Path) -> None:
    import duckdb

    for codec, name in [("zstd", "ZSTD"), ("none", "UNCOMPRESSED"), ("gzip", "GZIP")]:
        for data, kind in [(TABLE, CSV), (parquet(), PARQUET)]:
            path = tmp_path / "x.parquet"
            path.write_bytes(converted(tmp_path, data, "parquet", kind, compression=codec))
            with duckdb.connect(":memory:") as connection:
                found = connection.execute(
                    "SELECT DISTINCT compression FROM parquet_metadata($1)", [str(path)]
                ).fetchall()
            assert found == [(name,)]


def test_odd_names_of_columns_are_only_names(tmp_path: Path) -> None:
    odd = ['a"; DROP TABLE x; --', "b')--", "$1", "%s", "{c}", "SELECT", "d\ne"]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([odd, list("1234567")])
    types, table = stored(tmp_path, buffer.getvalue(), delimiter=",")
    assert list(types) == odd
    assert table == [(1, 2, 3, 4, 5, 6, 7)]
    data = (tmp_path / "made.parquet").read_bytes()
    assert read(converted(tmp_path, data, "csv", PARQUET))[0] == odd
    assert list(json.loads(converted(tmp_path, data, "jsonl", PARQUET))) == odd


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/fileproc-escape.csv'",
        "ATTACH '/tmp/fileproc-escape.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('https://example.com/x.csv')",
        "SET enable_external_access=true",
        "SET memory_limit='1TB'",
        "SET threads=64",
        "SELECT getenv('PATH')",
        "SELECT * FROM secret_of_the_caller",
    ],
)
def test_database_reaches_nothing_but_the_scratch_folder(statement: str, tmp_path: Path) -> None:
    import duckdb

    secret_of_the_caller = [1]
    assert secret_of_the_caller
    with (
        columnar.connected(Work([], tmp_path)) as connection,
        pytest.raises(duckdb.Error),
    ):
        connection.execute(statement).fetchall()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([",", '"', " ", "a", "\n", "\r\n", "\r", '""', '"b,"', '"c\n"', ' "d" ']),
        max_size=20,
    )
)
def test_file_that_is_called_plain_is_read_alike_by_both_readers(
    parts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("".join(parts).encode())
    try:
        expected = list(rows.records(rows.Lines(path, "utf-8"), rows.Dialect(",")))
    except BadInput:
        return
    if not expected or len(expected[0]) < 2 or not rows.is_plain(path, ","):
        return
    for header in (False, True):
        scan = columnar.csv_scan(len(expected[0]), delimiter=",", header=header)
        with columnar.connected(Work([], tmp_path)) as connection:
            found = connection.execute(f"FROM {scan}", [str(path)]).fetchall()
        assert [list(row) for row in found] == expected[header:]
