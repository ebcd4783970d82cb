"""`debug.crash`: the many ways in which a decoder goes wrong; for tests of the sandbox.

Outside a sandbox it takes its process with it, and worse: run it in a child only.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_BLOCK = 16 * 1024 * 1024


class Crash(Params):
    how: Literal[
        "segv", "abort", "kill", "exit", "raise", "oom", "hang", "spin", "fill_disk", "flood",
        "open_files", "spawn",
    ] = Field(
        "segv",
        description="segv, abort, kill: by a signal. exit: without a word. raise: an error nobody"
        " foresaw. oom: memory without end. hang: sleeps for ever. spin: computes for ever."
        " fill_disk: writes without end. flood: prints without end. open_files: opens without end."
        " spawn: starts processes without end.",
    )  # fmt: skip


@operation(
    "debug.crash",
    summary="Crash, hang or use up a limit",
    params=Crash,
    accepts=("*/*",),
    produces=(),
    example={"how": "abort"},
    min_inputs=0,
    debug=True,
)
def crash(work: Work, params: Crash) -> None:
    """Never ends well."""
    work.engine = "debug"
    work.progress(0, phase=params.how)
    _WAYS[params.how](work)


def _signal(number: signal.Signals) -> Callable[[Work], None]:
    def die(work: Work) -> None:
        del work
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)

    return die


def _exit(work: Work) -> None:
    del work
    os._exit(3)


def _raise(work: Work) -> None:
    raise RuntimeError(f"on purpose, in {work.folder}")


def _oom(work: Work) -> None:
    del work
    hoard: list[object] = []
    while True:
        hoard.append(os.urandom(1024) * (_BLOCK // 1024))


def _hang(work: Work) -> None:
    del work
    while True:
        signal.pause()


def _spin(work: Work) -> None:
    del work
    while True:
        pass


def _fill_disk(work: Work) -> None:
    block = b"\xaa" * _BLOCK
    number = 0
    while True:
        with (work.folder / f"filler-{number}").open("wb") as file:
            for _ in range(16):
                file.write(block)
        number += 1


def _flood(work: Work) -> None:
    del work
    while True:
        os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, b"x" * 65_536)


def _open_files(work: Work) -> None:
    hoard: list[object] = []
    while True:
        hoard.append((work.folder / f"open-{len(hoard)}").open("wb"))


def _spawn(work: Work) -> None:
    del work
    while True:
        if os.fork() == 0:
            while True:
                signal.pause()


_WAYS: dict[str, Callable[[Work], None]] = {
    "segv": _signal(signal.SIGSEGV),
    "abort": _signal(signal.SIGABRT),
    "kill": _signal(signal.SIGKILL),
    "exit": _exit,
    "raise": _raise,
    "oom": _oom,
    "hang": _hang,
    "spin": _spin,
    "fill_disk": _fill_disk,
    "flood": _flood,
    "open_files": _open_files,
    "spawn": _spawn,
}
