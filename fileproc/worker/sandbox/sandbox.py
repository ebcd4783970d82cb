"""The sandbox: every attempt in a process of its own, forked from the zygote, confined."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fileproc import telemetry
from fileproc.errors import EngineError
from fileproc.jobs import Progress
from fileproc.operations import Limits
from fileproc.operations.programs import Program, installed
from fileproc.settings import SandboxMode, Settings
from fileproc.worker.sandbox.assignment import Assignment, Ending, ZygoteLost
from fileproc.worker.sandbox.attempt import Attempt
from fileproc.worker.sandbox.report import SandboxReport, report_of
from fileproc.worker.sandbox.sampler import Sampler
from fileproc.worker.sandbox.template import Template
from fileproc.worker.zygote import kernel as kernels
from fileproc.worker.zygote import selftest
from fileproc.worker.zygote.kernel import Kernel
from fileproc.worker.zygote.protocol import Probed

_WAIT_FOR_ZYGOTE_S = 30.0
_BACKOFF_FIRST_S, _BACKOFF_LAST_S = 0.1, 5.0
_LIVED_WELL_S = 30.0
_SELF_TEST_S = 30.0

_log = telemetry.get_logger(__name__)


class Sandbox:
    """Open it with `Sandbox.open`.

    Attributes:
        report: what holds a job on this machine.
    """

    report: SandboxReport

    def __init__(
        self, kernel: Kernel, preload: Sequence[str], programs: Mapping[str, Program]
    ) -> None:
        self._kernel = kernel
        self._preload = tuple(preload)
        self._programs = programs
        self._attempts: set[Attempt] = set()
        self._template: asyncio.Future[Template] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        *,
        preload: Sequence[str] = (),
        kernel: Kernel | None = None,
        programs: Mapping[str, Program] | None = None,
    ) -> AsyncIterator[Sandbox]:
        """Start the zygote, try the confinement on a real child, and keep a zygote running.

        Args:
            settings: `sandbox` and `scratch_dir` are read.
            preload: further modules for the zygote (names, or paths of .py files); for tests.
            kernel: the layers to use; None: whatever this kernel has. For tests.
            programs: those that there are; None: what this machine has. For tests.

        Raises:
            EngineError: the zygote does not start, or the confinement is not enough and
                FILEPROC_SANDBOX is `required`.
        """
        kernel = kernel or kernels.detect()
        required = settings.sandbox is SandboxMode.REQUIRED
        if required and not kernel.enough:
            raise EngineError(
                "This kernel can confine a job neither by seccomp nor by Landlock (ABI 4 or newer)."
                " Use Linux 5.13 or newer, or set FILEPROC_SANDBOX=best-effort where all files are"
                " trusted."
            )
        sandbox = cls(kernel, preload, installed() if programs is None else programs)
        template = await sandbox._new_template()
        tasks = [
            asyncio.create_task(sandbox._keep(template)),
            asyncio.create_task(Sampler(sandbox._attempts).watch()),
        ]
        try:
            sandbox.report = await sandbox._test_itself(settings.scratch_dir)
            _announce(sandbox.report, required=required)
            yield sandbox
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def zygote_pid(self) -> int | None:
        """None while there is none."""
        ready = self._template.done() and not self._template.cancelled()
        return self._template.result().pid if ready else None

    async def run(self, assignment: Assignment, on_progress: Callable[[Progress], None]) -> Ending:
        """Run one attempt; returns when its process is gone.

        Failures of the job are in the ending. `on_progress` is called from the event loop, at
        most some five times a second.

        Raises:
            ZygoteLost: the zygote died under it, or there is none; the attempt says nothing about
                the job, unless it happens again and again.
            asyncio.CancelledError: the caller was cancelled; the whole group is dead by then.
        """
        return await self._run(Attempt(assignment, await self._zygote(), on_progress))

    async def _run(self, attempt: Attempt) -> Ending:
        self._attempts.add(attempt)
        try:
            return await attempt.run()
        finally:
            self._attempts.discard(attempt)

    # --- the zygote ----------------------------------------------------------------------------

    async def _new_template(self) -> Template:
        return await Template.start(self._kernel, self._preload, self._programs)

    async def _zygote(self) -> Template:
        try:
            async with asyncio.timeout(_WAIT_FOR_ZYGOTE_S):
                while (  # noqa: ASYNC110 - one turn of the loop, as said below
                    template := await asyncio.shield(self._template)
                ).lost.is_set():
                    # Just lost: `_keep` has not had its turn yet, it makes a new future then.
                    await asyncio.sleep(0)
                return template
        except TimeoutError as exc:
            raise ZygoteLost("The worker's template process could not be started again.") from exc

    async def _keep(self, template: Template) -> None:
        """Have a zygote: start another whenever it dies."""
        try:
            while True:
                born = time.monotonic()
                self._template.set_result(template)
                await template.lost.wait()
                self._template = asyncio.get_running_loop().create_future()
                _log.error("The template process died; another is being started.")
                await template.close()
                template = await self._restarted(time.monotonic() - born)
        finally:
            await template.close()

    async def _restarted(self, lived_s: float) -> Template:
        """Try until it works; one that died young is not followed at once."""
        pause_s = 0.0 if lived_s > _LIVED_WELL_S else _BACKOFF_FIRST_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                return await self._new_template()
            except EngineError as exc:
                pause_s = min(max(pause_s * 2, _BACKOFF_FIRST_S), _BACKOFF_LAST_S)
                _log.error("The template process cannot be started.", why=exc.detail)

    # --- the self-test -------------------------------------------------------------------------

    async def _test_itself(self, scratch_dir: Path | None) -> SandboxReport:
        """Let real children try to get out: one of each profile that jobs will have.

        Raises:
            EngineError: one could not even work in its folder.
        """
        by_profile = {program.mute_socket: name for name, program in self._programs.items()}
        plain, *others = [
            await self._tried(scratch_dir, programs)
            for programs in ((), *((name,) for name in by_profile.values()))
        ]
        return report_of(self._kernel, plain, others)

    async def _tried(
        self, scratch_dir: Path | None, programs: tuple[str, ...]
    ) -> Mapping[str, bool]:
        with _place(scratch_dir) as (folder, outside):
            assignment = _self_test(folder, outside, programs)
            attempt = Attempt(assignment, await self._zygote(), lambda _: None)
            ending = await self._run(attempt)
        if not isinstance(attempt.answer, Probed):
            why = ending.error.detail if ending.error else "It said nothing."
            raise EngineError(f"A sandboxed process cannot work on this machine: {why}")
        return attempt.answer.open


@contextmanager
def _place(scratch_dir: Path | None) -> Iterator[tuple[Path, Path]]:
    """A scratch folder as attempts have it, and a file next to it."""
    if scratch_dir is not None:
        scratch_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch_dir, prefix="self-test-") as name:
        outside = Path(name, "outside")
        outside.touch(mode=0o600)
        folder = Path(name, "job")
        folder.mkdir(mode=0o700)
        yield folder, outside


def _self_test(folder: Path, outside: Path, programs: tuple[str, ...]) -> Assignment:
    return Assignment(
        id="self-test",
        operation=selftest.NAME,
        params={
            "outside": str(outside),
            "worker": os.getpid(),
            "programs": bool(programs),
        },
        attempt=1,
        folder=folder,
        inputs=[],
        limits=Limits(timeout_s=_SELF_TEST_S),
        programs=programs,
    )


def _announce(report: SandboxReport, *, required: bool) -> None:
    """Say at start what holds and what does not.

    Raises:
        EngineError: a layer that is there did not hold, and it is required to.
    """
    if report.broken and required:
        raise EngineError(
            "The sandbox does not hold: " + " ".join(report.broken) + " Run the worker without"
            " those rights, or set FILEPROC_SANDBOX=best-effort where all files are trusted."
        )
    for sentence in (*report.missing, *report.advice):
        _log.warning(sentence)
    _log.info("The sandbox is ready.", **report.layers)
