"""What a client writes stays a text: no option, no path, no pattern, no part of a statement."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fileproc.api.placeholders import filled
from fileproc.api.template_models import TemplateRequest
from fileproc.objects import content_disposition
from fileproc.objects.names import clean_name as clean_for_header
from fileproc.operations import BadInput, Input, Work, clean_name, find
from fileproc.operations.archives import Unlike
from hostile_texts import names, texts
from samples import run

CSV, JSONL = "text/csv", "application/x-ndjson"
TEXTS = texts(200, seed=38)
# Names that differ in case only are the same to the engine, and are numbered.
COLUMNS = list({text.casefold(): text for text in TEXTS if text.strip()}.values())
NAMES = names(500)


def table(*rows: list[str]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def objects(folder: Path, operation: str, data: bytes, **params: Any) -> list[dict[str, Any]]:
    ran = run(operation, folder, data, "t.csv", media_type=CSV, to="jsonl", **params)
    return [json.loads(line) for line in ran.data.splitlines()]


# --- tables ----------------------------------------------------------------------------------


def test_names_of_columns_are_names_wherever_they_stand(tmp_path: Path) -> None:
    assert len(COLUMNS) > 150
    values = [str(number) for number in range(len(COLUMNS))]
    data = table(COLUMNS, values, values[::-1])
    rows = [dict(zip(COLUMNS, order, strict=True)) for order in (values, values[::-1])]
    numbers = [{name: int(value) for name, value in row.items()} for row in rows]
    assert objects(tmp_path, "table.convert", data) == rows
    # As a text, one that begins as JSON does is JSON: so it is in the query of an address.
    chosen = {
        "select": [{"column": name} for name in COLUMNS],
        "sort": [{"column": name} for name in COLUMNS[::-1]],
    }
    every = [{"column": name, "op": ">=", "value": 0} for name in COLUMNS]
    assert objects(tmp_path, "table.query", data, filter={"all": every}, **chosen) == numbers[::-1]
    labels = [{"column": name, "as": f"{name}'\""} for name in COLUMNS]
    assert list(objects(tmp_path, "table.query", data, select=labels)[0]) == [
        f"{name}'\"" for name in COLUMNS
    ]
    figures = [{"function": "max", "column": name, "as": name} for name in COLUMNS[1:]]
    grouped = objects(tmp_path, "table.query", data, group_by=COLUMNS[:1], aggregate=figures)
    assert sorted(map(str, grouped)) == sorted(map(str, numbers))
    types = dict.fromkeys(COLUMNS, "integer")
    assert objects(tmp_path, "table.convert", data, schema=types) == numbers


def test_values_are_values_wherever_they_stand(tmp_path: Path) -> None:
    wanted = [{"a": text, "n": str(number)} for number, text in enumerate(TEXTS)]
    data = table(["a", "n"], *([row["a"], row["n"]] for row in wanted))
    asked = {"types": "text", "sort": []}
    one_of = {"column": "a", "op": "in", "value": TEXTS}
    assert objects(tmp_path, "table.query", data, filter=one_of, **asked) == wanted
    each = [{"column": "a", "op": op, "value": text} for text in TEXTS[:66] for op in ("=", "<=")]
    found = objects(tmp_path, "table.query", data, filter={"any": each}, **asked)
    assert wanted[0] in found
    for op in ("contains", "starts_with", "ends_with"):
        none = {"all": [{"column": "a", "op": op, "value": text} for text in TEXTS[:190]]}
        assert objects(tmp_path, "table.query", data, filter=none, **asked) == []


def test_text_for_null_is_a_text(tmp_path: Path) -> None:
    data = b'{"a":null,"b":"x"}\n'
    for text in TEXTS[::3]:
        if len(text) > 100 or not text.isprintable():
            continue
        for operation in ("table.convert", "table.query"):
            ran = run(operation, tmp_path, data, "t", media_type=JSONL, to="csv", null=text)
            rows = list(csv.reader(io.StringIO(ran.data.decode(), newline="")))
            assert rows == [["a", "b"], [text, "x"]], text


def test_values_become_names_of_parts_that_are_safe(tmp_path: Path) -> None:
    ran = run(
        "table.split", tmp_path, table(["a"], *([text] for text in TEXTS)), "t.csv", column="a",
        media_type=CSV, max_files=200,
    )  # fmt: skip
    found = [output.name for output in ran.work.outputs]
    assert len({name.casefold() for name in found}) == len(found) == 200
    assert not any(set(name) & set("/\\\0\"'`$;|&<>*?:") for name in found)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


# --- archives and names ----------------------------------------------------------------------


def test_no_name_climbs_or_breaks_a_line() -> None:
    assert len(set(NAMES)) >= 500
    for name in NAMES:
        for cleaned in (clean_name(name), clean_for_header(name)):
            assert cleaned not in {"", ".", ".."}
            assert cleaned.isprintable()
            assert not set(cleaned) & {"/", "\\", "\0"}
            assert len(cleaned.encode()) <= 200
        assert content_disposition(clean_name(name)).isprintable()


def test_outputs_of_any_name_are_numbered_files_of_the_folder(tmp_path: Path) -> None:
    work = Work([], tmp_path)
    for name in NAMES:
        work.output(name, "text/plain").write_bytes(b"")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        str(number) for number in range(len(NAMES))
    }


def created(folder: Path, names: list[str], **params: Any) -> Work:
    """An archive of files of these names."""
    source = folder / "source"
    source.write_bytes(b"x")
    work = Work([Input(source, name, 1, "", "text/plain") for name in names], folder)
    entry = find("archive.create")
    entry.run(work, entry.params.model_validate(params))
    return work


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archive_of_any_names_is_safe_for_others_and_for_us(kind: str, tmp_path: Path) -> None:
    path = created(tmp_path, [clean_name(name) for name in NAMES], format=kind).outputs[0].path
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            listed = archive.namelist()
    else:
        with tarfile.open(path) as tar:
            listed = tar.getnames()
    assert len({name.casefold() for name in listed}) == len(listed) == len(NAMES)
    assert not any(set(name) & {"/", "\\", "\0"} or name[1:2] == ":" for name in listed)
    ran = run("archive.extract", tmp_path, path.read_bytes(), "a")
    assert len(ran.work.outputs) == len(NAMES)
    assert len({output.name for output in ran.work.outputs}) == len(NAMES)


def test_long_names_that_are_the_same_are_told_apart_although_they_are_cut() -> None:
    unlike = Unlike()
    for wanted in ("x" * 200, "\u4e16" * 65 + ".txt", "a." + "b" * 198):
        found = [unlike.name(wanted) for _ in range(30)]
        assert len({clean_name(name) for name in found}) == 30
        assert all(name == clean_name(name) for name in found[:1])


def test_archive_is_named_as_asked_whatever_that_is(tmp_path: Path) -> None:
    for text in TEXTS:
        if len(text) <= 150:
            work = created(tmp_path, ["a.txt"], name=text)
            assert work.outputs[0].name == clean_name(text + ".zip")
            assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}


def test_patterns_and_passwords_choose_or_do_not(tmp_path: Path) -> None:
    data = run("archive.create", tmp_path, b"x", "only-this.txt").data
    for text in TEXTS:
        for params in ({"include": [text]}, {"exclude": [text]}, {"password": text}):
            try:
                ran = run("archive.extract", tmp_path, data, "a.zip", **params)
            except BadInput as error:
                found = error.job_code
            else:
                found = ran.work.outputs[0].name
            assert found in {"nothing_matches", "only-this.txt"}


# --- templates -------------------------------------------------------------------------------


def test_values_of_variables_are_values() -> None:
    template = TemplateRequest.model_validate(
        {
            "variables": {"v": {"type": "string"}},
            "steps": {
                "a": {
                    "operation": "archive.extract",
                    "params": {"include": ["*.txt", {"$var": "v"}], "password": {"$var": "v"}},
                }
            },
        }
    )
    for text in TEXTS:
        steps = filled(template, {"v": text})
        assert steps["a"].params == {"include": ["*.txt", text], "password": text}
        assert steps["a"].operation == "archive.extract"
