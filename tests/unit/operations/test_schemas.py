"""`table.convert` with a schema and with rejected rows; the types themselves."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find, schemas
from samples import parquet, rows_of_parquet, run, xlsx

CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

ORDERS = (
    "id,amount,when,ok,name\n"
    "1,1.10,2026-11-22,true,=x\n"  # line 2
    "x,2,2026-11-22,1,b\n"
    "3,4\n"
    "5,+.5,2026-02-30,0,c\n"
    '6,"7"x,2026-01-01,1,q\n'
    "7,,,,\n"
    '+009.0,007.50,2026-01-01,FALSE,"two\nlines"\n'  # lines 8 and 9
    "10,1e999,2026-01-01,true,z\n"
)
TYPES = {"id": "integer", "amount": "number", "when": "date", "ok": "boolean"}
REJECTED = [("3", "'id'"), ("4", "2 cells"), ("5", "'when'"), ("6", "quoted"), ("10", "'amount'")]


def convert(
    folder: Path, data: bytes | str, to: str, media_type: str = CSV, **params: Any
) -> tuple[bytes, list[list[str]]]:
    """What is made, and the rejected rows."""
    data = data.encode() if isinstance(data, str) else data
    ran = run("table.convert", folder, data, "t.csv", media_type=media_type, to=to, **params)
    made, *others = (output.path.read_bytes() for output in ran.work.outputs)
    rejected = others[0].decode() if others else ""
    return made, list(csv.reader(io.StringIO(rejected, newline="")))


def refusal(folder: Path, data: bytes | str, media_type: str = CSV, **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        convert(folder, data, "jsonl", media_type, **params)
    return caught.value


@pytest.mark.parametrize("to", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_bad_rows_go_to_a_file_of_their_own_with_line_and_reason(to: str, tmp_path: Path) -> None:
    made, rejected = convert(tmp_path, ORDERS, to, schema=TYPES, on_error="reject")
    assert rejected[0] == ["line", "reason", "record"]
    assert [row[0] for row in rejected[1:]] == [line for line, _ in REJECTED]
    for row, (_, word) in zip(rejected[1:], REJECTED, strict=True):
        assert word in row[1]
    assert rejected[2][2] == "3,4"
    assert made


def test_schema_makes_types_in_json_lines_and_parquet(tmp_path: Path) -> None:
    made, _ = convert(tmp_path, ORDERS, "jsonl", schema=TYPES, on_error="reject")
    assert [list(json.loads(line).values()) for line in made.splitlines()] == [
        [1, 1.1, "2026-11-22", True, "=x"],
        [7, None, None, None, ""],
        [9, 7.5, "2026-01-01", False, "two\nlines"],
    ]
    made, _ = convert(tmp_path, ORDERS, "parquet", schema=TYPES, on_error="reject")
    (tmp_path / "made").write_bytes(made)
    types, table = rows_of_parquet(tmp_path / "made")
    assert list(types.values()) == ["BIGINT", "DOUBLE", "DATE", "BOOLEAN", "VARCHAR"]
    assert [row[:2] for row in table] == [(1, 1.1), (7, None), (9, 7.5)]


def test_text_keeps_the_cells_as_they_are_written(tmp_path: Path) -> None:
    made, _ = convert(tmp_path, ORDERS, "csv", schema=TYPES, on_error="reject")
    assert made.decode().splitlines()[-2:] == ['+009.0,007.50,2026-01-01,FALSE,"two', 'lines"']


def test_first_bad_row_fails_the_job_unless_rows_are_rejected(tmp_path: Path) -> None:
    error = refusal(tmp_path, ORDERS, schema=TYPES)
    assert error.job_code == "schema_mismatch"
    assert error.detail == "Line 3: 'id' is 'x', no whole number of 64 bits."
    for bad, code in (("a,b\n1\n", "ragged_rows"), ('a,b\n1,"x"y\n', "bad_csv")):
        assert refusal(tmp_path, bad, schema={"a": "text"}).job_code == code
    assert refusal(tmp_path, ORDERS, schema={"no": "text"}).job_code == "unknown_column"


def test_quote_that_is_never_closed_fails_even_so(tmp_path: Path) -> None:
    error = refusal(tmp_path, 'a,b\n1,2\n3,"x\n', on_error="reject")
    assert error.job_code == "bad_csv"
    assert "line 3" in error.detail


def test_rejected_rows_are_disarmed_too(tmp_path: Path) -> None:
    _, rejected = convert(tmp_path, "a,b\n=1+1\n", "csv", on_error="reject", escape_formulas=True)
    assert rejected[1][2] == "'=1+1"


def test_lines_of_json_are_checked(tmp_path: Path) -> None:
    lines = b'{"id":7,"x":[1.10]}\n{"id":"x"}\n[1]\n{"id":\n{"id":"9","z":"007"}\n{"id":null}\n'
    given: dict[str, Any] = {"schema": {"id": "integer"}, "on_error": "reject"}
    made, rejected = convert(tmp_path, lines, "jsonl", JSONL, **given)
    assert made == b'{"id":7,"x":[1.10]}\n{"id":9,"z":"007"}\n{"id":null}\n'
    assert [(row[0], row[2]) for row in rejected[1:]] == [
        ("2", '{"id":"x"}'), ("3", "[1]"), ("4", '{"id":'),
    ]  # fmt: skip
    made, _ = convert(tmp_path, lines, "csv", JSONL, **given)
    assert made == b"id,x,z\n7,[1.10],\n9,,007\n,,\n"


def test_rows_of_a_workbook_are_checked(tmp_path: Path) -> None:
    data = xlsx([["id"], [1], ["x"], [3.5], [4]])
    made, rejected = convert(
        tmp_path, data, "csv", XLSX, schema={"id": "integer"}, on_error="reject"
    )
    assert made == b"id\n1\n4\n"
    assert [(row[0], row[2]) for row in rejected] == [
        ("row", "record"), ("3", '["x"]'), ("4", '["3.5"]'),
    ]  # fmt: skip


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_columns_of_parquet_are_checked_and_changed(to: str, tmp_path: Path) -> None:
    data = parquet(
        "SELECT * FROM (VALUES (1.0::DOUBLE, '1', '2026-01-01'), (2, 'x', NULL),"
        " (3, '', '2026-02-30'), (4.5, '5', '2026-01-02'), (6, '+7', '')) t(a, b, \"row\")"
    )
    wanted = {"a": "integer", "b": "integer", "row": "date"}
    made, rejected = convert(tmp_path, data, to, PARQUET, schema=wanted, on_error="reject")
    assert [row[0] for row in rejected] == ["row", "2", "3", "4"]
    if to == "csv":
        assert made == b"a,b,row\n1,1,2026-01-01\n6,7,\n"
    else:
        (tmp_path / "made").write_bytes(made)
        assert list(rows_of_parquet(tmp_path / "made")[0].values()) == ["BIGINT", "BIGINT", "DATE"]
    assert refusal(tmp_path, data, PARQUET, schema=wanted).detail.startswith("Row 2: 'b' is 'x'")


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    made, _ = convert(tmp_path, "a,a\nx,2\n", "jsonl", schema={"a_2": "integer"})
    assert made == b'{"a":"x","a_2":2}\n'


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", ["0", "-7", "+007", "7.0", str(2**63 - 1), str(-(2**63))],
         ["", "7.5", "1e5", " 7", "7 ", "0x7", "\u0667", str(2**63), "9" * 5000, "7.", "1,000"]),
        ("number", ["0", "-.5", "1.", "1e-5", "+1.5E10"],
         ["nan", "inf", "1e999", "1_0", ".", "e5", "0x1p3", "9" * 5000]),
        ("decimal(5,2)", ["1.50", "-999.99", "0001", "+0.1", "7"], ["1000", "1.505", ".5", "1e2"]),
        ("decimal(2,2)", ["0.25", "-0", "00.1"], ["1", "0.255"]),
        ("decimal(38,0)", ["9" * 38], ["9" * 39, "1.0"]),
        ("boolean", ["true", "FALSE", "True", "0", "1"], ["yes", "t", "10", "falsehood"]),
        ("date", ["2026-11-22", "2024-02-29", "0001-01-01"],
         ["2026-02-29", "22.11.2026", "2026-1-1", "20261122", "0000-01-01", "2026-11-22T00:00"]),
        ("timestamp", ["2026-11-22T10:30", "2026-11-22 10:30:15.123456", "2026-11-22T10:30:15Z",
                       "2026-11-22T10:30:15+02:00"],
         ["2026-11-22", "2026-11-22T25:00", "2026-11-22T10:30:15.1234567", "now"]),
        ("time", ["10:30", "23:59:59.999999"], ["24:00", "10", "10:30:60"]),
        ("text", ["", "anything"], []),
    ],
)  # fmt: skip
def test_types_take_what_duckdb_reads_to_the_same_value(
    kind: str, good: list[str], bad: list[str]
) -> None:
    fits = schemas.fits(kind)
    assert [cell for cell in good if not fits(cell)] == []
    assert [cell for cell in bad if fits(cell)] == []
    if kind == "text":
        return
    with duckdb.connect(":memory:") as connection:
        for cell in good + bad:
            query = f"SELECT {schemas.sql_fits(kind, '$1::VARCHAR')}"
            found = connection.execute(query, [cell]).fetchone()
            assert found == (fits(cell),), cell
        for cell in good:
            connection.execute(f"SELECT $1::{schemas.sql_type(kind)}", [cell])
            json.loads(schemas.json_value(kind)(cell))


@pytest.mark.parametrize(
    "schema",
    [{"a": "int"}, {"a": "decimal(39,1)"}, {"a": "decimal(2,3)"}, [], "x", "{", {"a": None},
     {f"c{i}": "text" for i in range(1_001)}],
)  # fmt: skip
def test_schema_that_is_none_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("table.convert").parse({"to": "csv", "schema": schema})
    assert all(e["pointer"].startswith("/params/schema") for e in caught.value.errors)


def test_schema_in_an_address_is_json() -> None:
    parsed = find("table.convert").parse({"to": "csv", "schema": '{"a":"integer"}'})
    assert parsed["schema"] == {"a": "integer"}
    assert find("table.convert").parse(parsed) == parsed
