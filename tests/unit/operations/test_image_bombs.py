"""Files that are small and claim, or unpack to, far more than may be: FAULTS.md, T16 and T17.

They are judged in a process of their own, whose memory is that of the refusals.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.operations import BadInput, rasters
from samples import card, film, jpeg, run, saved, svg

OPERATIONS: dict[str, dict[str, Any]] = {
    "image.resize": {"width": 10},
    "image.convert": {"format": "webp"},
    "image.crop": {"aspect": "1:1"},
    "image.rotate": {"angle": 90},
    "image.optimize": {"format": "best"},
    "image.watermark": {"text": "mark"},
    "image.info": {},
}
MIB = 1024 * 1024
REFUSED_S = 5  # five times what is promised


# --- the bombs -------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes) -> bytes:
    """A good PNG of 9 x 9 pixels with more chunks before its pixels."""
    good = saved(card(9, 9), "PNG")
    return good[:33] + b"".join(chunks) + good[33:]


@cache
def deflated(size: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(MIB)
    return b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()


def png_that_claims(width: int, height: int) -> bytes:
    data = saved(card(9, 9), "PNG")
    body = struct.pack(">II", width, height) + data[24:29]
    return data[:8] + chunk(b"IHDR", body) + data[33:]


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(card(9, 9), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)  # of the screen, and of the first frame:
    at = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def webp_that_claims(width: int, height: int) -> bytes:
    data = bytearray(film("WEBP"))
    at = data.index(b"VP8X") + 8
    data[at + 4 : at + 10] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def avif_that_claims(width: int, height: int) -> bytes:
    data = saved(card(64, 64), "AVIF")
    return data.replace(struct.pack(">II", 64, 64), struct.pack(">II", width, height))


def tiff_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(card(9, 9), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    for at in range(
        start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12
    ):
        tag = int.from_bytes(data[at : at + 2], "little")
        if tag in {256, 257}:
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(data)


def bmp_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(card(9, 9), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def gif_of_frames(count: int) -> bytes:
    """A GIF of so many frames of one pixel each."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    frame = b"\x21\xf9\x04\0\x05\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    return head + (frame + b"\x02\x02\x44\x01\0") * count + b"\x3b"


def webp_of_frames(count: int, junk: bytes = b"") -> bytes:
    """A WebP of so many frames: one of a small film, again and again."""
    pictures = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = saved(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    at = data.index(b"ANMF")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    body = data[8:at] + junk + data[at : at + 8 + size + size % 2] * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


# What is refused by its header, with the code; sizes of pixels are more than 200 million.
FLOODS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png": (lambda: png_that_claims(30_000, 30_000), "image/png"),
    "png, square of the most": (lambda: png_that_claims(65_535, 65_535), "image/png"),
    "jpeg": (lambda: jpeg_that_claims(65_500, 65_500), "image/jpeg"),
    "gif": (lambda: gif_that_claims(65_535, 65_535), "image/gif"),
    "webp": (lambda: webp_that_claims(16_383, 16_383), "image/webp"),
    "avif, 17,000 pixels": (lambda: avif_that_claims(17_000, 17_000), "image/avif"),
    "avif, square of the most": (lambda: avif_that_claims(65_535, 65_535), "image/avif"),
    "tiff": (lambda: tiff_that_claims(60_000, 60_000), "image/tiff"),
    "bmp": (lambda: bmp_that_claims(50_000, 50_000), "image/bmp"),
    "svg": (lambda: svg(50_000, 50_000), "image/svg+xml"),
    "gif of 100,000 frames": (lambda: gif_of_frames(100_000), "image/gif"),
    "webp of 1,000,000 frames": (lambda: webp_of_frames(1_000_000), "image/webp"),
    "webp of 100,000 frames behind junk": (
        lambda: webp_of_frames(100_000, b"JUNK\0\0\0\0" * 50_000),
        "image/webp",
    ),
}
_TIFF_HEAD = b"II*\0\x08\0\0\0\xff\xff"
# What unpacks to much beside the pixels: refused, or left alone, within the memory.
STUFFED: dict[str, tuple[Callable[[], bytes], str]] = {
    "png with a profile of 300 MiB": (
        lambda: png_with(chunk(b"iCCP", b"a\0\0" + deflated(300 * MIB))),
        "image/png",
    ),
    "png with a text of 300 MiB": (
        lambda: png_with(chunk(b"zTXt", b"a\0\0" + deflated(300 * MIB))),
        "image/png",
    ),
    "png with a thousand texts of 1 MiB": (
        lambda: png_with(*[chunk(b"zTXt", b"a%d\0\0" % n + deflated(MIB)) for n in range(1000)]),
        "image/png",
    ),
    "png with 8 MiB of EXIF": (
        lambda: png_with(chunk(b"eXIf", _TIFF_HEAD + random.Random(1).randbytes(8 * MIB))),
        "image/png",
    ),
    "png whose lines unpack to more": (
        lambda: png_with(chunk(b"IDAT", deflated(300 * MIB)), chunk(b"IEND", b"")),
        "image/png",
    ),
}  # fmt: skip


# --- in a process of their own ---------------------------------------------------------------

_CHILD = """
import json, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from fileproc.operations import BadInput, Input, OutOfResources, Work, find
folder, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
import pyvips, PIL.Image, pi_heif
def room():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
before, told = room(), []
for name, media_type, operation, params in cases:
    path = folder / name
    entry = find(operation)
    work = Work([Input(path, name, path.stat().st_size, "", media_type)], folder / "work")
    begun = time.monotonic()
    try:
        entry.run(work, entry.params.model_validate(params))
        code = None
    except (BadInput, OutOfResources) as error:
        code = error.job_code
    told.append([name, operation, code, time.monotonic() - begun])
print(json.dumps([told, before, room()]))
"""


def judged(folder: Path, bombs: dict[str, tuple[Callable[[], bytes], str]]) -> tuple[Any, int]:
    """What each operation says of each of them, and the peak of memory in MiB."""
    (folder / "work").mkdir()
    cases = []
    for number, (make, media_type) in enumerate(bombs.values()):
        (folder / str(number)).write_bytes(make())
        cases += [(str(number), media_type, name, params) for name, params in OPERATIONS.items()]
    script = _CHILD.format(path=[path for path in sys.path if path])
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), json.dumps(cases)],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2048 * MIB, 2048 * MIB)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told, _, peak = json.loads(done.stdout.splitlines()[-1])
    names = list(bombs)
    return [(names[int(name)], *rest) for name, *rest in told], peak


def test_floods_are_refused_by_their_header(tmp_path: Path) -> None:
    told, peak = judged(tmp_path, FLOODS)
    assert len(told) == len(FLOODS) * len(OPERATIONS)
    for name, operation, code, took_s in told:
        assert took_s < REFUSED_S, (name, operation)
        still = (
            name == "gif of 100,000 frames" and code is None
        )  # one pixel, once: that is no flood
        assert still or code in {"image_too_large", "corrupt_input"}, (name, operation, code)
    large = {name for name, _, code, _ in told if code == "image_too_large"}
    assert large >= {name for name in FLOODS if "avif" not in name}
    assert peak < 256


def test_stuffed_files_are_refused_or_harmless(tmp_path: Path) -> None:
    told, peak = judged(tmp_path, STUFFED)
    for name, operation, code, _ in told:
        assert code in {None, "corrupt_input", "out_of_memory"}, (name, operation, code)
    assert peak < 256


def test_too_many_frames_are_refused_even_if_they_are_small(tmp_path: Path) -> None:
    for data in (gif_of_frames(rasters.MAX_FRAMES + 1), webp_of_frames(rasters.MAX_FRAMES + 1)):
        with pytest.raises(BadInput) as caught:
            run("image.convert", tmp_path, data, "a.img", format="webp")
        assert caught.value.job_code == "image_too_large"
        assert f"{rasters.MAX_FRAMES:,}" in caught.value.detail


# --- decoders that the bytes would choose ----------------------------------------------------


def disguised() -> dict[str, bytes]:
    """Files of every format that libvips loads by its bytes, and that we never let it."""
    import pyvips

    image = pyvips.Image.black(9, 9, bands=3)
    pixels = bytes(image.write_to_memory())
    return {
        "svg": svg(),
        "svg, gzipped": zlib.compress(svg(), wbits=31),
        "vips": b"\xb6\xa6\xf2\x08" + struct.pack("<7i", 9, 9, 3, 8, 0, 0, 22) + bytes(32) + pixels,
        "csv": b"1,2,3\n4,5,6\n",
        "matrix": b"3 3\n1 2 3\n4 5 6\n7 8 9\n",
        "ppm": b"P6\n9 9\n255\n" + pixels,
        "pfm": b"PF\n9 9\n-1.0\n" + pixels * 4,
        "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n" + pixels,
        "fits": b"SIMPLE  =                    T" + b" " * 2850,
        "analyze": struct.pack("<i", 348) + bytes(344),
        "nifti": struct.pack("<i", 348) + bytes(340) + b"n+1\0",
        "openexr": b"\x76\x2f\x31\x01" + bytes(60),
        "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(60),
        "jpeg xl": b"\xff\x0a" + bytes(60),
        "pdf": b"%PDF-1.4\n" + bytes(60),
        "photoshop": b"8BPS\x00\x01" + bytes(60),
        "imagemagick": b"push graphic-context\nviewbox 0 0 9 9\npop graphic-context",
        "dicom": bytes(128) + b"DICM" + bytes(60),
        "matlab": b"MATLAB 5.0 MAT-file" + bytes(120),
    }  # fmt: skip


@pytest.mark.parametrize("media_type", [t for t in rasters.PICTURES if t != rasters.SVG])
def test_file_in_disguise_is_never_decoded(media_type: str, tmp_path: Path) -> None:
    for what, data in disguised().items():
        for operation, params in OPERATIONS.items():
            with pytest.raises(BadInput) as caught:
                run(operation, tmp_path, data, "a.png", media_type=media_type, **params)
            assert caught.value.job_code in {"corrupt_input", "unsupported_variant"}, what


@pytest.mark.parametrize("media_type", ["image/jxl", "image/jp2", "image/vnd.adobe.photoshop",
                                        "text/csv", "application/pdf"])  # fmt: skip
def test_type_without_a_named_decoder_is_refused(media_type: str, tmp_path: Path) -> None:
    for operation, params in OPERATIONS.items():
        with pytest.raises(BadInput) as caught:
            run(operation, tmp_path, saved(card(), "PNG"), "a.png", media_type=media_type, **params)
        assert caught.value.job_code == "type_mismatch"


def test_what_libvips_calls_untrusted_stays_blocked(tmp_path: Path) -> None:
    """Guessing by bytes or by name finds none of them, whatever has run before."""
    import pyvips

    run("image.convert", tmp_path, svg(), "a.svg", format="png")
    image = pyvips.Image.black(9, 9)
    untrusted = {"a.csv": b"1,2\n3,4\n", "a.svg": svg(), "a.v": b"\xb6\xa6\xf2\x08" + bytes(200)}
    for name, data in untrusted.items():
        path = tmp_path / name
        path.write_bytes(data)
        for call in ("new_from_file", "csvload", "svgload", "vipsload"):
            with pytest.raises(BadInput), rasters.decoding():
                getattr(pyvips.Image, call)(str(path))
    with pytest.raises(BadInput), rasters.decoding():
        pyvips.Image.rawload(str(tmp_path / "a.csv"), 1, 1, 1)
    assert image.width == 9
