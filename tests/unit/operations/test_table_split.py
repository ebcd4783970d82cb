from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find, table_split
from samples import parquet, rows_of_parquet, run, xlsx

CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PEOPLE = 'id;city\n1;Oslo\n2;"Ber;gen"\n3;\n4;oslo\n5;x/../y\n6;Oslo\n'


def parts(
    folder: Path, data: bytes | str, media_type: str = CSV, name: str = "t.csv", **params: Any
) -> dict[str, bytes]:
    data = data.encode() if isinstance(data, str) else data
    ran = run("table.split", folder, data, name, media_type=media_type, **params)
    assert {path.name for path in folder.iterdir()} == {"in", "out"}
    made = {output.name: output.path.read_bytes() for output in ran.work.outputs}
    assert len({name.casefold() for name in made}) == len(ran.work.outputs)
    return made


def refusal(folder: Path, data: bytes | str, media_type: str = CSV, **params: Any) -> str:
    with pytest.raises(BadInput) as caught:
        parts(folder, data, media_type, **params)
    return caught.value.job_code


def test_rows_are_dealt_out_in_order(tmp_path: Path) -> None:
    assert parts(tmp_path, PEOPLE, rows=4) == {
        "t-0001.csv": b'id;city\n1;Oslo\n2;"Ber;gen"\n3;\n4;oslo\n',
        "t-0002.csv": b"id;city\n5;x/../y\n6;Oslo\n",
    }
    assert list(parts(tmp_path, PEOPLE, rows=3)) == ["t-0001.csv", "t-0002.csv"]
    assert parts(tmp_path, "1,2\n3,4\n", rows=1, header=False)["t-0002.csv"] == b"3,4\n"
    assert parts(tmp_path, "a,b\n", rows=1) == {"t-0001.csv": b"a,b\n"}


def test_each_value_has_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        "t-Oslo.csv": b"id;city\n1;Oslo\n6;Oslo\n",
        "t-Ber_gen.csv": b'id;city\n2;"Ber;gen"\n',
        "t-empty.csv": b"id;city\n3;\n",
        "t-oslo_2.csv": b"id;city\n4;oslo\n",
        "t-x____y.csv": b"id;city\n5;x/../y\n",
    }
    assert parts(tmp_path, PEOPLE, column="city") == expected
    monkeypatch.setattr(table_split, "_BUFFERED", 5)
    assert parts(tmp_path, PEOPLE, column="city") == expected


def test_parts_are_no_larger_than_they_may_be(tmp_path: Path) -> None:
    data = "a,ü\n" + "".join(f"{n},{'ä' * (n % 90)}\n" for n in range(500))
    made = list(parts(tmp_path, data, bytes=3_000).values())
    assert max(map(len, made)) <= 3_000
    assert min(map(len, made[:-1])) > 2_700
    head = "a,ü\n".encode()
    assert b"".join(part.removeprefix(head) for part in made) == data.encode().removeprefix(head)
    long = parts(tmp_path, "a,b\n1," + "x" * 5_000 + "\n2,y\n", bytes=1_000)
    assert [len(part) > 5_000 for part in long.values()] == [True, False]


def test_objects_keep_their_numbers(tmp_path: Path) -> None:
    lines = b'{"a":1.10,"b":"x"}\n{"b":null}\n{"a":2,"b":"x"}\n'
    made = parts(tmp_path, lines, JSONL, "t.jsonl", column="b")
    assert made == {
        "t-x.jsonl": b'{"a":1.10,"b":"x"}\n{"a":2,"b":"x"}\n', "t-empty.jsonl": b'{"b":null}\n',
    }  # fmt: skip


def numbers(folder: Path, data: bytes) -> list[int]:
    path = folder / "looked-at"
    path.write_bytes(data)
    found = [row[0] for row in rows_of_parquet(path)[1]]
    path.unlink()
    return found


def test_parquet_is_cut_in_order(tmp_path: Path) -> None:
    data = parquet("SELECT range AS i, range % 3 AS m, md5(range::VARCHAR) AS t FROM range(9000)")
    work = tmp_path / "work"
    work.mkdir()
    by_rows = parts(work, data, PARQUET, "t.parquet", rows=4_000)
    assert [numbers(tmp_path, part) for part in by_rows.values()] == [
        list(range(4_000)), list(range(4_000, 8_000)), list(range(8_000, 9_000)),
    ]  # fmt: skip
    by_size = parts(work, data, PARQUET, "t.parquet", bytes=60_000)
    assert max(map(len, by_size.values())) <= 60_000
    dealt = [number for part in by_size.values() for number in numbers(tmp_path, part)]
    assert dealt == list(range(9_000))
    by_value = parts(work, data, PARQUET, "t.parquet", column="m")
    assert list(by_value) == ["t-0.parquet", "t-1.parquet", "t-2.parquet"]
    assert numbers(tmp_path, by_value["t-1.parquet"]) == list(range(1, 9_000, 3))


def test_workbook_is_cut_into_workbooks(tmp_path: Path) -> None:
    made = parts(tmp_path, xlsx([["a"], [1], [2], [3]]), XLSX, "t.xlsx", rows=2)
    assert list(made) == ["t-0001.xlsx", "t-0002.xlsx"]
    ran = run("table.convert", tmp_path, made["t-0002.xlsx"], "t", media_type=XLSX, to="jsonl")
    assert json.loads(ran.data) == {"a": "3"}


def test_more_parts_than_are_allowed_fail_the_job(tmp_path: Path) -> None:
    many = parquet("SELECT range AS i FROM range(30)")
    for way in ({"rows": 1}, {"column": "id"}):
        assert refusal(tmp_path, PEOPLE, max_files=5, **way) == "too_many_outputs"
    for way in ({"rows": 1}, {"column": "i"}):
        assert refusal(tmp_path, many, PARQUET, max_files=29, **way) == "too_many_outputs"
    assert len(parts(tmp_path, PEOPLE, rows=1, max_files=6)) == 6


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    for data, media_type in ((PEOPLE, CSV), (b'{"a":1}\n', JSONL), (parquet(), PARQUET)):
        assert refusal(tmp_path, data, media_type, column="no") == "unknown_column"
    assert refusal(tmp_path, "a,b\n1\n", rows=1) == "ragged_rows"
    assert refusal(tmp_path, "", rows=1) == "empty_table"
    assert refusal(tmp_path, parquet()[:-20], PARQUET, rows=1) == "corrupt_input"


@pytest.mark.parametrize("params", [{}, {"rows": 1, "bytes": 5_000}, {"rows": 0}, {"bytes": 10}])
def test_one_way_to_split_is_asked_for(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("table.split").parse(params)


@pytest.mark.parametrize(
    "value", ["..", "/", "\u202eexe", "a" * 500, "\U0001f600", "CON", "%2e", "'"]
)
def test_values_become_names_that_do_no_harm(value: str, tmp_path: Path) -> None:
    (name,) = parts(tmp_path, f"a,b\n1,{value}\n", column="b")
    assert name.startswith("t-")
    assert len(name.encode()) < 200
    assert not set(name) & set("/\\\u202e'\"%")
