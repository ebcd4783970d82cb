"""A ZIP file that holds nothing but itself: unpacking it again and again never ends.

After Russ Cox, "Zip Files All The Way Down" (2010): a program of two instructions, to say the next
bytes and to say the last bytes again, each five bytes of deflate (RFC 1951), prints itself.
"""

from __future__ import annotations

import struct
import zlib

NAME = b"quine.zip"
_UNIT = 5
_PADDING = 75  # bytes before and 32 after: `_again` needs both ends to be 119 bytes
_TAIL = b"." * 32


def quine() -> bytes:
    """The file; its CRC-32, which stands in it, is solved for: each bit of it changes the same."""
    size = len(_file(0, 0))
    plain = zlib.crc32(_file(size, 0))
    basis: dict[int, tuple[int, int]] = {}  # by the highest bit: what it changes, and by which bits
    for bit in (1 << i for i in range(32)):
        changed, bits = _reduced(zlib.crc32(_file(size, bit)) ^ plain ^ bit, basis)
        if changed:
            basis[changed.bit_length()] = changed, bits ^ bit
    left, crc = _reduced(plain, basis)
    assert not left
    return _file(size, crc)


def _reduced(value: int, basis: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """What the basis leaves of a value, and the bits that took away the rest."""
    bits = 0
    for highest in sorted(basis, reverse=True):
        if value.bit_length() == highest:
            value ^= basis[highest][0]
            bits ^= basis[highest][1]
    return value, bits


def _file(size: int, crc: int) -> bytes:
    """The file, if this were its size and CRC-32."""
    ends = 30 + len(NAME) + _PADDING + 46 + len(NAME) + 22 + len(_TAIL)
    numbers = struct.pack("<HHHHIII", 0, 8, 0, 33, crc, max(0, size - ends), size)
    extra = struct.pack("<HH", 0xCAFE, _PADDING - 4) + bytes(_PADDING - 4)
    head = b"PK\3\4\x14\0" + numbers + struct.pack("<HH", len(NAME), _PADDING) + NAME + extra
    listed = b"PK\1\2\x14\0\x14\0" + numbers
    listed += struct.pack("<HHHHHII", len(NAME), 0, 0, 0, 0, 0, 0) + NAME
    start = max(0, size - len(listed) - 22 - len(_TAIL))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(listed), start, len(_TAIL))
    tail = b"\1\0\0\xff\xff" + listed + end + _TAIL  # first, the last block of the data: empty
    said, again = _said(len(head) + _UNIT), _again(len(head) + _UNIT, first=head[0])
    l0, l1, l4, r4 = _said(0), _said(_UNIT), _said(4 * _UNIT), _four_again()
    last, last_again = _said(len(tail) + _UNIT), _again(len(tail) + _UNIT, last=tail[-1])
    return b"".join(
        (
            *(head, said, head, said, again, l1, again, l1, l1),
            *(l4, again, l1, l1, l4, r4, l4, r4, l4, r4, l4, r4),
            *(l4, r4, l0, l0, last, r4, l0, l0, last, last_again, tail, last_again, tail),
        )
    )


def _said(size: int) -> bytes:
    """The next bytes: a stored block."""
    return struct.pack("<BHH", 0, size, size ^ 0xFFFF)


def _four_again() -> bytes:
    """The last four instructions: two matches of ten bytes."""
    ten = f"{264 - 256:07b}{8:05b}" + f"{4 * _UNIT - 17:03b}"[::-1]
    return _block(ten + ten)


def _again(size: int, first: int | None = None, last: int | None = None) -> bytes:
    """The last 116 to 128 bytes: a literal, before or after a match of the others."""
    match = f"{0b11000000:08b}" + f"{size - 1 - 115:04b}"[::-1]
    match += f"{13:05b}" + f"{size - 97:05b}"[::-1]
    before, after = ("" if byte is None else f"{0x30 + byte:08b}" for byte in (first, last))
    return _block(before + match + after)


def _block(bits: str) -> bytes:
    """A block of fixed codes, its end included; it fills its bytes to the last bit."""
    bits = "010" + bits + "0" * 7
    assert len(bits) == 8 * _UNIT
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
