from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import hostile_archives as hostile
from fileproc.operations import BadInput
from fileproc.operations.types import XLSX
from hostile_archives import BOMBS, Part, assembled, astray, header, packed, tar, zip_entry
from samples import archive, run, xlsx


def listed(folder: Path, data: bytes, **params: Any) -> dict[str, Any]:
    ran = run("archive.list", folder, data, "files.x", **params)
    assert [out.name for out in ran.work.outputs] == ["files-entries.json"]
    assert ran.reports
    found: dict[str, Any] = json.loads(ran.data)
    return found


def test_zip_is_listed_with_what_it_says(tmp_path: Path) -> None:
    data = packed(("a/ü.txt", b"hello" * 100), (zip_entry("l", 0o120777), b"a"), ("d/", b""))
    found = listed(tmp_path, data)
    assert {key: found[key] for key in ("count", "files", "bytes", "encrypted")} == {
        "count": 3, "files": 1, "bytes": 500, "encrypted": False,
    }  # fmt: skip
    first, link, folder = found["entries"]
    assert first["modified"][:2] == "20"
    assert first["packed"] < 50
    assert {key: first[key] for key in ("path", "kind", "size", "crc32", "problem")} == {
        "path": "a/ü.txt", "kind": "file", "size": 500, "crc32": "c88b7828", "problem": None,
    }  # fmt: skip
    assert (link["kind"], link["problem"]) == ("symlink", "It is a link.")
    assert (folder["kind"], folder["problem"]) == ("directory", None)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tar_is_listed_with_what_it_says(pack: Any, tmp_path: Path) -> None:
    data = pack(tar(("a.txt", b"hello"), (header("../x", b"2", "/etc"), b""), ("b", b"")))
    found = listed(tmp_path, data)
    assert [(e["path"], e["kind"], e["size"]) for e in found["entries"]] == [
        ("a.txt", "file", 5), ("../x", "symlink", 0), ("b", "file", 0),
    ]  # fmt: skip
    assert found["entries"][0]["modified"] == "1970-01-01T00:00:00+00:00"
    assert found["entries"][0]["packed"] is None


def test_what_would_be_refused_is_marked(tmp_path: Path) -> None:
    data = assembled([Part(name, b"") for name in (b"../a", b"/b", b"ok", b"C:\\d")])
    problems = [entry["problem"] for entry in listed(tmp_path, data)["entries"]]
    assert problems == [
        "It climbs out of its folder.", "It has an absolute path.", None,
        "It has an absolute path.",
    ]  # fmt: skip


def test_patterns_choose(tmp_path: Path) -> None:
    data = packed(("a.txt", b"1"), ("b.jpg", b"2"), ("c/d.txt", b"3"))
    found = listed(tmp_path, data, include=["*.txt"], exclude="a*")
    assert [entry["path"] for entry in found["entries"]] == ["c/d.txt"]
    assert (found["count"], found["bytes"]) == (1, 1)


def test_names_that_are_no_text_are_listed(tmp_path: Path) -> None:
    for data in (
        assembled([Part(b"\xff\xfe", b"")]),
        tar(("caf\udce9", b"")),
        tar((chr(0x1F680), b"")),
    ):
        assert listed(tmp_path, data)["count"] == 1


@pytest.mark.parametrize("claims", [{"size": 2**62}, {"method": 77}, {"flags": 1}])
def test_claims_of_a_zip_are_only_told(claims: dict[str, int], tmp_path: Path) -> None:
    found = listed(tmp_path, assembled([Part(b"a", b"x", **claims)]))
    assert found["bytes"] == claims.get("size", 1)
    assert found["encrypted"] == ("flags" in claims)


def test_bomb_is_listed_or_refused_without_unpacking_it(tmp_path: Path) -> None:
    for bomb, make in BOMBS.items():
        data, media_type = make()
        try:
            ran = run("archive.list", tmp_path, data, media_type=media_type)
        except BadInput as error:
            code = "corrupt_input" if bomb == "lie of tar" else "archive_bomb"  # it ends too early
            assert error.job_code == code, bomb  # noqa: PT017 - not all are refused
            assert media_type != hostile.ZIP or bomb == "many entries"
        else:
            assert media_type == hostile.ZIP, bomb
            assert ran.path.stat().st_size < 200_000, bomb


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    good = packed(("a", b"x" * 100))
    for data, media_type in (
        (good[:-30], hostile.ZIP),
        (b"", hostile.ZIP),
        (b"\0" * 100, hostile.TAR),
        (gzip.compress(tar(("a", b"x")))[:-30], hostile.GZIP),
        (gzip.compress(tar(("a", b"x")))[:-1], hostile.GZIP),  # within the checksum
    ):
        with pytest.raises(BadInput) as caught:
            run("archive.list", tmp_path, data, media_type=media_type)
        assert caught.value.job_code == "corrupt_input"


@pytest.mark.parametrize("offset", [-1_000, 2**40, 2**63, 2**64 - 1])
@pytest.mark.parametrize(
    ("operation", "params"),
    [("archive.list", {}), ("archive.extract", {}), ("table.convert", {"to": "csv"})],
)
def test_entry_that_begins_outside_of_the_file_is_damage(
    operation: str, params: dict[str, Any], offset: int, tmp_path: Path
) -> None:
    workbook = operation == "table.convert"
    whole = xlsx([["a", "b"], [1, 2]]) if workbook else archive("a.txt", "b.txt")
    with pytest.raises(BadInput) as caught:
        run(
            operation, tmp_path, astray(whole, offset), "a.zip",
            media_type=XLSX if workbook else "application/zip", **params,
        )  # fmt: skip
    assert caught.value.job_code == "corrupt_input"
