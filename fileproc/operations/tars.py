"""Tar archives in, plain or compressed: read forward only, each header within a bound.

The standard library reads the headers. It is given a file that goes forward only and lets one
entry's headers be no longer than a megabyte, since extended headers may claim any length.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from tarfile import HeaderError
from typing import IO, Final, Self

from fileproc.operations import compression
from fileproc.operations.archives import TAR, Content, Entry, Kind
from fileproc.operations.compression import Meter
from fileproc.operations.work import MIB, BadInput

_MAX_HEADER: Final = MIB  # of one entry: long names, attributes, the list of a sparse file
_PIECE_BYTES = MIB
# Python before 3.11.10 and 3.12.6 takes quadratic time for these (CVE-2024-6232).
_DIGITS = re.compile(rb"[0-9]{500}")
# The archive's end, with zeros or without; the stubs of both are missing.
_ENDS = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]  # as said


def entries(file: IO[bytes], media_type: str, meter: Meter) -> Iterator[tuple[Entry, Content]]:
    """Each entry with its content; see `archives.opened`."""
    if media_type == TAR:
        pieces = _plain(file, meter)
    else:
        pieces = compression.decompressed(file, media_type, meter)
    stream = _Forward(pieces)
    for member in _members(stream, media_type):
        entry = _entry(member)
        yield entry, partial(_content, stream, member, entry, meter)


def _plain(file: IO[bytes], meter: Meter) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        meter.consumed += len(piece)
        meter.count(len(piece))
        yield piece


class _Forward:
    """Pieces as a file: read, told and sought as tarfile does it, forward only."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._at = 0
        self._budget: int | None = None

    @contextmanager
    def header(self) -> Iterator[None]:
        """Meanwhile no more is read than the headers of one entry may have."""
        self._budget = _MAX_HEADER
        try:
            yield
        finally:
            self._budget = None

    def read(self, size: int) -> bytes:
        if self._budget is not None:
            self._budget -= size
            if self._budget < 0 or size < 0:
                raise BadInput(
                    f"The headers of an entry are longer than {_MAX_HEADER:,} bytes.",
                    code="archive_bomb",
                )
        data = b"".join(self._take(size))
        if self._budget is not None and _DIGITS.search(data):
            raise _damaged()
        return data

    def seek(self, position: int) -> int:
        if position < self._at:
            raise _damaged()
        for _ in self._take(position - self._at):
            pass
        if self._at < position:
            raise _cut_off()
        return self._at

    def tell(self) -> int:
        return self._at

    def finish(self) -> None:
        """Read the padding, so that the checksum of a compressed archive is checked."""
        self._piece = memoryview(b"")
        for _ in self._pieces:
            pass

    def _take(self, size: int) -> Iterator[memoryview]:
        while size:
            if not self._piece:
                found = next(self._pieces, None)
                if found is None:
                    return
                self._piece = memoryview(found)
            part = self._piece[:size]
            self._piece = self._piece[size:]
            self._at += len(part)
            size -= len(part)
            yield part


class _BadHeader(Exception):  # noqa: N818 - never leaves this module
    """No tarfile.HeaderError: the library takes those for the end of the archive."""


class _Strict(tarfile.TarInfo):
    """An entry whose damaged header is an error."""

    __slots__ = ()

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _ENDS:
            raise
        except HeaderError as exc:
            raise _BadHeader from exc


def _members(stream: _Forward, media_type: str) -> Iterator[tarfile.TarInfo]:
    try:
        with stream.header():
            archive = tarfile.TarFile(fileobj=stream, tarinfo=_Strict)  # type: ignore[arg-type]  # all it needs of a file
    except (_BadHeader, tarfile.TarError, ValueError, RecursionError) as exc:
        raise _no_tar(media_type) from exc
    while True:
        try:
            with stream.header():
                member = archive.next()
        except (_BadHeader, tarfile.TarError, ValueError, RecursionError) as exc:
            raise _damaged() from exc
        # It would keep them all, and add up what is said of all of them.
        archive.members = []  # type: ignore[attr-defined]  # not in the stubs
        archive.pax_headers = {}
        if member is None:
            stream.finish()
            return
        yield member


def _no_tar(media_type: str) -> BadInput:
    if media_type == TAR:
        return _damaged()
    return BadInput(
        "The compressed file holds no tar archive; file.decompress unpacks what it holds.",
        code="type_mismatch",
    )


def _damaged() -> BadInput:
    return BadInput("The tar archive is damaged.", code="corrupt_input")


def _cut_off() -> BadInput:
    return BadInput("The tar archive is cut off: it ends too early.", code="corrupt_input")


def _entry(member: tarfile.TarInfo) -> Entry:
    if member.size < 0:
        raise _damaged()
    modified = None
    with suppress(ValueError, OverflowError, OSError):  # times that no calendar has
        modified = datetime.fromtimestamp(int(member.mtime), UTC).isoformat()
    return Entry(
        path=member.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        kind=_kind(member),
        size=member.size,
        packed=None,
        modified=modified,
    )


def _kind(member: tarfile.TarInfo) -> Kind:
    if member.issym():
        return Kind.SYMLINK
    if member.islnk():
        return Kind.HARDLINK
    if member.isdir():
        return Kind.DIRECTORY
    return Kind.FILE if member.isreg() else Kind.SPECIAL


def _content(
    stream: _Forward, member: tarfile.TarInfo, entry: Entry, meter: Meter
) -> Iterator[bytes]:
    if member.issparse():
        raise BadInput(
            f"The entry {entry.shown} is a sparse file, which is not known here.",
            code="unsupported_variant",
        )
    meter.expect(stream.tell() + member.size)
    left = member.size
    while left:
        piece = stream.read(min(left, _PIECE_BYTES))
        if not piece:
            raise _cut_off()
        left -= len(piece)
        yield piece
