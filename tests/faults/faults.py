"""What is done to the system. Each fault is one coroutine over the `Stage`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from faults.cluster import Cluster, Role
from faults.history import History
from faults.http_proxy import SLOW_DOWN
from faults.load import Load
from faults.proxy import Action, Rule
from faults.tail import Line, Tail
from fileproc.errors import FileprocError
from fileproc.resources import Resources
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import Rebuilt, rebuild

ERRORS = {
    "LOADING": b"-LOADING Valkey is loading the dataset in memory\r\n",
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "MISCONF": b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
    "BUSY": b"-BUSY Valkey is busy running a script.\r\n",
    "NOSCRIPT": b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
}
STUCK_S = 5.0
WIPE_AFTER_S = 2.0
CLOCKS_S = 0.5  # between the answer and the event, as their clocks have them
REBUILT_S = 60.0
POP = "brpoplpush"
IDLE = 6  # jobs under way so that workers wait for them; who has much to do claims, and never pops
LOST = (POP, "claim", "settle", "accept", "PUT attempts", "PUT files")


@dataclass
class Stage:
    """What the faults act on, and what they count."""

    cluster: Cluster
    load: Load
    history: History
    tail: Tail
    resources: Resources  # straight to the engines
    rng: random.Random
    patience: float  # see Plan
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)
    # Jobs that lead to a crash point.
    helpers: set[asyncio.Task[str | None]] = field(default_factory=set)

    @property
    def redis(self) -> Any:
        url = self.resources.settings.redis_url.get_secret_value()
        return redis.Redis.from_url(url, decode_responses=True)

    def key(self, name: str) -> str:
        return self.resources.settings.redis_prefix + name

    def some(self, kind: str) -> Role | None:
        """One that is up, at random."""
        up = [r for r in self.cluster.roles if r.kind == kind and r.ready.is_set()]
        return self.rng.choice(up) if up else None

    async def until_nothing_is_leased(self) -> None:
        """Wait until what earlier faults have killed is recovered: what follows counts takes."""
        await self.cluster.steady()
        self.load.pause()
        async with asyncio.timeout(60):
            while self.redis.zcard(self.key("leases")):
                await asyncio.sleep(0.1)
        self.load.resume()
        await self.tail.catch_up()

    @contextlib.contextmanager
    def must_hit(self, what: str, rule: Rule) -> Iterator[Rule]:
        """A fault that befalls nobody shows nothing."""
        yield rule
        if not rule.hits:
            self.history.complain(f"{what} befell no request")

    @contextlib.asynccontextmanager
    async def nobody_dies(self, what: str) -> AsyncIterator[None]:
        """A role that ends by itself meanwhile is a finding."""
        before = len(self.history.marked("death"))
        yield
        await asyncio.sleep(0.2)
        for mark in self.history.marked("death")[before:]:
            if not mark.facts["killed_at"]:
                self.history.complain(f"{what}: {mark.facts['role']} died: {mark.facts}")


# --- processes -----------------------------------------------------------------------------------


async def random_kills(stage: Stage, number: int) -> None:
    """kill -9 of a worker, an api or Valkey, at random moments."""
    stage.cluster.measuring = "storm"
    while stage.counts["random kills"] < number:
        await asyncio.sleep(stage.rng.uniform(0.2, 0.7))
        dice = stage.rng.random()
        role = stage.some("worker" if dice < 0.75 else "api")
        if dice > 0.93:
            await stage.cluster.kill_valkey()
        elif role is not None:
            stage.cluster.kill(role)
        else:
            continue  # all are down by now
        stage.counts["random kills"] += 1
        stage.counts["kills"] += 1
    stage.cluster.measuring = ""


async def calm_kills(stage: Stage, number: int) -> None:
    """kill -9 of one busy worker at a time, nothing else amiss: the figure of recovery.

    The next one dies when what the last one had is running again. Else, where it has just taken
    that and not begun, two deaths would be measured as one.
    """
    holders: dict[str, str] = {}  # job -> worker, until it ends or another one has it

    def note(line: Line) -> None:
        if line.move == "claim":
            holders[line.job_id] = line.facts["worker"]
        elif line.move != "recover":
            holders.pop(line.job_id, None)

    stage.tail.listeners.append(note)
    stage.cluster.measuring = "calm"
    jobs: list[asyncio.Task[str]] = []
    for _ in range(number):
        await stage.cluster.steady()
        role = stage.some("worker")
        assert role is not None
        jobs += [asyncio.create_task(stage.load.one("long")) for _ in range(4)]
        await asyncio.sleep(stage.rng.uniform(0.5, 1.5))
        worker_id = role.worker_id
        stage.cluster.kill(role)
        stage.counts["kills"] += 1
        await asyncio.sleep(0.5)
        async with asyncio.timeout(60):
            while worker_id in holders.values():
                await asyncio.sleep(0.2)
    await asyncio.gather(*jobs)
    stage.cluster.measuring = ""
    stage.tail.listeners.remove(note)


async def pauses(stage: Stage, number: int, lease_s: float) -> None:
    """SIGSTOP for half a lease up to four, then SIGCONT: the worker wakes as a zombie."""
    gate = asyncio.Semaphore(3)  # one at least has work to take over

    async def pause() -> None:
        async with gate:
            role = stage.some("worker")
            if role is None:
                return
            stage.history.mark("pause", role=role.name)
            stage.counts["pauses"] += 1
            role.child.signal(signal.SIGSTOP)
            await asyncio.sleep(stage.rng.uniform(0.5, 4) * lease_s)
            role.child.signal(signal.SIGCONT)
            await asyncio.sleep(stage.rng.uniform(0.2, 1))

    await asyncio.gather(*(pause() for _ in range(number)))


async def rolling_restarts(stage: Stage, rounds: int, grace_s: float) -> None:
    """SIGTERM to one role after the other, under load: no attempt is spent, nobody lingers."""
    await stage.until_nothing_is_leased()
    before = len(stage.tail.lines)
    slowest = 0.0
    for _ in range(rounds):
        for role in stage.rng.sample(stage.cluster.roles, len(stage.cluster.roles)):
            await role.ready.wait()
            stage.cluster.note_offspring(role)
            begin = time.monotonic()
            role.held = True
            role.killed_at = time.time()
            role.child.signal(signal.SIGTERM)
            ended = await asyncio.to_thread(role.child.wait, grace_s + 30)
            took = time.monotonic() - begin
            slowest = max(slowest, took)
            stage.counts["restarts"] += 1
            if not ended or took > grace_s + stage.patience:
                stage.history.complain(f"{role.name} took {took:.1f} s to stop")
            if role.child.ending != 0:
                stage.history.complain(f"{role.name} ended with {role.child.ending}")
            role.held = False
            await stage.cluster.steady()
    await stage.tail.catch_up()
    moves = Counter(line.move for line in stage.tail.lines[before:])
    stage.figures["slowest stop (s)"] = round(slowest, 2)
    stage.figures["handed back"] = moves["release"]
    if moves["recover"]:
        stage.history.complain(f"{moves['recover']} attempts were spent on orderly restarts")


@contextlib.asynccontextmanager
async def more_janitors(stage: Stage, number: int = 2) -> AsyncIterator[None]:
    """Janitors of ours beside the workers', without asking for the lock."""

    async def rounds(name: str) -> None:
        janitor = Janitor(stage.resources, name)
        while True:
            with contextlib.suppress(FileprocError):  # the engines are being killed meanwhile
                await asyncio.gather(janitor.round(), janitor.tidy())
                stage.counts["rounds of more janitors"] += 1
            await asyncio.sleep(0.2)

    tasks = [asyncio.create_task(rounds(f"wrk_{i}")) for i in range(number)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        stage.history.wrong.extend(
            f"a janitor ended with {end!r}" for end in ends if isinstance(end, Exception)
        )
        if not stage.counts["rounds of more janitors"]:
            stage.history.complain("the other janitors did nothing")


# --- the network ----------------------------------------------------------------------------------


async def lost_replies(stage: Stage, pops: int, others: int) -> None:
    """The server acts and its reply never arrives, for each call that changes something."""
    for name in LOST:
        async with contextlib.AsyncExitStack() as stack:
            if name == POP:
                await stack.enter_async_context(stage.load.at_most(IDLE))
                await stack.enter_async_context(_stuck(stage))
            await _lose(stage, name, pops if name == POP else others)
    await _silent_pops(stage)


async def _lose(stage: Stage, name: str, number: int) -> None:
    proxy = stage.cluster.s3_proxy if " " in name else stage.cluster.redis_proxy
    with proxy.rule(name, action=Action.DROP, left=number) as rule:
        await _used_up(rule, max(20.0, number * 0.2))
    stage.counts["cuts"] += rule.hits
    stage.history.mark("lost replies", name=name, number=rule.hits)
    if rule.hits < number:
        stage.history.complain(f"only {rule.hits} of {number} replies to {name} were cut")


async def _silent_pops(stage: Stage) -> None:
    """The connection of a pop goes dead instead of being cut: only its time limit tells."""
    rule = stage.cluster.redis_proxy.rule(POP, action=Action.SWALLOW, left=4)
    with rule as swallowed, stage.must_hit("a dead connection", swallowed):
        async with _stuck(stage):
            await _used_up(swallowed, 10)
            await asyncio.sleep(6)
    stage.figures["pops on connections that died"] = swallowed.hits


async def _used_up(rule: Rule, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while rule.left:
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _stuck(stage: Stage) -> AsyncIterator[None]:
    """How long an id lies in a processing list at most."""
    since: dict[tuple[str, str], float] = {}
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        store = stage.redis
        pattern = stage.key("proc:*").replace("{", "[{]").replace("}", "[}]")
        while True:
            now = time.monotonic()
            with contextlib.suppress(redis.RedisError):
                there = {
                    (key, job)
                    for key in store.scan_iter(pattern)
                    for job in store.lrange(key, 0, -1)
                }
                for place in list(since):
                    if place not in there:
                        del since[place]
                for place in there:
                    longest = max(longest, now - since.setdefault(place, now))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(watch())
    try:
        yield
        await asyncio.sleep(1)
    finally:
        task.cancel()
    name = "longest stuck after a lost pop (s)"
    stage.figures[name] = max(round(longest, 2), stage.figures.get(name, 0.0))
    if longest > STUCK_S * stage.patience:
        stage.history.complain(f"a popped job was stuck for {longest:.1f} s")


async def storage_faults(stage: Stage, each_s: float) -> None:
    """The storage is away, slow, overloaded, breaks off, and falls silent: nobody's fault."""
    proxy = stage.cluster.s3_proxy
    await stage.tail.catch_up()
    before = len(stage.tail.lines)
    async with stage.nobody_dies("storage faults"):
        stage.history.mark("storage", how="down")
        proxy.refusing = True
        proxy.cut_all()
        await asyncio.sleep(4 * each_s)
        proxy.refusing = False
        for how, names, others in (
            ("slow", (), {"action": Action.SLOW, "delay_s": 0.7}),
            ("503", (), {"action": Action.ANSWER, "reply": SLOW_DOWN}),
            ("truncated", ("GET files", "GET attempts"), {"action": Action.TRUNCATE}),
        ):
            stage.history.mark("storage", how=how)
            with proxy.rule(*names, **others) as rule, stage.must_hit(f"storage {how}", rule):
                await asyncio.sleep(each_s)
            stage.counts["faulted storage calls"] += rule.hits
        await _silent_storage(stage, 12.0)
    await stage.tail.catch_up()
    for line in stage.tail.lines[before:]:
        if line.move == "fail" and line.facts["code"] == "storage_unavailable":
            stage.history.complain(f"{line.job_id} failed since the storage was away")


async def _silent_storage(stage: Stage, most_s: float) -> None:
    """Packets to the storage vanish; jobs of a worker that dies meanwhile are recovered as ever."""
    stage.history.mark("storage", how="silent")
    proxy = stage.cluster.s3_proxy
    proxy.flowing.clear()
    await asyncio.sleep(1)
    worker = stage.some("worker")
    if worker is not None:
        stage.cluster.kill(worker)
        stage.counts["kills"] += 1
    recovered = asyncio.Event()
    listener = lambda line: recovered.set() if line.move == "recover" else None  # noqa: E731
    stage.tail.listeners.append(listener)
    try:
        async with asyncio.timeout(most_s):
            await recovered.wait()
    except TimeoutError:
        stage.history.complain("nothing was recovered while the storage was silent")
    finally:
        stage.tail.listeners.remove(listener)
        proxy.flowing.set()


async def store_errors(stage: Stage, each_s: float) -> None:
    """Redis answers everything with an error, each kind in turn; then it says nothing at all."""
    proxy = stage.cluster.redis_proxy
    async with stage.nobody_dies("store errors"):
        for name, reply in ERRORS.items():
            stage.history.mark("store error", name=name)
            left = 50 if name == "NOSCRIPT" else 1_000_000
            errors = proxy.rule(action=Action.ANSWER, reply=reply, left=left)
            with errors as rule, stage.must_hit(name, rule):
                await asyncio.sleep(each_s)
            stage.counts["store errors"] += rule.hits
            await asyncio.sleep(0.5)
        with contextlib.suppress(redis.RedisError):
            stage.redis.script_flush()
        stage.history.mark("store error", name="silence")
        proxy.flowing.clear()
        await asyncio.sleep(each_s)
        proxy.flowing.set()
        proxy.cut_all()


async def power_cuts(stage: Stage, number: int) -> None:
    """Valkey loses power: what it wrote and did not sync is gone."""
    lost = 0
    for _ in range(number):
        await asyncio.sleep(stage.rng.uniform(0.5, 1.5))
        lost += await stage.cluster.cut_power(stage.rng)
        stage.counts["power cuts"] += 1
        stage.counts["kills"] += 1
    stage.figures["bytes taken back in power cuts"] = lost


async def wipe(stage: Stage, number: int) -> Rebuilt:
    """FLUSHALL 2 s after the last of so many accepts; then the rebuild, and everybody is told."""
    await stage.load.burst(number)
    stage.load.pause()
    await stage.load.quiet()
    accepted = len(stage.history.acks)
    await asyncio.sleep(WIPE_AFTER_S)
    await stage.tail.catch_up()
    if more := len(stage.history.acks) - accepted:
        stage.history.complain(f"{more} jobs were accepted while the load was to be quiet")
    store, pattern = stage.redis, stage.key("job:*").replace("{", "[{]").replace("}", "[}]")
    found = {key: store.hmget(key, "st", "ex") for key in store.scan_iter(pattern, count=1000)}
    stage.load.forgiving = True
    store.flushall()
    begin = time.monotonic()
    wiped = time.time()
    done = await rebuild(stage.resources)
    took = time.monotonic() - begin
    up_to = done.up_to.timestamp() if done.up_to else 0.0
    stage.history.mark("wipe", up_to=up_to, last_number=done.last_number, wiped=wiped)
    for ack in stage.history.acks.values():
        if ack.gone is not None and ack.gone > up_to - CLOCKS_S:
            ack.gone = None  # the journal did not have it yet: it is back, and nobody can know
    stage.counts["wipes"] += 1
    # The retention of some may have ended meanwhile: nobody brings those back.
    now_ms = time.time() * 1000
    lost = {
        key: state
        for key, (state, ends) in found.items()
        if state != "deleted" and not (ends and float(ends) <= now_ms)
    }
    back = sum(store.exists(key) for key in lost)
    counts = Counter(lost.values())
    stage.figures["wiped, by state"] = ", ".join(f"{n} {state}" for state, n in counts.items())
    stage.figures["of these back"] = f"{back} of {len(lost)}"
    stage.figures["rebuild (s)"] = round(took, 2)
    stage.figures["journal ended before the wipe (s)"] = round(wiped - up_to, 2)
    if back < len(lost):
        stage.history.complain(f"only {back} of {len(lost)} wiped jobs came back")
    if took > REBUILT_S * stage.patience:
        stage.history.complain(f"the rebuild took {took:.0f} s")
    return done
