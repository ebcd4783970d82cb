"""An operation that misbehaves in the ways of parsers that met a bad file, and of bad files.

Imported by the zygote (`preload`); see test_hostile.py for what must become of each.
"""

# Every way has the same two arguments, whether it uses them or not, and leaks on purpose.
# ruff: noqa: ARG001, SIM115

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fileproc.errors import BadInput, JobError
from fileproc.operations import Params, Work, operation, programs

MIB = 1024 * 1024
WAYS: dict[str, Callable[[Work, Hostile], Any]] = {}


class Hostile(Params):
    how: str
    amount: int = 0
    text: str = ""


class RustPanicError(BaseException):
    """Panics of Rust libraries arrive as BaseException."""


def way(function: Callable[[Work, Hostile], Any]) -> Callable[[Work, Hostile], Any]:
    WAYS[function.__name__] = function
    return function


# --- good behaviour ----------------------------------------------------------------------------


@way
def copy(work: Work, params: Hostile) -> None:
    for given in work.inputs:
        work.output(f"{given.stem}.copy", given.type).write_bytes(given.path.read_bytes())
    work.engine = "hostile 1.0"
    work.progress(1, 2, unit="files", phase="copy")


@way
def say_length(work: Work, params: Hostile) -> None:
    work.output("length", "text/plain").write_text(str(len(params.text)))


@way
def look_around(work: Work, params: Hostile) -> None:
    found = {"environment": dict(os.environ), "cwd": str(Path.cwd()), "umask": os.umask(0o077)}
    work.output("found", "application/json").write_text(json.dumps(found))


@way
def progress_often(work: Work, params: Hostile) -> None:
    for done in range(params.amount):
        work.progress(done + 1, params.amount)
    work.progress(float("nan"))


@way
def wait(work: Work, params: Hostile) -> None:
    work.progress(0, phase="waiting")
    time.sleep(params.amount)


@way
def draw_text(work: Work, params: Hostile) -> None:
    import pyvips

    image = pyvips.Image.text("fileproc", dpi=150)
    work.output("size", "text/plain").write_text(f"{image.width} {image.height}")


@way
def list_modules(work: Work, params: Hostile) -> None:
    work.output("modules", "text/plain").write_text("\n".join(sys.modules))


# --- errors ------------------------------------------------------------------------------------


@way
def bad_input(work: Work, params: Hostile) -> None:
    raise BadInput("The picture has no pixels.\x1b[31m", code="no_pixels")


@way
def odd_code(work: Work, params: Hostile) -> None:
    raise JobError("It did not work.", code="Not a code!")


@way
def unforeseen(work: Work, params: Hostile) -> None:
    raise RuntimeError("secret detail")


@way
def rust_panic(work: Work, params: Hostile) -> None:
    raise RustPanicError("called unwrap on None")


@way
def system_exit(work: Work, params: Hostile) -> None:
    sys.exit(0)


@way
def no_space(work: Work, params: Hostile) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@way
def engine_out_of_memory(work: Work, params: Hostile) -> None:
    raise RuntimeError("tile.c: Out of memory; size == 3 GB")


# --- deaths ------------------------------------------------------------------------------------


@way
def die(work: Work, params: Hostile) -> None:
    os.kill(os.getpid(), params.amount)


@way
def segfault(work: Work, params: Hostile) -> None:
    ctypes.string_at(0)


@way
def leave(work: Work, params: Hostile) -> None:
    os._exit(params.amount)


@way
def foreign_call(work: Work, params: Hostile) -> None:
    """getpid by the x32 numbers, which the tables of x86_64 do not cover."""
    ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))


# --- programs ----------------------------------------------------------------------------------


@way
def run_programs(work: Work, params: Hostile) -> None:
    """Run ffmpeg with each list of arguments; tells exit codes and what was said."""
    program = work.programs["ffmpeg"]
    ended = [
        programs.run(program, arguments, work.folder, lambda _: None)
        for arguments in json.loads(params.text)
    ]
    found = [{"code": each.code, "said": each.said} for each in ended]
    work.output("found", "application/json").write_text(json.dumps(found))


@way
def encode(work: Work, params: Hostile) -> None:
    """Has ffmpeg encode without end; next to it, processes of ours that ignore what they can."""
    work.progress(0, phase="encode")
    for _ in range(params.amount):
        if (pid := os.fork()) == 0:
            if os.fork():
                os._exit(0)  # the grandchild falls to the zygote
            hang(work, params)
        os.waitpid(pid, 0)
    source = ["-f", "lavfi", "-re", "-i", "testsrc2"]
    programs.run(work.programs["ffmpeg"], [*source, "-f", "null", "-"], work.folder, lambda _: None)


@way
def multiply(work: Work, params: Hostile) -> None:
    """A fork bomb that stops at 2 to the power of `amount`, so as not to harm who lacks limits."""
    for _ in range(params.amount):
        with contextlib.suppress(OSError):
            os.fork()
    while True:
        time.sleep(3600)


@way
def eat_memory_together(work: Work, params: Hostile) -> None:
    """Each process alone is within its limit."""
    for _ in range(4):
        if os.fork() == 0:
            break
    held = [b"x" * MIB for _ in range(params.amount)]
    while held:
        time.sleep(3600)


# --- greed -------------------------------------------------------------------------------------


@way
def hang(work: Work, params: Hostile) -> None:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(3600)


@way
def burn(work: Work, params: Hostile) -> None:
    while True:
        pass


@way
def eat_memory(work: Work, params: Hostile) -> None:
    held = []
    while True:
        held.append(b"x" * MIB)


@way
def eat_shared_memory(work: Work, params: Hostile) -> None:
    held = mmap.mmap(-1, params.amount * MIB)
    for _ in range(params.amount):
        held.write(b"x" * MIB)
    while True:
        time.sleep(3600)


@way
def start_threads(work: Work, params: Hostile) -> None:
    threading.stack_size(64 * 1024)
    for _ in range(params.amount):
        threading.Thread(target=time.sleep, args=(3600,)).start()
    while True:
        time.sleep(3600)


@way
def start_processes(work: Work, params: Hostile) -> None:
    while True:
        os.fork()


@way
def fill_file(work: Work, params: Hostile) -> None:
    with work.output("big", "text/plain").open("wb") as file:
        while True:
            file.write(b"x" * MIB)


@way
def grow_inputs(work: Work, params: Hostile) -> None:
    for given in work.inputs:
        with given.path.open("ab") as file:
            file.write(bytes(params.amount))
    copy(work, params)


@way
def fill_files(work: Work, params: Hostile) -> None:
    for number in range(params.amount):
        Path(f"part-{number}").write_bytes(b"x" * MIB)
    while True:
        time.sleep(3600)


@way
def fill_deleted_files(work: Work, params: Hostile) -> None:
    held = []
    for number in range(params.amount):
        held.append(Path(f"part-{number}").open("wb"))
        Path(f"part-{number}").unlink()
        held[-1].write(b"x" * MIB)
        held[-1].flush()
    while True:
        time.sleep(3600)


@way
def fill_hidden_folder(work: Work, params: Hostile) -> None:
    """A folder that may be written to and not be listed."""
    Path("hidden").mkdir(0o300)
    for number in range(params.amount):
        Path("hidden", f"part-{number}").write_bytes(b"x" * MIB)
    while True:
        time.sleep(3600)


@way
def nest_folders(work: Work, params: Hostile) -> None:
    for _ in range(params.amount):
        Path("d").mkdir()
        os.chdir("d")
    while True:
        time.sleep(3600)


@way
def sparse_output(work: Work, params: Hostile) -> None:
    for number in range(params.amount):
        os.truncate(os.open(work.output(f"{number}", "text/plain"), os.O_CREAT | os.O_RDWR), MIB)


@way
def flood_stderr(work: Work, params: Hostile) -> None:
    sys.stderr.write("it began like this\n")
    sys.stderr.flush()
    for number in (1, 2):
        for _ in range(params.amount):
            with contextlib.suppress(BlockingIOError):
                os.write(number, b"x" * 4096)


@way
def threads_at_the_end(work: Work, params: Hostile) -> None:
    threading.Thread(target=time.sleep, args=(3600,)).start()


# --- lies --------------------------------------------------------------------------------------


def _voice() -> int:
    """The pipe to the worker, found as bad code would find it."""
    for descriptor in range(3, 256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        return descriptor
    raise AssertionError


def _say(line: bytes) -> None:
    while line:
        line = line[os.write(_voice(), line) :]


@way
def say(work: Work, params: Hostile) -> None:
    _say(params.text.encode())
    os._exit(0)


@way
def flood_progress(work: Work, params: Hostile) -> None:
    while True:
        _say(b'{"kind":"advance","phase":"x","done":1}\n' * 100)


@way
def endless_line(work: Work, params: Hostile) -> None:
    while True:
        _say(b"x" * 4096)


@way
def output_not_written(work: Work, params: Hostile) -> None:
    work.output("nothing", "text/plain")


@way
def output_is_folder(work: Work, params: Hostile) -> None:
    work.output("folder", "text/plain").mkdir()


@way
def output_unreadable(work: Work, params: Hostile) -> None:
    os.close(os.open(work.output("secret", "text/plain"), os.O_CREAT | os.O_WRONLY, 0))


@way
def output_named_badly(work: Work, params: Hostile) -> None:
    work.output("x", "text/plain").write_bytes(b"x")
    made = {"kind": "made", "index": 0, "name": "../../etc/\u202epasswd\n", "type": "text/plain"}
    _say(json.dumps(made).encode() + b"\n" + b'{"kind":"succeeded"}\n')
    os._exit(0)


@operation(
    "debug.hostile",
    summary="Misbehave.",
    params=Hostile,
    accepts=("*/*",),
    produces=("*/*",),
    example={"how": "copy"},
    min_inputs=0,
    max_inputs=1000,
    debug=True,
)
def hostile(work: Work, params: Hostile) -> None:
    """Behave as `how` says."""
    WAYS[params.how](work, params)
