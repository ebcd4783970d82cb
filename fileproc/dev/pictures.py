"""Read a picture's size from its header, without any library: how the demo checks the result."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER_BYTES = 1024 * 1024
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that swap width and height


@dataclass(frozen=True, slots=True)
class Picture:
    """As it is stored: `width` and `height` before the EXIF orientation is applied."""

    format: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as a person sees it."""
        if self.orientation in _SIDEWAYS:
            return self.height, self.width
        return self.width, self.height


def read_picture(path: Path) -> Picture | None:
    """Format and size of a JPEG, PNG or WebP file; None: it is none, or damaged."""
    with path.open("rb") as file:
        data = file.read(_HEADER_BYTES)
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", data[16:24])
            return Picture("png", width, height)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(data: bytes) -> Picture | None:
    """Walk the segments up to the frame header (ITU T.81, B.2.2)."""
    position, orientation = 2, 1
    while data[position] == 0xFF:  # noqa: PLR2004 - begins every marker
        marker = data[position + 1]
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        body = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):  # noqa: PLR2004 - APP1
            orientation = _orientation(body[6:])
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", body[1:5])
            return Picture("jpeg", width, height, orientation)
        position += 2 + length
    return None


def _orientation(tiff: bytes) -> int:
    """The orientation in the first directory of an EXIF block (TIFF 6.0, section 2); 1 if none."""
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack(order + "I", tiff[4:8])
    (entries,) = struct.unpack(order + "H", tiff[directory : directory + 2])
    for index in range(entries):
        start = directory + 2 + 12 * index
        tag, value = struct.unpack(order + "H6xH", tiff[start : start + 10])
        if tag == _ORIENTATION:
            return int(value)
    return 1


def _webp(data: bytes) -> Picture | None:
    """The first chunk says the size, in one of three ways (RFC 9649, section 2)."""
    kind, body = data[12:16], data[20:]
    if kind == b"VP8X":
        width = int.from_bytes(body[4:7], "little") + 1
        height = int.from_bytes(body[7:10], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", body[6:10]))
    else:
        return None
    return Picture("webp", width, height)
