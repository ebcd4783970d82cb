"""The template process: engines imported once, one thread, a fork per attempt.

It is exec'd by the worker with a small environment, so that no key of the worker's is in its
memory, and it never uses an engine: what is used starts threads, and those do not survive a fork.
It speaks with the worker over one socket, whose end is its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import os
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from fileproc.operations import catalogue
from fileproc.worker.zygote import child, libc
from fileproc.worker.zygote.channel import Channel
from fileproc.worker.zygote.confinement import MAX_DESCRIPTORS, Confinement
from fileproc.worker.zygote.kernel import Kernel
from fileproc.worker.zygote.protocol import (
    ORDERS,
    Failed,
    Kill,
    Prepare,
    Ready,
    Reaped,
    Refused,
    Start,
    Started,
)

Orders = Channel[Prepare | Start | Kill]
_KIB_OF_MAXRSS = 1024 if libc.LINUX else 1
_GROUP_GONE_WITHIN_S = 3.0  # a process that waits for a broken disk is not waited for
_LOOK_AGAIN_S = 0.001


def main(descriptor: int) -> NoReturn:
    """Serve the worker at the other end of this socket until it goes away."""
    channel: Orders = Channel(socket.socket(fileno=descriptor), ORDERS)
    try:
        zygote = Zygote(channel, prepare(_first_order(channel)))
        channel.send(Ready())
        zygote.serve()
    except EOFError:
        pass  # the worker is gone
    except Exception:  # noqa: BLE001 - the worker logs it: this process has no log
        with contextlib.suppress(OSError):
            channel.send(Failed(why=traceback.format_exc()[-30_000:]))
    os._exit(0)  # the engines' own goodbyes would only fill the worker's stderr


def _first_order(channel: Orders) -> Prepare:
    (order, _), *_ = channel.receive()
    if not isinstance(order, Prepare):
        raise TypeError(f"the first order is {order.kind}")
    return order


def prepare(order: Prepare) -> Confinement:
    """Import everything that children will need, and become a process fit to be forked."""
    _settle_down()
    for name in order.preload:
        _import(name)
    for operation in catalogue(debug=True).values():
        for engine in operation.engines:
            importlib.import_module(engine)
    kernel = Kernel(order.landlock, order.seccomp, order.rlimits)
    confinement = Confinement.of(kernel, order.programs)
    if libc.LINUX and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("an import started a thread; a fork would lose it")
    gc.collect()
    gc.freeze()  # the collector writes to no page that the children share
    return confinement


def _settle_down() -> None:
    # A signal to the whole group (Ctrl-C, a service manager) is the worker's to answer, and the
    # children inherit this: they are killed by the worker, or not at all.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    faulthandler.enable()  # a crash leaves its Python stack on the child's stderr
    if libc.LINUX:
        # Not to be killed with the worker: its socket ends then, and the children's groups, with
        # the programs in them, are ours to kill first.
        libc.hide_process()
        libc.adopt_orphans()


def _import(name: str) -> None:
    """A module by name, or by the path of its file (tests)."""
    if not name.endswith(".py"):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


class Zygote:
    """Forks and reaps; one loop over the worker's socket and the wake-ups of SIGCHLD.

    SIGCHLD, and not a pidfd for each child, since orphans that fell to us wake it as well.
    """

    def __init__(self, channel: Orders, confinement: Confinement) -> None:
        self._channel = channel
        self._confinement = confinement
        self._pid = os.getpid()
        self._running: dict[int, int] = {}  # pid -> key
        self._bell, self._rope = os.pipe()
        for end in (self._bell, self._rope):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._rope, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the worker goes away; then every child is killed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            try:
                while True:
                    for ready, _ in selector.select():
                        if ready.fileobj is self._channel:
                            self._obey()
                        else:
                            os.read(self._bell, 4096)
                            self._reap()
            finally:
                for pid in self._running:
                    self._kill(pid)

    def _obey(self) -> None:
        for order, descriptors in self._channel.receive():
            if isinstance(order, Start):
                self._start(order, child.Descriptors(*descriptors))
            elif isinstance(order, Kill):
                for pid, key in self._running.items():
                    if key == order.key:
                        self._kill(pid)

    def _start(self, start: Start, given: child.Descriptors) -> None:
        try:
            pid = os.fork()
        except OSError as exc:
            self._channel.send(Refused(key=start.key, why=str(exc)))
            return
        else:
            if pid == 0:
                self._live(start, given)
            self._running[pid] = start.key
        finally:
            for descriptor in (given.task, given.voice, given.stderr):
                os.close(descriptor)
        self._announce(start.key, pid)

    def _live(self, start: Start, given: child.Descriptors) -> NoReturn:
        code = child.EXIT_SPEECHLESS
        try:
            code = child.live(start, given, self._confinement, self._pid)
        except BaseException:  # noqa: BLE001 - for the tail of stderr in the log
            traceback.print_exc()
        finally:
            os._exit(code)  # nothing of the zygote's may run in the child

    def _announce(self, key: int, pid: int) -> None:
        started = Started(key=key, pid=pid)
        if not hasattr(os, "pidfd_open"):
            self._channel.send(started)
            return
        descriptor = os.pidfd_open(pid)
        try:
            self._channel.send(started, [descriptor])
        finally:
            os.close(descriptor)

    def _kill(self, pid: int) -> None:
        """The leader, and its group: a child that was just forked has none of its own yet."""
        for kill in (os.kill, os.killpg):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        while (ended := self._collect()) is not None:
            pid, status, cpu_s, peak_rss = ended
            key = self._running.pop(pid, None)
            if key is None:
                continue  # an orphan of a child's
            if not self._confinement.kernel.seccomp:
                self._sweep()
            self._channel.send(
                Reaped(
                    key=key,
                    status=status,
                    cpu_s=cpu_s,
                    peak_rss_bytes=peak_rss * _KIB_OF_MAXRSS,
                )
            )

    def _collect(self) -> tuple[int, int, float, int] | None:
        """Wait for one child that has ended, and for its group, which is killed.

        Returns its pid, its status, seconds of processor time and the peak of its memory.
        """
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return self._collect_first()
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        if info is None:
            return None
        # The leader is still a zombie: its number, and so its group, belong to nobody else.
        self._kill(info.si_pid)
        _, status, usage = os.wait4(info.si_pid, 0)
        cpu_s, peak_rss = _reap_group(info.si_pid)
        return (
            info.si_pid,
            status,
            cpu_s + usage.ru_utime + usage.ru_stime,
            max(peak_rss, usage.ru_maxrss),
        )

    def _collect_first(self) -> tuple[int, int, float, int] | None:
        for pid in self._running:
            found, status, usage = os.wait4(pid, os.WNOHANG)
            if found:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        return None

    def _sweep(self) -> None:
        """Kill what left its group by setsid and lost its parent; without seccomp it could."""
        with contextlib.suppress(OSError):
            for pid in Path("/proc/self/task", str(self._pid), "children").read_text().split():
                if int(pid) not in self._running:
                    self._kill(int(pid))


def _reap_group(leader: int) -> tuple[float, int]:
    """Wait for what a leader left behind, killed already: nobody writes to its folder after this.

    Without their parents its processes are ours. Returns their processor time and peak memory.
    """
    cpu_s, peak_rss = 0.0, 0
    deadline = time.monotonic() + _GROUP_GONE_WITHIN_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            pid, _, usage = os.wait4(-leader, os.WNOHANG)
            if pid == 0:
                time.sleep(_LOOK_AGAIN_S)
                continue
            cpu_s += usage.ru_utime + usage.ru_stime
            peak_rss = max(peak_rss, usage.ru_maxrss)
    return cpu_s, peak_rss
