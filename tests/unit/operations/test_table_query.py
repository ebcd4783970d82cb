from __future__ import annotations

import csv
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find, statements
from samples import JSON_LINES, parquet, rows_of_parquet, run, xlsx

CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ORDERS = (
    b"id,city,amount,when,note\n"
    b'1,Oslo,1.5,2026-01-01,"a,b"\n'
    b"2,Bergen,2.25,2026-02-01,\n"
    b"3,Oslo,,2026-03-01,x\n"
    b"4,Rome,10.5,2026-03-02,=1\n"
)


def ask(folder: Path, data: bytes = ORDERS, media_type: str = CSV, **params: Any) -> list[Any]:
    """The rows that a query gives, as JSON."""
    ran = run("table.query", folder, data, "t", media_type=media_type, to="jsonl", **params)
    return [json.loads(line) for line in ran.data.splitlines()]


def ids(folder: Path, condition: Any) -> list[int]:
    return [row["id"] for row in ask(folder, filter=condition)]


def refusal(folder: Path, **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        ask(folder, **params)
    assert str(folder) not in caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value


# --- the grammar -----------------------------------------------------------------------------


def test_columns_are_chosen_and_named(tmp_path: Path) -> None:
    chosen = ["amount", {"column": "id", "as": 'my "id"'}]
    assert ask(tmp_path, select=chosen, limit=1) == [{"amount": 1.5, 'my "id"': 1}]


@pytest.mark.parametrize(
    ("op", "column", "value", "expected"),
    [
        ("=", "city", "Oslo", [1, 3]),
        ("!=", "amount", 1.5, [2, 3, 4]),
        ("<", "amount", 3, [1, 2]),
        (">=", "amount", 2.25, [2, 4]),
        (">", "when", "2026-02-15", [3, 4]),
        ("<=", "city", "Bergen", [2]),
        ("in", "city", ["Oslo", "Rome"], [1, 3, 4]),
        ("not_in", "amount", [1.5, 10.5], [2, 3]),
        ("between", "when", ["2026-02-01", "2026-03-01"], [2, 3]),
        ("contains", "note", ",", [1]),
        ("starts_with", "note", "=", [4]),
        ("ends_with", "city", "o", [1, 3]),
        ("is_null", "amount", None, [3]),
        ("not_null", "amount", None, [1, 2, 4]),
        ("=", "note", "", [2]),
        ("=", "city", "x' OR '1'='1", []),
        ("contains", "city", "%", []),
    ],
)
def test_rows_are_filtered(
    op: str, column: str, value: Any, expected: list[int], tmp_path: Path
) -> None:
    condition = {"column": column, "op": op} | ({} if value is None else {"value": value})
    assert ids(tmp_path, condition) == expected
    assert ids(tmp_path, {"not": condition}) == [n for n in (1, 2, 3, 4) if n not in expected]


def test_conditions_are_joined(tmp_path: Path) -> None:
    oslo = {"column": "city", "op": "=", "value": "Oslo"}
    cheap = {"column": "amount", "op": "<", "value": 5}
    assert ids(tmp_path, {"all": [oslo, cheap]}) == [1]
    assert ids(tmp_path, {"any": [oslo, cheap]}) == [1, 2, 3]
    assert ids(tmp_path, {"all": [{"not": oslo}, {"any": [cheap, oslo]}]}) == [2]


def test_rows_are_grouped_sorted_and_cut(tmp_path: Path) -> None:
    figures = [
        {"function": "sum", "column": "amount", "as": "total"},
        {"function": "count"},
        {"function": "count", "column": "amount"},
        {"function": "max", "column": "when"},
        {"function": "count_distinct", "column": "city"},
    ]
    found = ask(
        tmp_path,
        group_by=["city"],
        aggregate=figures,
        sort=[{"column": "total", "descending": True}],
    )
    assert [list(row.values()) for row in found] == [
        ["Rome", 10.5, 1, 1, "2026-03-02", 1],
        ["Bergen", 2.25, 1, 1, "2026-02-01", 1],
        ["Oslo", 1.5, 2, 1, "2026-03-01", 1],
    ]
    assert list(found[0])[1:4] == ["total", "count", "count_amount"]
    large = {"column": "total", "op": ">", "value": 2}
    found = ask(
        tmp_path, group_by=["city"], aggregate=figures[:1], having=large, sort=["city"], offset=1
    )
    assert found == [{"city": "Rome", "total": 10.5}]


def test_nulls_come_last_and_rows_once(tmp_path: Path) -> None:
    assert [r["amount"] for r in ask(tmp_path, sort=["amount"])] == [1.5, 2.25, 10.5, None]
    descending = [{"column": "amount", "descending": True}]
    assert [r["amount"] for r in ask(tmp_path, sort=descending)] == [10.5, 2.25, 1.5, None]
    assert ask(tmp_path, select=["city"], distinct=True, sort=["city"]) == [
        {"city": "Bergen"}, {"city": "Oslo"}, {"city": "Rome"},
    ]  # fmt: skip


def test_sums_of_whole_numbers_stay_whole_in_parquet(tmp_path: Path) -> None:
    data = parquet("SELECT 9007199254740993 AS n UNION ALL SELECT 9007199254740993")
    summed = [{"function": "sum", "column": "n", "as": "n"}]
    ran = run("table.query", tmp_path, data, "t", media_type=PARQUET, aggregate=summed)
    types, table = rows_of_parquet(ran.path)
    assert types == {"n": "DECIMAL(38,0)"}
    assert table == [(18014398509481986,)]


def test_every_format_is_asked_and_answered(tmp_path: Path) -> None:
    given = [
        (CSV, ORDERS), (JSONL, JSON_LINES), (PARQUET, parquet()), (XLSX, xlsx()),
        ("text/tab-separated-values", ORDERS.replace(b",", b"\t")),
    ]  # fmt: skip
    for media_type, data in given:
        first = {"column": "id", "op": ">=", "value": 1}
        ran = run("table.query", tmp_path, data, "t", media_type=media_type, filter=first)
        assert ran.work.outputs[0].type == media_type
        assert len(ask(tmp_path, ran.data, media_type)) == len(ask(tmp_path, data, media_type))


def test_result_can_be_disarmed(tmp_path: Path) -> None:
    ran = run("table.query", tmp_path, ORDERS, "t.csv", escape_formulas=True, types="text")
    table = list(csv.reader(io.StringIO(ran.data.decode())))
    assert table[-1] == ["4", "Rome", "10.5", "2026-03-02", "'=1"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"select": ["no"]}, "unknown_column"),
        ({"select": ["ID"]}, "unknown_column"),
        ({"filter": {"column": 'city" OR 1=1 --', "op": "is_null"}}, "unknown_column"),
        ({"group_by": ["city"], "sort": ["id"]}, "unknown_column"),
        ({"select": ["id", {"column": "city", "as": "ID"}]}, "bad_query"),
        ({"select": [{"column": "city", "as": " "}]}, "bad_query"),
        ({"filter": {"column": "city", "op": "=", "value": 5}}, "bad_query"),
        ({"filter": {"column": "amount", "op": ">", "value": "99"}}, "bad_query"),
        ({"filter": {"column": "id", "op": "in", "value": [1, "2"]}}, "bad_query"),
        ({"filter": {"column": "amount", "op": "=", "value": True}}, "bad_query"),
        ({"filter": {"column": "when", "op": "=", "value": "soon"}}, "bad_query"),
        ({"filter": {"column": "when", "op": "contains", "value": "2026"}}, "bad_query"),
        ({"aggregate": [{"function": "sum", "column": "city"}]}, "bad_query"),
        ({"aggregate": [{"function": "count"}, {"function": "count"}]}, "bad_query"),
    ],
)
def test_what_does_not_fit_the_table_is_said(
    params: dict[str, Any], code: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, **params).job_code == code


def test_numbers_that_json_cannot_hold_are_compared_with_texts(tmp_path: Path) -> None:
    large = "12345678901234567890.125"
    data = parquet(f"SELECT {large}::DECIMAL(38,3) AS d, {2**64 - 1}::UBIGINT AS u, 2 AS n")
    for column, value, found in (
        ("d", large, 1),
        ("d", 5, 0),
        ("u", str(2**64 - 1), 1),
        ("n", 2, 1),
    ):
        condition = {"column": column, "op": "=", "value": value}
        assert len(ask(tmp_path, data, PARQUET, filter=condition)) == found
    for value in ("x", "1e999999", "nan"):
        condition = {"column": "d", "op": "=", "value": value}
        with pytest.raises(BadInput, match="compare it with a number"):
            ask(tmp_path, data, PARQUET, filter=condition)


def test_unknown_column_is_told_with_those_there_are(tmp_path: Path) -> None:
    assert "'id', 'city', 'amount', 'when', 'note'" in refusal(tmp_path, select=["no"]).detail
    wide = ",".join(f"c{n}" for n in range(70)).encode() + b"\n"
    with pytest.raises(BadInput, match=r"'c0', .*'c49' and 20 more"):
        ask(tmp_path, wide * 2, select=["no"])


def deep(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"column": "a", "op": "is_null"}
    for _ in range(levels):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    "params",
    [
        {"filter": {}},
        {"filter": {"column": "a"}},
        {"filter": {"op": "="}},
        {"filter": {"column": "a", "op": "like", "value": "x"}},
        {"filter": {"column": "a", "op": "=", "value": None}},
        {"filter": {"column": "a", "op": "=", "value": [1]}},
        {"filter": {"column": "a", "op": "in", "value": 1}},
        {"filter": {"column": "a", "op": "between", "value": [1]}},
        {"filter": {"column": "a", "op": "is_null", "value": 1}},
        {"filter": {"column": "a", "op": "is_null", "all": []}},
        {"filter": {"column": "a", "op": "=", "value": "\ud800"}},
        {"filter": {"any": [{"column": "a", "op": "is_null"}] * 201}},
        {"filter": deep(11)},
        {"filter": deep(2_000)},
        {"filter": "{"},
        {"aggregate": [{"function": "sum"}]},
        {"aggregate": [{"function": "read_csv", "column": "a"}]},
        {"select": ["a"], "group_by": ["a"]},
        {"having": {"column": "a", "op": "is_null"}},
        {"sql": "SELECT 1", "limit": 1},
        {"sql": ""},
        {"limit": 0},
    ],
)
def test_what_is_no_query_is_refused_at_once(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("table.query").parse(params)


def test_parts_of_a_query_in_an_address_are_json() -> None:
    parsed = find("table.query").parse(
        {
            "filter": '{"column":"a","op":"in","value":[1,"x"]}',
            "sort": ["b", '{"column":"c","descending":true}'],
        }
    )
    assert parsed["filter"]["value"] == [1, "x"]
    assert parsed["sort"] == ["b", {"column": "c", "descending": True}]
    assert find("table.query").parse(parsed) == parsed


# --- SQL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT city, sum(amount) AS s FROM data GROUP BY 1 ORDER BY 2 DESC LIMIT 1;",
         [{"city": "Rome", "s": 10.5}]),
        ("FROM data SELECT count(*) AS n -- a comment", [{"n": 4}]),
        ("WITH t AS (SELECT * FROM data WHERE id > 2) SELECT max(id) AS m FROM t", [{"m": 4}]),
        ("SELECT row_number() OVER (ORDER BY id) AS r FROM data ORDER BY id LIMIT 1", [{"r": 1}]),
        ("SELECT a.id FROM data a JOIN data b ON a.id = b.id + 3", [{"id": 4}]),
        ("WITH RECURSIVE t AS (SELECT 1 AS n) FROM t", [{"n": 1}]),
        ("SELECT 1 AS a UNION ALL SELECT 2", [{"a": 1}, {"a": 2}]),
        ("SELECT unnest([1, 2]) AS u, 'read_csv(''x'')' AS t", [
            {"u": 1, "t": "read_csv('x')"}, {"u": 2, "t": "read_csv('x')"}]),
        ("SELECT DISTINCT ON (city) city FROM data ORDER BY city LIMIT 1", [{"city": "Bergen"}]),
        ("SELECT CASE WHEN id = 1 THEN 'x' END AS c FROM data QUALIFY lag(id) OVER () IS NULL",
         [{"c": "x"}]),
        ("SELECT strftime(max(\"when\"), '%Y') AS y FROM data WHERE EXISTS (SELECT 1)",
         [{"y": "2026"}]),
        ("SELECT count(*) FILTER (WHERE id < 3) AS n FROM data WHERE regexp_matches(city, '^[OB]')",
         [{"n": 2}]),
    ],
)  # fmt: skip
def test_one_select_is_answered(sql: str, expected: list[Any], tmp_path: Path) -> None:
    assert ask(tmp_path, sql=sql) == expected


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT ct FROM data", "ct"),
        ("SELEC 1", "syntax error"),
        ("SELECT city::INT FROM data", "Could not convert"),
        ("SELECT 1 AS a, 2 AS A", "one name"),
        ("SELECT CAST('/etc/passwd' AS INT) AS a FROM data", "cannot be run"),
        ("SELECT 1; SELECT 2", "more than one"),
        ("DELETE FROM data", "no SELECT"),
        ("WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) FROM t", "RECURSIVE"),
    ],
)
def test_a_statement_that_fails_says_why(sql: str, says: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, sql=sql)
    assert error.job_code == "bad_query"
    assert says in error.detail


@pytest.mark.parametrize("data", [b"PAR1" + bytes(40) + b"PAR1", b"PAR1", b"no parquet"])
def test_a_damaged_file_is_said_before_any_statement(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run("table.query", tmp_path, data, "t", media_type=PARQUET, sql="SELECT 1 AS a FROM data")
    assert caught.value.job_code == "corrupt_input"


# {file} is a file that may not be read, {own} the input, {out} a file that may not be written,
# {port} a server on this machine.
HOSTILE = [
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_csv_auto('{file}')",
    "SELECT * FROM READ_CSV('{file}', header = false)",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_json_objects('{file}')",
    "SELECT * FROM read_ndjson_objects('{file}')",
    "SELECT * FROM read_parquet('{own}')",
    "SELECT * FROM parquet_scan('{own}')",
    "SELECT * FROM parquet_metadata('{own}')",
    "SELECT * FROM parquet_schema('{own}')",
    "SELECT * FROM parquet_kv_metadata('{own}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_duckdb('{file}')",
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "FROM '{file}'",
    "TABLE '{file}'",
    "SELECT * FROM '{folder}/*.csv'",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "SELECT * FROM data WHERE city IN (SELECT content FROM read_text('{file}'))",
    "SELECT * FROM data, LATERAL (SELECT * FROM read_text('{file}'))",
    "WITH t AS (SELECT * FROM read_text('{file}')) SELECT * FROM t",
    'WITH "{file}" AS (SELECT 1) SELECT * FROM data',
    "WITH RECURSIVE t AS (SELECT content FROM read_text('{file}') UNION SELECT * FROM t) FROM t",
    "SELECT 1 UNION SELECT content FROM read_text('{file}')",
    "SELECT * FROM data ORDER BY (SELECT content FROM read_text('{file}'))",
    "SELECT * FROM data LIMIT (SELECT length(content) FROM read_text('{file}'))",
    "SELECT * FROM data TABLESAMPLE 10% (system) JOIN read_text('{file}') ON true",
    "SELECT list_transform([1], x -> (SELECT content FROM read_text('{file}')))",
    "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
    "SELECT * FROM query_table('{file}')",
    "SELECT * FROM query_table(['data', '{file}'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT json_serialize_plan('SELECT * FROM read_text(''{file}'')')",
    "SELECT * FROM read_csv('http://127.0.0.1:{port}/x.csv')",
    "SELECT * FROM 'http://127.0.0.1:{port}/x.parquet'",
    "SELECT * FROM read_parquet('s3://127.0.0.1:{port}/x.parquet')",
    "SELECT * FROM read_text('hf://datasets/x')",
    "COPY data TO '{out}'",
    "COPY (SELECT 1) TO '{out}' (FORMAT csv)",
    "SELECT 1) TO '{out}' (FORMAT csv); --",
    "SELECT 1; COPY data TO '{out}'",
    "COPY data FROM '{file}'",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{out}' AS x",
    "ATTACH 'http://127.0.0.1:{port}/x.db' AS x",
    "INSTALL httpfs",
    "INSTALL x FROM 'http://127.0.0.1:{port}'",
    "LOAD '{file}'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA enable_external_access",
    "PRAGMA enable_profiling",
    "SET VARIABLE x = (SELECT content FROM read_text('{file}'))",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM pragma_database_size()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM memory.main.data",
    "SELECT pg_get_viewdef(1)",
    "CREATE TABLE x AS SELECT 1",
    "CREATE SECRET x (TYPE s3)",
    "CREATE OR REPLACE VIEW data AS SELECT * FROM read_text('{file}')",
    "CREATE MACRO m() AS TABLE SELECT * FROM read_text('{file}')",
    "INSERT INTO data VALUES (1)",
    "WITH t AS (INSERT INTO data SELECT 1 RETURNING *) SELECT * FROM t",
    "WITH t AS (DELETE FROM data RETURNING *) SELECT * FROM t",
    "DROP VIEW data",
    "CALL pragma_version()",
    "DESCRIBE data",
    "SUMMARIZE data",
    "SHOW ALL TABLES",
    "SELECT * FROM (SHOW TABLES)",
    "SELECT * FROM (DESCRIBE data)",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE x AS SELECT 1",
    "EXECUTE x",
    "BEGIN; SELECT 1",
    "CHECKPOINT",
    "VACUUM",
    "SELECT $1",
    "SELECT ?",
    "SELECT * FROM data AT (VERSION => 1)",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT nextval('x')",
    "SELECT finalize(x) FROM data",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM ducks",
    "SELECT",
    ";",
    "'",
    "--",
    "/*",
    "\x00SELECT 1",
    "(" * 9_000,
    "SELECT " + "(" * 3_000 + "1" + ")" * 3_000 + " FROM read_text('{file}')",
    "SELECT " + "NOT " * 4_000 + "true FROM read_text('{file}')",
]  # fmt: skip


@pytest.fixture
def knocks() -> Iterator[tuple[int, list[Any]]]:
    """The port of a server on this machine, and who came."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def wait() -> None:
            try:
                while True:
                    came.append(server.accept()[1])
            except OSError:
                return

        watcher = threading.Thread(target=wait)
        watcher.start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)
        watcher.join()


def test_no_statement_reaches_a_file_or_the_network(
    tmp_path: Path, knocks: tuple[int, list[Any]]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    canary = work / "beside.csv"  # in the scratch folder, but not the table
    canary.write_text("a\nc4n4ry\n")
    port, came = knocks
    assert len(HOSTILE) >= 60
    for statement in HOSTILE:
        sql = filled(statement, file=canary, folder=work, own=work / "in", out=work / "made")
        error = refused(work, sql.replace("{port}", str(port)))
        assert error.job_code == "bad_query", sql
        assert "c4n4ry" not in error.detail
        assert {path.name for path in work.iterdir()} <= {"in", "out", "beside.csv"}, sql
    assert canary.read_text() == "a\nc4n4ry\n"
    assert came == []


def filled(statement: str, **paths: Path) -> str:
    for name, path in paths.items():
        statement = statement.replace("{" + name + "}", str(path))
    return statement


def refused(folder: Path, sql: str) -> BadInput:
    try:
        run("table.query", folder, parquet_bytes(), "t", media_type=PARQUET, sql=sql)
    except BadInput as error:
        return error
    raise AssertionError(f"it ran: {sql[:200]}")


def parquet_bytes(made: list[bytes] = []) -> bytes:  # noqa: B006 - made once
    if not made:
        made.append(parquet())
    return made[0]


def test_the_engine_alone_would_hold_them_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knocks: tuple[int, list[Any]]
) -> None:
    """The same with nobody looking at the statement: the second wall stands by itself."""
    monkeypatch.setattr(statements, "checked", lambda _, sql: sql)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nc4n4ry\n")
    work = tmp_path / "work"
    work.mkdir()
    reading = [sql for sql in HOSTILE if "{file}" in sql or "{port}" in sql or "{folder}" in sql]
    for statement in reading:
        sql = filled(
            statement, file=secret, folder=tmp_path, own=work / "in", out=tmp_path / "made"
        ).replace("{port}", str(knocks[0]))
        try:
            ran = run(
                "table.query", work, parquet_bytes(), "t", media_type=PARQUET, sql=sql, to="csv"
            )
        except BadInput:
            continue
        assert b"c4n4ry" not in ran.data, sql
    assert not (tmp_path / "made").exists()
    assert knocks[1] == []
