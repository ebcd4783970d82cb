from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hostile_archives as hostile
from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, archives, compression, find, tars
from hostile_archives import BOMBS, Part, assembled, header, packed, tar, zip_entry
from quines import quine
from samples import jpeg, run

# stream-unzip relies on a default of pycryptodome's that is to be removed, it does not say when.
pytestmark = pytest.mark.filterwarnings("ignore:PBKDF2 without:DeprecationWarning")

NOISE = random.Random(7).randbytes(300_000)
FILES = (
    ("read me.txt", b"hello\n" * 100),
    ("pictures/a.jpg", jpeg(64, 48)),
    ("pictures/2026/b.jpg", jpeg(48, 64)),
    ("noise.bin", NOISE),
    ("Grüße/世界.txt", "ä\n".encode()),
    ("empty", b""),
)
KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip, stored": (hostile.ZIP, lambda: packed(*FILES, method=zipfile.ZIP_STORED)),
    "zip, deflated": (hostile.ZIP, lambda: packed(*FILES)),
    "zip, bzip2": (hostile.ZIP, lambda: packed(*FILES, method=zipfile.ZIP_BZIP2)),
    "tar": (hostile.TAR, lambda: tar(*FILES)),
    "tar of gnu": (hostile.TAR, lambda: tar(*FILES, form=tarfile.GNU_FORMAT)),
    "tar.gz": (hostile.GZIP, lambda: gzip.compress(tar(*FILES))),
    "tar.bz2": (hostile.BZIP2, lambda: bz2.compress(tar(*FILES))),
    "tar.xz": (hostile.XZ, lambda: lzma.compress(tar(*FILES))),
    "tar.zst": (hostile.ZSTD, lambda: compression.zstd().compress(tar(*FILES))),
}


def unpacked(folder: Path, data: bytes, name: str = "a", **params: Any) -> dict[str, bytes]:
    """What comes out by name, in order."""
    made = run("archive.extract", folder, data, name, **params).work.outputs
    found = {out.name: out.path.read_bytes() for out in made}
    assert len(found) == len(made)
    return found


def refusal(folder: Path, data: bytes, **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("archive.extract", folder, data, **params)
    return caught.value


def code(folder: Path, data: bytes, **params: Any) -> str:
    return refusal(folder, data, **params).job_code


# --- right -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_files_come_out_as_they_went_in(kind: str, tmp_path: Path) -> None:
    media_type, make = KINDS[kind]
    ran = run("archive.extract", tmp_path, make(), "files")
    assert ran.work.input.type == media_type
    assert [out.name for out in ran.work.outputs] == [
        "read me.txt", "a.jpg", "b.jpg", "noise.bin", "世界.txt", "empty",
    ]  # fmt: skip
    assert [out.path.read_bytes() for out in ran.work.outputs] == [data for _, data in FILES]
    assert [out.type for out in ran.work.outputs][:3] == ["text/plain", "image/jpeg", "image/jpeg"]
    assert ran.work.engine
    assert ran.reports[-1] == ("unpack", 6, None, "files")


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"include": ["*.jpg"]}, ["a.jpg", "b.jpg"]),
        ({"include": "*.jpg"}, ["a.jpg", "b.jpg"]),
        ({"include": ["pictures/*"]}, ["a.jpg", "b.jpg"]),
        ({"include": ["pictures/"]}, ["a.jpg", "b.jpg"]),
        ({"include": ["b.jpg", "empty"]}, ["b.jpg", "empty"]),
        ({"include": ["?????"], "exclude": ["a*"]}, ["b.jpg", "empty"]),
        ({"exclude": ["*.jpg", "noise.bin"]}, ["read me.txt", "世界.txt", "empty"]),
        ({"include": ["[re]*"]}, ["read me.txt", "empty"]),
    ],
)
def test_patterns_choose(params: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    assert list(unpacked(tmp_path, packed(*FILES), **params)) == names
    assert list(unpacked(tmp_path, tar(*FILES), **params)) == names


def test_pattern_of_many_stars_costs_no_time(tmp_path: Path) -> None:
    data = packed(("a" * 2000, b""))
    assert code(tmp_path, data, include="*a" * 200 + "b") == "nothing_matches"


def test_nothing_chosen_is_said(tmp_path: Path) -> None:
    assert code(tmp_path, packed(*FILES), include="*.png") == "nothing_matches"
    assert code(tmp_path, packed(("folder/", b""))) == "nothing_matches"
    assert code(tmp_path, packed()) == "nothing_matches"
    assert code(tmp_path, tar(), media_type=hostile.TAR) == "nothing_matches"


def test_same_names_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    data = packed(("a/x.txt", b"1"), ("b/x.txt", b"2"), ("c/X.TXT", b"3"), ("x-2.txt", b"4"))
    assert unpacked(tmp_path, data) == {
        "x.txt": b"1", "x-2.txt": b"2", "X-3.TXT": b"3", "x-2-2.txt": b"4",
    }  # fmt: skip
    assert list(unpacked(tmp_path, data, folders="join")) == [
        "a-x.txt", "b-x.txt", "c-X.TXT", "x-2.txt",
    ]  # fmt: skip


def test_manifest_tells_what_came_from_where(tmp_path: Path) -> None:
    found = unpacked(tmp_path, packed(*FILES), include="*.jpg", manifest=True)
    told = json.loads(found["manifest.json"])["files"]
    assert [(file["path"], file["name"], file["type"]) for file in told] == [
        ("pictures/a.jpg", "a.jpg", "image/jpeg"),
        ("pictures/2026/b.jpg", "b.jpg", "image/jpeg"),
    ]
    assert told[0]["size"] == len(found["a.jpg"])


def test_archive_in_an_archive_is_a_file(tmp_path: Path) -> None:
    found = unpacked(tmp_path, hostile.nested(4))
    assert list(found) == [f"{i}.zip" for i in range(10)]
    assert sum(map(len, found.values())) < 100_000  # 10,000 times so much is in there


def test_archive_that_holds_itself_is_unpacked_once(tmp_path: Path) -> None:
    assert unpacked(tmp_path, quine()) == {"quine.zip": quine()}
    assert unpacked(tmp_path, packed(("a.zip", quine()), ("b.zip", quine()))).keys() == {
        *("a.zip", "b.zip")
    }


def test_office_file_in_an_archive_is_told_as_such(tmp_path: Path) -> None:
    inner = packed(("[Content_Types].xml", b""), ("word/document.xml", b"<a/>"))
    ran = run("archive.extract", tmp_path, packed(("letter.docx", inner)))
    assert ran.work.outputs[0].type.endswith("wordprocessingml.document")


def test_name_in_utf8_without_its_flag_is_read(tmp_path: Path) -> None:
    data = assembled([Part("Grüße.txt".encode(), b"x")])
    assert list(unpacked(tmp_path, data)) == ["Grüße.txt"]


def test_zip_behind_a_program_is_read(tmp_path: Path) -> None:
    data = b"#!/bin/sh\n" * 100 + packed(*FILES)
    assert len(unpacked(tmp_path, data, media_type=hostile.ZIP)) == len(FILES)


def test_zip_that_was_streamed_is_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w", method) as archive:
            for name, data in FILES:
                archive.writestr(name, data)
        assert list(unpacked(tmp_path, pipe.getvalue()).values()) == [data for _, data in FILES]


# --- passwords -------------------------------------------------------------------------------


LOCKED: dict[str, Callable[[], bytes]] = {
    "old cipher": lambda: hostile.old_cipher(b"a.txt", b"secret\n" * 50, "sésame"),
    "old cipher, streamed": lambda: hostile.old_cipher(
        b"a.txt", b"secret\n" * 50, "sésame", later=True
    ),
    "aes": lambda: hostile.aes(b"a.txt", b"secret\n" * 50, "sésame"),
}


@pytest.mark.parametrize("kind", LOCKED)
def test_locked_zip_needs_its_password(kind: str, tmp_path: Path) -> None:
    data = LOCKED[kind]()
    assert unpacked(tmp_path, data, password="sésame") == {"a.txt": b"secret\n" * 50}
    assert code(tmp_path, data) == "password_required"
    for wrong in ("simsalabim", "sesame", "x" * 500):
        assert code(tmp_path, data, password=wrong) == "wrong_password"


def test_no_wrong_password_of_many_gets_through(tmp_path: Path) -> None:
    """One in 256 passes the old cipher's own check."""
    data = LOCKED["old cipher"]()
    codes = {code(tmp_path, data, password=f"wrong {i}") for i in range(700)}
    assert codes == {"wrong_password"}


def test_forged_aes_entry_is_refused(tmp_path: Path) -> None:
    data = bytearray(LOCKED["aes"]())
    data[60 + 18] ^= 1
    assert code(tmp_path, bytes(data), password="sésame") == "corrupt_input"


def test_password_is_not_needed_for_what_is_open(tmp_path: Path) -> None:
    locked = hostile.old_cipher(b"locked.txt", b"x", "pw")
    assert code(tmp_path, locked, exclude="locked*") == "nothing_matches"
    assert len(unpacked(tmp_path, packed(*FILES), password="not needed")) == len(FILES)


def test_password_is_never_shown_again() -> None:
    schema = find("archive.extract").params.model_json_schema()["properties"]["password"]
    assert schema["writeOnly"] is True


# --- bombs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bomb", [name for name in BOMBS if name != "many entries of tar"])
def test_bomb_is_refused(bomb: str, tmp_path: Path) -> None:
    data, media_type = BOMBS[bomb]()
    error = refusal(tmp_path, data, media_type=media_type, password="sesame")
    assert error.job_code == "archive_bomb", error
    written = sum(path.stat().st_size for path in tmp_path.rglob("*")) - len(data)
    assert written < 40 * 1024 * 1024


def test_entries_of_a_tar_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 50)
    limits = Limits(output_files=100)
    assert code(tmp_path, hostile.crowd_of_tar(51), limits=limits) == "archive_bomb"
    assert len(unpacked(tmp_path, hostile.crowd_of_tar(50), limits=limits)) == 50


def test_what_finds_no_room_is_refused_before_it_is_written(tmp_path: Path) -> None:
    small = Limits(scratch_bytes=700_000)  # the archive itself takes 300,000 of them
    for data in (packed(("a", NOISE), ("b", b"")), tar(("a", NOISE))):
        assert len(unpacked(tmp_path, data, limits=small)) > 0
    for data in (packed(("a", NOISE), ("b", b"x" * 150_000)), tar(("a", NOISE + NOISE[:90_000]))):
        assert code(tmp_path, data, limits=small) == "archive_bomb"


def test_repetitive_but_honest_files_are_unpacked(tmp_path: Path) -> None:
    files = (("zeros", bytes(99_000)), ("more zeros", bytes(20_000_000)), ("noise", NOISE))
    for data in (packed(*files), gzip.compress(tar(*files))):
        assert len(unpacked(tmp_path, data)["more zeros"]) == 20_000_000


def test_more_files_than_a_job_may_make_are_refused(tmp_path: Path) -> None:
    data = packed(*((str(i), b"x") for i in range(6)))
    assert code(tmp_path, data, limits=Limits(output_files=5)) == "too_many_outputs"


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../up.txt",
        "a/../../up.txt",
        "a/../b.txt",
        "..\\up.txt",
        "a\\..\\..\\up.txt",
        "/etc/passwd",
        "\\\\server\\share",
        "\\windows\\x",
        "C:\\boot.ini",
        "c:relative",
        "..",
        "a/..",
        "x\0.txt",
        "/".join("a" * 2500),
    ],
)
def test_climbing_name_is_refused(name: str, tmp_path: Path) -> None:
    raw = assembled([Part(name.encode(), b"x")])
    assert code(tmp_path, raw) == "unsafe_archive"
    if "\0" not in name:
        assert code(tmp_path, tar((name, b"x"))) == "unsafe_archive"
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_zip_entry_that_is_no_file_is_refused(kind: int, tmp_path: Path) -> None:
    target = b"" if kind == stat.S_IFIFO else b"/etc/passwd"
    data = packed((zip_entry("link", kind | 0o777), target), ("good.txt", b"x"))
    assert code(tmp_path, data) == "unsafe_archive"
    assert unpacked(tmp_path, data, exclude="link") == {"good.txt": b"x"}


def test_what_was_piped_into_a_zip_is_a_file(tmp_path: Path) -> None:
    """`zip out.zip -` marks it as a pipe."""
    data = packed((zip_entry("-", stat.S_IFIFO | 0o600), b"hello"))
    assert unpacked(tmp_path, data) == {"-": b"hello"}


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
)
def test_tar_entry_that_is_no_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    data = tar((header("odd", kind, "/etc/passwd"), b""), ("good.txt", b"x"))
    assert code(tmp_path, data) == "unsafe_archive"
    assert unpacked(tmp_path, data, exclude="odd") == {"good.txt": b"x"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.txt", "a.txt"),
        ("a.txt", "./a.txt"),
        ("a.txt", "A.TXT"),
        ("straße", "STRASSE"),
        ("\u00e9.txt", "e\u0301.txt"),
        ("\ufb01le", "file"),
        ("a/b.txt", "A\\B.txt"),
        ("a.txt", "a.txt."),
        ("a", "a/b"),
        ("a/b", "A"),
    ],
)
def test_names_that_clash_are_refused(one: str, other: str, tmp_path: Path) -> None:
    utf8 = 1 << 11
    raw = assembled([Part(name.encode(), b"x", flags=utf8) for name in (one, other)])
    assert code(tmp_path, raw) == "unsafe_archive"
    assert code(tmp_path, tar((one, b"x"), (other, b"y"))) == "unsafe_archive"
    assert len(unpacked(tmp_path, tar(("b" + one, b"x"), (other, b"y")))) == 2


def test_name_that_the_file_tells_in_two_ways_is_refused(tmp_path: Path) -> None:
    data = packed(("good.txt", b"x" * 10)).replace(b"good.txt", b"evil.exe", 1)
    assert code(tmp_path, data) == "corrupt_input"


def test_text_of_an_error_is_fit_to_be_shown(tmp_path: Path) -> None:
    error = refusal(tmp_path, tar(("../\n\x1b[31m\u202e" + "x" * 300, b"")))
    assert "\n" not in error.detail
    assert "\x1b" not in error.detail
    assert "\u202e" not in error.detail
    assert len(error.detail) < 300


# --- damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cut_archive_is_refused(kind: str, tmp_path: Path) -> None:
    media_type, make = KINDS[kind]
    data = make()
    for share in (0.02, 0.5, 0.9):
        cut = data[: int(len(data) * share)]
        assert code(tmp_path, cut, media_type=media_type) == "corrupt_input"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "tar" not in kind or "." in kind])
def test_flipped_bit_in_the_data_is_noticed(kind: str, tmp_path: Path) -> None:
    media_type, make = KINDS[kind]
    data = bytearray(make())
    data[150_000] ^= 1  # in the midst of the noise
    if kind == "tar.zst":  # the library writes no checksum by default; a frame may decode
        return
    assert code(tmp_path, bytes(data), media_type=media_type) == "corrupt_input"


def test_zip_whose_entries_begin_before_it_is_refused(tmp_path: Path) -> None:
    data = bytearray(packed(("a", b"x")))
    data[-6:-2] = (int.from_bytes(data[-6:-2], "little") + 1000).to_bytes(4, "little")
    assert code(tmp_path, bytes(data), media_type=hostile.ZIP) == "corrupt_input"


def test_list_of_few_entries_can_be_too_long_as_well(tmp_path: Path) -> None:
    parts = [Part(b"%d" % i, b"") for i in range(300)]
    data = bytearray(assembled(parts))
    listed = b"".join(
        part.listed(33 * i)[:28] + b"\0\0\x60\xea" + part.listed(0)[32:] + bytes(60_000)
        for i, part in enumerate(parts)
    )
    data[-10:-6] = len(listed).to_bytes(4, "little")
    body = int.from_bytes(data[-6:-2], "little")
    error = refusal(tmp_path, bytes(data[:body]) + listed + bytes(data[-22:]))
    assert error.job_code == "archive_bomb"
    assert "entries" in error.detail


def test_damaged_header_within_a_tar_is_no_early_end(tmp_path: Path) -> None:
    data = bytearray(tar(("a", b"x" * 512), ("b", b"y")))
    data[1024 + 20] ^= 1
    assert code(tmp_path, bytes(data)) == "corrupt_input"


def test_headers_that_lead_back_or_nowhere_end(tmp_path: Path) -> None:
    block = bytearray(tar(("a", b""))[:512])
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024 in base 256
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert code(tmp_path, bytes(block) + bytes(4096), media_type=hostile.TAR) == "corrupt_input"
    links = tar((header("x", tarfile.XHDTYPE), b"10 path=a\n"))[:1024] * 900
    for chain in (links, tar(("first", b""))[:512] + links):
        assert code(tmp_path, chain, media_type=hostile.TAR) == "corrupt_input"
    digits = tar((header("x", tarfile.XHDTYPE), b"1" * 60_000), ("a", b""))
    assert code(tmp_path, digits, media_type=hostile.TAR) == "corrupt_input"


def test_archive_is_read_forward_only() -> None:
    stream = tars._Forward(iter([b"abc", b"def"]))
    assert (stream.read(4), stream.seek(5), stream.read(9), stream.tell()) == (b"abcd", 5, b"f", 6)
    for position in (5, -1, 7):
        with pytest.raises(BadInput):
            stream.seek(position)


def test_compressed_file_without_a_tar_is_no_archive(tmp_path: Path) -> None:
    for data in (gzip.compress(b"hello" * 1000), bz2.compress(NOISE), lzma.compress(b"")):
        assert code(tmp_path, data) == "type_mismatch"


def test_methods_that_are_not_known_are_said(tmp_path: Path) -> None:
    for claims in ({"method": 1}, {"method": 14}, {"flags": 65, "method": 8}):
        data = assembled([Part(b"a", b"x", **claims)])
        assert code(tmp_path, data, password="x") == "unsupported_variant"
    huge = lzma.compress(tar(*FILES), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}])
    assert code(tmp_path, huge) == "unsupported_variant"


def test_sparse_file_is_said_to_be_unknown(tmp_path: Path) -> None:
    sparse = header("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT)
    block = bytearray(sparse + bytes(1024))
    block[386:398] = block[398:410] = b"00000000000\0"  # a list of one hole of no length
    block[483:495] = b"00040000000\0"  # the real size: 8 MiB
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    assert code(tmp_path, bytes(block), media_type=hostile.TAR) == "unsupported_variant"


def test_deflate64_is_unpacked(tmp_path: Path) -> None:
    """Where no length goes beyond 257 it is the same as deflate."""
    text = b"abc"
    data = assembled([Part(b"a", hostile.deflated(text), method=9, crc=zlib.crc32(text), size=3)])
    assert unpacked(tmp_path, data) == {"a": text}


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"include": [""]}, "/params/include/0"),
        ({"exclude": ["a"] * 51}, "/params/exclude"),
        ({"include": 5}, "/params/include"),
        ({"folders": "keep"}, "/params/folders"),
        ({"password": ""}, "/params/password"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("archive.extract").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
