"""`archive.create`: many files into one archive."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, Literal, Self

from pydantic import Field

from fileproc.operations import archives, compression
from fileproc.operations.archives import ZIP, Unlike
from fileproc.operations.compression import GZIP, ZSTD, Compressing
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import MIB, Input, Work

MAX_INPUTS: Final = 1_000
_KINDS = {"zip": (ZIP, ".zip"), "tar.gz": (GZIP, ".tar.gz"), "tar.zst": (ZSTD, ".tar.zst")}
# The first moment that ZIP knows; the same files give the same archive at any time.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ZIP_LEVELS = {"fast": 1, "balanced": 6, "small": 9}
_TAR_LEVELS = {
    GZIP: {"fast": 1, "balanced": 3, "small": 9},
    ZSTD: {"fast": 1, "balanced": 3, "small": 19},
}
_PLAIN_FILE = 0o100644
_UNIX = 3
_CHUNK_BYTES = MIB
# What does not become smaller by packing it again.
_PACKED = ("image/", "video/", "audio/")
_PACKED_TYPES = frozenset(
    {
        *(ZIP, GZIP, ZSTD, compression.BZIP2, compression.XZ, compression.BROTLI),
        *("application/x-7z-compressed", "application/vnd.rar", "application/epub+zip"),
    }
)
_LOOSE = frozenset({"image/bmp", "image/tiff", "image/svg+xml", "audio/wav"})


class Create(Params):
    format: Literal["zip", "tar.gz", "tar.zst"] = Field("zip", description="Kind of the archive.")
    effort: Literal["fast", "balanced", "small"] = Field(
        "balanced", description="Whether to take less time or less space."
    )
    name: str | None = Field(
        None,
        min_length=1,
        max_length=150,
        description="Name of the archive without its extension; by default that of the first file.",
    )


@operation(
    "archive.create",
    summary="Pack files into a ZIP or tar archive",
    params=Create,
    accepts=("*/*",),
    produces=(ZIP, GZIP, ZSTD),
    max_inputs=MAX_INPUTS,
    example={"format": "zip"},
    engines=("isal.isal_zlib", "tarfile"),
)
def create(work: Work, params: Create) -> None:
    """Put all files of the job into one archive, in their order and under their names.

    Of names that are the same, or differ in case only, the later ones are numbered: `a.txt`,
    `a-2.txt`. The same files always give the same archive: it has no times (1980-01-01 in a ZIP
    file, 1970-01-01 in a tar), owners or modes. In a ZIP file, pictures, films and archives are
    stored as they are.
    """
    kind, extension = _KINDS[params.format]
    work.engine = archives.engine(kind)
    path = work.output((params.name or work.input.stem) + extension, kind)
    unlike = Unlike()
    names = [unlike.name(_safe(item.name)) for item in work.inputs]
    with path.open("wb") as file:
        if kind == ZIP:
            _zip(work, names, file, _ZIP_LEVELS[params.effort])
        else:
            _tar(work, names, file, kind, _TAR_LEVELS[kind][params.effort])


def _safe(name: str) -> str:
    """A name of which Windows does not take the beginning for a drive."""
    return f"{name[0]}_{name[2:]}" if name[1:2] == ":" else name


class _Reading:
    """The inputs one after the other as files, with progress."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._file: IO[bytes] | None = None
        self._done = 0
        self._total = sum(_size(item) for item in work.inputs)

    @contextmanager
    def of(self, item: Input) -> Iterator[Self]:
        with item.path.open("rb") as self._file:
            yield self

    def read(self, size: int = -1, /) -> bytes:
        if self._file is None:
            raise AssertionError("no file was chosen")
        data = self._file.read(size)
        self._done += len(data)
        self._work.progress(self._done, self._total, unit="bytes", phase="pack")
        return data


def _size(item: Input) -> int:
    return item.path.stat().st_size


def _zip(work: Work, names: list[str], file: IO[bytes], level: int) -> None:
    reading = _Reading(work)
    with zipfile.ZipFile(file, "w") as archive:
        for item, name in zip(work.inputs, names, strict=True):
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system, info.external_attr = _UNIX, _PLAIN_FILE << 16
            info.compress_type = zipfile.ZIP_STORED if _is_packed(item) else zipfile.ZIP_DEFLATED
            info._compresslevel = level  # type: ignore[attr-defined]  # noqa: SLF001 - public from 3.13
            info.file_size = _size(item)  # from it follows whether zip64 is needed
            with archive.open(info, "w") as entry, reading.of(item) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    entry.write(chunk)


def _is_packed(item: Input) -> bool:
    return item.type in _PACKED_TYPES or (item.type.startswith(_PACKED) and item.type not in _LOOSE)


def _tar(work: Work, names: list[str], file: IO[bytes], kind: str, level: int) -> None:
    reading = _Reading(work)
    target = Compressing(file, kind, level)
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # it only writes
        for item, name in zip(work.inputs, names, strict=True):
            info = tarfile.TarInfo(name)  # its other fields say nobody, 1970 and 0644
            info.size = _size(item)
            with reading.of(item) as source:
                archive.addfile(info, source)
    target.finish()
