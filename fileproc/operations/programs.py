"""Programs that operations start: where they are, and what they read.

An operation names its programs (`@operation(..., programs=("ffmpeg",))`). Each role looks for them
once, at its start: on PATH, and for ffmpeg in the wheel `imageio-ffmpeg` of the `dev` extra. The
api offers only operations whose programs it finds itself, so it is meant to run from the same
image as the workers; a worker that gets a job for a program it lacks says so and leaves the job to
be tried again, perhaps by another worker.

Only ELF files count on Linux: the sandbox lets a job execute the program and its loader, and
nothing else, so a wrapper that is a shell script could not start what it wraps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO

_CHUNK_BYTES = 256 * 1024
_TAIL_BYTES = 16 * 1024
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is there.

    Attributes:
        path: the file itself, no link to it.
        reads: files and folders of its own that it reads, beside the system's libraries.
    """

    path: Path
    reads: tuple[Path, ...] = ()


@cache
def installed() -> Mapping[str, Program]:
    """The programs that this machine has, by the names that operations give them."""
    found = {name: look() for name, look in _LOOKS.items()}
    return {name: program for name, program in found.items() if program is not None}


def missing(names: Iterable[str], there: Mapping[str, Program] | None = None) -> tuple[str, ...]:
    """What people call those of the named programs that are not there."""
    there = installed() if there is None else there
    return tuple(_TITLES.get(name, name) for name in names if name not in there)


def _ffmpeg() -> Program | None:
    path = _usable(shutil.which("ffmpeg")) or _in_wheel("imageio-ffmpeg", "ffmpeg-")
    return None if path is None else Program(path, _beside(path))


def _usable(found: str | Path | None) -> Path | None:
    """The file behind a name, if it is a program that can be executed as it is."""
    if found is None:
        return None
    path = Path(found).resolve()
    if not os.access(path, os.X_OK) or not path.is_file():
        return None
    with path.open("rb") as file:
        elf = file.read(4) == b"\x7fELF"
    return path if elf or sys.platform != "linux" else None


def _in_wheel(distribution: str, prefix: str) -> Path | None:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (_usable(str(file.locate())) for file in files if file.name.startswith(prefix))
    return next((path for path in paths if path is not None), None)


def _beside(path: Path) -> tuple[Path, ...]:
    """The libraries of a program that came with a folder of its own (`bin` and `lib`)."""
    return (path.parent.parent / "lib",) if path.parent.name == "bin" else ()


_TITLES = {"ffmpeg": "ffmpeg"}
_LOOKS: dict[str, Callable[[], Program | None]] = {"ffmpeg": _ffmpeg}


# --- running -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: a signal), and the end of what it said."""

    code: int
    said: str


def run(
    program: Program,
    arguments: Sequence[str],
    folder: Path,
    heard: Callable[[bytes], object],
    *,
    tail_bytes: int = _TAIL_BYTES,
) -> Ended:
    """Run a program in `folder` to its end; `heard` gets what it writes to stdout.

    It reads nothing from stdin, knows nothing of our environment, and ends with this process. What
    `heard` raises ends it.
    """
    with _started(program, arguments, folder) as process:
        if process.stdout is None or process.stderr is None:
            raise AssertionError("both are pipes")
        tail = _Tail(process.stderr, tail_bytes)
        while chunk := os.read(process.stdout.fileno(), _CHUNK_BYTES):
            heard(chunk)
        code = process.wait()
        tail.join()
        return Ended(code, tail.text)


@contextlib.contextmanager
def _started(
    program: Program, arguments: Sequence[str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with warnings.catch_warnings():
        # That engines have threads by now is said from Python 3.12 on. What runs after the fork is
        # one system call, and takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = subprocess.Popen(
            [str(program.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={"LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)},
            preexec_fn=_end_with_the_job,  # noqa: PLW1509 - as said above
        )
    try:
        yield process
    except BaseException:
        # A sandboxed job may signal nobody: what it started is killed with it.
        with contextlib.suppress(PermissionError):
            process.kill()
            process.wait()
        raise
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None and process.returncode is not None:
                pipe.close()


def _end_with_the_job() -> None:
    """In the new process: have it killed when the one that started it ends, however that ends."""
    if _prctl is not None:
        _prctl(*_KILL_ME)


_prctl = getattr(ctypes.CDLL(None), "prctl", None)
_KILL_ME = [ctypes.c_ulong(value) for value in (_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)]


class _Tail(threading.Thread):
    """Reads what a program says on stderr, however much that is, and keeps the end of it."""

    def __init__(self, pipe: IO[bytes], most: int) -> None:
        super().__init__(daemon=True)
        self._pipe, self._most, self._kept = pipe, most, b""
        self.start()

    def run(self) -> None:
        while chunk := os.read(self._pipe.fileno(), _CHUNK_BYTES):
            self._kept = (self._kept + chunk)[-self._most :]

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
