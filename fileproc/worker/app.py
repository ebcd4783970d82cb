"""The worker: opens what it needs, runs its lanes, drains on one signal, leaves on a second."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvloop
from aiojobs import Scheduler

from fileproc import __version__
from fileproc.crashpoints import arm, crash_point
from fileproc.descriptors import raise_limit
from fileproc.errors import (
    EngineError,
    SchemaError,
    StorageUnavailableError,
    StoreUnavailableError,
)
from fileproc.ids import new_id
from fileproc.resources import Resources, open_resources
from fileproc.settings import Settings, slots, unknown_variables
from fileproc.store import Heartbeat, Lease
from fileproc.telemetry import BUILD, get_logger
from fileproc.worker.executor import Executor
from fileproc.worker.health import serving
from fileproc.worker.held import Held
from fileproc.worker.janitor import Janitor
from fileproc.worker.lanes import Lane
from fileproc.worker.rebuild import found_empty
from fileproc.worker.sandbox import Sandbox, hide_process
from fileproc.worker.scratch import Scratch, open_scratch
from fileproc.worker.shipper import Shipper
from fileproc.worker.webhooks import EventReader, Sender

HAND_BACK_S = 10.0
RETRY_S = 1.0

log = get_logger(__name__)


class Worker:
    """One worker process. `open_worker` builds it, `run` lives its life."""

    def __init__(
        self, resources: Resources, sandbox: Sandbox, scratch: Scratch, worker_id: str
    ) -> None:
        self.id = worker_id
        self.resources = resources
        self.scratch = scratch
        self.stopping = False
        self._settings = resources.settings
        self._sandbox = sandbox
        self._held = Held()
        by_lane = slots(resources.settings)
        self._lane_names = " ".join(by_lane)
        self._executor = Executor(resources, sandbox, scratch, self._held, self._lane_names)
        self._lanes = [
            Lane(name, number, resources.store.queue, scratch, self._begin)
            for name, number in by_lane.items()
        ]
        self._jobs = Scheduler(
            limit=None,  # the lanes' slots are the limit: spawn never queues
            close_timeout=HAND_BACK_S,
            exception_handler=self._job_broke,
        )
        self._stop = asyncio.Event()
        self._grace_ends: float | None = None  # by the loop's clock; None: nobody said stop
        self._about = "{}"
        self._slots = by_lane

    def sandbox_report(self) -> dict[str, Any]:
        """What the sandbox's self-test found, for /readyz."""
        report = self._sandbox.report
        return {
            "ok": not report.broken,
            "complete": report.complete,
            "layers": dict(report.layers),
            "missing": report.missing,
            "advice": report.advice,
        }

    def stop(self) -> None:
        """Begin to drain: no new jobs, running ones get the grace, then they are handed back."""
        if self._grace_ends is None:
            self._grace_ends = asyncio.get_running_loop().time() + self._settings.grace_s
        self.stopping = True
        self._stop.set()
        for lane in self._lanes:
            lane.stop(self._grace_ends)

    async def run(self, *, burst: bool = False) -> None:
        """Work until `stop` (with `burst`: until the lanes are empty), then drain."""
        async with self._alive():
            lanes = [asyncio.create_task(lane.run(burst=burst)) for lane in self._lanes]
            chores = [
                asyncio.create_task(Janitor(self.resources, self.id).run()),
                asyncio.create_task(Shipper(self.resources, self.id).run()),
                asyncio.create_task(EventReader(self.resources, self.id).run()),
                asyncio.create_task(Sender(self.resources).run()),
            ]
            try:
                await asyncio.gather(*lanes)
                await self._drain(self._grace_left())
            finally:
                for task in (*lanes, *chores):
                    task.cancel()
                await asyncio.gather(*lanes, *chores, return_exceptions=True)
                await self._drain(0)

    def _grace_left(self) -> float:
        """Seconds; a part of the grace went by while the lanes came back from their waiting."""
        if self._grace_ends is None:
            return self._settings.grace_s
        return max(0.0, self._grace_ends - asyncio.get_running_loop().time())

    async def _look_at_the_store(self) -> None:
        """Before the first job: is it ours, is it new, or has it lost everything?

        Raises:
            SchemaError: it is of a version that we do not know.
        """
        while not self.stopping:
            try:
                await self.resources.objects.ensure_bucket()
                await self.resources.store.check_schema()
                await found_empty(self.resources)
            except (StorageUnavailableError, StoreUnavailableError) as exc:
                log.warning("waiting for the engines", reason=exc.detail)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _drain(self, grace_s: float) -> None:
        """Let running jobs end; after the grace their executors are cancelled and hand back."""
        if len(self._jobs) and grace_s:
            log.info("draining", running=len(self._jobs), grace_s=grace_s)
            crash_point("stopping")
        if not self._jobs.closed:
            await self._jobs.wait_and_close(timeout=grace_s)

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[None]:
        """The heartbeat, from before the first pop until after the last settlement."""
        settings = self._settings
        self._about = json.dumps(
            {
                "version": __version__,
                "slots": self._slots,
                "sandbox": self.sandbox_report(),
            }
        )
        heartbeat = Heartbeat(
            settings.redis_url.get_secret_value(),
            settings.redis_prefix,
            worker=self.id,
            lanes=self._lane_names,
            lease_s=settings.lease_s,
            beat_s=settings.beat_s,
            leases=self._held.tokens,
            learned=self._held.learned,
            about=lambda: self._about,
        )
        await asyncio.to_thread(heartbeat.register, lambda: self.stopping)
        await self._look_at_the_store()
        heartbeat.start()
        try:
            yield
        finally:
            heartbeat.stop()
            await asyncio.to_thread(heartbeat.join)

    async def _begin(self, lane: Lane, lease: Lease) -> None:
        async def run() -> None:
            try:
                await self._executor.execute(lease)
            finally:
                lane.done()

        await self._jobs.spawn(run(), name=lease.job_id)

    def _job_broke(self, scheduler: Scheduler, context: dict[str, Any]) -> None:
        del scheduler
        log.error("an executor broke", error=repr(context.get("exception")))


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[Worker]:
    """Everything a worker needs, opened in order and closed in reverse.

    Raises:
        EngineError: the sandbox does not hold, or scratch folder or port cannot be had.
    """
    worker_id = new_id("wrk")
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(
            open_scratch(settings.scratch_dir, worker_id, settings.scratch_floor_bytes)
        )
        resources = await stack.enter_async_context(open_resources(settings, worker=worker_id))
        sandbox = await stack.enter_async_context(Sandbox.open(settings))
        worker = Worker(resources, sandbox, scratch, worker_id)
        await stack.enter_async_context(serving(worker, settings.worker_host, settings.worker_port))
        yield worker


async def _live(settings: Settings, *, burst: bool) -> int:
    arm(settings.crash_at)
    loop = asyncio.get_running_loop()
    async with open_worker(settings) as worker:
        signals = _Signals(worker)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.received, number)
        health = await worker.resources.store.health()
        for sentence in unknown_variables():
            log.warning("settings", warning=sentence)
        for warning in health.warnings:
            said = "redis is not set up to keep jobs" if health.reachable else "redis is away"
            log.warning(said, warning=warning)
        log.info("worker is up", worker=worker.id, lanes=slots(settings), version=__version__)
        await worker.run(burst=burst)
        log.info("worker has stopped", worker=worker.id)
    return 0


class _Signals:
    """The first signal drains, a second one leaves at once: leases end, others take over."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def received(self, number: int) -> None:
        if self._worker.stopping:
            os._exit(128 + number)  # the zygote and its children end with us (PDEATHSIG)
        self._worker.stop()


def run_worker(settings: Settings, *, burst: bool = False) -> int:
    """Run a worker until it is told to stop; returns the exit code."""
    BUILD.info({"version": __version__})
    hide_process()
    raise_limit()
    try:
        return uvloop.run(_live(settings, burst=burst))
    except (EngineError, SchemaError) as exc:
        log.error("the worker cannot start", reason=exc.detail)  # noqa: TRY400 - said in full
        return 1
    finally:
        gc.freeze()  # the last collection of a process that ends takes half a second, for nothing
