"""The store itself: full, far away, replaced by one that is behind, or with much to recover."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import redis

from faults.faults import Stage
from fileproc.dev.engines import Valkey
from fileproc.resources import open_resources
from fileproc.settings import Settings
from fileproc.store import Store, open_store
from fileproc.store.scripts import scripts
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper
from support.jobs import make_job

CALLERS = 64
DEAD_WORKERS = 50
SLOWEST_MS = 100  # by the clock, and the cluster is on the same cores: alone it is a tenth of it
MARGIN = 1.02  # of maxmemory over what is used: inside the reserve, short of full
ROOM = 0.9  # less than is used: every write is refused


async def full_memory(stage: Stage, each_s: float) -> None:
    """Redis has used its `maxmemory` up, into the reserve and then all of it."""
    store = stage.redis
    begin = stage.history.statuses["submit", 503]
    async with stage.nobody_dies("full memory"):
        for share in (MARGIN, ROOM):
            before = stage.history.statuses["submit", 503]
            used = int(store.info("memory")["used_memory"])
            store.config_set("maxmemory", int(used * share))
            stage.history.mark("full memory", share=share)
            await asyncio.sleep(each_s)
            if share == MARGIN:
                await _all_finish(stage)
            if stage.history.statuses["submit", 503] == before:
                stage.history.complain(f"Redis at {1 / share:.0%} refused no submission")
        store.config_set("maxmemory", 0)
    refused = stage.history.statuses["submit", 503] - begin
    stage.figures["submissions refused by a full Redis"] = refused


async def _all_finish(stage: Stage) -> None:
    """In the reserve no new job is taken, but those that run or wait come to their ends."""
    store = stage.redis
    try:
        async with asyncio.timeout(60):
            while store.zcard(stage.key("leases")):
                await asyncio.sleep(0.1)
    except TimeoutError:
        stage.history.complain("running jobs could not finish while the reserve was left")


async def far_away(stage: Stage, each_s: float) -> None:
    """Half a second each way to Redis: slow, and no reason to take a job from anybody."""
    await stage.tail.catch_up()
    before = len(stage.tail.lines)
    async with stage.nobody_dies("latency"):
        stage.history.mark("latency")
        stage.cluster.redis_proxy.latency_s = 0.5
        await asyncio.sleep(2 * each_s)
        stage.cluster.redis_proxy.latency_s = 0.0
        stage.cluster.redis_proxy.cut_all()
    await stage.tail.catch_up()
    taken = sum(line.move == "recover" for line in stage.tail.lines[before:])
    if taken:
        stage.history.complain(f"{taken} jobs were taken from workers since Redis was far away")


async def failovers(stage: Stage, number: int) -> None:
    """The primary is gone for good; the replica that stands in missed what came last.

    Played with one server: it goes on from a copy of its files that was made a moment earlier. That
    is the state of such a replica, without the scripts, too. As the docs have it everything is down
    until the rebuild is done: else workers would run again what was finished already.
    """
    shipper = Shipper(stage.resources, "harness")
    for _ in range(number):
        stage.load.resume()
        await asyncio.sleep(stage.rng.uniform(0.3, 1))
        stage.cluster.copy_store()
        await asyncio.sleep(stage.rng.uniform(0.2, 1))
        stage.load.pause()
        await stage.load.quiet()
        stage.load.forgiving = True
        for role in stage.cluster.roles:
            role.held = True
            stage.cluster.kill(role)
        await stage.tail.catch_up()
        while await shipper.ship():
            pass  # what is not in the journal is lost: that is another fault, see `wipe`
        await stage.cluster.promote_copy()
        done = await rebuild(stage.resources)
        for role in stage.cluster.roles:
            role.held = False
        await stage.cluster.steady()
        stage.load.forgiving = False
        stage.counts["failovers"] += 1
        stage.counts["kills"] += len(stage.cluster.roles)
        stage.counts["jobs brought up to date"] += done.queued + done.finished + done.deleted
    stage.load.resume()
    if not stage.counts["jobs brought up to date"]:
        stage.history.complain("no failover missed anything: they show nothing")


async def long_backlog(stage: Stage, queued: int) -> None:
    """Many jobs wait and fifty workers are dead at once: nothing is blocked by their recovery."""
    stage.load.pause()
    valkey = Valkey(stage.cluster.folder / "backlog")
    await asyncio.to_thread(valkey.start)
    settings = Settings(redis_url=valkey.url, lease_s=1, beat_s=0.3, sweep_s=3600, _env_file=None)
    settings = settings.model_copy(update={"max_queued_per_owner": 2 * queued, **_storage(stage)})
    try:
        client: Any = redis.Redis.from_url(valkey.url)
        client.config_set("appendfsync", "no")  # filling it is not the point
        client.config_set("slowlog-log-slower-than", 1000)
        client.config_set("slowlog-max-len", 100_000)
        async with open_resources(settings) as resources:
            await _fill(resources.store, queued)
            taken = await _take_and_die(settings)
            await asyncio.sleep(settings.lease_s)
            janitor = Janitor(resources, "wrk_left")
            begin = time.monotonic()
            async with asyncio.timeout(300):
                while client.zcard("{fp}:leases"):
                    await janitor.round()
        took = time.monotonic() - begin
        slowest, call = max(
            ((entry["duration"] / 1000, entry["command"]) for entry in client.slowlog_get(100_000)),
            default=(0.0, b""),
        )
    finally:
        await asyncio.to_thread(valkey.stop)
        stage.load.resume()
    name = f"{taken} jobs of {DEAD_WORKERS} dead workers recovered beside {queued:,} waiting (s)"
    stage.figures[name] = round(took, 2)
    stage.figures["slowest call of Redis meanwhile (ms)"] = round(slowest, 1)
    if slowest > SLOWEST_MS * stage.patience:
        stage.history.complain(f"{_named(call)} held Redis for {slowest:.0f} ms")


def _named(call: bytes) -> str:
    """A call as the slow log has it, with the name of the script instead of its digest."""
    text = call.decode(errors="replace")
    for script in scripts().values():
        text = text.replace(script.sha, script.name)
    return text[:200]


def _storage(stage: Stage) -> dict[str, Any]:
    direct = stage.resources.settings
    names = ("s3_endpoint", "s3_access_key_id", "s3_secret_access_key")
    return {name: getattr(direct, name) for name in names} | {"s3_bucket": "backlog"}


async def _fill(store: Store, number: int) -> None:
    await store.ensure_schema()
    left = iter(range(number))

    async def caller() -> None:
        for i in left:
            await store.jobs.accept(make_job(owner=f"owner{i % 100}"))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _take_and_die(settings: Settings) -> int:
    """Fifty workers claim a few jobs each and are never heard of again; returns how many jobs."""
    taken: Counter[str] = Counter()
    for number in range(DEAD_WORKERS):
        async with open_store(settings, worker=f"wrk_dead{number}") as store:
            leases = await store.queue.claim("default", 0, 4, store.queue.next_call())
            taken.update(lease.job_id for lease in leases)
    return len(taken)
