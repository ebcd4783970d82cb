"""One attempt: fetch the inputs, run the operation in a child, publish the outputs, settle.

`execute` reads as the life of an attempt. Whatever happens becomes one of the named outcomes; the
outcome is settled with the fencing token, so exactly one attempt of a job is ever visible.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fileproc import __version__
from fileproc.crashpoints import crash_point
from fileproc.errors import ErrorClass, FileprocError, JobError, StoreUnavailableError
from fileproc.jobs import (
    JOB_INPUTS,
    Fetched,
    JobResult,
    Made,
    Progress,
    Provenance,
    StepStatus,
    TargetStatus,
    Usage,
)
from fileproc.objects import attempt_prefix
from fileproc.operations import Input, Limits, environment, programs_of
from fileproc.resources import Resources
from fileproc.settings import Settings
from fileproc.store import Lease, Pulse, Verdict
from fileproc.telemetry import (
    ATTEMPT_SECONDS,
    ATTEMPTS,
    LEASES_LOST,
    PICKUP_SECONDS,
    get_logger,
)
from fileproc.worker.clamd import scanning
from fileproc.worker.deliverer import Deliverer, File
from fileproc.worker.fetcher import Fetcher
from fileproc.worker.held import Held
from fileproc.worker.keeper import Keeper
from fileproc.worker.outcomes import (
    Canceled,
    Done,
    Failed,
    HandedBack,
    Lost,
    Outcome,
    as_job_error,
    unforeseen,
)
from fileproc.worker.pipeline import Finished, PipelineRun
from fileproc.worker.progress import Throttle
from fileproc.worker.sandbox import Assignment, Ending, Sandbox, ZygoteLost
from fileproc.worker.scratch import Scratch
from fileproc.worker.transfers import publish

SETTLE_PAUSE_S = (0.1, 0.5, 1.0, 2.0)
MOST_REMEMBERED = 1_000
HAND_BACK_S = 8.0  # below the time that the scheduler gives a cancelled executor

log = get_logger(__name__)


@dataclass(slots=True)
class Attempt:
    """One claim of one job, in this worker's hands."""

    lease: Lease
    prefix: str  # of its outputs; no other attempt has it
    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    run: PipelineRun | None = None  # of a pipeline, once it has begun
    kept_prefix: str = ""  # of what is kept of a pipeline that has failed for good
    cpu_s: float = 0.0
    fetched: list[Fetched] = field(default_factory=list)  # what was found at URLs
    deliveries: list[TargetStatus] | None = None  # how far they have come

    @property
    def steps(self) -> list[StepStatus] | None:
        """How far each step of a pipeline has come."""
        return self.run.statuses if self.run else None

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = time.monotonic() - start
            operation = self.lease.document.operation
            ATTEMPT_SECONDS.labels(operation, phase).observe(self.seconds[phase])


class Executor:
    def __init__(
        self, resources: Resources, sandbox: Sandbox, scratch: Scratch, held: Held, lanes: str
    ) -> None:
        self._settings = resources.settings
        self._build = environment()
        self._costs = resources.store.costs
        self._learned: dict[str, float] = {}  # when, by operation
        self._queue = resources.store.queue
        self._objects = resources.objects
        self._fetcher = Fetcher(resources)
        self._deliverer = Deliverer(resources)
        self._keeper = Keeper(resources)
        self._run_child = scanning(resources.settings, sandbox.run)
        self._scratch = scratch
        self._held = held
        self._lanes = lanes
        self._without_process: dict[str, int] = {}  # how often, by job

    async def execute(self, lease: Lease) -> None:
        """Do one attempt, from claim to settlement. Raises only CancelledError, at shutdown."""
        operation = lease.document.operation
        PICKUP_SECONDS.labels(lease.lane).observe(max(0, time.time() - lease.accepted_ms / 1000))
        attempt = Attempt(lease, attempt_prefix(lease.job_id, int(lease.token)))
        verdict = self._held.hold(lease)
        shutdown = False
        try:
            try:
                outcome = await self._outcome(attempt, verdict)
            except asyncio.CancelledError:
                outcome, shutdown = HandedBack(attempt.prefix), True
                crash_point("handing-back")
            ATTEMPTS.labels(operation, outcome.name).inc()
            # A task of its own: a shutdown that comes now must not leave the books half written,
            # and must not hand back what may be settled already.
            settling = asyncio.create_task(self._settle(attempt, outcome))
            shutdown = await _seen_through(settling) or shutdown
        finally:
            self._held.let_go(lease)
        if shutdown:
            raise asyncio.CancelledError

    async def _outcome(self, attempt: Attempt, verdict: asyncio.Future[Pulse]) -> Outcome:
        work = asyncio.create_task(self._work(attempt), name=attempt.lease.job_id)
        try:
            both: set[asyncio.Future[Any]] = {work, verdict}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not work.done():
                work.cancel()  # kills the child's whole group and waits until it is gone
                await asyncio.wait({work})
        if not work.cancelled():
            return work.result()  # it was ready before the kill: complete wins over cancel
        crash_point("canceling")
        lost = verdict.result() is Pulse.LOST
        return Lost(attempt.prefix) if lost else Canceled(attempt.prefix)

    async def _work(self, attempt: Attempt) -> Outcome:
        try:
            async with self._scratch.attempt(attempt.lease) as folder:
                outcome = await self._tried(attempt, folder)
                return await self._with_kept(attempt, outcome, folder)
        except Exception:
            log.exception("an attempt failed in the worker itself", job=attempt.lease.job_id)
            attempt.kept_prefix = ""  # this failure does not tell of it: left to the sweep
            return self._failed(attempt, unforeseen())

    async def _tried(self, attempt: Attempt, folder: Path) -> Outcome:
        lease = attempt.lease
        try:
            if lease.document.made is not None:
                return await self._deliver_again(attempt, lease.document.made, folder)
            with attempt.timed("fetch"):
                inputs, finished = await self._fetch(attempt, folder)
            crash_point("input-fetched")
            with attempt.timed("run"):
                ending = await self._run(attempt, folder, inputs, finished)
            crash_point("child-done")
            attempt.cpu_s = ending.usage.cpu_s
            if ending.error is not None:
                unstarted = ending.error.job_code == "no_process"
                judge = self._handed_back_once if unstarted else self._failed
                return judge(attempt, ending.error)
            with attempt.timed("publish"):
                outputs = await publish(self._objects, attempt.prefix, ending.outputs)
            # Before it is settled: a job that is over has nothing left to do. Who dies in between
            # delivers the same again, to the same places.
            await self._deliver(attempt, list(zip(ending.outputs, outputs, strict=True)))
        except ZygoteLost:
            return self._handed_back_once(attempt, unforeseen())
        except FileprocError as exc:
            return self._failed(attempt, as_job_error(exc))
        except Exception:
            log.exception("an attempt failed in the worker itself", job=lease.job_id)
            return self._failed(attempt, unforeseen())
        return Done(
            JobResult(
                prefix=attempt.prefix,
                outputs=outputs,
                usage=ending.usage,
                provenance=Provenance(
                    engine=ending.engine, fileproc=__version__, build=self._build
                ),
                steps=attempt.steps,
                fetched=attempt.fetched or None,
                deliveries=attempt.deliveries,
            )
        )

    async def _deliver(self, attempt: Attempt, files: list[File]) -> list[JobError]:
        if not attempt.lease.document.deliver:
            return []
        attempt.deliveries = [TargetStatus() for _ in attempt.lease.document.deliver]
        crash_point("delivering")
        with attempt.timed("deliver"):
            failures = await self._deliverer.deliver(attempt.lease, files, attempt.deliveries)
        crash_point("delivered")
        return failures

    async def _deliver_again(self, attempt: Attempt, made: Made, folder: Path) -> Outcome:
        """All that there is to do is to deliver: where that fails, so does the attempt."""
        with attempt.timed("fetch"):
            files = await self._deliverer.bring(made, attempt.lease.document.deliver, folder)
        if failures := await self._deliver(attempt, files):
            passing = [one for one in failures if one.job_class is ErrorClass.TRANSIENT]
            return self._failed(attempt, [*passing, *failures][0])
        return Done(
            JobResult(
                prefix=attempt.prefix,
                outputs=[],
                usage=Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0),
                provenance=made.provenance,
                steps=made.steps,
                deliveries=attempt.deliveries,
            )
        )

    def _failed(self, attempt: Attempt, error: JobError) -> Failed:
        return Failed(error, attempt.prefix, attempt.steps, attempt.deliveries)

    async def _with_kept(self, attempt: Attempt, outcome: Outcome, folder: Path) -> Outcome:
        """A pipeline that has failed for good keeps what its finished steps have made."""
        if not isinstance(outcome, Failed) or not outcome.for_good(attempt.lease):
            return outcome
        # A child that breaks the rules may have changed what others have made.
        if attempt.run is None or outcome.error.job_code == "protocol_broken":
            return outcome
        # Known to the settlement before anything is there: if the job is canceled or lost
        # meanwhile, it goes to the trash.
        attempt.kept_prefix = self._keeper.prefix_for(attempt.lease)
        with attempt.timed("keep"):
            kept = await self._keeper.keep(attempt.kept_prefix, attempt.run.finished(), folder)
        if kept is None or not kept.prefix:
            attempt.kept_prefix = ""
        return replace(outcome, kept=kept)

    async def _fetch(self, attempt: Attempt, folder: Path) -> tuple[list[Input], list[Finished]]:
        """The inputs, and what an earlier job has kept; inputs that no step needs stay away."""
        document = attempt.lease.document
        inputs: list[Input] = []
        finished: list[Finished] = []
        if document.resume is not None:
            finished = await self._keeper.fetch(document.resume, folder)
        done = {one.status.name for one in finished}
        waiting = [step for step in document.steps if step.name not in done]
        if not finished or any(JOB_INPUTS in step.needs for step in waiting):
            inputs, attempt.fetched = await self._fetcher.fetch(
                attempt.lease.owner, document, folder
            )
        return inputs, finished

    async def _run(
        self, attempt: Attempt, folder: Path, inputs: list[Input], finished: list[Finished]
    ) -> Ending:
        lease = attempt.lease

        async def send(progress: Progress) -> None:
            await self._queue.report_progress(
                lease, self._lanes, progress.model_dump_json(exclude_none=True)
            )
            crash_point("progress")

        throttle = Throttle(send)
        assignment = self._assignment(lease, folder, inputs)
        try:
            if not lease.document.steps:
                return await self._run_child(assignment, throttle.put)
            attempt.run = PipelineRun(
                lease.document.steps, assignment, self._run_child, throttle.put, finished
            )
            return await attempt.run.run()
        finally:
            await throttle.close()

    def _assignment(self, lease: Lease, folder: Path, inputs: list[Input]) -> Assignment:
        return Assignment(
            id=f"{lease.job_id}-{lease.token}",
            operation=lease.document.operation,
            params=lease.document.params,
            attempt=lease.attempt,
            folder=folder,
            inputs=inputs,
            limits=limits_for(self._settings, lease),
            debug=self._settings.debug_operations,
            programs=programs_of(lease.document.operation),
        )

    def _handed_back_once(self, attempt: Attempt, error: JobError) -> Outcome:
        """For want of a process, or of the one that makes them: at first not the job's fault.

        A job that is there a second time is taken to be the cause, and fails.
        """
        job_id = attempt.lease.job_id
        times = self._without_process.pop(job_id, 0) + 1
        self._without_process[job_id] = times
        while len(self._without_process) > MOST_REMEMBERED:
            del self._without_process[next(iter(self._without_process))]
        return HandedBack(attempt.prefix) if times == 1 else self._failed(attempt, error)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Settle, however long Redis is away: until then the slot is taken and the lease may end.

        Sending twice is harmless, the script knows. A stale answer means that somebody else has
        the job; the script has put what we uploaded into the trash.
        """
        lease = attempt.lease
        settlement = replace(
            outcome.settlement(lease),
            cpu_ms=round(attempt.cpu_s * 1000),
            kept=attempt.kept_prefix,
        )
        crash_point("before-settle")
        tries = 0
        while True:
            try:
                verdict = await self._queue.settle(settlement)
            except StoreUnavailableError:
                await asyncio.sleep(SETTLE_PAUSE_S[min(tries, len(SETTLE_PAUSE_S) - 1)])
                tries += 1
                continue
            break
        crash_point("settled")
        if verdict is Verdict.STALE:
            LEASES_LOST.inc()
            log.warning("an attempt was refused: its lease had been taken", job=lease.job_id)
            return
        await self._learn(lease, outcome)
        log.info(
            "attempt ended",
            job=lease.job_id,
            operation=lease.document.operation,
            attempt=lease.attempt,
            move=str(settlement.move),
            outcome=outcome.name,
            code=outcome.error.job_code if isinstance(outcome, Failed) else None,
            seconds={phase: round(value, 4) for phase, value in attempt.seconds.items()},
        )

    async def _learn(self, lease: Lease, outcome: Outcome) -> None:
        """Note what it took, of each operation once a second at most: for estimates."""
        now, operation = time.monotonic(), lease.document.operation
        if lease.document.made is not None:
            return  # that was no work of the operation's
        if not isinstance(outcome, Done) or now - self._learned.get(operation, -1.0) < 1:
            return
        self._learned[operation] = now
        fetched = sum(found.size for found in outcome.result.fetched or ())
        size = sum(info.size for info in lease.document.inputs) + fetched
        with contextlib.suppress(StoreUnavailableError):  # there will be others
            await self._costs.learn(operation, size, outcome.result.usage)


def limits_for(settings: Settings, lease: Lease) -> Limits:
    """What this attempt may use."""
    lane_s = settings.heavy_job_timeout_s if lease.lane == "heavy" else settings.job_timeout_s
    return Limits(
        memory_bytes=settings.max_memory_bytes,
        scratch_bytes=settings.max_scratch_bytes,
        timeout_s=min(lease.document.timeout_s or lane_s, lane_s),
        pixels=settings.max_pixels,
        output_files=settings.max_output_files,
        threads=os.cpu_count() or 1,
    )


async def _seen_through(task: asyncio.Task[None]) -> bool:
    """Wait for a task though we are cancelled meanwhile, then at most `HAND_BACK_S`.

    Returns whether we were cancelled. A task that is not done by then is given up: Redis is away,
    the lease ends by itself.
    """
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        deadline = asyncio.get_running_loop().time() + HAND_BACK_S
        while not task.done() and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=0.1)
        if not task.done():
            task.cancel()
            log.warning("not settled before the shutdown: redis is away")
        return True
    return False
