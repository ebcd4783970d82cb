"""ZIP files in: the list of entries by the standard library, their content by bounded decoders.

The library decodes bzip2 and LZMA without bound, and follows a list of any length; so the list is
capped while it is read, and only the list is trusted to say where an entry lies. What the format
says twice must agree (APPNOTE.TXT, 4.3).
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import IO, Final

from fileproc.operations import compression, directories
from fileproc.operations.archives import Content, Entry, Kind, too_many
from fileproc.operations.compression import Meter
from fileproc.operations.work import BadInput

_STORED, _DEFLATED, _DEFLATE64, _BZIP2, _ZSTD, _AES = 0, 8, 9, 12, 93, 99
_DECODED = {
    _DEFLATED: compression.DEFLATE,
    _BZIP2: compression.BZIP2,
    _ZSTD: compression.ZSTD,
}
_ENTRY_SIGNATURE = b"PK\x01\x02"
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_LARGE: Final = 0xFFFFFFFF
_ENCRYPTED, _DESCRIBED_LATER, _STRONG, _UTF8 = 1, 8, 1 << 6, 1 << 11
_PIECE_BYTES = 256 * 1024


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP file, with its list of entries read.

    Raises:
        BadInput: `archive_bomb` or `corrupt_input`.
    """
    try:
        with directories.opened(path) as archive:
            yield archive
    except directories.TooLong as exc:
        raise too_many() from exc
    except zipfile.BadZipFile as exc:
        raise _damaged() from exc


def _damaged(what: str = "The ZIP file is damaged or cut off.") -> BadInput:
    return BadInput(what, code="corrupt_input")


def entries(
    archive: zipfile.ZipFile, meter: Meter, password: str | None
) -> Iterator[tuple[Entry, Content]]:
    """Each entry with its content; see `archives.opened`."""
    infos = archive.infolist()
    if archive.fp is None:
        raise AssertionError("a ZIP file that was just opened has its file")
    unpacking = _Unpacking(archive.fp, archive.start_dir, infos, meter, password)
    for info in infos:
        entry = _entry(info)
        yield entry, partial(unpacking.content, info, entry)


def _entry(info: zipfile.ZipInfo) -> Entry:
    path = _path(info)
    modified = None
    with suppress(ValueError):  # months above 12, and no time at all
        modified = datetime(*info.date_time).isoformat()  # noqa: DTZ001 - it has no zone
    return Entry(
        path=path,
        kind=_kind(info, path),
        size=info.file_size,
        packed=info.compress_size,
        modified=modified,
        encrypted=bool(info.flag_bits & _ENCRYPTED),
        crc32=f"{info.CRC:08x}",
    )


def _path(info: zipfile.ZipInfo) -> str:
    """Without the flag for UTF-8 it is CP437 by the standard, and often UTF-8 all the same."""
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            return info.orig_filename.encode("cp437").decode("utf-8")
    return info.orig_filename


_KINDS = {
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    0: Kind.FILE,
}


def _kind(info: zipfile.ZipInfo, path: str) -> Kind:
    mode = info.external_attr >> 16
    if stat.S_ISFIFO(mode) and info.file_size:
        return Kind.FILE  # Info-ZIP marks so what it was piped
    kind = _KINDS.get(stat.S_IFMT(mode), Kind.SPECIAL)
    return Kind.DIRECTORY if kind is Kind.FILE and path[-1:] in {"/", "\\"} else kind


def _ends(infos: list[zipfile.ZipInfo], directory: int) -> dict[int, int]:
    """By the start of each entry, where the next begins: bytes that two share make a bomb.

    Raises:
        BadInput: `archive_bomb`, or `corrupt_input` for starts before the file's own.
    """
    starts = sorted(info.header_offset for info in infos)
    if starts and starts[0] < 0:
        raise _damaged()
    ends = dict(zip(starts, [*starts[1:], directory], strict=True))
    if len(ends) < len(infos):
        raise _overlap()
    return ends


def _overlap() -> BadInput:
    return BadInput("Entries of the ZIP file share the same bytes.", code="archive_bomb")


# --- content ---------------------------------------------------------------------------------


class _Unpacking:
    """The contents of one ZIP file's entries."""

    def __init__(
        self,
        file: IO[bytes],
        directory: int,
        infos: list[zipfile.ZipInfo],
        meter: Meter,
        password: str | None,
    ) -> None:
        self._file, self._directory, self._infos = file, directory, infos
        self._meter, self._password = meter, password

    @cached_property
    def _ends(self) -> dict[int, int]:
        return _ends(self._infos, self._directory)

    def content(self, info: zipfile.ZipInfo, entry: Entry) -> Iterator[bytes]:
        """What an entry holds, checked against its size and its CRC-32.

        Raises:
            BadInput: see `archives.opened`.
        """
        self._meter.expect(self._meter.produced + info.file_size)
        header = _local_header(self._file, info, self._ends[info.header_offset])
        packed = _Slice(self._file, self._file.tell(), info.compress_size)
        _check_method(info, entry)
        if info.flag_bits & _ENCRYPTED and self._password is None:
            raise BadInput(
                f"The entry {entry.shown} is encrypted: give the password.",
                code="password_required",
            )
        if info.flag_bits & _ENCRYPTED or info.compress_type == _DEFLATE64:
            pieces = _by_library(packed, info, header, self._password, self._meter)
        elif info.compress_type == _STORED:
            pieces = _stored(packed, self._meter)
        else:
            kind = _DECODED[info.compress_type]
            pieces = compression.decompressed(packed, kind, self._meter)
        yield from _checked(pieces, info, entry)


def _check_method(info: zipfile.ZipInfo, entry: Entry) -> None:
    known = {_STORED, _DEFLATE64, _AES, *_DECODED}
    if info.flag_bits & _STRONG or info.compress_type not in known:
        raise BadInput(
            f"The entry {entry.shown} is packed by a method that is not known here.",
            code="unsupported_variant",
        )


def _local_header(file: IO[bytes], info: zipfile.ZipInfo, end: int) -> tuple[int, ...]:
    """The numbers of the entry's own header; the file is left at the start of its data.

    Raises:
        BadInput: `corrupt_input` or `archive_bomb`.
    """
    file.seek(info.header_offset)
    raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size or not raw.startswith(_LOCAL_SIGNATURE):
        raise _damaged()
    _, *numbers = _LOCAL.unpack(raw)
    *_, name_bytes, extra_bytes = numbers
    name = file.read(name_bytes)
    if name != info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"):
        raise _damaged("The ZIP file names an entry in two ways.")
    if file.seek(extra_bytes, os.SEEK_CUR) + info.compress_size > end:
        raise _overlap()
    return tuple(numbers)


class _Slice:
    """A part of a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def read(self, size: int, /) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(size, self._end - self._at))
        self._at += len(data)
        return data


def _chunks(packed: _Slice, meter: Meter) -> Iterator[bytes]:
    while chunk := packed.read(_PIECE_BYTES):
        meter.consumed += len(chunk)
        yield chunk


def _stored(packed: _Slice, meter: Meter) -> Iterator[bytes]:
    for chunk in _chunks(packed, meter):
        meter.count(len(chunk))
        yield chunk


def _checked(pieces: Iterator[bytes], info: zipfile.ZipInfo, entry: Entry) -> Iterator[bytes]:
    from isal import isal_zlib

    size = crc = 0
    for piece in pieces:
        size += len(piece)
        if size > info.file_size:
            raise BadInput(
                f"The entry {entry.shown} unpacks to more than the {info.file_size:,} bytes that"
                " the archive says.",
                code="archive_bomb",
            )
        crc = isal_zlib.crc32(piece, crc)
        yield piece
    sealed = info.compress_type == _AES  # by a digest with the password, that the library checks
    if size != info.file_size or (crc != info.CRC and not sealed):
        if info.flag_bits & _ENCRYPTED and not sealed:
            raise _wrong_password()
        raise _damaged(f"The entry {entry.shown} is damaged.")


# --- encrypted, and deflate64 ------------------------------------------------------------------


def _by_library(
    packed: _Slice,
    info: zipfile.ZipInfo,
    header: tuple[int, ...],
    password: str | None,
    meter: Meter,
) -> Iterator[bytes]:
    """By stream-unzip, which is shown a ZIP stream with this one entry.

    It is imported late: it brings asyncio along, which most jobs need not pay for.
    """
    import stream_unzip

    stream = chain([_front(info, header)], _chunks(packed, meter), [_back(info), _ENTRY_SIGNATURE])
    key = password.encode() if password is not None else None
    try:
        for _, _, chunks in stream_unzip.stream_unzip(stream, password=key):
            for chunk in chunks:
                meter.count(len(chunk))
                yield chunk
    except stream_unzip.PasswordError as exc:
        raise _wrong_password() from exc
    except stream_unzip.UnsupportedFeatureError as exc:
        raise BadInput(
            "The ZIP file is packed or encrypted by a method that is not known here.",
            code="unsupported_variant",
        ) from exc
    except stream_unzip.UnzipError as exc:
        # One wrong password in 256 passes the first check of the old method.
        if info.flag_bits & _ENCRYPTED and info.compress_type != _AES:
            raise _wrong_password() from exc
        raise _damaged() from exc


def _wrong_password() -> BadInput:
    return BadInput("The password does not open the ZIP file.", code="wrong_password")


def _old_method(info: zipfile.ZipInfo) -> bool:
    return bool(info.flag_bits & _ENCRYPTED) and info.compress_type != _AES


def _described_later(info: zipfile.ZipInfo) -> bool:
    """Kept only where it says against what the password is checked."""
    return bool(info.flag_bits & _DESCRIBED_LATER) and _old_method(info)


def _front(info: zipfile.ZipInfo, header: tuple[int, ...]) -> bytes:
    """A local header with the sizes of the list; time and method are the entry's own."""
    flags = info.flag_bits & ~_DESCRIBED_LATER
    if _described_later(info):
        flags |= _DESCRIBED_LATER
    extra = struct.pack("<HHQQ", 1, 16, info.file_size, info.compress_size)  # zip64
    extra += _aes_extra(info.extra) if info.compress_type == _AES else b""
    time, date = header[3], header[4]
    return _LOCAL.pack(
        _LOCAL_SIGNATURE, 45, flags, info.compress_type, time, date, info.CRC, _LARGE, _LARGE,
        1, len(extra),
    ) + b"x" + extra  # fmt: skip


def _back(info: zipfile.ZipInfo) -> bytes:
    if not _described_later(info):
        return b""
    return struct.pack("<4sIQQ", b"PK\x07\x08", info.CRC, info.compress_size, info.file_size)


def _aes_extra(extra: bytes) -> bytes:
    """The field that says how it is encrypted; empty where it is missing."""
    while len(extra) >= 4:  # noqa: PLR2004 - an identifier and a length
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x9901:  # noqa: PLR2004 - WinZip's AES
            return extra[: 4 + size]
        extra = extra[4 + size :]
    return b""
