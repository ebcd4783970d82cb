"""Archives (ZIP, and tar plain or compressed), read entry by entry; what is allowed in their names.

An archive is a list of claims by a stranger. So each entry is described before it is unpacked,
names are judged here, and what comes out is counted by the `Meter` of the whole archive.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from fileproc.operations import compression
from fileproc.operations.directories import MAX_ENTRIES
from fileproc.operations.work import MAX_NAME_BYTES, BadInput, Work

ZIP: Final = "application/zip"
TAR: Final = "application/x-tar"
COMPRESSED: Final = (
    compression.GZIP,
    compression.BZIP2,
    compression.XZ,
    compression.ZSTD,
)  # a tar is in them, or they are refused
ARCHIVES: Final = (ZIP, TAR, *COMPRESSED)

MAX_DEPTH: Final = 64  # folders in folders
_MAX_PATH = 4_096  # characters; PATH_MAX of Linux


class Kind(StrEnum):
    """What an entry stands for. Only files are ever unpacked."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    SPECIAL = "special"  # devices, pipes, sockets


@dataclass(frozen=True, slots=True)
class Entry:
    """What an archive says about one entry; nothing of it is checked.

    Attributes:
        path: as it is written there, with `?` for what is no text.
        size, packed: bytes; `packed` is None where entries are not compressed one by one.
        modified: local time of whoever packed it, or UTC, in ISO 8601; None where there is none.
        crc32: hexadecimal; None where the format has none.
    """

    path: str
    kind: Kind
    size: int
    packed: int | None
    modified: str | None
    encrypted: bool = False
    crc32: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The path without what means nothing; a backslash is taken as Windows takes it."""
        return tuple(
            part for part in self.path.replace("\\", "/").split("/") if part not in {"", "."}
        )

    @property
    def shown(self) -> str:
        """The path for a sentence."""
        text = "".join(char if char.isprintable() else "\ufffd" for char in self.path)
        return repr(text if len(text) <= 100 else f"{text[:100]}...")  # noqa: PLR2004 - to be read


Content = Callable[[], Iterator[bytes]]
Entries = Iterator[tuple[Entry, Content]]


@contextmanager
def opened(work: Work, password: str | None = None) -> Iterator[Entries]:
    """The entries of the first input in their order.

    With each comes its content: to be called, and read to its end, before the next entry.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `type_mismatch` or `unsupported_variant`; from
            a content also `password_required` or `wrong_password`.
    """
    from fileproc.operations import tars, zips

    source = work.input
    meter = compression.Meter.of(work)
    if source.type not in ARCHIVES:
        raise BadInput(f"Files of type {source.type} are no archives.", code="type_mismatch")
    if source.type == ZIP:
        with zips.opened(source.path) as archive:
            yield _counted(zips.entries(archive, meter, password))
        return
    with source.path.open("rb") as file:
        yield _counted(tars.entries(file, source.type, meter))


def engine(media_type: str) -> str:
    """Names and versions of what reads or writes such archives, for `Work.engine`."""
    library = "zipfile" if media_type == ZIP else "tarfile"
    inner = compression.engine(compression.DEFLATE if media_type == ZIP else media_type)
    return f"{library}, {inner}"


def _counted(entries: Entries) -> Entries:
    for number, entry in enumerate(entries, 1):
        if number > MAX_ENTRIES:
            raise too_many()
        yield entry


def too_many() -> BadInput:
    """For an archive with more entries than are read."""
    return BadInput(
        f"The archive has more than {MAX_ENTRIES:,} entries, which is the most that are read.",
        code="archive_bomb",
    )


# --- names -----------------------------------------------------------------------------------


_FAULTS_OF_KINDS = {
    Kind.SYMLINK: "is a link",
    Kind.HARDLINK: "is a link",
    Kind.SPECIAL: "is a device, a pipe or the like",
}


def fault_of(entry: Entry) -> str | None:
    """What is wrong with an entry by itself, as the end of a sentence; None for nothing."""
    path = entry.path.replace("\\", "/")
    faults = (
        (entry.kind in _FAULTS_OF_KINDS, _FAULTS_OF_KINDS.get(entry.kind)),
        ("\0" in path, "has a NUL in its name"),
        (path.startswith("/") or path[1:2] == ":", "has an absolute path"),
        (".." in path.split("/"), "climbs out of its folder"),
        (len(path) > _MAX_PATH, "has a path that is too long"),
        (entry.kind is Kind.FILE and not entry.parts, "has no name"),
    )
    return next((fault for holds, fault in faults if holds), None)


def unsafe(entry: Entry, fault: str) -> BadInput:
    return BadInput(
        f"The entry {entry.shown} {fault}; such entries are not unpacked. Leave it out with the"
        " parameter exclude if you do not need it.",
        code="unsafe_archive",
    )


class Names:
    """The paths taken so far, as file systems compare them that ignore case and normal forms."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, entry: Entry) -> None:
        """Judge an entry that is to be unpacked, and remember it.

        Raises:
            BadInput: `unsafe_archive`, or `archive_bomb` for folders without end.
        """
        if fault := fault_of(entry):
            raise unsafe(entry, fault)
        parts = entry.parts
        if len(parts) > MAX_DEPTH:
            raise BadInput(
                f"The entry {entry.shown} lies deeper than {MAX_DEPTH} folders.",
                code="archive_bomb",
            )
        keys = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        keys = [_folded(key) for key in keys]
        if entry.kind is Kind.FILE:
            path = keys.pop()
            if path in self._files or path in self._folders:
                raise unsafe(
                    entry, "has the name of another entry, or differs from it in case only"
                )
            self._files.add(path)
        if not self._files.isdisjoint(keys):
            raise unsafe(entry, "lies in a folder that has the name of a file")
        self._folders.update(keys)


def _folded(path: str) -> str:
    """One key for all spellings that Windows or macOS take for the same."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
    return "/".join(part.rstrip(" .") for part in plain.split("/"))


class Unlike:
    """Gives each file a name of its own: `a.txt`, `a-2.txt`, also where only the case differs."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, wanted: str) -> str:
        name, path = wanted, PurePosixPath(wanted)
        key = _folded(wanted)
        number = self._next.get(key, 2)
        while _folded(name) in self._taken:
            name = _numbered(path, number)
            number += 1
        self._next[key] = number
        self._taken.add(_folded(name))
        return name


def _numbered(path: PurePosixPath, number: int) -> str:
    """No longer than names may be: what is cut off later would be the number."""
    end = f"-{number}{path.suffix}"
    room = max(0, MAX_NAME_BYTES - len(end.encode()))
    return path.stem.encode()[:room].decode("utf-8", "ignore") + end
