"""Random lives of a queue, on the real scripts and a real server, against a model in Python.

Each step is one thing that can happen to a deployment: a request, a worker that pops, claims,
settles or dies, a reply that is lost, a janitor's chore, time that passes. After each the model's
states must be the store's, the books must balance, nothing may have gone backwards, and the events
must tell all of it: the store that is built again from them is the one that is there.

`FILEPROC_TEST_MODEL_EXAMPLES=2000` makes it long, and another one each time.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fileproc.dev.engines import Valkey
from fileproc.errors import GoneError, NotFoundError, WrongStateError
from fileproc.jobs import JobState, Move
from fileproc.store import JobFilter, Lease, Pulse, Replay, Reservation, Settlement, Verdict
from support.books import audit, unadoptable
from support.deployment import (
    CAPS,
    DAY_MS,
    LEASE_MS,
    MOST_QUEUED,
    RESERVED_MS,
    Deployment,
    Extras,
    Worker,
    World,
)
from support.expected import DELETED, Expected, ExpectedJob, facts_of, takeable_by
from support.jobs import due_trash, make_file, make_job, settlement_of
from support.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.settings import Settings

EXAMPLES = int(os.environ.get("FILEPROC_TEST_MODEL_EXAMPLES", "50"))
LONG = EXAMPLES > 50
STEPS = 60

T = TypeVar("T")
picks = st.integers(0, 255)
lanes = st.sampled_from(["default", "default", "default", "heavy"])
owners = st.sampled_from(list(CAPS))
moves = st.sampled_from([Move.COMPLETE, Move.FAIL, Move.CANCEL, Move.RETRY, Move.RELEASE])
workers = st.integers(0, 2)


def picked(items: list[T], pick: int) -> T:
    """The last one made for 0, so that examples shrink to what has just happened."""
    return items[-1 - pick % len(items)]


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.here = Deployment(world)
        self.expected = Expected()
        self.witness = Witness(self.here.books)
        self.now = self.here.books.look()
        self.made: list[tuple[Any, Extras]] = []  # (NewJob, extras) as they were sent
        self.leases: list[Lease] = []  # ever handed out, and heard of
        self.settled: list[tuple[Lease, Settlement]] = []
        self.reserved: list[tuple[str, Reservation]] = []
        self.keys: dict[tuple[str, str], tuple[str, str, int]] = {}  # -> (holder, job, until)
        self.paused: set[tuple[str, str]] = set()

    # --- clients ---------------------------------------------------------------------------------

    @rule(
        owner=owners,
        lane=lanes,
        priority=st.sampled_from(["normal", "high", "low"]),
        attempts=st.integers(1, 4),
        keep=st.booleans(),
        brings=st.booleans(),
        reuses=st.none() | picks,
        extras=st.builds(
            Extras,
            due_ms=st.sampled_from([0, 0, 0, 5_000_000]),
            deadline_ms=st.sampled_from([0, 0, 3_000_000]),
            cap=st.sampled_from([0, 1, 4]),
            upload=st.sampled_from([False, False, False, True]),
        ),
    )
    def submit(  # noqa: PLR0917 - hypothesis passes them by name
        self,
        owner: str,
        lane: str,
        priority: str,
        attempts: int,
        keep: bool,
        brings: bool,
        reuses: int | None,
        extras: Extras,
    ) -> None:
        known = list(self.expected.file_owners)
        again = [picked(known, reuses)] if reuses is not None and known else []
        info = make_file().model_copy(update={"file_id": f"file_{len(self.made):04}"})
        document = make_job().document.model_copy(update={"priority": priority})
        new = make_job(
            id=f"job_{len(self.made):04}",
            owner=owner,
            lane=lane,
            max_attempts=attempts,
            retention_s=3600 if keep else 0,
            new_files=[info] if brings else [],
            reused_files=again,
            document=document,
        )
        reply = self.here.accept(new, extras)
        if self._full(owner):
            assert reply == "quota"
        elif not all(self.expected.usable(owner, file) for file in again):
            assert reply == "no_file"
        else:
            assert reply == new.id
            self._accepted(new, extras)

    @rule(owner=owners, lane=lanes, count=st.integers(2, 9))
    def submit_many(self, owner: str, lane: str, count: int) -> None:
        """More than the short list holds, so that some wait in turn."""
        for _ in range(count):
            new = make_job(id=f"job_{len(self.made):04}", owner=owner, lane=lane)
            full = self._full(owner)
            assert self.here.accept(new, Extras()) == ("quota" if full else new.id)
            if not full:
                self._accepted(new, Extras())

    def _full(self, owner: str) -> bool:
        return len(self.expected.of(owner, "queued", "delayed", "awaiting_upload")) >= MOST_QUEUED

    def _accepted(self, new: Any, extras: Extras) -> None:
        clock = self.expected.clock
        state = JobState.DELAYED if extras.due_ms else JobState.QUEUED
        brought = [info.file_id for info in new.new_files]
        self.expected.file_owners.update(dict.fromkeys(brought, new.owner))
        self.expected.jobs[new.id] = ExpectedJob(
            *(new.id, new.owner, new.lane),
            state=JobState.AWAITING_UPLOAD if extras.upload else state,
            max_attempts=new.max_attempts,
            retention_ms=new.retention_s * 1000,
            files=(*brought, *new.reused_files),
            due=clock + extras.due_ms if extras.due_ms else None,
            deadline=clock + extras.deadline_ms if extras.deadline_ms else None,
        )
        self.made.append((new, extras))

    @precondition(lambda self: self.made)
    @rule(pick=picks)
    def submit_again_after_the_reply_was_lost(self, pick: int) -> None:
        new, extras = picked(self.made, pick)
        if not self.expected.vanished(self.expected.jobs[new.id]):
            assert self.here.accept(new, extras) == new.id
            assert self.here.books.look().streams == self.now.streams

    @rule(owner=st.sampled_from(["plain", "heavy"]), key=st.sampled_from(["k", "l"]))
    def reserve(self, owner: str, key: str) -> None:
        reply = self.here.reserve(owner, key)
        holder, job, _ = self._key(owner, key)
        if job:
            assert reply == Replay(holder, job)
        elif holder:
            assert reply == "in_flight"
        else:
            assert isinstance(reply, Reservation)
            self.reserved.append((key, reply))
            self._hold(key, reply)

    def _key(self, owner: str, key: str) -> tuple[str, str, int]:
        held = self.keys.get((owner, key), ("", "", 0))
        return held if held[2] > self.expected.clock else ("", "", 0)

    def _hold(self, key: str, held: Reservation) -> None:
        self.keys[held.owner, key] = (held.token, "", self.expected.clock + RESERVED_MS)

    @precondition(lambda self: self.reserved)
    @rule(pick=picks, verb=st.sampled_from(["renew", "release"]))
    def keep_or_release_a_reservation(self, pick: int, verb: str) -> None:
        key, held = picked(self.reserved, pick)
        holder, _, _ = self._key(held.owner, key)
        self.here.run(getattr(self.here.store.idempotency, verb)(held))
        if verb == "renew" and holder in ("", held.token):
            self._hold(key, held)
        elif verb == "release" and holder == held.token:
            del self.keys[held.owner, key]

    @precondition(lambda self: self.reserved)
    @rule(pick=picks, fingerprint=st.sampled_from(["f", "f", "g"]))
    def submit_with_a_key(self, pick: int, fingerprint: str) -> None:
        key, held = picked(self.reserved, pick)
        holder, job, _ = self._key(held.owner, key)
        new = make_job(
            id=f"job_{len(self.made):04}",
            owner=held.owner,
            reservation=held,
            fingerprint=fingerprint,
        )
        reply = self.here.accept(new, Extras())
        if job:
            assert reply == (job if holder == fingerprint else "mismatch")
        elif holder not in ("", held.token):
            assert reply == "in_flight"
        elif self._full(held.owner):
            assert reply == "quota"
        else:
            assert reply == new.id
            self._accepted(new, Extras())
            self.keys[held.owner, key] = (fingerprint, new.id, self.expected.clock + DAY_MS)

    @precondition(lambda self: self.expected.jobs)
    @rule(pick=picks, foreign=st.sampled_from([False] * 5 + [True]))
    def cancel(self, pick: int, foreign: bool) -> None:
        job = picked(list(self.expected.jobs.values()), pick)
        call = self.here.store.jobs.cancel("nobody" if foreign else job.owner, job.id)
        if foreign or self.expected.vanished(job):
            self.here.refused(call, NotFoundError)
            return
        self.expected.cancel(job.id)
        if job.state == DELETED or job.delete_requested:
            self.here.refused(call, GoneError)
        elif job.over and job.state != JobState.CANCELED:
            self.here.refused(call, WrongStateError)
        else:
            assert self.here.run(call).state == job.state

    @precondition(lambda self: self.expected.jobs)
    @rule(pick=picks, foreign=st.sampled_from([False] * 5 + [True]))
    def delete(self, pick: int, foreign: bool) -> None:
        job = picked(list(self.expected.jobs.values()), pick)
        call = self.here.store.jobs.delete("nobody" if foreign else job.owner, job.id)
        if foreign or self.expected.vanished(job):
            self.here.refused(call, NotFoundError)
        elif job.state == DELETED:
            self.here.refused(call, GoneError)
        else:
            self.here.run(call)
            self.expected.delete(job.id)

    @precondition(lambda self: self.expected.jobs)
    @rule(pick=picks)
    def upload_what_a_job_waits_for(self, pick: int) -> None:
        job = picked(list(self.expected.jobs.values()), pick)
        reply = self.here.script("uploaded", job.id, job.owner, '{"operation":"debug.sleep"}')
        self.expected.uploaded(job.id)
        assert reply == (None if self.expected.vanished(job) else job.state)

    @rule(owner=owners, state=st.sampled_from([None, *JobState]))
    def list_jobs(self, owner: str, state: JobState | None) -> None:
        page = self.here.run(self.here.store.jobs.list(owner, JobFilter(state=state), limit=100))
        states = [state] if state else list(JobState)
        wanted = [j.id for j in self.expected.of(owner, *states) if not j.delete_requested]
        assert sorted(job.id for job in page.jobs) == sorted(wanted)

    # --- workers ---------------------------------------------------------------------------------

    @rule(which=workers, lane=lanes)
    def pop(self, which: int, lane: str) -> None:
        worker = self.here.workers[which]
        if worker.name not in self.now.zset("workers"):
            self.here.beat(worker)  # as at the start, and after a long sleep
        rung = self.here.run(worker.store.queue.wait(lane))
        assert rung == bool(self.now.ready(lane))

    @rule(
        which=workers,
        lane=lanes,
        flight=st.integers(0, 1),
        free=st.integers(0, 6),
        fate=st.sampled_from(["heard", "heard", "lost", "sent twice"]),
    )
    def claim(self, which: int, lane: str, flight: int, free: int, fate: str) -> None:
        worker = self.here.workers[which]
        queue, slot = worker.store.queue, (lane, flight)
        number, *answer = worker.unanswered.pop(slot, (queue.next_call(),))
        # What a worker was given is remembered for an hour, which is far longer than any lease.
        known = self.here.books.redis.exists(self.here.books.key(f"worker:{worker.name}"))
        leases = self.here.run(queue.claim(lane, flight, free, number))
        if answer and known:
            assert leases == [lease for lease in answer[0] if self._runs(lease)]
        else:
            self._check_claim(worker, lane, free, leases)
        if fate == "sent twice":
            assert self.here.run(queue.claim(lane, flight, free, number)) == leases
        if fate == "lost":
            worker.unanswered[slot] = (number, leases)
        else:
            self.leases += leases
            worker.held.update({lease.job_id: lease.token for lease in leases})

    def _runs(self, lease: Lease) -> bool:
        job = self.expected.jobs[lease.job_id]
        return job.state == JobState.RUNNING and job.token == int(lease.token)

    def _check_claim(self, worker: Worker, lane: str, free: int, leases: list[Lease]) -> None:
        takeable, number = takeable_by(self.now, worker.name, lane, free)
        assert len(leases) == number
        assert {lease.job_id for lease in leases} <= takeable
        for lease in leases:
            job = self.expected.claim(lease.job_id, LEASE_MS)
            assert (lease.lane, lease.owner) == (lane, job.owner) == (job.lane, job.owner)
            assert (int(lease.token), lease.attempt) == (job.token, job.attempt)
            assert lease.max_attempts == job.max_attempts

    @precondition(lambda self: self.leases)
    @rule(
        attempts=st.lists(st.tuples(picks, moves), min_size=1, max_size=3),
        delay_s=st.sampled_from([0, 5000]),
    )
    def settle(self, attempts: list[tuple[int, Move]], delay_s: int) -> None:
        """One call for all; late and stale ones too: whoever had a lease may come back."""
        calls = []
        for pick, move in attempts:
            lease = picked(self.leases, pick)
            calls.append((lease, settlement_of(lease, move, delay_s)))
        self._settle(calls)
        self.settled += calls

    @precondition(lambda self: self.settled)
    @rule(pick=picks)
    def settle_again_after_the_reply_was_lost(self, pick: int) -> None:
        self._settle([picked(self.settled, pick)])

    def _settle(self, calls: list[tuple[Lease, Settlement]]) -> None:
        verdicts = self.here.settle([settlement for _, settlement in calls])
        trash = self.here.books.zset("trash")
        for (lease, call), verdict in zip(calls, verdicts, strict=True):
            job = self.expected.jobs[call.job_id]
            assert verdict is self.expected.settle(
                call.job_id, int(call.token), call.move, call.prefix, call.delay_ms
            )
            spent = verdict is Verdict.STALE or (verdict is Verdict.DONE and not job.prefix)
            if spent and job.prefix != call.prefix:
                assert call.prefix in trash
            for worker in self.here.workers:
                if worker.held.get(lease.job_id) == lease.token:
                    del worker.held[lease.job_id]

    @rule(which=workers)
    def beat(self, which: int) -> None:
        worker = self.here.workers[which]
        held = dict(worker.held)
        learned = self.here.beat(worker)
        for job_id, token in held.items():
            job = self.expected.jobs[job_id]
            if job.state != JobState.RUNNING or job.token != int(token):
                assert learned[job_id] is Pulse.LOST
                del worker.held[job_id]
            else:
                assert learned.get(job_id) is (Pulse.CANCEL if job.cancel_requested else None)
                job.lease_end = self.expected.clock + LEASE_MS

    @precondition(lambda self: self.leases)
    @rule(which=workers, pick=picks)
    def report_progress(self, which: int, pick: int) -> None:
        lease = picked(self.leases, pick)
        said = '{"phase":"run","done":1}'
        queue = self.here.workers[which].store.queue
        self.here.run(queue.report_progress(lease, "default heavy", said))
        if self._runs(lease):
            self.expected.jobs[lease.job_id].lease_end = self.expected.clock + LEASE_MS
            assert self.here.books.jobs()[lease.job_id]["pg"] == said

    @rule(which=workers)
    def crash(self, which: int) -> None:
        """What it popped and holds stays behind; its leases may still come back from the dead."""
        self.here.replace(which)

    # --- the janitor, the operator, and the world ------------------------------------------------

    @rule(chore=st.sampled_from(["recover", "tick", "purge", "adopt", "trash"]))
    def janitor(self, chore: str) -> None:
        upkeep = self.here.store.upkeep
        match chore:
            case "recover":
                assert self.here.run(upkeep.recover()) == self.expected.recover()
            case "tick":
                assert self.here.run(upkeep.tick()) == self.expected.tick()
            case "purge":
                assert self.here.run(upkeep.purge()) == self.expected.purge()
            case "adopt":
                self._adopt()
            case _:
                self.here.run(upkeep.trashed(self.here.run(due_trash(self.here.store))))

    def _adopt(self) -> None:
        silent = {w for w, end in self.now.zset("workers").items() if end <= self.now.now_ms}
        left = [ids for (worker, _), ids in self.now.popped.items() if worker in silent]
        number = len([job for ids in left for job in ids if job in self.now.queued])
        assert self.here.run(self.here.store.upkeep.adopt()) == number
        assert not silent & {worker for worker, _ in self.here.books.look().popped}

    @rule(lane=lanes, owner=st.just("") | owners)
    def pause(self, lane: str, owner: str) -> None:
        jobs = self.expected.jobs
        back = [job for job in self.now.ready(lane) if owner in ("", jobs[job].owner)]
        assert self.here.run(self.here.store.upkeep.pause(lane, owner)) == len(back)
        self.paused.add((lane, owner))

    @precondition(lambda self: self.paused)
    @rule(pick=picks)
    def resume(self, pick: int) -> None:
        lane, owner = picked(sorted(self.paused), pick)
        self.here.run(self.here.store.upkeep.resume(lane, owner))
        self.paused.remove((lane, owner))

    @rule(step_s=st.sampled_from([2_000, 2_000, 2_000, 10_000, 100_000, 1_000_000, -500]))
    def time_passes(self, step_s: int) -> None:
        self.here.step_clock(step_s * 1000)
        self.expected.clock += step_s * 1000

    @rule()
    def server_forgets_the_scripts(self) -> None:
        self.here.books.redis.script_flush()

    # --- what must be true -----------------------------------------------------------------------

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        self.now = self.here.books.look()
        wrong = audit(self.now) + unadoptable(self.now) + self.witness.complaints(self.now)
        assert not wrong + self._differences()

    def _differences(self) -> list[str]:
        wrong = []
        for job in self.expected.jobs.values():
            record = self.now.records.get(job.id)
            if facts_of(record) != self.expected.facts(job):
                wrong.append(f"{record} should be {job}")
        for (lane, owner), flow in self.now.flows.items():
            if owner == "capped" and int(flow.get("adm", 0)) > CAPS[owner]:
                wrong.append(f"the capped owner has {flow} in {lane}")
        if self.paused != self.here.paused(self.now):
            wrong.append(f"paused are {self.here.paused(self.now)}, should be {self.paused}")
        return wrong

    def teardown(self) -> None:
        """The store that is built again from the events is this one, with its work queued."""
        try:
            self.witness.complaints(self.here.books.look())
            assert self.here.rebuilt_wrongly(self.witness) == []
        finally:
            self.here.close()


@pytest.fixture
def books() -> None:
    """Not those of the folder: each example has books of its own."""


@pytest.mark.timeout(0 if LONG else 120)
def test_queue_does_what_its_rules_say_whatever_happens(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fileproc.store.queue.POP_BLOCK_S", 0.005)
    engine = Valkey(tmp_path / "valkey")
    engine.start()
    try:
        with asyncio.Runner() as runner:
            world = World(runner.get_loop(), settings, engine.url)
            world.without_fsync()
            run_state_machine_as_test(
                lambda: QueueMachine(world),  # type: ignore[arg-type]  # any callable will do
                settings=limits(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    derandomize=not LONG,
                    # Shrinking takes minutes: only where somebody waits for it.
                    phases=[Phase.generate, *([Phase.shrink] if LONG else [])],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        engine.stop()
