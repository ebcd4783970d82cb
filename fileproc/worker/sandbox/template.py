"""The zygote as the worker sees it: started, spoken with, found dead."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fileproc import telemetry
from fileproc.errors import EngineError
from fileproc.operations import Limits
from fileproc.operations.programs import Program
from fileproc.worker.sandbox import groups
from fileproc.worker.sandbox.assignment import ZygoteLost
from fileproc.worker.zygote.channel import Channel, pair
from fileproc.worker.zygote.kernel import Kernel
from fileproc.worker.zygote.protocol import (
    NEWS,
    Failed,
    Kill,
    Message,
    Prepare,
    Ready,
    Reaped,
    Refused,
    Start,
    Started,
)

_READY_WITHIN_S = 60.0
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PATH": os.defpath,
    "MALLOC_ARENA_MAX": "2",
    "VIPS_CONCURRENCY": str(Limits().threads),
    "OMP_NUM_THREADS": str(Limits().threads),
}
# -I keeps the working directory and the user's own packages out. The paths that this process
# found its modules on follow as arguments: fileproc may run from a checkout, not installed.
_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from fileproc.worker.zygote.zygote import main; main(int(sys.argv[1]))"
)

_log = telemetry.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Process:
    """One child. `ended` has its end, or ZygoteLost; nobody cancels it.

    Attributes:
        pid: None until the zygote says so.
        pidfd: to kill it with when the zygote hangs; closed by `close`.
    """

    key: int
    ended: asyncio.Future[Reaped | Refused]
    started: asyncio.Event = field(default_factory=asyncio.Event)
    pid: int | None = None
    pidfd: int | None = None

    def kill_directly(self) -> None:
        """Kill the leader and its group without the zygote's help."""
        if self.pidfd is not None and self.pid is not None and not self.ended.done():
            groups.kill(self.pidfd, self.pid)

    def is_alive(self) -> bool:
        """Whether it is known to run; a zombie does not."""
        if self.pidfd is None:
            return False
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Template:
    """One zygote, from its start to its death.

    Attributes:
        lost: done when it is dead.
    """

    def __init__(self) -> None:
        """Start the program; it is of use when `start` has returned.

        Raises:
            OSError: no socket or process is to be had.
        """
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._unsent: deque[tuple[Message, list[int]]] = deque()
        self._processes: dict[int, Process] = {}
        self._keys = 0
        self.lost = asyncio.Event()
        ours, theirs = pair()
        ours.setblocking(False)
        self._channel = Channel(ours, NEWS)
        try:
            with theirs:
                self._program = _program(theirs.fileno())
        except OSError:
            self._channel.close()
            raise
        telemetry.ZYGOTE_STARTS.inc()
        self._loop.add_reader(ours.fileno(), self._hear)

    @classmethod
    async def start(
        cls, kernel: Kernel, preload: Sequence[str], programs: Mapping[str, Program]
    ) -> Template:
        """Start a zygote and wait until it has imported everything.

        Raises:
            EngineError: it did not come up; the log has its traceback.
        """
        try:
            template = cls()
        except OSError as exc:
            raise EngineError(
                f"The sandbox's template process cannot be made: {exc.strerror}."
            ) from exc
        try:
            await template._prepared(kernel, preload, programs)
        except BaseException:
            await template.close()
            raise
        return template

    async def _prepared(
        self, kernel: Kernel, preload: Sequence[str], programs: Mapping[str, Program]
    ) -> None:
        order = Prepare(
            preload=tuple(preload),
            programs=dict(programs),
            landlock=kernel.landlock,
            seccomp=kernel.seccomp,
            rlimits=kernel.rlimits,
        )
        try:
            self._send(order)
            async with asyncio.timeout(_READY_WITHIN_S):
                await self._ready
        except (TimeoutError, ZygoteLost) as exc:
            raise EngineError(
                "The sandbox's template process did not start; the log says why."
            ) from exc

    @property
    def pid(self) -> int:
        return self._program.pid

    def begin(
        self,
        folder: Path,
        limits: Limits,
        descriptors: Sequence[int],
        programs: tuple[str, ...] = (),
    ) -> Process:
        """Fork a child with copies of these descriptors: task, voice, stderr.

        It may execute the programs of these names, and no others.

        Raises:
            ZygoteLost: there is no zygote any more.
        """
        if self.lost.is_set():
            raise ZygoteLost("The worker's template process is gone.")
        self._keys += 1
        process = Process(self._keys, self._loop.create_future())
        self._processes[process.key] = process
        try:
            start = Start(key=process.key, folder=folder, limits=limits, programs=programs)
            self._send(start, descriptors)
        except OSError:  # no descriptor is left to keep the order with
            del self._processes[process.key]
            raise
        return process

    def kill(self, process: Process) -> None:
        """Kill a child and its group; harmless when it has ended."""
        if not self.lost.is_set() and not process.ended.done():
            self._send(Kill(key=process.key))

    def end(self) -> None:
        """Kill the zygote itself: it hangs. Its children die with it."""
        self._program.kill()

    async def close(self) -> None:
        """End the zygote, and with it every child; returns when it is reaped."""
        self._die()
        self._program.kill()
        await asyncio.to_thread(self._program.wait)

    # --- the socket ----------------------------------------------------------------------------

    def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Now, or, with copies of the descriptors, when the zygote has room."""
        if not self._unsent:
            try:
                self._channel.send(message, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._channel.fileno(), self._catch_up)
            except OSError:
                self._die()
                return
            else:
                return
        self._unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))

    def _catch_up(self) -> None:
        try:
            while self._unsent:
                message, descriptors = self._unsent[0]
                self._channel.send(message, descriptors)
                self._unsent.popleft()
                _close(descriptors)
        except BlockingIOError:
            return
        except OSError:
            self._die()
            return
        self._loop.remove_writer(self._channel.fileno())

    def _hear(self) -> None:
        try:
            for news, descriptors in self._channel.receive():
                self._note(news, descriptors)
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._die()

    def _note(
        self, news: Ready | Failed | Started | Refused | Reaped, descriptors: list[int]
    ) -> None:
        if isinstance(news, Ready):
            self._ready.set_result(None)
        elif isinstance(news, Failed):
            _log.error("The template process failed.", trace=news.why)
        elif isinstance(news, Started):
            process = self._processes[news.key]
            process.pid = news.pid
            process.pidfd = descriptors[0] if descriptors else None
            process.started.set()
        else:
            self._processes.pop(news.key).ended.set_result(news)

    def _die(self) -> None:
        """The zygote is gone, or will be: nobody waits for news of it any longer."""
        if self.lost.is_set():
            return
        self.lost.set()
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        self._channel.close()
        while self._unsent:
            _close(self._unsent.popleft()[1])
        error = ZygoteLost("The worker's template process died; the job is handed back.")
        for process in self._processes.values():
            process.ended.set_exception(error)
        self._processes.clear()
        if not self._ready.done():
            self._ready.set_exception(error)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _program(descriptor: int) -> subprocess.Popen[bytes]:
    """The zygote, with this socket and nothing else of ours."""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOTSTRAP, str(descriptor), *_module_paths()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env=_ENVIRONMENT,
        pass_fds=[descriptor],
    )


def _module_paths() -> list[str]:
    """Where the zygote finds its modules: where this process did, never the working directory."""
    paths = [path for path in sys.path if Path(path).is_absolute()]
    checkout = str(Path(__file__).resolve().parents[3])
    return paths if checkout in paths else [checkout, *paths]
