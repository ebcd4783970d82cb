"""One attempt as the worker sees it: from the fork of a child to its ending."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from fileproc import telemetry
from fileproc.crashpoints import crash_point
from fileproc.errors import JobError
from fileproc.jobs import Progress, Usage
from fileproc.operations import Limits, Output
from fileproc.worker.sandbox import groups, outcome
from fileproc.worker.sandbox.assignment import Assignment, Ending
from fileproc.worker.sandbox.listener import Listener, Nonsense
from fileproc.worker.sandbox.template import Process, Template
from fileproc.worker.zygote.protocol import Gave, Probed, Reaped, Refused, Succeeded, Task

KILL_DIRECTLY_S = 1.0  # after a kill: the zygote did not do it, the worker does
ZYGOTE_HANGS_S = 5.0  # after a kill, or without an answer to an order (three times as long)
_STDERR_BYTES = 64 * 1024
_TAIL_BYTES = 4000

_log = telemetry.get_logger(__name__)


class Attempt:
    """Runs once. The worker's own reasons to kill it go through `stop`."""

    def __init__(
        self,
        assignment: Assignment,
        template: Template,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._assignment = assignment
        self._template = template
        self._on_progress = on_progress
        self._verdict: JobError | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._begun = 0.0
        self._process: Process
        self._listener: Listener

    @property
    def folder(self) -> Path:
        return self._assignment.folder

    @property
    def limits(self) -> Limits:
        return self._assignment.limits

    @property
    def starts_programs(self) -> bool:
        """Whether it may be more than one process."""
        return bool(self._assignment.programs)

    @property
    def pid(self) -> int | None:
        """Of the child; None before the zygote named it."""
        return self._process.pid

    @property
    def answer(self) -> Succeeded | Gave | Probed | None:
        """The child's last word."""
        return self._listener.end

    def stop(self, verdict: JobError) -> None:
        """Kill the child for this reason; the first reason counts."""
        if self._verdict is None:
            self._verdict = verdict
            self._kill()

    async def run(self) -> Ending:
        """Until the child is reaped.

        Raises:
            ZygoteLost: the zygote died; so did the child.
            asyncio.CancelledError: the caller was cancelled; the child and its group are gone.
        """
        with contextlib.ExitStack() as files:
            try:
                voice, stderr = self._begin(files)
            except OSError as exc:  # no descriptor, or no memory, is left for us
                return self._not_started(str(exc))
            files.callback(self._process.close)
            files.callback(self._stop_timers)
            self._arm()
            self._listener = Listener(
                voice, self._on_progress, max_outputs=self.limits.output_files
            )
            self._loop.add_reader(voice, self._listen, voice)
            files.callback(self._loop.remove_reader, voice)
            end = await self._wait()
            self._drain()
            return self._conclude(end, stderr)

    def _begin(self, files: contextlib.ExitStack) -> tuple[int, int]:
        """Order a child; returns our ends of its pipes, closed with `files`."""
        voice, says = _pipe(files)
        stderr, writes = _pipe(files)
        # stderr is not read while the child runs: what the pipe cannot hold is lost, and a flood
        # of it costs the worker nothing.
        os.set_blocking(writes.fileno(), False)
        with _task_file(self._task()) as task, says, writes:
            self._begun = time.monotonic()
            self._process = self._template.begin(
                self.folder,
                self.limits,
                [task.fileno(), says.fileno(), writes.fileno()],
                self._assignment.programs,
            )
        crash_point("child-started")
        return voice.fileno(), stderr.fileno()

    def _task(self) -> Task:
        given = self._assignment
        return Task(
            operation=given.operation,
            params=given.params,
            attempt=given.attempt,
            inputs=given.inputs,
            debug=given.debug,
            findings=given.findings,
        )

    # --- while it runs -------------------------------------------------------------------------

    def _arm(self) -> None:
        self._later(self.limits.timeout_s, lambda: self.stop(outcome.timed_out(self.limits)))
        self._later(ZYGOTE_HANGS_S * 3, self._end_silent_zygote)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(delay_s, action))

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _end_silent_zygote(self) -> None:
        if not self._process.started.is_set():
            self._template.end()

    def _kill(self) -> None:
        self._template.kill(self._process)
        self._later(KILL_DIRECTLY_S, self._process.kill_directly)
        self._later(ZYGOTE_HANGS_S, self._end_hanging_zygote)

    def _end_hanging_zygote(self) -> None:
        """A child that is dead and not reaped says that the zygote hangs; a living one does not."""
        if self._process.is_alive():
            self._process.kill_directly()
            self._later(ZYGOTE_HANGS_S, self._end_hanging_zygote)
        else:
            self._template.end()

    def _listen(self, descriptor: int) -> None:
        try:
            if not self._listener.listen():
                self._loop.remove_reader(descriptor)  # it closed its end; it may work on
        except Nonsense:
            self._loop.remove_reader(descriptor)
            self.stop(outcome.spoke_nonsense())

    async def _wait(self) -> Reaped | Refused:
        """Wait for the end; when cancelled, kill, and still wait for the end."""
        ended = self._process.ended
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            self._kill()
            while not ended.done():  # cancelled again meanwhile: there is no other way out
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([ended])
            if ended.exception() is not None:
                await self._outlive()
            raise
        if ended.exception() is not None:
            await self._outlive()
        return ended.result()

    async def _outlive(self) -> None:
        """The zygote died: see to it that the child does, before its folder is given away.

        The child is told by the kernel, but what it started may not be.
        """
        process = self._process
        process.ended.exception()
        if process.pidfd is None or process.pid is None:
            return
        gone = asyncio.Event()
        groups.kill(process.pidfd, process.pid)
        self._loop.add_reader(process.pidfd, gone.set)
        try:
            async with asyncio.timeout(ZYGOTE_HANGS_S):
                await gone.wait()
        except TimeoutError:
            _log.warning("A child outlived the template process.", pid=process.pid)
        finally:
            self._loop.remove_reader(process.pidfd)
        _reap_inherited(process.pid)

    # --- when it has ended ---------------------------------------------------------------------

    def _drain(self) -> None:
        try:
            while self._listener.listen():
                pass
        except Nonsense:
            self._verdict = self._verdict or outcome.spoke_nonsense()

    def _conclude(self, end: Reaped | Refused, stderr: int) -> Ending:
        if isinstance(end, Refused):
            return self._not_started(end.why)
        wall_s = time.monotonic() - self._begun
        usage = Usage(wall_s=wall_s, cpu_s=end.cpu_s, peak_rss_bytes=end.peak_rss_bytes)
        error = outcome.judge(end.status, self.answer, self._verdict, self.limits)
        outputs: list[Output] = []
        if error is None:
            try:
                outputs = outcome.published(self._listener.made, self.folder, self.limits)
            except JobError as exc:
                error = exc
        if error is not None:
            self._log_failure(error, end.status, stderr)
        engine = self.answer.engine if isinstance(self.answer, Succeeded) else None
        return Ending(outputs, engine, usage, error)

    def _not_started(self, why: str) -> Ending:
        _log.error("No child process could be made.", job=self._assignment.id, why=why)
        error = JobError("The worker could not start a process for the job.", code="no_process")
        return Ending([], None, Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0), error)

    def _log_failure(self, error: JobError, status: int, stderr: int) -> None:
        """The truth, for the operator; the client has the sentence."""
        trace = self.answer.trace if isinstance(self.answer, Gave) else ""
        if error.job_class == "permanent" and not trace:
            return
        with contextlib.suppress(BlockingIOError):
            tail = os.read(stderr, _STDERR_BYTES)[-_TAIL_BYTES:].decode("utf-8", "replace")
            trace = f"{trace}\n{tail}" if tail else trace
        _log.warning(
            "An attempt failed.",
            job=self._assignment.id,
            operation=self._assignment.operation,
            code=error.job_code,
            status=os.waitstatus_to_exitcode(status),
            trace=trace.strip(),
        )


def _pipe(files: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    """A pipe that we read without waiting; its ends are closed with `files` at the latest."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    return files.enter_context(io.FileIO(read)), files.enter_context(io.FileIO(write, "w"))


def _reap_inherited(pid: int) -> None:
    """As process 1 of a container we inherit the children of a dead zygote."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _task_file(task: Task) -> IO[bytes]:
    """The task in a file without a name: it may be larger than any message."""
    file: IO[bytes] = (
        os.fdopen(os.memfd_create("task"), "w+b")
        if hasattr(os, "memfd_create")
        else tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    )
    file.write(task.line())
    file.flush()
    return file
