from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput, rows
from samples import parquet, rows_of_parquet, run, xlsx

CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PEOPLE = 'id;city\n1;Oslo\n2;"Ber;gen"\n1;Oslo\n3;Oslo\n2;x\n'


def once(folder: Path, data: bytes | str, media_type: str = CSV, **params: Any) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    ran = run("table.deduplicate", folder, data, "t", media_type=media_type, **params)
    assert {path.name for path in folder.iterdir()} == {"in", "out"}
    assert ran.work.outputs[0].type == media_type
    return ran.data


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 'id;city\n1;Oslo\n2;"Ber;gen"\n3;Oslo\n2;x\n'),
        ({"columns": ["city"]}, 'id;city\n1;Oslo\n2;"Ber;gen"\n2;x\n'),
        ({"columns": ["city"], "keep": "last"}, 'id;city\n2;"Ber;gen"\n3;Oslo\n2;x\n'),
        ({"columns": ["id"], "keep": "last"}, "id;city\n1;Oslo\n3;Oslo\n2;x\n"),
        ({"columns": ["column_2"], "header": False}, 'id;city\n1;Oslo\n2;"Ber;gen"\n2;x\n'),
    ],
)
def test_first_or_last_of_the_same_rows_stays(
    params: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert once(tmp_path, PEOPLE, **params).decode() == expected


def test_cells_are_the_same_to_the_character_only(tmp_path: Path) -> None:
    data = "a,b\n1,x\n01,x\n1.0,x\n1,X\n1,x \n1,x\n"
    assert once(tmp_path, data).decode() == data.removesuffix("1,x\n")


def test_corners_of_csv_keep_their_rows(tmp_path: Path) -> None:
    mixed = 'a,b\r\n1,"x\ny"\r\n\r\n1,"x\ny"\n1,"x\r\ny"\r\n'
    assert once(tmp_path, mixed).decode() == 'a,b\n1,"x\ny"\n1,"x\r\ny"\n'
    assert once(tmp_path, "a\n\nx\n\nx\n").decode() == 'a\n""\nx\n'
    assert once(tmp_path, "a,b\n").decode() == "a,b\n"
    assert once(tmp_path, "\n\na,b\n1,2\n1,2\n").decode() == "a,b\n1,2\n"


def test_rows_that_stay_are_those_of_a_plain_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    table = [(chance.randrange(300), chance.choice("abc")) for _ in range(5_000)]
    text = "n,c\n" + "".join(f"{n},{c}\n" for n, c in table)
    expected = "n,c\n" + "".join(f"{n},{c}\n" for n, c in dict.fromkeys(table))
    assert once(tmp_path, text).decode() == expected
    monkeypatch.setattr(rows, "is_plain", lambda *_: False)  # read by us, not by DuckDB
    assert once(tmp_path, text).decode() == expected


def test_objects_are_the_same_whatever_their_order(tmp_path: Path) -> None:
    lines = b'{"a":1.10,"b":[1]}\n{"b":[1],"a":1.10}\n{"a":1.1,"b":[1]}\n{"a":null}\n{}\n'
    assert once(tmp_path, lines, JSONL) == b'{"a":1.10,"b":[1]}\n{"a":1.1,"b":[1]}\n{"a":null}\n'


def test_parquet_keeps_its_types_and_its_order(tmp_path: Path) -> None:
    data = parquet(
        'SELECT (range * 7919 % 1000)::SMALLINT AS "row", [1] AS l, NULL::INT AS n'
        " FROM range(50000)"
    )
    (tmp_path / "work").mkdir()
    (tmp_path / "made").write_bytes(once(tmp_path / "work", data, PARQUET))
    types, table = rows_of_parquet(tmp_path / "made")
    assert types == {"row": "SMALLINT", "l": "INTEGER[]", "n": "INTEGER"}
    assert [row[0] for row in table] == [n * 7919 % 1000 for n in range(1000)]


def test_workbook_stays_one(tmp_path: Path) -> None:
    made = once(tmp_path, xlsx([["a", "z"], [1, "007"], [1, "007"], [2, "7"]]), XLSX)
    lines = run("table.convert", tmp_path, made, "t", media_type=XLSX, to="jsonl").data.splitlines()
    assert [json.loads(line) for line in lines] == [{"a": "1", "z": "007"}, {"a": "2", "z": "7"}]


@pytest.mark.parametrize(
    ("data", "media_type", "params", "code"),
    [
        (b"a,b\n1,2\n", CSV, {"columns": ["c"]}, "unknown_column"),
        (b"a,b\n1\n", CSV, {}, "ragged_rows"),
        (b"", CSV, {}, "empty_table"),
        (b"{]\n", JSONL, {}, "bad_json"),
        (parquet()[:-20], PARQUET, {}, "corrupt_input"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: bytes, media_type: str, params: dict[str, Any], code: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as caught:
        once(tmp_path, data, media_type, **params)
    assert caught.value.job_code == code
