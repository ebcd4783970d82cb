"""Programs that operations start: where they are, and what they read.

An operation names its programs (`@operation(..., programs=("ffmpeg",))`). Each role looks for them
once, at its start: on PATH, and for ffmpeg in the wheel `imageio-ffmpeg` of the `dev` extra. The
api offers only operations whose programs it finds itself, so it is meant to run from the same
image as the workers; a worker that gets a job for a program it lacks says so and leaves the job to
be tried again, perhaps by another worker.

`soffice` is LibreOffice with Writer, Calc and Impress: the program itself, not the script that
starts it. `tesseract` comes with a folder of languages, the first of what it reads.

Only ELF files count on Linux: the sandbox lets a job execute the program and its loader, and
nothing else, so a wrapper that is a shell script could not start what it wraps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
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

from fileproc.errors import Crashed, JobError, OutOfResources

_CHUNK_BYTES = 256 * 1024
_TAIL_BYTES = 16 * 1024
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is there.

    Attributes:
        path: the file itself, no link to it.
        reads: files and folders of its own that it reads, beside the system's libraries.
        mute_socket: it does not start without a Unix socket that it listens on, for others of its
            kind: it gets one that leads nowhere.
    """

    path: Path
    reads: tuple[Path, ...] = ()
    mute_socket: bool = False


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


def _soffice() -> Program | None:
    """LibreOffice with all its parts; `soffice` is a script that starts what we look for."""
    found = shutil.which("soffice") or shutil.which("libreoffice")
    folder = Path(found).resolve().parent if found else None
    path = _usable(folder / "soffice.bin") if folder else None
    parts = [] if path is None else [path.with_name(name) for name in _OFFICE_PARTS]
    if path is None or not all(map(_readable, parts)):
        return None
    reads = (path.parents[1], *(Path(name) for name in _OFFICE_READS))
    return Program(path, reads, mute_socket=True)


def _tesseract() -> Program | None:
    path = _usable(shutil.which("tesseract"))
    folders = (folder for pattern in _TESSDATA for folder in sorted(Path("/usr").glob(pattern)))
    data = next(
        (folder for folder in folders if any(map(_readable, folder.glob(_LANGUAGES)))), None
    )
    return Program(path, (data, *_beside(path))) if path and data else None


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _usable(found: str | Path | None) -> Path | None:
    """The file behind a name, if it is a program that can be executed as it is."""
    path = Path(found).resolve() if found is not None else None
    if path is None or not os.access(path, os.X_OK) or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            elf = file.read(4) == b"\x7fELF"
    except PermissionError:  # some may execute it; the sandbox could not map it
        return None
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


_OFFICE_PARTS = ("libswlo.so", "libsclo.so", "libsdlo.so")  # Writer, Calc, Impress
# Where Debian keeps what its folder of LibreOffice links to; and the index of the system's fonts.
_OFFICE_READS = (
    "/etc/libreoffice",
    "/usr/share/libreoffice",
    "/var/lib/libreoffice",
    "/var/spool/libreoffice",
    "/var/cache/fontconfig",
)
_TESSDATA = (
    "share/tesseract-ocr/*/tessdata",
    "share/tessdata",
    "share/tesseract/tessdata",
    "local/share/tessdata",
)
_LANGUAGES = "*.traineddata"
_TITLES = {"ffmpeg": "ffmpeg", "soffice": "LibreOffice", "tesseract": "Tesseract"}
_LOOKS: dict[str, Callable[[], Program | None]] = {
    "ffmpeg": _ffmpeg,
    "soffice": _soffice,
    "tesseract": _tesseract,
}


# --- running -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (negative: a signal), and the end of what it said."""

    code: int
    said: str


def cpu_exceeded(cpu_s: int) -> OutOfResources:
    """For a process that the kernel ended by SIGXCPU at this limit, in seconds."""
    return OutOfResources(
        f"The job used the {cpu_s:,} seconds of processor time that it may use; ask for less at"
        " once, or split the file.",
        code="cpu_time",
    )


def death(number: int, sentence: str) -> JobError:
    """The job's error for a program that ended by this signal; `sentence` says so for a crash."""
    if number == signal.SIGXFSZ:
        return OutOfResources(
            "The result needs more space than one attempt may use.", code="scratch_full"
        )
    if number == signal.SIGXCPU:
        return cpu_exceeded(resource.getrlimit(resource.RLIMIT_CPU)[0])  # it has inherited ours
    if number == signal.SIGKILL:  # not ours: with the job's group we would be dead as well
        return OutOfResources(
            "The job was killed from outside, most likely because the memory was out.",
            code="killed",
        )
    return Crashed(sentence)


def run(
    program: Program,
    arguments: Sequence[str],
    folder: Path,
    heard: Callable[[bytes], object],
    *,
    tail_bytes: int = _TAIL_BYTES,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program in `folder` to its end; `heard` gets what it writes to stdout.

    It reads nothing from stdin, knows nothing of our environment but what `environment` adds, and
    ends with this process. What `heard` raises ends it.
    """
    with _started(program, arguments, folder, environment or {}) as process:
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
    program: Program, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
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
            env={
                "LC_ALL": "C.UTF-8",
                "HOME": str(folder),
                "TMPDIR": str(folder),
                **environment,
            },
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
