"""The corners of CSV that csv-spectrum collects, row for row, through every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from samples import rows_of_parquet, run

# As in https://github.com/max-mapper/csv-spectrum: the file, and its rows.
CORNERS: dict[str, tuple[str, list[list[str]]]] = {
    "comma in quotes": (
        'first,last,address,city,zip\nJohn,Doe,120 any st.,"Anytown, WW",08123\n',
        [["first", "last", "address", "city", "zip"],
         ["John", "Doe", "120 any st.", "Anytown, WW", "08123"]],
    ),
    "empty": (
        'a,b,c\n1,"",""\n2,3,4\n',
        [["a", "b", "c"], ["1", "", ""], ["2", "3", "4"]],
    ),
    "empty crlf": (
        'a,b,c\r\n1,"",""\r\n2,3,4\r\n',
        [["a", "b", "c"], ["1", "", ""], ["2", "3", "4"]],
    ),
    "escaped quotes": (
        'a,b\n1,"ha ""ha"" ha"\n3,4\n',
        [["a", "b"], ["1", 'ha "ha" ha'], ["3", "4"]],
    ),
    "json": (
        'key,val\n1,"{""type"": ""Point"", ""coordinates"": [102.0, 0.5]}"\n',
        [["key", "val"], ["1", '{"type": "Point", "coordinates": [102.0, 0.5]}']],
    ),
    "location coordinates": (
        'Contact Phone,Location Coordinates,Cities\n8014822808,"(41.1,-111.9)",South Weber\n',
        [["Contact Phone", "Location Coordinates", "Cities"],
         ["8014822808", "(41.1,-111.9)", "South Weber"]],
    ),
    "newlines": (
        'a,b,c\n1,2,3\n"Once upon \na time",5,6\n7,8,9\n',
        [["a", "b", "c"], ["1", "2", "3"], ["Once upon \na time", "5", "6"], ["7", "8", "9"]],
    ),
    "newlines crlf": (
        'a,b,c\r\n1,2,3\r\n"Once upon \r\na time",5,6\r\n7,8,9\r\n',
        [["a", "b", "c"], ["1", "2", "3"], ["Once upon \r\na time", "5", "6"], ["7", "8", "9"]],
    ),
    "quotes and newlines": (
        'a,b\n1,"ha \n""ha"" \nha"\n3,4\n',
        [["a", "b"], ["1", 'ha \n"ha" \nha'], ["3", "4"]],
    ),
    "simple": ("a,b,c\n1,2,3\n", [["a", "b", "c"], ["1", "2", "3"]]),
    "simple crlf": ("a,b,c\r\n1,2,3\r\n", [["a", "b", "c"], ["1", "2", "3"]]),
    "utf-8": ("a,b,c\n1,2,3\n4,5,ʤ\n", [["a", "b", "c"], ["1", "2", "3"], ["4", "5", "ʤ"]]),
}  # fmt: skip


def made(folder: Path, operation: str, text: str, **params: Any) -> bytes:
    ran = run(operation, folder, text.encode(), "t.csv", media_type="text/csv", **params)
    return ran.data


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("corner", CORNERS)
def test_every_corner_comes_out_row_for_row(corner: str, tmp_path: Path) -> None:
    text, table = CORNERS[corner]
    names, *body = table
    assert read(made(tmp_path, "table.convert", text, to="csv")) == table
    assert read(made(tmp_path, "table.convert", text, to="csv", schema={names[0]: "text"})) == table
    assert read(made(tmp_path, "table.deduplicate", text)) == table
    lines = made(tmp_path, "table.convert", text, to="jsonl").splitlines()
    assert [json.loads(line) for line in lines] == [
        dict(zip(names, row, strict=True)) for row in body
    ]
    stored = tmp_path / "stored"
    stored.write_bytes(made(tmp_path, "table.convert", text, to="parquet", types="text"))
    assert rows_of_parquet(stored)[1] == [tuple(row) for row in body]
    assert read(made(tmp_path, "table.query", text, types="text")) == table
    assert read(made(tmp_path, "table.split", text, rows=10)) == table


@pytest.mark.parametrize("corner", CORNERS)
def test_every_corner_survives_a_workbook(corner: str, tmp_path: Path) -> None:
    text, table = CORNERS[corner]
    book = made(tmp_path, "table.convert", text, to="xlsx", types="text")
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    again = run("table.convert", tmp_path, book, "t.xlsx", media_type=kind, to="csv")
    assert read(again.data) == table


@pytest.mark.parametrize("length", [20, 30_000])
def test_delimiter_is_found_where_the_sample_ends_within_quotes(
    length: int, tmp_path: Path
) -> None:
    cell = "word, word\n" * (length // 11)
    data = "a;b\n" + f'1;"{cell}"\n' * (140_000 // len(cell))
    found = run("table.convert", tmp_path, data.encode(), "a.csv", to="jsonl").data
    assert json.loads(found.splitlines()[-1]) == {"a": "1", "b": cell}
