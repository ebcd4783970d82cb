"""The parts of a JPEG file (ITU-T T.81, annex B), for those who put it somewhere as it is."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

_BEGIN: Final = b"\xff\xd8"
_END: Final = 0xD9
_SCAN: Final = 0xDA
_JFIF: Final = 0xE0
_JFIF_BYTES: Final = 16  # without a thumbnail
# Frames that every reader decodes: baseline, extended, progressive; all coded by Huffman.
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = frozenset({0xC3, *range(0xC5, 0xD0)}) - {0xC8}
# Tables, the interval of restarts, and Adobe's note about the colours.
_KEPT: Final = frozenset({0xC4, 0xDB, 0xDD, 0xEE})
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FILLED: Final = re.compile(rb"\xff++[^\x00\xff\xd0-\xd7]")  # any number may stand before it
_LENGTH: Final = struct.Struct(">H")


def bare(data: bytes) -> bytes | None:
    """The same picture without metadata, thumbnails, profiles and what follows its end.

    None where not every reader would take it: frames of a rare kind, or parts that do not fit.
    """
    kept = [_BEGIN]
    try:
        for marker, part in _parts(data):
            if marker in _FRAMES and part[4] != 8:  # noqa: PLR2004 - bits of a sample
                return None
            if marker in _OTHER_FRAMES:
                return None
            small_jfif = marker == _JFIF and len(part) == 2 + _JFIF_BYTES
            if marker in {_END, _SCAN} or marker in _KEPT | _FRAMES or small_jfif:
                kept.append(part)
            if marker == _END:
                return b"".join(kept)
    except (struct.error, IndexError):
        pass
    return None


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each part; that of a scan goes up to the next marker."""
    at = len(_BEGIN)
    while found := _FILLED.match(data, at):
        start = found.end() - 2
        marker = data[start + 1]
        if marker == _END:
            yield marker, data[start : start + 2]
            return
        at = start + 2 + _LENGTH.unpack_from(data, start + 2)[0]
        if marker == _SCAN:
            following = _MARKER.search(data, at)
            at = following.start() if following else len(data)
        yield marker, data[start:at]
