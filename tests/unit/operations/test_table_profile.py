from __future__ import annotations

import html.parser
import json
import math
import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput, table_profile
from samples import JSON_LINES, TABLE, parquet, run

CSV, JSONL, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"


def told(folder: Path, data: bytes | str, media_type: str = CSV, **params: Any) -> dict[str, Any]:
    data = data.encode() if isinstance(data, str) else data
    ran = run("table.profile", folder, data, "t", media_type=media_type, report="json", **params)
    assert {path.name for path in folder.iterdir()} == {"in", "out"}
    document: dict[str, Any] = json.loads(ran.data, parse_constant=pytest.fail)
    return document


def column(folder: Path, data: bytes | str, media_type: str = CSV, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = told(folder, data, media_type, **params)["columns"][0]
    return found


def test_figures_are_those_of_the_values(tmp_path: Path) -> None:
    chance = random.Random(3)
    numbers = [round(chance.gauss(100, 20), 3) for _ in range(4_000)]
    cells = ["" if n % 8 == 0 else str(number) for n, number in enumerate(numbers)]
    kept = sorted(number for n, number in enumerate(numbers) if n % 8)
    found = column(tmp_path, "n,x\n" + "".join(f"{cell},y\n" for cell in cells))
    assert (found["type"], found["nulls"], found["null_share"]) == ("DOUBLE", 500, 0.125)
    assert (found["distinct"], found["distinct_exact"]) == (len(set(kept)), True)
    assert (found["min"], found["max"]) == (kept[0], kept[-1])
    assert math.isclose(found["mean"], statistics.fmean(kept))
    assert math.isclose(found["stddev"], statistics.stdev(kept))
    for name, share in (("p5", 0.05), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95)):
        assert abs(found["quantiles"][name] - kept[int(share * len(kept))]) < 1


def test_frequent_values_are_counted(tmp_path: Path) -> None:
    found = column(tmp_path, "c,d\n" + "b,1\n" * 3 + "a,1\n" * 5 + ",1\n" + "z,1\n", top=2)
    assert found["top"] == [{"value": "a", "count": 5}, {"value": "b", "count": 3}]
    assert (found["distinct"], found["empty"], found["nulls"]) == (4, 1, 0)
    assert (found["min_length"], found["max_length"]) == (0, 1)


def test_many_different_values_are_estimated_and_the_frequent_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_profile, "_COUNTED", 100)
    data = "c,d\n" + "".join(f"{n if n % 3 else 'often'},1\n" for n in range(6_000))
    found = column(tmp_path, data, top=1)
    assert not found["distinct_exact"]
    assert 3_000 < found["distinct"] < 5_000
    assert found["top"] == [{"value": "often", "count": 2_000}]


def test_every_type_of_parquet_is_told_of(tmp_path: Path) -> None:
    data = parquet(
        "SELECT * FROM (VALUES (1.5::DECIMAL(10,2), 'nan'::DOUBLE, [1, 2], true, uuid(),"
        " INTERVAL 3 DAY, '1'::BLOB, 1e308, TIMESTAMPTZ '2026-01-01 10:00:00+00', TIME '10:00',"
        " 12345678901234567890123456789.25::DECIMAL(38,2), DATE '2026-01-02', {'a': 1}),"
        " (NULL, NULL, NULL, NULL, NULL, NULL, NULL, -1e308, NULL, NULL, NULL, NULL, NULL))"
        " t(a, b, c, d, e, f, g, h, i, j, k, l, m)"
    )
    found = {entry["name"]: entry for entry in told(tmp_path, data, PARQUET)["columns"]}
    assert found["b"]["min"] is None
    assert found["c"]["top"] == [{"value": "[1,2]", "count": 1}]
    assert found["h"]["stddev"] is None
    assert found["k"]["max"] == "12345678901234567890123456789.25"
    assert found["l"]["min"] == "2026-01-02"
    assert all(entry["nulls"] == 1 for name, entry in found.items() if name != "h")


def test_empty_and_other_tables_are_told_of(tmp_path: Path) -> None:
    assert told(tmp_path, "a,b\n")["rows"] == 0
    assert told(tmp_path, TABLE)["rows"] == 2
    assert [c["type"] for c in told(tmp_path, JSON_LINES, JSONL)["columns"]][:2] == [
        "BIGINT", "VARCHAR",
    ]  # fmt: skip
    wide = parquet("SELECT " + ", ".join(f"1 AS c{i}" for i in range(1_001)))
    with pytest.raises(BadInput) as caught:
        told(tmp_path, wide, PARQUET)
    assert caught.value.job_code == "too_many_columns"
    with pytest.raises(BadInput) as caught:
        told(tmp_path, parquet()[:-20], PARQUET)
    assert caught.value.job_code == "corrupt_input"


class Page(html.parser.HTMLParser):
    """Gathers what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>',
    "</style><script>x</script>", "javascript:alert(1)", "' onmouseover='x", "&lt;b&gt;",
    "\u202eevil", "{{7*7}}", "</title><base href=//x>", "<!--", "]]>",
]  # fmt: skip


def test_page_shows_everything_and_runs_nothing(tmp_path: Path) -> None:
    cells = ['"' + text.replace('"', '""') + '"' for text in HOSTILE]
    data = ",".join(cells) + "\n" + (",".join(cells) + "\n") * 2
    name = "<script>alert(2)</script>.csv"
    ran = run("table.profile", tmp_path, data.encode(), name, media_type=CSV, delimiter=",")
    assert [output.type for output in ran.work.outputs] == ["application/json", "text/html"]
    text = ran.work.outputs[1].path.read_text(encoding="utf-8")
    seen = Page(text)
    assert not seen.tags & {"script", "img", "svg", "base", "iframe", "object", "link", "form"}
    assert not [name for name in seen.attributes if name.startswith("on") or name == "src"]
    assert all(re.fullmatch(r"#c\d+", link) for link in seen.attributes["href"])
    assert "default-src 'none'" in "".join(seen.attributes["content"])
    shown = "".join(seen.words)
    for value in HOSTILE:
        assert value.replace("\u202e", "\ufffd") in shown
    assert "\u202e" not in text
    assert "url(" not in text


def test_long_values_are_cut(tmp_path: Path) -> None:
    found = column(tmp_path, "a,b\n" + "x" * 100_000 + ",1\n")
    assert found["max_length"] == 100_000
    assert len(found["max"]) == len(found["top"][0]["value"]) == 200
