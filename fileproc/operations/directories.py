"""The list of entries of a ZIP file, read within a bound.

Up to three records at the end of the file say how long the list is (APPNOTE.TXT, 4.3.14 to 4.3.16),
and they may say different things. So it is what the library reads that is bounded, whichever
record it believes.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_ENTRIES: Final = 20_000  # a second of reading the headers of a tar; a ZIP is no better
MAX_BYTES: Final = 16 * 1024 * 1024  # of the list: names and comments may be long
_SIGNATURE = b"PK\x01\x02"
_LEAST_BYTES = 46  # of an entry in the list


class TooLong(Exception):  # noqa: N818 - each caller has an error of its own for it
    """The list is longer than is read."""


class _Bounded(io.FileIO):
    """A file that gives no long list of entries."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > MAX_BYTES:
            raise TooLong
        data = super().read(size) or b""
        if len(data) > MAX_ENTRIES * _LEAST_BYTES and data.count(_SIGNATURE) > MAX_ENTRIES:
            raise TooLong
        return data


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP file, with its list of entries read.

    Raises:
        zipfile.BadZipFile: it has none, or none that can be read, or one of places outside of it.
        TooLong: it is longer than `MAX_BYTES`, or has more than `MAX_ENTRIES`.
    """
    with _Bounded(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (ValueError, NotImplementedError, OSError, struct.error) as exc:
            raise zipfile.BadZipFile from exc
        with archive:
            size = path.stat().st_size
            if not all(0 <= entry.header_offset < size for entry in archive.infolist()):
                raise zipfile.BadZipFile
            yield archive
