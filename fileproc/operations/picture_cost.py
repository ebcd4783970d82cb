"""How many pixels a picture in a PDF makes its decoder go through, told by its data.

The dictionary of a picture says a width and a height, and JPEG 2000 and JBIG2 say their own: what
is decoded is what the data says. Sources: ISO 15444-1, A.4 and A.5; ITU-T T.88, 7.2 to 7.4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from fileproc.operations.structures import array, too_complex
from fileproc.operations.work import BadInput

_SIZE_OF_JPX = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ: one follows the other, always
_JPX: Final = "/JPXDecode"
_JBIG2: Final = "/JBIG2Decode"
_HONEST_REGIONS = 4  # of the size of the page: text, what is no text, what is corrected of it
_UNKNOWN_LENGTH = 0xFFFF_FFFF
_MOST_SEGMENTS = 100_000
_PATTERNS = 16  # the kinds of segments: a dictionary of patterns,
_HALFTONES = {20, 22, 23}
_REGIONS = {4, 6, 7, *_HALFTONES, 36, 38, 39, 40, 42, 43}
_PAGE = 48


def pixels(picture: Any) -> int:
    """The most that its dictionary and its data speak of.

    Raises:
        BadInput: `document_too_complex` or `corrupt_input`.
    """
    width, height = (_number(picture.get(side)) for side in ("/Width", "/Height"))
    filters = array(picture.get("/Filter")) or [picture.get("/Filter")]
    *before, last = [str(name) for name in filters]
    count = _COUNTS.get(last)
    return width * height if count is None else max(width * height, count(_packed(picture, before)))


def _number(value: Any) -> int:
    return max(0, int(value)) if isinstance(value, int) else 0


def _packed(picture: Any, before: list[str]) -> bytes:
    """The data as its own decoder gets it, behind the filters before that.

    Raises:
        BadInput: `document_too_complex` or `corrupt_input`.
    """
    import pikepdf

    data = bytes(picture.read_raw_bytes())
    if not before:
        return data
    if "/LZWDecode" in before or "/LZW" in before:
        raise too_complex("A picture of the PDF is packed in a way that has no bound.")
    if array(picture.get("/DecodeParms"))[: len(before)] not in ([], [None] * len(before)):
        raise too_complex("A picture of the PDF is packed twice, in a way that is not followed.")
    with pikepdf.new() as other:
        names = pikepdf.Array([pikepdf.Name(name) for name in before])
        try:
            return bytes(other.make_stream(data, Filter=names).read_bytes())
        except (pikepdf.PikepdfError, RuntimeError) as exc:
            if "limit" in str(exc).lower():
                raise too_complex("A picture of the PDF unpacks to more than is taken.") from exc
            raise BadInput("A picture of the PDF is damaged.", code="corrupt_input") from exc


# --- JPEG 2000 -----------------------------------------------------------------------------------


def _of_jpx(data: bytes) -> int:
    """The largest of all sizes in it: which of them counts, the decoder finds by its own rules."""
    return max((_size_at(data, found) for found in _places(data, _SIZE_OF_JPX)), default=0)


def _places(data: bytes, marker: bytes) -> Iterator[int]:
    at = data.find(marker)
    while at >= 0:
        yield at
        at = data.find(marker, at + 1)


def _size_at(data: bytes, at: int) -> int:
    across, down = (int.from_bytes(data[at + skip : at + skip + 4], "big") for skip in (8, 12))
    return across * down


# --- JBIG2 ---------------------------------------------------------------------------------------


def _of_jbig2(data: bytes) -> int:
    """The page, or what is drawn on it where that is far more: a region costs a dozen bytes.

    Raises:
        BadInput: `document_too_complex`.
    """
    page = regions = 0
    for kind, body in _segments(data):
        if kind == _PAGE:
            width, height = _pair(body)
            page = max(page, width * height if height != _UNKNOWN_LENGTH else 0)
        elif kind in _REGIONS:
            width, height = _pair(body)
            across, down = _pair(body[18:]) if kind in _HALFTONES else (0, 0)
            regions += max(width * height, across * down)
        elif kind == _PATTERNS and len(body) >= 7:  # noqa: PLR2004 - its head
            regions += body[1] * body[2] * (1 + int.from_bytes(body[3:7], "big"))
    return max(page, regions // _HONEST_REGIONS)


def _pair(body: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", body.ljust(8, b"\0"))
    return width, height


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and data of each segment; a header that is cut off ends them.

    Raises:
        BadInput: `document_too_complex`, where one does not say how long it is.
    """
    at = 0
    for _ in range(_MOST_SEGMENTS):
        if at + 11 > len(data):
            return
        number, flags, counts = struct.unpack_from(">IBB", data, at)
        count, at = counts >> 5, at + 6
        if count == 7:  # noqa: PLR2004 - the long form: the count is in four bytes, then a bit each
            count = int.from_bytes(data[at - 1 : at + 3], "big") & 0x1FFF_FFFF
            at += 3 + (count + 8) // 8
        wide = 1 + (number > 256) + 2 * (number > 65_536)  # noqa: PLR2004 - bytes of a number
        at += count * wide + (4 if flags & 0x40 else 1)
        length = int.from_bytes(data[at : at + 4], "big")
        if length == _UNKNOWN_LENGTH:
            raise too_complex("A picture of the PDF does not say how long its parts are.")
        yield flags & 0x3F, data[at + 4 : at + 4 + min(length, 64)]
        at += 4 + length
    raise too_complex(f"A picture of the PDF has more than {_MOST_SEGMENTS:,} parts.")


_COUNTS: dict[str, Callable[[bytes], int]] = {_JPX: _of_jpx, _JBIG2: _of_jbig2}
