"""The real commands as processes, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from support.waiting import eventually

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable, "-m", "fileproc"]


def environment(**given: str) -> dict[str, str]:
    """Ours, with other settings; a colour or a log format of the terminal's must not matter."""
    return {**os.environ, "FILEPROC_SANDBOX": "best-effort", "PYTHONPATH": str(ROOT), **given}


def run(
    *arguments: str, cwd: Path, settings: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [*PYTHON, *arguments],
        cwd=cwd,
        env=environment(**(settings or {})),
        timeout=timeout_s,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def start(
    *arguments: str, cwd: Path, log: Path, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """One command, left running; what it says goes to the log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*PYTHON, *arguments],
            cwd=cwd,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def photo(path: Path, size: tuple[int, int] = (1200, 900), orientation: int = 6) -> Path:
    """A JPEG with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    bands = [Image.effect_noise(size, 40), Image.linear_gradient("L").resize(size)]
    Image.merge("RGB", [*bands, bands[0]]).save(path, exif=exif)
    return path


# --- processes ---------------------------------------------------------------------------------


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: state, parent, ..."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def descendants(pid: int) -> set[int]:
    """All processes below this one, now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def alive(pid: int) -> bool:
    """Whether it exists and is not a zombie."""
    try:
        return _stat(pid)[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return False


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


async def all_gone(pids: Sequence[int] | set[int], *, within_s: float = 15) -> None:
    """Wait for their end.

    Raises:
        AssertionError: some are left; with their command lines.
    """
    try:
        await eventually(lambda: not any(map(alive, pids)), within_s=within_s)
    except TimeoutError:
        left = [f"{pid}: {command_of(pid)}" for pid in pids if alive(pid)]
        raise AssertionError("left running: " + "; ".join(left)) from None


# --- fileproc dev ------------------------------------------------------------------------------


@dataclass
class Dev:
    """A running `fileproc dev`."""

    process: subprocess.Popen[bytes]
    log: Path
    data: Path
    pids: set[int]

    @property
    def url(self) -> str:
        found = re.findall(r"API +(http://\S+)", self.said)
        assert found, self.said
        return str(found[-1])

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def role(self, name: str) -> int | None:
        """Process id of `api` or `worker`, None while there is none."""
        for pid in descendants(self.process.pid):
            if command_of(pid).rstrip().endswith(f"-m fileproc {name}") and alive(pid):
                return pid
        return None

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the signal; its exit status. Nothing of it may be left."""
        self.pids |= descendants(self.process.pid)
        self.process.send_signal(number)
        await eventually(lambda: self.process.poll() is not None, within_s=60)
        await all_gone(self.pids)
        return self.process.returncode


@contextlib.asynccontextmanager
async def dev(
    folder: Path, *arguments: str, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Dev]:
    """`python -m fileproc dev` over `folder`/data, ready; stopped at the end, nothing left."""
    log = folder / "dev.log"
    begin = log.stat().st_size if log.exists() else 0
    data = folder / "data"
    process = start(
        *("dev", "--port", "0", "--data", str(data), *arguments),
        cwd=folder,
        log=log,
        settings={"FILEPROC_DEBUG_OPERATIONS": "1", **(settings or {})},
    )
    running = Dev(process, log, data, set())
    try:
        await eventually(
            lambda: process.poll() is not None or "fileproc is running" in running.said[begin:],
            within_s=90,
        )
        assert process.poll() is None, running.said
        running.pids = descendants(process.pid)
        yield running
    finally:
        if process.poll() is None:
            await running.stop()
