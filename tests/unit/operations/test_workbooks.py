from __future__ import annotations

import csv
import datetime as dt
import io
import json
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput, Limits, workbooks
from samples import TABLE, TABLE_ROWS, parquet, run, xlsx

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


def read(folder: Path, data: bytes, **params: Any) -> list[list[str]]:
    """The rows of a workbook, by way of CSV."""
    made = run("table.convert", folder, data, "t.xlsx", media_type=XLSX, to="csv", **params)
    return list(csv.reader(io.StringIO(made.data.decode(), newline="")))


def refusal(folder: Path, data: bytes, limits: Limits | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("table.convert", folder, data, "t.xlsx", media_type=XLSX, limits=limits, to="csv")
    assert {path.name for path in folder.iterdir()} <= {"in", "out"}
    return caught.value


def made(folder: Path, data: bytes, media_type: str = CSV, **params: Any) -> bytes:
    return run("table.convert", folder, data, "t", media_type=media_type, to="xlsx", **params).data


def changed(data: bytes, part: str, change: Any) -> bytes:
    """A workbook with one part of it changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", 8) as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, change(text) if name == part else text)
    return buffer.getvalue()


SHEET = "xl/worksheets/sheet1.xml"


def of_sheet(body: bytes) -> bytes:
    """A workbook whose first sheet has this instead of its rows."""
    return changed(
        xlsx(),
        SHEET,
        lambda text: re.sub(b"<sheetData>.*</sheetData>", lambda _: body, text, flags=re.DOTALL),
    )


# --- in --------------------------------------------------------------------------------------


def test_values_become_texts_that_say_the_same(tmp_path: Path) -> None:
    day = dt.date(2026, 11, 22)
    table: list[list[Any]] = [["n", "f", "t", "d", "b"], [7, 1.5, "007", day, True], [1e300, -0.25]]
    assert read(tmp_path, xlsx(table)) == [
        ["n", "f", "t", "d", "b"],
        ["7", "1.5", "007", "2026-11-22", "true"],
        ["1e+300", "-0.25", "", "", ""],
    ]


def test_rows_without_anything_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, xlsx([[], [None, "a"], [], [None, "x\ny"], []])) == [["a"], ["x\ny"]]


def test_sheet_is_chosen_by_name_or_number(tmp_path: Path) -> None:
    assert read(tmp_path, xlsx(), sheet="Other") == read(tmp_path, xlsx(), sheet="2") == [["other"]]
    with pytest.raises(BadInput) as caught:
        read(tmp_path, xlsx(), sheet="3")
    assert caught.value.job_code == "unknown_sheet"
    assert caught.value.detail == "The workbook has no sheet '3'; it has 'Data', 'Other'."


def test_formulas_give_their_last_result(tmp_path: Path) -> None:
    data = of_sheet(
        b'<sheetData><row r="1"><c r="A1"><f>1+1</f><v>2</v></c>'
        b'<c r="B1" t="e"><f>1/0</f><v>#DIV/0!</v></c></row></sheetData>'
    )
    assert read(tmp_path, data) == [["2", ""]]


def test_workbook_becomes_typed_parquet(tmp_path: Path) -> None:
    table: list[list[Any]] = [
        ["i", "f", "z", "d"],
        [1, 0.1 + 0.2, "007", dt.date(2026, 1, 2)],
        [2, 1e-5, "8", None],
    ]
    ran = run("table.convert", tmp_path, xlsx(table), "t.xlsx", media_type=XLSX, to="jsonl")
    assert json.loads(ran.data.splitlines()[0])["z"] == "007"
    ran = run("table.profile", tmp_path, xlsx(table), "t.xlsx", media_type=XLSX, report="json")
    columns = json.loads(ran.data)["columns"]
    assert [column["type"] for column in columns] == ["BIGINT", "DOUBLE", "VARCHAR", "DATE"]


# --- hostile ---------------------------------------------------------------------------------


def test_dtd_is_refused_before_anything_is_parsed(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    canary = tmp_path / "canary"
    canary.write_text("secret")
    external = f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{canary}">]>'.encode()
    for part in (SHEET, "xl/workbook.xml", "[Content_Types].xml", "xl/styles.xml"):
        for dtd in (bomb, external, b" <!ELEMENT x ANY>"):
            data = changed(xlsx(), part, lambda text, dtd=dtd: text.replace(b"?>", b"?>" + dtd, 1))
            folder = tmp_path / "work"
            folder.mkdir(exist_ok=True)
            assert refusal(folder, data).job_code == "xml_dtd"


def test_dtd_is_found_wherever_a_megabyte_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "CHUNK_BYTES", 2_000)
    for blanks in range(1_900, 2_000, 7):
        start = b"?>" + b"<!-- -->" * (blanks // 8) + b" " * (blanks % 8)
        data = changed(xlsx(), SHEET, lambda t, s=start: t.replace(b"?>", s + b"<!DOCTYPE x>", 1))
        assert refusal(tmp_path, data).job_code == "xml_dtd"


def test_utf_16_hides_nothing(tmp_path: Path) -> None:
    data = changed(xlsx(), SHEET, lambda text: text.decode().encode("utf-16"))
    assert refusal(tmp_path, data).job_code == "unsupported_variant"


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return buffer.getvalue()


def parts_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    parts = parts_of(xlsx())
    flat = zipped(parts | {"xl/sharedStrings.xml": b" " * 50_000_000})
    assert refusal(tmp_path, flat).job_code == "archive_bomb"
    many = zipped(parts | {f"xl/media/{i}.xml": b"" for i in range(10_001)})
    assert refusal(tmp_path, many).job_code == "archive_too_large"
    noise = random.Random(1).randbytes(300_000).hex().encode()
    large = zipped(parts | {f"xl/{i}.xml": noise for i in range(10)})
    assert refusal(tmp_path, large, Limits(memory_bytes=16_000_000)).job_code == "table_too_large"


def test_sizes_that_are_lies_are_found_out(tmp_path: Path) -> None:
    """A bomb whose list of entries says that it is small, or has the same bytes twice."""
    noise = random.Random(2).randbytes(60_000).hex().encode()
    good = zipped(parts_of(xlsx()) | {"xl/a.xml": noise, "xl/b.xml": noise})
    for offset, claim in ((24, 10), (24, 2**31), (20, 10), (20, 2**31), (42, 0)):
        lie = bytearray(good)
        at = lie.find(b"PK\x01\x02")
        while at >= 0:
            lie[at + offset : at + offset + 4] = claim.to_bytes(4, "little")
            at = lie.find(b"PK\x01\x02", at + 4)
        assert refusal(tmp_path, bytes(lie)).job_code in {"corrupt_input", "archive_bomb"}


CORNERS = (
    b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
)
SMALL = b"<row r = '1'><c r = 'a1'><v>1</v></c><c r='xfd1048576'><v>1</v></c></row>"
WITHOUT_PLACES = (
    b"<row>"
    + b"".join(b"<c><v>%d</v></c>" % (n * 104_729 % 1_000_003) for n in range(16_000))
    + b"</row>"
    + b"".join(b"<row><c><v>%d</v></c></row>" % (n * 7919 % 10007) for n in range(3_000))
)


@pytest.mark.parametrize("body", [CORNERS, SMALL, WITHOUT_PLACES], ids=["far", "small", "loose"])
def test_sheet_of_a_huge_box_is_refused_before_it_is_laid_out(body: bytes, tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, of_sheet(b"<sheetData>" + body + b"</sheetData>")).job_code
        == "table_too_large"
    )


def far(place: str) -> bytes:
    """Two cells, one of them at this place."""
    cells = f'<c r="A1"><v>1</v></c><c r="{place}"><v>1</v></c>'
    return of_sheet(f'<sheetData><row r="1">{cells}</row></sheetData>'.encode())


@pytest.mark.parametrize(
    "place",
    [
        "XFD00000001048576",
        "XFD" + "0" * 60 + "1048576",
        "AAAAXFD9",
        "Z" * 60 + "9",
        "A99999999999",
        "A" + "9" * 5_000,
        "A4294967296",
        "XFD1048577",
        "XFE1",
    ],
)
def test_place_beyond_every_sheet_is_refused_however_it_is_spelled(
    place: str, tmp_path: Path
) -> None:
    """The reader takes digits and letters without end, and would make a box of that size."""
    assert refusal(tmp_path, far(place)).job_code == "table_too_large"


def test_empty_rows_beyond_every_sheet_are_not_gone_through(tmp_path: Path) -> None:
    body = b'<row r="1"><c><v>1</v></c></row><row r="000000000004000000"><c><v>1</v></c></row>'
    data = of_sheet(b"<sheetData>" + body + b"</sheetData>")
    assert refusal(tmp_path, data).job_code == "table_too_large"


@pytest.mark.parametrize(
    "cell",
    [
        b'<c> r="A1"<v>%d</v></c>',
        b"<c x=\" r='A1'\"><v>%d</v></c>",
        b"<c x=' r=\"A1\"'><v>%d</v></c>",
        b'<c q:r="A1"><v>%d</v></c>',
        b'<c x=">"><v>%d</v></c>',
        b"<!--<row>--><c><v>%d</v></c>",
        b"<![CDATA[<row>]]><c><v>%d</v></c>",
        b"<?x <row>?><c><v>%d</v></c>",
        b"<c x='<row>'><v>%d</v></c>",
        b'<c x="><row>"><v>%d</v></c>',
        b'<!-- <c r="A1"> --><c><v>%d</v></c>',
        b'<x:c><v r="A1">%d</v></x:c>',
    ],
)
def test_what_only_looks_like_a_place_is_none(cell: bytes, tmp_path: Path) -> None:
    """The first row is as wide as the sheet, and there are many: 800 times 800 cells."""
    numbers = [n * 104_729 % 1_000_003 for n in range(1_600)]
    wide = b"".join(cell % number for number in numbers[:800])
    long = b"".join(b"<row>" + cell % number + b"</row>" for number in numbers[800:])
    data = of_sheet(b"<sheetData><row>" + wide + b"</row>" + long + b"</sheetData>")
    limits = Limits(memory_bytes=64_000_000)
    assert refusal(tmp_path, data, limits).job_code == "table_too_large"


def spread(unit: bytes, count: int) -> bytes:
    """The same again and again, and as much noise between as keeps the ratio below a bomb's."""
    noise = random.Random(5).randbytes(len(unit) * count // 60).hex().encode()
    step = len(noise) // 50
    return b"".join(
        unit * (count // 50) + b"<!--" + noise[n * step : n * step + step] + b"-->"
        for n in range(50)
    )


@pytest.mark.parametrize(
    ("part", "tag", "unit"),
    [
        (SHEET, b"</sheetData>", b'<c r="A1"><v>1</v></c>'),
        (SHEET, b"</sheetData>", b'<c r="A1"/>'),
        ("xl/sharedStrings.xml", b"</sst>", b"<si/>"),
        ("xl/sharedStrings.xml", b"</sst>", b"<x:si><t>a</t></x:si>"),
        ("xl/styles.xml", b"</cellXfs>", b'<xf numFmtId="1"/>'),
        ("xl/styles.xml", b"<cellXfs", b'<numFmt numFmtId="7" formatCode="0"/>'),
        ("xl/workbook.xml", b"</sheets>", b'<sheet name="s" sheetId="1" r:id="rId1"/>'),
        ("xl/workbook.xml", b"</workbook>", b'<definedName name="n">A</definedName>'),
        ("xl/_rels/workbook.xml.rels", b"</Relationships>", b'<Relationship Id="x" Target="a"/>'),
    ],
)
def test_what_the_reader_would_keep_has_a_bound(
    part: str, tag: bytes, unit: bytes, tmp_path: Path
) -> None:
    """Five bytes of a text table become two dozen in memory, and its lack is an abort there."""
    data = changed(xlsx(), part, lambda text: text.replace(tag, spread(unit, 150_000) + tag, 1))
    limits = Limits(memory_bytes=18_000_000)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert tag in file.read(part)
    assert refusal(tmp_path, data, limits).job_code == "table_too_large"


def test_cells_without_places_are_read(tmp_path: Path) -> None:
    body = b"<row><c><v>1</v></c><c><v>2</v></c></row><row><c><v>3</v></c></row>"
    assert read(tmp_path, of_sheet(b"<sheetData>" + body + b"</sheetData>")) == [
        ["1", "2"],
        ["3", ""],
    ]


def test_panics_of_the_reader_are_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicException

    monkeypatch.setattr(workbooks, "_opened", panic)
    assert refusal(tmp_path, xlsx()).job_code == "corrupt_input"


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(xlsx())
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr(SHEET.upper(), b"<worksheet/>")
    assert refusal(tmp_path, buffer.getvalue()).job_code == "corrupt_input"


# --- out -------------------------------------------------------------------------------------


def test_table_comes_back_from_a_workbook(tmp_path: Path) -> None:
    assert read(tmp_path, made(tmp_path, TABLE)) == [
        TABLE_ROWS[0], TABLE_ROWS[1], [*TABLE_ROWS[2][:3], "12345678901234567890"],
    ]  # fmt: skip


def test_nothing_that_is_written_is_a_formula_or_a_link(tmp_path: Path) -> None:
    data = made(tmp_path, b"a,b\n=1+1,http://example.org\n@x,{=2}\n-1+2,+3\n")
    sheet = parts_of(data)[SHEET]
    assert b"<f>" not in sheet
    assert b"hyperlink" not in sheet
    assert read(tmp_path, data)[1:] == [
        ["=1+1", "http://example.org"],
        ["@x", "{=2}"],
        ["-1+2", "+3"],
    ]


def test_types_of_parquet_become_cells(tmp_path: Path) -> None:
    table = parquet(
        "SELECT 1::TINYINT AS i, 9007199254740993 AS long, 1.10::DECIMAL(10,2) AS d, 'nan'::DOUBLE"
        " AS nan, DATE '1850-01-01' AS old, TIMESTAMP '2026-01-02 03:04:05' AS t, [1,2] AS l,"
        " 'ab'::BLOB AS b, true AS y, NULL AS n, 'x\x01_x000D_' AS odd"
    )
    data = made(tmp_path, table, PARQUET)
    assert read(tmp_path, data) == [
        ["i", "long", "d", "nan", "old", "t", "l", "b", "y", "n", "odd"],
        ["1", "9007199254740993", "1.1", "", "1850-01-01", "2026-01-02 03:04:05", "[1,2]", "YWI=",
         "true", "", "x\x01_x000D_"],
    ]  # fmt: skip


def test_what_a_workbook_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (b"a,b\n1," + b"x" * 40_000, b"a,b\n" + b"1,2\n" * 50):
        monkeypatch.setattr(workbooks, "MAX_ROWS", 50)
        with pytest.raises(BadInput) as caught:
            made(tmp_path, data)
        assert caught.value.job_code == "unsupported_table"
        assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_the_same_table_gives_the_same_file(tmp_path: Path) -> None:
    assert parts_of(made(tmp_path, TABLE)) == parts_of(made(tmp_path, TABLE))
