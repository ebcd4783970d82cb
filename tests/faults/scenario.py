"""The order of the faults, and what is proved when they are over."""
# ruff: noqa: T201 - a run takes long: it says where it is

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import faults, hooks, machine, stores
from faults.checker import Checker, Findings, recoveries
from faults.cluster import Cluster, began
from faults.crashes import crash_points
from faults.disk import disk_full
from faults.faults import Stage
from faults.history import History
from faults.load import MIX, Load, Work
from faults.plan import Plan
from faults.power import store_power_cuts
from faults.report import percentile
from faults.sink import receiving_files
from faults.tail import Line, Tail
from fileproc.errors import FileprocError
from fileproc.resources import open_resources
from fileproc.settings import Settings

FEW = 10  # jobs under way where it is about many starts; some points need idle workers, too
LEASE_S = 1.5  # of the part with pauses
RECOVERED_S = (10.0, 12.0)  # p50 and p99, with default settings
GRACE_S = 1.0  # rolling restarts must not take for ever
_DEFAULTS = {
    f"FILEPROC_{name.upper()}": str(Settings.model_fields[name].default)
    for name in ("lease_s", "beat_s")
}
SHORT = {  # settings of the end: nothing is kept for long
    "FILEPROC_RETENTION_S": "2",
    "FILEPROC_SWEEP_S": "2",
    "FILEPROC_ORPHAN_S": "3",
    "FILEPROC_STALE_UPLOAD_S": "3",
    "FILEPROC_EVENTS_WINDOW_S": "1",
}
# Codes of failed jobs that no fault excuses: what is short is left to others, or tried again.
OUR_FAULT = {"internal_error", "no_process", "protocol_broken", "ended_early", "crashed"}
ENDING_S = 120.0
COLLECTED_S = 100.0  # an attempt of a lost worker is collected after 60
COLLECTED_PER_S = 200  # of what thousands of jobs have left; a look at it all takes time itself


# What is done, in this order, with the load of clients beside it.
PARTS = (
    *("failovers", "restarts", "recovery", "pauses", "descriptors", "disk full", "lost replies"),
    *("power cuts", "store errors", "crash points", "webhooks", "storage faults", "kills", "wipe"),
    *("long backlog", "store power", "hogs", "clock steps", "latency", "full memory"),
)
LAST_PARTS = ("enough jobs", "ending", "check", "collection")


@dataclass
class Outcome:
    plan: Plan
    findings: Findings
    jobs: int
    counts: dict[str, int]
    figures: dict[str, Any]
    recovery_s: list[float]  # one worker killed at a time
    storm_s: list[float]  # all kinds of processes killed, several down at once
    failures: dict[str, int]  # by code
    statuses: dict[tuple[str, int], int]
    parts: dict[str, float] = field(default_factory=dict)  # seconds
    seed: int = 0
    seconds: float = 0.0


async def play(
    folder: Path, plan: Plan, rng: random.Random, *, only: str, minutes: float
) -> Outcome:
    """Start everything, break it, check it, take it away."""
    history = History(folder / "history.jsonl")
    cluster = Cluster(folder, history, FILEPROC_GRACE_S=str(GRACE_S), **hooks.SETTINGS)
    await cluster.start()
    tail = Tail(cluster.valkey.url, cluster.direct.redis_prefix)
    tail.start()
    async with (
        open_resources(cluster.direct) as resources,
        receiving_files(cluster.direct, cluster.s3, rng) as sink,
    ):
        load = Load(
            lambda: [api.url for api in cluster.apis],
            *(history, rng, sink),
            outstanding=plan.outstanding,
        )
        stage = Stage(cluster, load, history, tail, resources, rng, plan.patience)
        play = _Play(stage, plan, {name for name in only.split(",") if name})
        await load.start()
        try:
            await play.all(minutes)
        finally:
            await load.stop()
            for task in stage.helpers:
                task.cancel()
            await asyncio.gather(*stage.helpers, return_exceptions=True)
            await tail.stop()
            for role in cluster.roles:
                if role.child.running:
                    cluster.note_offspring(role)
            await cluster.stop()
            history.close()
    left = [pid for pid, start in cluster.offspring if start and began(pid) == start]
    play.findings.orphans += [f"process {pid} is left" for pid in left]
    return Outcome(
        plan=plan,
        findings=play.findings,
        jobs=len(history.acks),
        counts=dict(stage.counts),
        figures=stage.figures,
        recovery_s=recoveries(history, tail.lines, "calm"),
        storm_s=recoveries(history, tail.lines, "storm"),
        failures=dict(failures(tail.lines)),
        statuses=dict(history.statuses),
        parts=play.parts,
    )


def failures(lines: Iterable[Line]) -> Counter[str]:
    """How many jobs failed for good, by code."""
    return Counter(line.facts["code"] for line in lines if line.move == "fail")


class _Play:
    def __init__(self, stage: Stage, plan: Plan, only: set[str]) -> None:
        self._stage = stage
        self._plan = plan
        self._only = only
        self.findings = Findings()
        self.parts: dict[str, float] = {}

    async def all(self, minutes: float) -> None:
        if self._plan.name == "soak":
            end = time.monotonic() + minutes * 60
            while time.monotonic() < end:
                await self._faults()
        else:
            await self._faults()
        await self._part("enough jobs", self._enough)
        await self._part("ending", self._ending)
        await self._part("check", self._check)
        known = len(self._stage.history.wrong)
        await self._part("collection", self._collection)
        self.findings.others += self._stage.history.wrong[known:]

    async def _faults(self) -> None:
        stage, plan = self._stage, self._plan
        stage.load.mix = MIX
        await self._part("failovers", lambda: stores.failovers(stage, plan.failovers))
        await self._part("restarts", self._restarts)
        await self._part("recovery", self._recovery)
        await self._part("pauses", self._pauses)
        await self._part("descriptors", lambda: machine.few_descriptors(stage, plan.each_s))
        await self._part("disk full", lambda: disk_full(stage))
        await self._part("lost replies", self._lost_replies)
        await self._part("power cuts", lambda: faults.power_cuts(stage, plan.cuts))
        await self._part("store errors", lambda: faults.store_errors(stage, plan.each_s))
        await self._part("crash points", self._crash_points)
        await self._part(
            "webhooks", lambda: hooks.webhooks_fail(stage, plan.hooked, plan.hook_kills)
        )
        await self._part("storage faults", lambda: faults.storage_faults(stage, plan.each_s))
        await self._part("kills", lambda: faults.random_kills(stage, plan.kills))
        await self._part("wipe", self._wipe)
        # What takes a minute to be collected is over: no worker loses a job, no batch is made.
        stage.load.mix = {name: weight for name, weight in MIX.items() if name != "batch"}
        await self._part("long backlog", lambda: stores.long_backlog(stage, plan.backlog))
        await self._part("store power", self._store_power)
        await self._part("hogs", self._hogs)
        await self._part("clock steps", lambda: machine.clock_steps(stage, plan.each_s * 2))
        await self._part("latency", lambda: stores.far_away(stage, plan.each_s))
        await self._part("full memory", lambda: stores.full_memory(stage, plan.each_s))

    async def _part(self, name: str, part: Callable[[], Awaitable[Any]]) -> None:
        if name not in {*PARTS, *LAST_PARTS}:
            raise AssertionError(name)
        if self._only and name not in {*self._only, *LAST_PARTS[1:]}:
            return
        start = time.monotonic()
        self._stage.history.mark("part", name=name)
        try:
            await part()
        except (TimeoutError, FileprocError, OSError) as exc:
            self.findings.others.append(f"{name}: {type(exc).__name__}: {exc}")
        self.parts[name] = self.parts.get(name, 0) + time.monotonic() - start
        accepted = len(self._stage.history.acks)
        print(f"{name:16} {self.parts[name]:6.1f} s  {accepted} jobs", flush=True)

    async def _recovery(self) -> None:
        stage = self._stage
        await faults.calm_kills(stage, self._plan.calm_kills)
        await stage.tail.catch_up()
        took = recoveries(stage.history, stage.tail.lines, "calm")
        p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
        most = [self._plan.patience * limit for limit in RECOVERED_S]
        if not took or p50 > most[0] or p99 > most[1]:
            stage.history.complain(f"recovery: p50 {p50:.1f} s, p99 {p99:.1f} s of {len(took)}")

    async def _restarts(self) -> None:
        async with self._stage.load.at_most(FEW):
            await faults.rolling_restarts(self._stage, self._plan.rolling_rounds, GRACE_S)

    async def _hogs(self) -> None:
        async with self._stage.load.at_most(FEW):
            await machine.cpu_hogs(self._stage, self._plan.hogs_s)

    async def _crash_points(self) -> None:
        stage = self._stage
        async with hooks.listening(stage), stage.load.at_most(FEW):
            await crash_points(stage, self._plan.crash_rounds)

    async def _lost_replies(self) -> None:
        await faults.lost_replies(self._stage, self._plan.lost, self._plan.lost_others)

    async def _store_power(self) -> None:
        self._stage.load.pause()  # it is about the store alone, and there are few cores
        plan = self._plan
        await store_power_cuts(self._stage, plan.store_cuts, plan.store_acks)
        self._stage.load.resume()

    async def _pauses(self) -> None:
        cluster = self._stage.cluster
        short = {"FILEPROC_LEASE_S": str(LEASE_S), "FILEPROC_BEAT_S": "0.5"}
        await cluster.restart_all(**short)
        async with faults.more_janitors(self._stage):
            await faults.pauses(self._stage, self._plan.pauses, LEASE_S)
        await cluster.restart_all(**_DEFAULTS)
        refused = [worker.log.read_bytes().count(b"had been taken") for worker in cluster.workers]
        self._stage.figures["zombies refused"] = sum(refused)
        if not sum(refused):
            self._stage.history.complain("no zombie was refused: the pauses showed nothing")

    async def _wipe(self) -> None:
        load = self._stage.load
        await faults.wipe(self._stage, self._plan.wiped)
        load.resume()
        await asyncio.sleep(2)
        # What ended after the end of the journal runs again: until here somebody may have come for
        # its output, and have got a 409.
        load.forgiving = False

    async def _enough(self) -> None:
        while len(self._stage.history.acks) < self._plan.least_jobs:
            await asyncio.sleep(0.5)

    async def _ending(self) -> None:
        """Submit nothing more and let everything come to its end."""
        stage = self._stage
        stage.load.pause()
        await stage.cluster.steady()
        checker = self._checker()
        async with asyncio.timeout(ENDING_S):
            while stage.load.submitting or checker.unfinished() or checker.open_batches():
                await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        await stage.tail.catch_up()

    def _checker(self) -> Checker:
        return Checker(self._stage.history, self._stage.resources, self._stage.rng)

    async def _check(self) -> None:
        for code, number in sorted(failures(self._stage.tail.lines).items()):
            if code in OUR_FAULT:
                self._stage.history.complain(f"{number} jobs failed by {code}")
        self.findings.add(await self._checker().check(self._valid_lines()))

    def _valid_lines(self) -> list[Line]:
        """Without what happened in the moments that a wipe took: nobody can know of it."""
        wipes = [
            ((mark.facts["up_to"], mark.facts["last_number"]), mark.facts["wiped"])
            for mark in self._stage.history.marked("wipe")
        ]
        return [
            line
            for line in self._stage.tail.lines
            if not any(last < (line.at, line.number) and line.at <= ended for last, ended in wipes)
        ]

    async def _collection(self) -> None:
        """With a short retention everything goes: by itself, or because its owner deletes it."""
        stage = self._stage
        await stage.cluster.restart_all(**SHORT)
        work = [Work("short", "debug.sleep", {"seconds": 0, "output_bytes": 10}) for _ in range(20)]
        stage.load.forgiving = True  # they may go before a slow client has downloaded them
        short = await asyncio.gather(*(stage.load.run(item) for item in work))
        checker = self._checker()
        gate = asyncio.Semaphore(32)

        async def delete(job_id: str) -> None:
            async with gate:
                await stage.load.delete(job_id)

        records = await asyncio.to_thread(checker.records)
        gone = {job_id for job_id, record in records.items() if record["st"] == "deleted"}
        rest = set(records) - gone - set(short)
        await asyncio.gather(*(delete(job_id) for job_id in rest))
        await asyncio.gather(*map(stage.load.delete_file, checker.uploaded()))
        await asyncio.gather(*(stage.load.give_up(*upload) for upload in checker.open_uploads()))
        end = time.monotonic() + COLLECTED_S + len(rest) / COLLECTED_PER_S
        places = stage.cluster.bucket, stage.cluster.scratch
        # Beside the proxies, through which the workers collect.
        while (left := await asyncio.to_thread(checker.left, *places)) and time.monotonic() < end:
            await asyncio.sleep(min(10, 1 + len(left) / COLLECTED_PER_S / 2))
        self.findings.orphans += left
        if uploads := await checker.uploads():
            self.findings.orphans.append(f"{uploads} multipart uploads")


__all__ = ["Outcome", "play"]
