"""How long a sound or a film lasts, where its header says so: no decoder, a handful of reads.

Sources: RIFF/WAVE (Microsoft, 1991), FLAC format (RFC 9639, 8.2), ISO/IEC 14496-12, 8.2.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_MOST_BOXES = 1_000  # a hostile file may be nothing but boxes


def duration_s(path: Path, media_type: str) -> float | None:
    """Seconds, or None where the header does not say or is no good."""
    read = _READERS.get(media_type)
    if read is None:
        return None
    try:
        with path.open("rb") as file:
            return read(file)
    except (struct.error, ValueError, ZeroDivisionError, OverflowError):
        return None


def _wav(file: BinaryIO) -> float | None:
    """Bytes of the chunk `data` by the bytes per second of the chunk `fmt `."""
    rate = None
    end = file.seek(0, 2)
    at = 12
    for _ in range(_MOST_BOXES):
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"fmt ":
            rate = struct.unpack("<8xI", file.read(12))[0]
        elif name == b"data":
            return round(min(size, end - at - 8) / rate, 3) if rate else None
        at += 8 + size + size % 2
    return None


def _flac(file: BinaryIO) -> float | None:
    file.seek(8)
    body = file.read(18)
    rate = int.from_bytes(body[10:13], "big") >> 4
    samples = int.from_bytes(body[13:18], "big") & 0xF_FFFF_FFFF
    return round(samples / rate, 3) if samples else None


def _mp4(file: BinaryIO) -> float | None:
    """`duration` by `timescale` of the box moov/mvhd."""
    whole = file.seek(0, 2)
    for name, start, end in _boxes(file, 0, whole):
        if name == b"moov":
            for inner, body, _ in _boxes(file, start, end):
                if inner == b"mvhd":
                    return _mvhd(file, body)
    return None


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the body and end of each box in a stretch of the file."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        body = at + 8
        if size == 1:  # the size stands in the next eight bytes
            size, body = struct.unpack(">Q", file.read(8))[0], at + 16
        stop = end if size == 0 else at + size
        if stop < body or stop > end:
            return
        yield name, body, stop
        at = stop


def _mvhd(file: BinaryIO, body: int) -> float | None:
    file.seek(body)
    version = file.read(1)
    layout, skip, unknown = (">IQ", 20, 2**64 - 1) if version == b"\x01" else (">II", 12, 2**32 - 1)
    file.seek(body + skip)
    scale, length = struct.unpack(layout, file.read(struct.calcsize(layout)))
    return None if length == unknown else round(length / scale, 3)


_READERS: dict[str, Callable[[BinaryIO], float | None]] = {
    "audio/wav": _wav,
    "audio/flac": _flac,
    "video/mp4": _mp4,
    "video/quicktime": _mp4,
    "audio/mp4": _mp4,
}
