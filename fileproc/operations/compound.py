"""Compound files (OLE storage): which kind of document one holds, and whether it is encrypted.

They are what office programs wrote before 2007, and what encrypted documents of today come in. Only
headers, the table of sectors and the folder at the root are read, each within a bound. Sources:
[MS-CFB], 2.2 to 2.6; [MS-DOC], 2.5.1; [MS-XLS], 2.4.117; [MS-PPT], 2.1.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fileproc.operations.work import BadInput

OLE: Final = "application/x-ole-storage"
DOC: Final = "application/msword"
XLS: Final = "application/vnd.ms-excel"
PPT: Final = "application/vnd.ms-powerpoint"

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HEADER_BYTES = 512
_LAST = 0xFFFFFFFA  # sectors are numbered up to here; what is above has other meanings
_MOST_SECTORS = 4_096  # of the folder: eight entries in each, or more
_MOST_TABLES = 65_536  # sectors of the table of sectors, that are found by way of lists
_SECTOR_SIZES = {3: 512, 4: 4096}  # by the major version
_ENTRY = struct.Struct("<64sHBxIII36xIQ")
_MARKS = (("WordDocument", DOC), ("Workbook", XLS), ("Book", XLS), ("PowerPoint Document", PPT))
_HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Kind:
    """What a compound file holds."""

    type: str | None  # None: nothing that is known here
    encrypted: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    left: int
    right: int
    child: int
    start: int
    size: int


def kind_of(path: Path) -> Kind:
    """Look at the names in the root folder, and at the head of the stream that holds the text.

    Raises:
        BadInput: `corrupt_input`.
    """
    with path.open("rb") as file:
        try:
            reader = _Reader(file)
            streams = dict(reader.root())
            if "EncryptedPackage" in streams:
                return Kind(None, encrypted=True)
            for name, media_type in _MARKS:
                if name in streams:
                    return Kind(media_type, encrypted=_is_encrypted(media_type, streams, reader))
        except (struct.error, IndexError) as exc:
            raise _damaged() from exc
    return Kind(None, encrypted=False)


def _damaged() -> BadInput:
    return BadInput("The document is damaged or cut off.", code="corrupt_input")


def _is_encrypted(media_type: str, streams: dict[str, _Entry], reader: _Reader) -> bool:
    if media_type == PPT:
        return "EncryptedSummary" in streams
    if media_type == DOC:
        head = reader.head(streams["WordDocument"])
        return len(head) > 11 and bool(head[11] & 0x01)  # noqa: PLR2004 - fEncrypted
    head = reader.head(streams.get("Workbook") or streams.get("Book"))
    return any(kind == 0x2F for kind in _records(head))  # noqa: PLR2004 - FilePass


def _records(head: bytes) -> Iterator[int]:
    """The kinds of the first records of a workbook."""
    at = 0
    while at + 4 <= len(head):
        kind, size = struct.unpack_from("<HH", head, at)
        yield kind
        at += 4 + size


class _Reader:
    """One compound file, with its table of sectors.

    Raises:
        BadInput: `corrupt_input`; so do its methods.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise _damaged()
        (major,) = struct.unpack_from("<H", header, 26)
        if major not in _SECTOR_SIZES:
            raise _damaged()
        self._sector_bytes = _SECTOR_SIZES[major]
        self._folder, self._cutoff = (
            struct.unpack_from("<I", header, 48)[0],
            struct.unpack_from("<I", header, 56)[0],
        )
        self._tables = self._all_tables(header)

    def _all_tables(self, header: bytes) -> list[int]:
        """Where the table of sectors lies: 109 places in the header, more in a chain of lists."""
        tables = list(struct.unpack_from("<109I", header, 76))
        (following,) = struct.unpack_from("<I", header, 68)
        while following <= _LAST:
            *more, following = struct.unpack(
                f"<{self._sector_bytes // 4}I", self._sector(following)
            )
            tables += more
            if len(tables) > _MOST_TABLES:
                raise _damaged()
        return tables

    def _sector(self, number: int) -> bytes:
        self._file.seek((number + 1) * self._sector_bytes)
        data = self._file.read(self._sector_bytes)
        return data.ljust(self._sector_bytes, b"\0") if data else b""  # the last may be cut short

    def _next(self, number: int) -> int:
        table, place = divmod(number, self._sector_bytes // 4)
        found: int = struct.unpack_from("<I", self._sector(self._tables[table]), 4 * place)[0]
        return found

    def _entries(self) -> bytes:
        sectors, number = [], self._folder
        while number <= _LAST:
            sectors.append(self._sector(number))
            if len(sectors) > _MOST_SECTORS:
                raise _damaged()
            number = self._next(number)
        return b"".join(sectors)

    def root(self) -> Iterator[tuple[str, _Entry]]:
        """Names and entries in the root folder, a tree whose nodes are each seen once."""
        data = self._entries()
        waiting, seen = [self._entry(data, 0)[1].child], set[int]()
        while waiting:
            number = waiting.pop()
            if number > _LAST or number in seen:
                continue
            seen.add(number)
            name, entry = self._entry(data, number)
            yield name, entry
            waiting += (entry.left, entry.right)

    @staticmethod
    def _entry(data: bytes, number: int) -> tuple[str, _Entry]:
        name, length, _, left, right, child, start, size = _ENTRY.unpack_from(
            data, number * _ENTRY.size
        )
        text = name[: max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
        return text, _Entry(left, right, child, start, size & 0xFFFFFFFF)

    def head(self, entry: _Entry | None) -> bytes:
        """The first bytes of a stream that is not stored among the small ones."""
        if entry is None or entry.size < self._cutoff or entry.start > _LAST:
            return b""
        return self._sector(entry.start)[:_HEAD_BYTES]
