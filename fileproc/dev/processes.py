"""Child processes that end with us: started, watched, stopped.

The kernel ties "ends with its parent" to the *thread* that started a process. So every child is
started by one thread that lives as long as this process does; callers may come from any thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path

from fileproc.errors import EngineError

_TETHER = Path(__file__).with_name("tether.py")
_LOG_LIMIT = 16 * 1024 * 1024

_Popen = subprocess.Popen[bytes]
_Order = tuple[Callable[[], _Popen], Future[_Popen]]


@cache
def _orders() -> queue.SimpleQueue[_Order]:
    """Where the starting thread takes its orders; the thread begins with the first caller."""
    orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(orders,), name="starter", daemon=True).start()
    return orders


def _serve(orders: queue.SimpleQueue[_Order]) -> None:
    while True:
        start, future = orders.get()
        try:
            future.set_result(start())
        except OSError as exc:
            future.set_exception(exc)


class Child:
    """One program; may be started again after its end.

    Its output is appended to `log`, or goes where ours goes if there is none. It gets a session
    of its own, so a Ctrl-C at the terminal reaches us alone, and we end things in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.env = env
        self._process: _Popen | None = None
        self._log_begin = 0

    @property
    def pid(self) -> int:
        """Process id of the program itself.

        Raises:
            EngineError: it was never started.
        """
        if self._process is None:
            raise EngineError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> int | None:
        """Exit status (negative: the signal); None while it runs or before its first start."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the program; does not wait until it answers.

        Raises:
            EngineError: the program cannot be executed.
        """
        self._log_begin = self.log.stat().st_size if self.log and self.log.exists() else 0
        future: Future[_Popen] = Future()
        _orders().put((self._popen, future))
        try:
            self._process = future.result()
        except OSError as exc:
            raise EngineError(f"{self.name} cannot be started: {exc}") from exc

    def _popen(self) -> _Popen:
        tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self.command]
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(_appending(self.log)) if self.log else None
            return subprocess.Popen(
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=dict(self.env) if self.env is not None else None,
                start_new_session=True,
            )

    def wait(self, timeout_s: float) -> bool:
        """Whether the program has ended within the time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = 10) -> None:
        """SIGTERM, and SIGKILL when the grace is over; returns when it is gone."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace_s):
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def said(self) -> str:
        """What it has printed since its last start, the end of it if it is much."""
        if self.log is None or not self.log.exists():
            return ""
        size = self.log.stat().st_size
        begin = self._log_begin if self._log_begin <= size else 0  # a new log was begun
        with self.log.open("rb") as file:
            file.seek(max(begin, size - 16_384))
            return file.read().decode("utf-8", "replace")

    def tail(self, lines: int = 12) -> str:
        """The last lines it has printed, for an error message."""
        return "\n".join(self.said().splitlines()[-lines:])


@contextlib.contextmanager
def _appending(log: Path) -> Iterator[int]:
    """A descriptor to append to the log; one that grew too long is begun anew."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_name(log.name + ".old"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago; whoever takes it must be ready to lose the race."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_problem(host: str, port: int) -> str | None:
    """Why nobody could listen there now; None: somebody could."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        return exc.strerror or str(exc)
    return None
