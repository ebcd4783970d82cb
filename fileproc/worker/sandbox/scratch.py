"""The scratch folder of an attempt, seen from outside: how much lies there, and its removal.

What a hostile child can do to a folder is expected here: modes that forbid us to look, a million
files, folders nested deeper than a path may be long, deleted files that are still open.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_DEPTH = 32
MAX_ENTRIES = 100_000
_BLOCK = 512
_MEMORY = ("RssAnon", "RssShmem", "VmSwap")


class Unreasonable(Exception):  # noqa: N818 - says what the folder is
    """More entries, or deeper folders, than any operation makes."""


def used_bytes(folder: Path, pids: Iterable[int] = ()) -> int:
    """Bytes below `folder`, and of deleted files that the processes still have open.

    Raises:
        Unreasonable: there is no end of it.
    """
    total = sum(_bytes(status) for status in _entries(folder))
    return total + sum(map(_deleted_bytes, pids))


def _bytes(status: os.stat_result) -> int:
    return max(status.st_size, status.st_blocks * _BLOCK)


def _entries(folder: Path) -> Iterator[os.stat_result]:
    waiting = [(str(folder), 0)]
    count = 0
    while waiting:
        path, depth = waiting.pop()
        for entry in _listed(path):
            count += 1
            if count > MAX_ENTRIES or depth > MAX_DEPTH:
                raise Unreasonable
            with contextlib.suppress(FileNotFoundError):  # it works while we look
                yield entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))


def _listed(path: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, readable or not: it is ours all the same."""
    with contextlib.suppress(FileNotFoundError):
        try:
            return _scanned(path)
        except PermissionError:
            Path(path).chmod(0o700)
            return _scanned(path)
    return []


def _scanned(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(itertools.islice(entries, MAX_ENTRIES + 1))


def _deleted_bytes(pid: int) -> int:
    """Of regular files without a name that the process has open; 0 where that cannot be seen."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat()
                if status.st_nlink == 0:
                    total += _bytes(status)
    return total


def memory_and_threads(pid: int) -> tuple[int, int]:
    """Bytes of anonymous and shared memory, swapped out or not, and threads; 0 if it is gone.

    Not the resident set as a whole: mapped input files are in it, and cost nobody anything.
    """
    facts: dict[str, int] = {}
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            if name in _MEMORY or name == "Threads":
                facts[name] = int(value.split()[0])
    return sum(facts.get(name, 0) for name in _MEMORY) * 1024, facts.get("Threads", 0)


def remove_scratch(folder: Path) -> None:
    """Delete the folder and everything below it, however it was left; absent is fine.

    Never deeper than two levels at a time: what lies below a subfolder is lifted up first, so
    neither the length of a path nor the depth of a recursion is a limit.
    """
    with contextlib.suppress(FileNotFoundError):
        folder.chmod(0o700)
        while entries := _listed(str(folder)):
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _lift(Path(entry.path), folder)
                else:
                    Path(entry.path).unlink()
        folder.rmdir()


def _lift(path: Path, folder: Path) -> None:
    path.chmod(0o700)
    while entries := _listed(str(path)):
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(0o700)  # a folder that moves is written to: its ".."
                Path(entry.path).rename(folder / f"lifted-{os.urandom(16).hex()}")
            else:
                Path(entry.path).unlink()
    path.rmdir()
