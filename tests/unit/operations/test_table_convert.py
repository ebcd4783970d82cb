from __future__ import annotations

import csv
import io
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Input, Limits, OutOfResources, Work, find, rows
from samples import JSON_LINES, TABLE, TABLE_ROWS, parquet, rows_of_parquet, run, xlsx

CSV, TSV = "text/csv", "text/tab-separated-values"
JSONL, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def converted(
    folder: Path, data: bytes | str, to: str, media_type: str = CSV, **params: Any
) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return run("table.convert", folder, data, "t.csv", media_type=media_type, to=to, **params).data


def refusal(
    folder: Path, data: bytes | str, to: str = "tsv", media_type: str = CSV, **params: Any
) -> BadInput:
    with pytest.raises(BadInput) as caught:
        converted(folder, data, to, media_type, **params)
    return caught.value


def read(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))


def stored(folder: Path, data: bytes | str, **params: Any) -> tuple[dict[str, str], list[Any]]:
    """Types and rows of what becomes of a file as Parquet."""
    (folder / "made.parquet").write_bytes(converted(folder, data, "parquet", **params))
    return rows_of_parquet(folder / "made.parquet")


# --- text to text: every cell as it was ------------------------------------------------------


def test_csv_keeps_every_cell_as_it_is_written(tmp_path: Path) -> None:
    assert read(converted(tmp_path, TABLE, "tsv"), "\t") == TABLE_ROWS
    assert read(converted(tmp_path, TABLE, "csv", output_delimiter=";"), ";") == TABLE_ROWS
    lines = [json.loads(line) for line in converted(tmp_path, TABLE, "jsonl").splitlines()]
    assert [list(line) for line in lines] == [TABLE_ROWS[0]] * 2
    assert [list(line.values()) for line in lines] == TABLE_ROWS[1:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('a,b,c\n1,"",""\n2,3,4\n', [["a", "b", "c"], ["1", "", ""], ["2", "3", "4"]]),
        ('a,b\n1,"ha ""ha"" ha"\n', [["a", "b"], ["1", 'ha "ha" ha']]),
        ('a,b\r\n1,"x\r\ny"\r\n', [["a", "b"], ["1", "x\r\ny"]]),
        ("a,b\r1,2\r", [["a", "b"], ["1", "2"]]),
        ("a,b\n1,2\r\n3,4", [["a", "b"], ["1", "2"], ["3", "4"]]),
        ("a,b\n\n1,2\n\n", [["a", "b"], ["1", "2"]]),
        ("a\n\nb\n", [["a"], [""], ["b"]]),
        ("\n\na,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ("\ufeffa,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ('a,b\n1,5" pipe\n', [["a", "b"], ["1", '5" pipe']]),
        ('a,b\n 1 , "q" \n', [["a", "b"], [" 1 ", ' "q" ']]),
        ("a,b\n1,x\x00y\n", [["a", "b"], ["1", "x\x00y"]]),
        ("a,b,c\n1,2,ʤ\n", [["a", "b", "c"], ["1", "2", "ʤ"]]),
        ("a,a,\n1,2,3\n", [["a", "a", ""], ["1", "2", "3"]]),
    ],
)
def test_corners_of_csv_come_out_exactly(
    data: str, expected: list[list[str]], tmp_path: Path
) -> None:
    assert read(converted(tmp_path, data, "tsv", delimiter=","), "\t") == expected


cell = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=12) | (
    st.sampled_from(
        ["", "007", "1e5", '"', "\r\n", "\r", "\t", ",", " x ", "=1+1", "NULL", "\u2028"]
    )
)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=6)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    table=tables,
    delimiter=st.sampled_from(rows.DELIMITERS),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table_survives_the_way_through_all_formats(
    table: list[list[str]], delimiter: str, end: str, quoting: Any, tmp_path: Path
) -> None:
    if any("\r" in text for row in table for text in row):
        quoting = csv.QUOTE_ALL  # Python before 3.13 leaves a lone return without quotes
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)
    how: dict[str, Any] = {"delimiter": delimiter, "header": False}
    text = buffer.getvalue()
    assert read(converted(tmp_path, text, "tsv", **how), "\t") == table
    lines = converted(tmp_path, text, "jsonl", **how).split(b"\n")[:-1]
    assert [list(json.loads(line).values()) for line in lines] == table
    assert stored(tmp_path, text, types="text", **how)[1] == [tuple(row) for row in table]


def test_lines_end_where_they_end_however_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = 'a,b\r\n"x\r\n\r\ny",ü\r\n1,2\r3,4\n'.encode()
    (tmp_path / "f").write_bytes(data)
    whole = list(io.StringIO(data.decode(), newline=""))
    for size in range(1, len(data)):
        monkeypatch.setattr(rows, "CHUNK_BYTES", size)
        assert list(rows.Lines(tmp_path / "f", "utf-8")) == whole


@pytest.mark.parametrize("start", ["\n", "\n\n\n", "\r\n\r\n", "\ufeff\n"])
def test_names_may_stand_below_blank_lines(start: str, tmp_path: Path) -> None:
    newline = "\r\n" if "\r" in start else "\n"
    _, table = stored(tmp_path, start + newline.join(["a,b", "1,x", ""]))
    assert table == [(1, "x")]


def test_delimiter_is_judged_from_the_rows(tmp_path: Path) -> None:
    for delimiter in rows.DELIMITERS:
        text = TABLE.decode().replace(",", delimiter) if delimiter != "," else TABLE.decode()
        assert len(read(converted(tmp_path, text, "csv"))[0]) == 4
    assert read(converted(tmp_path, "a|b;c\n1|2;3\n", "csv", delimiter=";")) == [
        ["a|b", "c"], ["1|2", "3"],
    ]  # fmt: skip


def test_quotes_can_mean_nothing(tmp_path: Path) -> None:
    data = 'a\tb\n"x\t5"\n'
    assert read(converted(tmp_path, data, "csv", TSV, quote="none")) == [["a", "b"], ['"x', '5"']]


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("utf-16", "auto"), ("utf-8-sig", "auto"), ("utf-16", "utf-16"), ("cp1252", "windows-1252"),
        ("latin-1", "latin-1"), ("utf-8", "utf-8"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_encodings_are_read(encoding: str, wanted: str, to: str, tmp_path: Path) -> None:
    data = "näme,ä\nÜ,ß\n".encode(encoding)
    if to == "csv":
        assert read(converted(tmp_path, data, to, encoding=wanted)) == [["näme", "ä"], ["Ü", "ß"]]
    else:
        assert stored(tmp_path, data, encoding=wanted)[1] == [("Ü", "ß")]


def test_formulas_are_disarmed_on_request_only(tmp_path: Path) -> None:
    data = 'a,b\n=1+1,-5\n+49 30,@x\n"\tx",-2.5e3\n'
    assert b"=1+1,-5" in converted(tmp_path, data, "csv")
    assert read(converted(tmp_path, data, "csv", escape_formulas=True)) == [
        ["a", "b"], ["'=1+1", "-5"], ["'+49 30", "'@x"], ["'\tx", "-2.5e3"],
    ]  # fmt: skip
    table = parquet("SELECT '=1+1' AS a, -5 AS b, '-5' AS c")
    assert read(converted(tmp_path, table, "csv", PARQUET, escape_formulas=True))[1] == [
        "'=1+1", "-5", "-5",
    ]  # fmt: skip


def test_names_of_columns_are_made_unique_for_objects(tmp_path: Path) -> None:
    line = converted(tmp_path, "a,a,,A\n1,2,3,4\n", "jsonl", delimiter=",")
    assert json.loads(line) == {"a": "1", "a_2": "2", "column_3": "3", "A": "4"}
    types, _ = stored(tmp_path, "a,a,,A\n1,2,3,4\n", delimiter=",")
    assert list(types) == ["a", "a_2", "column_3", "A_3"]


def test_null_is_what_the_caller_says(tmp_path: Path) -> None:
    data = "a,b\nNA,\nx,1\n"
    lines = converted(tmp_path, data, "jsonl", null="NA").splitlines()
    assert json.loads(lines[0]) == {"a": None, "b": ""}
    assert stored(tmp_path, data, null="NA")[1] == [(None, None), ("x", 1)]
    back = converted(tmp_path, b'{"a":null,"b":"x"}\n', "csv", JSONL, null="NA")
    assert read(back) == [["a", "b"], ["NA", "x"]]
    table = parquet("SELECT NULL::VARCHAR AS a, 'NA' AS b, '' AS c")
    assert converted(tmp_path, table, "csv", PARQUET, null="NA") == b'a,b,c\nNA,"NA",\n'


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        ("a,b\n1,2\n3\n", "ragged_rows", "Line 3 "),
        ("a,b\n1,2\n3,4,5\n", "ragged_rows", "Line 3 "),
        ('a,b\n"x\ny",2\n3\n', "ragged_rows", "Line 4 "),
        ('a,b\n1,2\n"3,4\n5,6\n', "bad_csv", "line 3 "),
        ('a,b\n1,"2"x\n', "bad_csv", "Line 2"),
        (b"a,b\n1,2\n\xff,4\n", "bad_encoding", "Line 3 "),
    ],
)
def test_complaint_names_the_line(
    data: bytes | str, code: str, line: str, to: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path, data, to, delimiter=",")
    assert error.job_code == code
    assert line in error.detail
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "spill"}


@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a":', "bad_json"),
        (b"[1]", "bad_json"),
        (b"5", "bad_json"),
        (b'{"a":"\\ud800"}', "bad_json"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, "bad_json"),
    ],
)
def test_bad_lines_of_json_are_refused(line: bytes, code: str, to: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, b'{"a":1}\n' + line + b"\n", to, JSONL)
    assert error.job_code in {code, "unsupported_table"}
    if error.job_code == "bad_json" and b"ud800" not in line:
        assert "Line 2 " in error.detail


@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_what_is_no_json_is_not_passed_on(to: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, b'{"a":NaN}\n', to, JSONL).job_code == "bad_json"


def test_records_and_columns_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_RECORD", 4 * 1024 * 1024)
    endless = [
        b"a,b\n" + b"x" * 6_000_000,
        b'a,b\n1,"' + b"x\n" * 3_000_000,
        b"a,b\n" + b'"\n",' * 2_000_000,
    ]
    for data in endless:
        error = refusal(tmp_path, data, delimiter=",")
        assert error.job_code in {"record_too_long", "bad_csv"}
    assert refusal(tmp_path, b"," * 10_000 + b"\n").job_code == "too_many_columns"
    many = ("{" + ",".join(f'"k{i}":1' for i in range(10_001)) + "}\n").encode()
    assert refusal(tmp_path, many, "csv", JSONL).job_code == "too_many_columns"
    assert refusal(tmp_path, many, "parquet", JSONL).job_code == "too_many_columns"


def test_table_without_rows_has_no_columns_to_store(tmp_path: Path) -> None:
    assert refusal(tmp_path, "", "parquet").job_code == "empty_table"


@pytest.mark.parametrize("to", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_table_with_nothing_in_it_has_one_answer_whatever_it_is_to_become(
    to: str, tmp_path: Path
) -> None:
    for data, kind in ((xlsx([]), XLSX), (b"\n\n", CSV), (b"\n\n", JSONL)):
        assert refusal(tmp_path, data, to, kind).job_code == "empty_table"
    if to != "jsonl":
        assert refusal(tmp_path, b"{}\n", to, JSONL).job_code == "empty_table"


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    good = parquet()
    for data in (good[:-8], good[: len(good) // 2], b"PAR1" + bytes(100) + b"PAR1"):
        for to in ("csv", "jsonl", "parquet"):
            assert refusal(tmp_path, data, to, PARQUET).job_code == "corrupt_input"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/params/to"),
        ({"to": "ods"}, "/params/to"),
        ({"to": "csv", "delimiter": "ab"}, "/params/delimiter"),
        ({"to": "csv", "output_delimiter": '"'}, "/params/output_delimiter"),
        ({"to": "csv", "null": "x\x00"}, "/params/null"),
        ({"to": "parquet", "compression": "lzo"}, "/params/compression"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("table.convert").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


# --- JSON lines ------------------------------------------------------------------------------


def test_objects_become_rows_with_all_names(tmp_path: Path) -> None:
    assert read(converted(tmp_path, JSON_LINES, "csv", JSONL)) == [
        ["id", "name", "tags", "late"],
        ["7", "Anna", '["a",1.10]', ""],
        ["8", "", "", "12345678901234567890"],
    ]


def test_name_that_comes_late_is_a_column_too(tmp_path: Path) -> None:
    data = b'{"a":1}\n' * 3000 + b'{"b":2}\n'
    table = read(converted(tmp_path, data, "csv", JSONL))
    assert (len(table), table[0], table[1], table[-1]) == (3002, ["a", "b"], ["1", ""], ["", "2"])


def test_numbers_of_json_keep_their_digits(tmp_path: Path) -> None:
    data = b'{"a":1.10,"b":1e400,"c":[0.30],"d":true,"e":null}\n'
    assert read(converted(tmp_path, data, "csv", JSONL))[1] == [
        "1.10",
        "1e400",
        "[0.30]",
        "true",
        "",
    ]
    assert converted(tmp_path, data, "jsonl", JSONL) == data


def test_json_keeps_its_types_in_parquet_and_dates_stay_text(tmp_path: Path) -> None:
    data = (
        b'{"i":7,"f":1.5,"d":"2026-11-22","t":["2026-11-22T10:00:00Z"],'
        b'"s":{"DATE":"10:00:00"},"n":12345678901234567890,"z":"007","b":true}\n'
    )
    types, table = stored(tmp_path, data, media_type=JSONL)
    assert types == {
        "i": "BIGINT", "f": "DOUBLE", "d": "VARCHAR", "t": "VARCHAR[]",
        "s": "STRUCT(DATE VARCHAR)", "n": "DECIMAL(38,0)", "z": "VARCHAR", "b": "BOOLEAN",
    }  # fmt: skip
    assert table[0][2:6] == (
        "2026-11-22", ["2026-11-22T10:00:00Z"], {"DATE": "10:00:00"}, 12345678901234567890,
    )  # fmt: skip


def test_json_as_text_tells_null_from_empty(tmp_path: Path) -> None:
    data = b'{"a":"","b":1.10}\n{"a":null,"b":2}\n'
    assert stored(tmp_path, data, media_type=JSONL, types="text")[1] == [("", "1.10"), (None, "2")]


# --- resources -------------------------------------------------------------------------------


def test_progress_is_in_bytes_of_the_file(tmp_path: Path) -> None:
    data = b"a,b\n" + b"1,2\n" * 600_000
    ran = run("table.convert", tmp_path, data, "t.csv", to="tsv")
    steps = [report for report in ran.reports if report[3] == "bytes"]
    assert [step[1] for step in steps] == sorted(step[1] for step in steps)
    assert steps[-1][1:3] == (len(data), len(data))


def test_too_little_memory_is_said_as_such(tmp_path: Path) -> None:
    wide = ",".join(f"c{i}" for i in range(300))
    data = (
        wide + "\n" + "".join(",".join(f"{i}-{j}" for j in range(300)) + "\n" for i in range(2000))
    )
    with pytest.raises(OutOfResources) as caught:
        run(
            "table.convert", tmp_path, data.encode(), "t.csv", to="parquet",
            limits=Limits(memory_bytes=20_000_000, scratch_bytes=4_000_000),
        )  # fmt: skip
    assert caught.value.job_code in {"out_of_memory", "scratch_full"}


def test_memory_stays_flat_for_a_long_table(tmp_path: Path) -> None:
    """60 MB in a process that may have no more than 40 MB beyond the interpreter."""
    path = tmp_path / "in"
    with path.open("wb") as file:
        file.write(b"id,name,text\n")
        for i in range(1000):
            file.write(b'%06d,"a ""name""",some text to fill the line\n' % i * 1300)
    size = path.stat().st_size
    assert size > 55_000_000
    script = (
        "import resource, sys; from pathlib import Path;"
        "from fileproc.operations import Input, Work, find; e = find('table.convert');"
        "resource.setrlimit(resource.RLIMIT_DATA, (100 << 20, 100 << 20));"
        "p = Path(sys.argv[1]); w = Work([Input(p / 'in', 't.csv', 0, '', 'text/csv')], p);"
        "e.run(w, e.params(to='jsonl')); print(w.outputs[0].path.stat().st_size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > size
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def test_input_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(TABLE)
    work = Work([Input(path, "t.csv", len(TABLE), "", CSV)], tmp_path)
    entry = find("table.convert")
    entry.run(work, entry.params.model_validate({"to": "parquet"}))
    assert path.read_bytes() == TABLE
    assert {item.name for item in tmp_path.iterdir()} == {"in", "out"}


# --- hostile ---------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", [CSV, JSONL])
@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet"])
def test_utf_16_without_its_mark_is_said(media_type: str, to: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, b'{"a":1}\n{"a":2}\n', to, media_type, encoding="utf-16")
    assert error.job_code == "bad_encoding"


@pytest.mark.parametrize(("start", "end"), [(b'{"a":', b"}"), (b"[", b"]")])
@pytest.mark.parametrize("to", ["csv", "jsonl"])
def test_json_is_nested_to_a_depth(start: bytes, end: bytes, to: str, tmp_path: Path) -> None:
    def line(depth: int) -> bytes:
        return b'{"a":' + start * (depth - 1) + b"1" + end * (depth - 1) + b"}\n"

    assert converted(tmp_path, line(200), to, JSONL).count(b"1") == 1
    for depth in (201, 480, 600, 900, 5_000, 200_000):
        error = refusal(tmp_path, line(1) + line(depth), to, JSONL)
        assert error.job_code == "bad_json"
        assert "Line 2 " in error.detail
    deep = run(
        "table.convert", tmp_path, line(1) + line(900), "t", media_type=JSONL, to=to,
        on_error="reject",
    )  # fmt: skip
    assert deep.work.outputs[0].path.read_bytes().count(b"1") == 1
    assert b"deeper" in deep.work.outputs[1].path.read_bytes()


def test_brackets_in_texts_are_not_depth(tmp_path: Path) -> None:
    wide = json.dumps({"a": "[" * 500, "b": [[n] for n in range(500)]})
    assert json.loads(converted(tmp_path, wide, "jsonl", JSONL)) == json.loads(wide)


@pytest.mark.parametrize("to", ["csv", "tsv"])
@pytest.mark.parametrize("null", ['"', "a,b", ",", 'x"y', "''", "\\N", "NULL"])
def test_any_text_stands_for_null(null: str, to: str, tmp_path: Path) -> None:
    table = parquet("SELECT NULL::VARCHAR AS a, NULL::INT AS b, 'x' AS c, '' AS d, [1] AS e")
    found = read(converted(tmp_path, table, to, PARQUET, null=null), {"tsv": "\t"}.get(to, ","))
    assert found == [list("abcde"), [null, null, "x", "", "[1]"]]


@pytest.mark.parametrize("delimiter", ["\x00", "\x01", "\\", "'", ".", "-", "§", "→", "😀", "`"])
def test_any_character_separates(delimiter: str, tmp_path: Path) -> None:
    """Of `§` one byte ends other characters as well."""
    table = [["a", "b"], [f"x{delimiter}y", 'ç"q"'], ['"', f"{delimiter}"], ["ħ", "1.5"]]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(table)
    spelled = {"delimiter": delimiter, "output_delimiter": delimiter}
    found = converted(tmp_path, buffer.getvalue(), "csv", **spelled)
    assert read(found, delimiter) == table
    _, rows_found = stored(tmp_path, buffer.getvalue(), delimiter=delimiter, types="text")
    assert [list(row) for row in rows_found] == table[1:]
    data = (tmp_path / "made.parquet").read_bytes()
    found = converted(tmp_path, data, "csv", PARQUET, output_delimiter=delimiter)
    assert read(found, delimiter) == table


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"," * 1_000_000 + b"\n", "too_many_columns"),
        (b"a," * 4_000_000 + b"\n", "too_many_columns"),
        (b"a,b\n1," + b"x" * 11_000_000 + b"\n", "record_too_long"),
        (b'a,b\n1,"' + b"x\n" * 6_000_000 + b'"\n', "bad_csv"),
        (b"\n" * 3_000_000, "empty_table"),
        (b'a,b\n1,"2\n', "bad_csv"),
        (b'a,b\n1,"2"3\n', "bad_csv"),
        (b"a,b\n1\n", "ragged_rows"),
        (b"a,b\n1,2,3\n", "ragged_rows"),
        (b"a,b\n\xff,1\n", "bad_encoding"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00\x00\xd8,\x00", "bad_encoding"),
        (b"\xff\xfea\x00,\x00b\x00\n", "bad_encoding"),
        (b"\xef\xbb\xbf\xff,b\n", "bad_encoding"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_hostile_csv_is_refused_by_its_fault(
    data: bytes, code: str, to: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, data, to, delimiter=",").job_code == code


def test_formulas_of_every_kind_are_disarmed_on_request(tmp_path: Path) -> None:
    starts = ["=", "+", "-", "@", "\t", "\r"]
    cells = [f"{start}cmd|' /C calc'!A0" for start in starts]
    numbers = ["-1", "+2.5", "-1e9", "1"]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["a"], *([c] for c in cells + numbers)])
    plain = buffer.getvalue()
    safe = [["a"], *(["'" + cell] for cell in cells), *([number] for number in numbers)]
    made = converted(tmp_path, plain, "parquet", types="text")
    for data, kind in ((plain.encode(), CSV), (made, PARQUET)):
        for to, delimiter in (("csv", ","), ("tsv", "\t")):
            given = {"delimiter": ","} if kind == CSV else {}
            found = converted(tmp_path, data, to, kind, escape_formulas=True, **given)
            assert read(found, delimiter) == safe
