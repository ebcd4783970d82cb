from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]  # it has none
import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from fileproc.operations.compression import BROTLI, LEVELS, Meter, decompressed, zstd
from samples import Ran, archive, run

chance = random.Random(11)
TEXT = " ".join(chance.choice(["red", "green", "blue", "Grüße"]) for _ in range(50_000)).encode()
NOISE = chance.randbytes(400_000)
OTHERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", gzip.compress),
    "zstd": (".zst", zstd().compress),
    "brotli": (".br", lambda data: brotli.compress(data, quality=5)),
    "bzip2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
}
READ: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": zstd().decompress,
    "brotli": brotli.decompress,
}
LEVELS_OF = {"gzip": (1, 2, 3, 4, 6, 9), "zstd": (1, 3, 19), "brotli": (0, 5, 11)}


def compressed(folder: Path, data: bytes, **params: Any) -> Ran:
    return run("file.compress", folder, data, "data.txt", **params)


def unpacked(folder: Path, data: bytes, name: str, **params: Any) -> Ran:
    return run("file.decompress", folder, data, name, **params)


def code(folder: Path, data: bytes, name: str = "x", **params: Any) -> str:
    with pytest.raises(BadInput) as caught:
        run("file.decompress", folder, data, name, **params)
    return caught.value.job_code


# --- compress --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "level"), [(kind, level) for kind, levels in LEVELS_OF.items() for level in levels]
)
def test_other_programs_read_every_level(kind: str, level: int, tmp_path: Path) -> None:
    for data in (TEXT, NOISE[:50_000], b"x"):
        ran = compressed(tmp_path, data, format=kind, level=level)
        assert READ[kind](ran.data) == data
    assert len(compressed(tmp_path, TEXT, format=kind, level=level).data) < len(TEXT) / 3


@pytest.mark.parametrize("kind", READ)
def test_result_is_named_and_typed(kind: str, tmp_path: Path) -> None:
    ran = compressed(tmp_path, TEXT, format=kind)
    assert ran.work.outputs[0].name == "data.txt" + OTHERS[kind][0]
    assert ran.work.outputs[0].type == f"application/{'x-brotli' if kind == 'brotli' else kind}"
    assert list(ran.reports[-1]) == ["compress", len(TEXT), len(TEXT), "bytes"]
    assert ran.work.engine


@pytest.mark.parametrize("kind", READ)
def test_same_file_gives_the_same_result(kind: str, tmp_path: Path) -> None:
    one, other = (compressed(tmp_path, TEXT, format=kind).data for _ in range(2))
    assert one == other
    assert b"data.txt" not in one


@pytest.mark.parametrize("kind", READ)
def test_higher_levels_are_smaller(kind: str, tmp_path: Path) -> None:
    sizes = [
        len(compressed(tmp_path, TEXT, format=kind, level=level).data)
        for level in (LEVELS_OF[kind][-1], LEVELS_OF[kind][0])
    ]
    assert sizes[0] < sizes[1]


def test_levels_are_those_of_the_format() -> None:
    for kind, (least, most, default) in zip(LEVELS_OF, LEVELS.values(), strict=True):
        assert least <= default <= most
        for level in (least - 1, most + 1):
            with pytest.raises(InvalidRequestError):
                find("file.compress").parse({"format": kind, "level": level})


# --- decompress ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_other_programs_are_unpacked(kind: str, tmp_path: Path) -> None:
    extension, pack = OTHERS[kind]
    for data in (TEXT, NOISE, b"x", b"", bytes(99_000)):
        ran = unpacked(tmp_path, pack(data), "data.txt" + extension, media_type=_type(kind))
        assert ran.data == data
        assert ran.work.outputs[0].name == "data.txt"
    assert unpacked(tmp_path, pack(TEXT), "a" + extension).work.outputs[0].type == "text/plain"
    assert ran.work.engine


def _type(kind: str) -> str:
    return {
        "gzip": "application/gzip",
        "zstd": "application/zstd",
        "brotli": "application/octet-stream",
        "bzip2": "application/x-bzip2",
        "xz": "application/x-xz",
    }[kind]


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind != "brotli"])
def test_joined_files_come_out_joined(kind: str, tmp_path: Path) -> None:
    _, pack = OTHERS[kind]
    joined = pack(TEXT) + pack(b"") + pack(NOISE) + pack(b"end")
    assert unpacked(tmp_path, joined, "x").data == TEXT + NOISE + b"end"
    padded = pack(TEXT) + bytes(70_000) + pack(b"end") + bytes(100)
    assert unpacked(tmp_path, padded, "x").data == TEXT + b"end"


@pytest.mark.parametrize("kind", OTHERS)
def test_cut_or_damaged_file_is_refused(kind: str, tmp_path: Path) -> None:
    extension, pack = OTHERS[kind]
    whole = pack(NOISE)
    for data in (whole[:-1], whole[: len(whole) // 2], whole[:9]):
        assert code(tmp_path, data, "x" + extension, media_type=_type(kind)) == "corrupt_input"
    damaged = bytearray(pack(TEXT))
    for at in range(len(damaged) // 2, len(damaged) // 2 + 20):
        damaged[at] ^= 0xFF
    if kind != "zstd":  # it writes a checksum only where it is told to
        assert code(tmp_path, bytes(damaged), "x" + extension) == "corrupt_input"


@pytest.mark.parametrize("kind", OTHERS)
def test_garbage_behind_the_end_is_refused(kind: str, tmp_path: Path) -> None:
    extension, pack = OTHERS[kind]
    assert code(tmp_path, pack(TEXT) + b"garbage, not a file", "x" + extension) == "corrupt_input"


@pytest.mark.parametrize("kind", OTHERS)
def test_bomb_is_refused_early(kind: str, tmp_path: Path) -> None:
    extension, pack = OTHERS[kind]
    bomb = pack(bytes(60_000_000))
    assert code(tmp_path, bomb, "x" + extension) == "archive_bomb"
    assert (tmp_path / "out" / "0").stat().st_size < 40_000_000


@pytest.mark.parametrize("kind", OTHERS)
def test_pieces_are_small_whatever_the_file_would_like(kind: str) -> None:
    bomb = io.BytesIO(OTHERS[kind][1](bytes(20_000_000)))
    meter = Meter(size=10**9, most=10**9)
    media_type = BROTLI if kind == "brotli" else _type(kind)
    sizes = [len(piece) for piece in decompressed(bomb, media_type, meter)]
    assert sum(sizes) == 20_000_000
    assert max(sizes) < 3_000_000


@pytest.mark.parametrize("kind", OTHERS)
def test_bomb_in_front_of_much_noise_is_refused_early(kind: str, tmp_path: Path) -> None:
    """Of the whole file the ratio is good; what comes out meanwhile is not to fill the disk."""
    if kind == "brotli":
        return  # its files cannot be joined
    _, pack = OTHERS[kind]
    bomb = pack(bytes(60_000_000)) + pack(NOISE) * 5
    assert code(tmp_path, bomb) == "archive_bomb"
    assert (tmp_path / "out" / "0").stat().st_size < 45_000_000


def test_what_finds_no_room_is_refused(tmp_path: Path) -> None:
    small = Limits(scratch_bytes=700_000)
    assert code(tmp_path, gzip.compress(NOISE), limits=small) == "archive_bomb"
    assert unpacked(tmp_path, gzip.compress(NOISE[:200_000]), "x.gz", limits=small).data


def test_ratio_is_judged_from_a_hundred_kilobytes_on(tmp_path: Path) -> None:
    assert len(unpacked(tmp_path, bz2.compress(bytes(100_000)), "x").data) == 100_000
    assert code(tmp_path, bz2.compress(bytes(100_001))) == "archive_bomb"


def test_windows_that_need_much_memory_are_refused(tmp_path: Path) -> None:
    huge = lzma.compress(NOISE, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}])
    assert code(tmp_path, huge) == "unsupported_variant"
    parameter = zstd().CompressionParameter
    options = {parameter.window_log: 30, parameter.enable_long_distance_matching: 1}
    squeezer = zstd().ZstdCompressor(options=options)
    far = squeezer.compress(NOISE) + squeezer.flush()
    assert code(tmp_path, far) == "unsupported_variant"


def test_brotli_is_told_by_its_name_or_by_the_parameter(tmp_path: Path) -> None:
    data = brotli.compress(TEXT)
    assert code(tmp_path, data, "data.bin") == "type_mismatch"
    assert unpacked(tmp_path, data, "data.bin", format="brotli").data == TEXT
    assert unpacked(tmp_path, data, "DATA.TXT.BR").work.outputs[0].name == "DATA.TXT"


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.tar.gz", "a.tar"),
        ("a.tgz", "a.tar"),
        ("a.TGZ", "a.tar"),
        ("a.GZ", "a"),
        ("a.txt", "a.txt"),
        ("Grüße 世界.csv.gz", "Grüße 世界.csv"),
    ],
)
def test_extension_goes(name: str, result: str, tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(TEXT), name).work.outputs[0].name == result


def test_type_is_told_from_the_bytes(tmp_path: Path) -> None:
    for data, media_type in ((archive("a"), "application/zip"), (b"a,b\n1,2\n", "text/csv")):
        ran = unpacked(tmp_path, gzip.compress(data), "x.csv.gz")
        assert ran.work.outputs[0].type == media_type


def test_zlib_streams_and_other_files_are_no_gzip(tmp_path: Path) -> None:
    assert code(tmp_path, zlib.compress(TEXT)) == "type_mismatch"
    assert code(tmp_path, TEXT, "a.gz") == "type_mismatch"
    assert code(tmp_path, b"", "a.gz", media_type="application/gzip") == "corrupt_input"
