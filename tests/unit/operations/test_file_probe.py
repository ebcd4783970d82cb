from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import directories, file_probe
from fileproc.operations.compression import zstd
from hostile_archives import BOMBS
from samples import (
    BY_TYPE,
    JSON_LINES,
    TABLE,
    archive,
    film,
    flac,
    jpeg,
    mp4,
    parquet,
    pdf,
    png_that_claims,
    run,
    tarred,
    wav,
)

KINDS = ("image", "pdf", "table", "text", "media", "archive")


def probed(folder: Path, data: bytes, name: str = "file", **params: Any) -> dict[str, Any]:
    ran = run("file.probe", folder, data, name, **params)
    assert [out.name for out in ran.work.outputs] == ["probe.json"]
    found: dict[str, Any] = json.loads(ran.data)
    return found


def test_size_and_hashes_are_those_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    found = probed(tmp_path, data, "a.bin")
    assert found == {
        "name": "a.bin",
        "size": len(data),
        "type": "application/octet-stream",
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
        "crc32": f"{zlib.crc32(data):08x}",
        **dict.fromkeys((*KINDS, "problem")),
    }


@pytest.mark.parametrize("media_type", BY_TYPE)
def test_one_kind_of_details_is_told(media_type: str, tmp_path: Path) -> None:
    data, name = BY_TYPE[media_type]()
    found = probed(tmp_path, data, name)
    assert found["type"] == media_type
    assert found["problem"] is None
    assert sum(found[kind] is not None for kind in KINDS) == 1
    bare = probed(tmp_path, data, name, details=False)
    assert all(bare[kind] is None for kind in KINDS)
    assert bare["sha256"] == found["sha256"]


def test_picture_is_measured_as_people_see_it(tmp_path: Path) -> None:
    image = probed(tmp_path, jpeg(320, 200, orientation=6))["image"]
    assert (image["width"], image["height"], image["orientation"]) == (320, 200, 6)
    assert (image["stored_width"], image["stored_height"]) == (200, 320)
    assert (image["alpha"], image["colour_space"], image["frames"]) == (False, "srgb", 1)


def test_film_is_counted(tmp_path: Path) -> None:
    image = probed(tmp_path, film("GIF", 7))["image"]
    assert (image["frames"], image["animated"], image["width"]) == (7, True, 120)


def test_size_of_a_pixel_flood_is_told_without_decoding(tmp_path: Path) -> None:
    image = probed(tmp_path, png_that_claims(30_000, 30_000))["image"]
    assert (image["width"], image["height"]) == (30_000, 30_000)


def test_document_is_counted(tmp_path: Path) -> None:
    found = probed(tmp_path, pdf(("a", "b"), size=(300, 200)))["pdf"]
    assert found == {
        "pages": 2,
        "encrypted": False,
        "page_width_pt": 300,
        "page_height_pt": 200,
        "version": "1.4",
    }
    locked = probed(tmp_path, pdf(password="sesame"))["pdf"]
    assert (locked["encrypted"], locked["pages"]) == (True, None)


def test_tables_are_described(tmp_path: Path) -> None:
    found = probed(tmp_path, TABLE, "t.csv")["table"]
    assert found["names"] == ["id", "name", "when", "amount"]
    assert (found["columns"], found["rows"], found["delimiter"]) == (4, 2, ",")
    assert probed(tmp_path, JSON_LINES)["table"]["rows"] == 2
    stored = probed(tmp_path, parquet())["table"]
    assert (stored["names"], stored["types"], stored["rows"]) == (
        ["id", "name"],
        ["INTEGER", "VARCHAR"],
        2,
    )


@pytest.mark.parametrize(("data", "seconds"), [(wav(1.5), 1.5), (flac(3), 3), (mp4(2.5), 2.5)])
def test_duration_is_told_where_the_header_says(
    data: bytes, seconds: float, tmp_path: Path
) -> None:
    assert probed(tmp_path, data)["media"] == {"duration_s": seconds}
    for cut in range(12, min(len(data), 120)):  # never a crash, whatever is missing
        probed(tmp_path, data[:cut])


@pytest.mark.parametrize(
    ("data", "form", "packed"),
    [
        (archive("a.txt", "b/c.txt"), "zip", None),
        (tarred(), "tar", None),
        (tarred(gzip.compress), "tar", "gzip"),
        (tarred(bz2.compress), "tar", "bzip2"),
        (tarred(lzma.compress), "tar", "xz"),
        (tarred(zstd().compress), "tar", "zstd"),
    ],
)
def test_archive_is_counted(data: bytes, form: str, packed: str | None, tmp_path: Path) -> None:
    assert probed(tmp_path, data)["archive"] == {
        "format": form,
        "compression": packed,
        "entries": 2,
        "unpacked_bytes": 200,
        "encrypted": False,
    }


def test_compressed_file_that_is_no_archive_says_what_it_unpacks_to(tmp_path: Path) -> None:
    found = probed(tmp_path, gzip.compress(b"a,b\n1,2\n" * 50), "table.csv.gz")["archive"]
    assert (found["format"], found["compression"]) == (None, "gzip")
    assert (found["entries"], found["unpacked_bytes"]) == (None, 400)


def test_what_would_take_long_to_count_is_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_probe, "_UNPACKED_BYTES", 150)
    for data in (tarred(gzip.compress), gzip.compress(b"x" * 400)):
        found = probed(tmp_path, data)
        assert found["problem"] is None
        assert (found["archive"]["entries"], found["archive"]["unpacked_bytes"]) == (None, None)
    monkeypatch.setattr(directories, "MAX_BYTES", 50)
    found = probed(tmp_path, archive("a.txt", "b/c.txt"))
    assert found["problem"] is None
    assert found["archive"]["entries"] is None


def test_bombs_are_told_and_not_unpacked(tmp_path: Path) -> None:
    for bomb, make in BOMBS.items():
        data, media_type = make()
        ran = run("file.probe", tmp_path, data, media_type=media_type)
        found = json.loads(ran.data)
        assert found["archive"] or found["problem"]["code"] in {
            "archive_bomb",
            "corrupt_input",
        }, bomb


def test_text_says_its_encoding(tmp_path: Path) -> None:
    assert probed(tmp_path, "ä\nb\n".encode("utf-16"), "a.txt")["text"]["encoding"] == "utf-16"
    assert probed(tmp_path, b"a\nb\n", "a.txt")["text"] == {"encoding": "utf-8", "lines": 2}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (jpeg()[:30], "corrupt_input"),
        (b"%PDF-1.4\nnothing", "corrupt_input"),
        (b"PAR1" + bytes(50), "corrupt_input"),
        (archive("a")[:40], "corrupt_input"),
        (tarred(gzip.compress)[:-30], "corrupt_input"),
        (tarred()[:700], "corrupt_input"),
    ],
)
def test_damage_is_told_and_is_no_failure(data: bytes, code: str, tmp_path: Path) -> None:
    found = probed(tmp_path, data)
    assert found["problem"]["code"] == code
    assert str(tmp_path) not in found["problem"]["detail"]
    assert len(found["sha256"]) == 64
