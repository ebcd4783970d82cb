"""One attempt in slow motion: the store and the storage are the real ones, the child is not."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fileproc.errors import (
    ErrorClass,
    InsufficientStorageError,
    JobError,
    StorageUnavailableError,
    StoreUnavailableError,
)
from fileproc.jobs import JobState, Move, Progress
from fileproc.objects import attempt_prefix
from fileproc.settings import Settings
from fileproc.store import Pulse, Settlement, Verdict
from fileproc.worker import executor as module
from fileproc.worker import scratch, transfers
from fileproc.worker.executor import limits_for
from fileproc.worker.outcomes import unforeseen
from fileproc.worker.sandbox import Assignment, Ending, ZygoteLost
from support.books import Books
from support.jobs import make_file, make_job, make_result
from support.stage import USED, Report, Stage, ending, endless, failing, make_lease, put, slowly
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("books")


@dataclass
class Waits:
    """Nobody waits; how long they wanted to is kept. Chance always gives the most."""

    asked: list[tuple[float, float]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def uniform(self, least: float, most: float) -> float:
        self.asked.append((least, most))
        return most


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    noted, sleep = Waits(), asyncio.sleep

    async def at_once(delay_s: float) -> None:
        noted.slept.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return noted


class TestSuccess:
    async def test_outputs_are_shown_as_the_child_made_them(self, stage: Stage) -> None:
        lease = await stage.lease()
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert (job.state, job.attempt, job.usage) == (JobState.SUCCEEDED, 1, USED)
        assert job.result is not None
        assert [(o.name, o.size, o.type) for o in job.result.outputs] == [
            ("a.txt", 3, "text/plain"),
            ("b.txt", 3, "text/plain"),
        ]
        assert job.result.provenance.engine == "an engine"
        bodies = [
            b"".join([c async for c in stage.objects.stream(f"{job.result.prefix}{i}")])
            for i in range(2)
        ]
        assert bodies == [b"aaa", b"bbb"]

    async def test_job_succeeds_only_after_all_its_outputs_are_stored(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = slowly(monkeypatch, stage.objects, "put_file")
        lease = await stage.lease()
        running = stage.begin(lease)
        await begun.wait()
        assert (await stage.job(lease)).state is JobState.RUNNING
        settled: list[tuple[Settlement, list[str]]] = []
        real = stage.store.queue.settle

        async def settle(settlement: Settlement) -> Verdict:
            settled.append((settlement, await stage.stored(settlement.prefix)))
            return await real(settlement)

        monkeypatch.setattr(stage.store.queue, "settle", settle)
        go_on.set()
        await running
        ((settlement, stored),) = settled
        assert settlement.move is Move.COMPLETE
        assert stored == [f"{settlement.prefix}0", f"{settlement.prefix}1"]

    async def test_child_gets_inputs_in_order_and_what_the_job_asks_for(self, stage: Stage) -> None:
        infos = [await put(stage, f"input {number}".encode()) for number in range(6)]
        document = make_job().document.model_copy(update={"inputs": infos})
        bodies: list[bytes] = []

        async def read(assignment: Assignment, report: Report) -> Ending:
            del report
            bodies.extend(given.path.read_bytes() for given in assignment.inputs)
            return ending()

        stage.child.part = read
        lease = await stage.lease(document=document, new_files=infos)
        await stage.executor.execute(lease)
        (assignment,) = stage.child.given
        assert bodies == [f"input {number}".encode() for number in range(6)]
        assert [given.name for given in assignment.inputs] == [info.name for info in infos]
        assert [given.sha256 for given in assignment.inputs] == [info.sha256 for info in infos]
        assert (assignment.operation, assignment.params) == ("debug.sleep", {"seconds": 0})
        assert (assignment.attempt, assignment.debug) == (1, True)
        assert lease.job_id in assignment.id

    async def test_scratch_folder_is_gone_before_the_job_is_over(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = slowly(monkeypatch, stage.store.queue, "settle")
        lease = await stage.lease()
        running = stage.begin(lease)
        await begun.wait()
        assert list(stage.scratch.folder.iterdir()) == []
        go_on.set()
        await running

    async def test_no_more_than_four_transfers_are_under_way(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        infos = [await put(stage, b"x") for _ in range(9)]
        under_way, most = 0, 0
        real = stage.objects.get_file

        async def counted(*given: Any, **named: Any) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await real(*given, **named)
            under_way -= 1

        monkeypatch.setattr(stage.objects, "get_file", counted)
        document = make_job().document.model_copy(update={"inputs": infos})
        await stage.executor.execute(await stage.lease(document=document, new_files=infos))
        assert most == transfers.TRANSFERS_AT_ONCE

    async def test_progress_is_written_beside_the_lease(self, stage: Stage, books: Books) -> None:
        said = Progress(phase="reading", done=1, total=2)
        lease = await stage.lease()

        async def tell(assignment: Assignment, report: Report) -> Ending:
            del assignment
            report(said)
            await eventually(shown)
            return ending()

        async def shown() -> bool:
            assert "null" not in books.jobs()[lease.job_id].get("pg", "")
            return (await stage.job(lease)).progress == said

        stage.child.part = tell
        await stage.executor.execute(lease)
        assert (await stage.job(lease)).state is JobState.SUCCEEDED

    async def test_it_is_told_how_long_each_phase_took(self, stage: Stage) -> None:
        lease = await stage.lease()
        with capture_logs() as logs:
            await stage.executor.execute(lease)
        (ended,) = (line for line in logs if line["event"] == "attempt ended")
        assert set(ended["seconds"]) == {"fetch", "run", "publish"}
        assert all(0 <= seconds < 60 for seconds in ended["seconds"].values())


class TestFailure:
    async def test_error_of_the_child_is_shown_with_its_class(self, stage: Stage) -> None:
        async def fail(*_: object) -> Ending:
            return ending(
                error=JobError("No.", code="corrupt_input", error_class=ErrorClass.PERMANENT)
            )

        stage.child.part = fail
        lease = await stage.lease()
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert job.error is not None
        assert (job.state, job.error.code, job.error.attempt) == (
            JobState.FAILED,
            "corrupt_input",
            1,
        )
        assert (job.error.detail, job.error.retryable) == ("No.", False)

    async def test_attempt_without_a_folder_fails_and_says_no_more_than_that(
        self, stage: Stage
    ) -> None:
        stage.scratch.folder.parent.mkdir(parents=True, exist_ok=True)
        stage.scratch.folder.write_text("in the way")
        lease = await stage.lease(max_attempts=1)
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert job.error is not None
        assert (job.state, job.error.code) == (JobState.FAILED, "internal_error")
        assert str(stage.scratch.folder) not in job.error.detail

    @pytest.mark.parametrize(
        ("error", "error_class"),
        [
            (StorageUnavailableError("Away."), ErrorClass.TRANSIENT),
            (InsufficientStorageError("Full."), ErrorClass.RESOURCE),
            (RuntimeError("nobody planned for this"), ErrorClass.CRASH),
        ],
    )
    async def test_outputs_that_cannot_be_stored_are_made_again_elsewhere(
        self,
        stage: Stage,
        monkeypatch: pytest.MonkeyPatch,
        books: Books,
        error: Exception,
        error_class: ErrorClass,
    ) -> None:
        monkeypatch.setattr("fileproc.jobs.BACKOFF_BASE_S", 0.0)
        monkeypatch.setattr(transfers, "STORAGE_PATIENCE_S", -1)
        lease = await stage.lease()
        failing(monkeypatch, stage.objects, "put_file", error)
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert job.error is not None
        assert (job.state, job.error.error_class) == (JobState.DELAYED, error_class)
        assert "nobody planned" not in job.error.detail
        (spoiled,) = books.zset("trash")
        await stage.store.upkeep.tick()
        await stage.executor.execute(await stage.take())
        job = await stage.job(lease)
        assert job.result is not None
        assert job.result.prefix != spoiled
        assert spoiled.startswith(f"attempts/{lease.job_id}/1-")
        assert job.result.prefix.startswith(f"attempts/{lease.job_id}/2-")

    async def test_storage_that_is_away_for_a_moment_costs_no_attempt(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        away = StorageUnavailableError("Away.")
        failing(monkeypatch, stage.objects, "put_file", away, away)
        failing(monkeypatch, stage.objects, "get_file", away)
        info = await put(stage, b"x")
        document = make_job().document.model_copy(update={"inputs": [info]})
        lease = await stage.lease(document=document, new_files=[info])
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
        assert len(stage.child.given) == 1

    async def test_put_that_failed_leaves_no_delete_that_could_hit_the_next_try(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The storage may carry it out when it likes; what an attempt leaves goes with it."""
        failing(monkeypatch, stage.objects, "_put", StorageUnavailableError("503 Slow Down"))
        deleted: list[str] = []

        async def noted(keys: list[str]) -> None:
            deleted.extend(keys)

        monkeypatch.setattr(stage.objects, "delete", noted)
        lease = await stage.lease()
        await stage.executor.execute(lease)
        assert ((await stage.job(lease)).state, deleted) == (JobState.SUCCEEDED, [])

    async def test_storage_that_is_away_for_long_is_asked_ever_more_rarely(
        self, monkeypatch: pytest.MonkeyPatch, waits: Waits
    ) -> None:
        monkeypatch.setattr(transfers, "random", waits)
        answers: list[Exception | str] = [*[StorageUnavailableError("Away.")] * 7, "there"]

        async def transfer() -> str:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert await transfers.patiently(transfer) == "there"
        ceilings = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert [least for least, _ in waits.asked] == pytest.approx([top / 2 for top in ceilings])
        assert waits.slept == pytest.approx(ceilings)

    async def test_missing_input_is_the_end(self, stage: Stage) -> None:
        document = make_job().document.model_copy(update={"inputs": [info := make_file()]})
        lease = await stage.lease(document=document, new_files=[info])
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert job.error is not None
        assert (job.state, job.error.code) == (JobState.FAILED, "input_missing")
        assert stage.child.given == []

    async def test_first_of_several_transfers_to_fail_is_what_is_shown(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transfers, "STORAGE_PATIENCE_S", -1)
        lease = await stage.lease()
        away = StorageUnavailableError("The storage is away.")
        failing(monkeypatch, stage.objects, "put_file", away, away)
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert job.error is not None
        assert job.error.detail == "The storage is away."

    @pytest.mark.parametrize(
        ("error", "error_class"),
        [
            (ZygoteLost("It died."), ErrorClass.CRASH),
            (JobError("None was left.", code="no_process"), ErrorClass.TRANSIENT),
        ],
    )
    async def test_want_of_a_process_costs_no_attempt_the_first_time(
        self, stage: Stage, error: JobError | ZygoteLost, error_class: ErrorClass
    ) -> None:
        async def play(*_: object) -> Ending:
            if isinstance(error, ZygoteLost):
                raise error
            return ending(error=error)

        stage.child.part = play
        lease = await stage.lease(max_attempts=1)
        await stage.executor.execute(lease)
        job = await stage.job(lease)
        assert (job.state, job.attempt) == (JobState.QUEUED, 0)
        await stage.executor.execute(await stage.take())
        job = await stage.job(lease)
        assert job.error is not None
        assert (job.state, job.error.error_class) == (JobState.FAILED, error_class)

    async def test_jobs_without_a_process_are_not_remembered_for_ever(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
        leases = [make_lease(str(number)) for number in range(4)]
        for lease in (*leases, leases[3]):
            stage.executor._handed_back_once(module.Attempt(lease, ""), unforeseen())
        assert stage.executor._without_process == {"2": 1, "3": 2}

    async def test_folder_that_cannot_be_removed_costs_nothing_and_goes_later(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(folder: Path) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(folder))

        with monkeypatch.context() as patch:
            patch.setattr(scratch, "remove_scratch", refuse)
            lease = await stage.lease()
            await stage.executor.execute(lease)
        assert (await stage.job(lease)).state is JobState.SUCCEEDED
        assert len(list(stage.scratch.folder.iterdir())) == 1
        await stage.executor.execute(await stage.lease())
        assert list(stage.scratch.folder.iterdir()) == []


class TestVerdicts:
    @pytest.mark.parametrize(
        ("pulse", "state", "attempt"),
        [(Pulse.CANCEL, JobState.CANCELED, 1), (Pulse.LOST, JobState.QUEUED, 0)],
    )
    async def test_child_is_stopped_and_the_attempt_ends_as_the_heartbeat_says(
        self, stage: Stage, pulse: Pulse, state: JobState, attempt: int
    ) -> None:
        stage.child.part = endless
        lease = await stage.lease()
        running = stage.begin(lease)
        await eventually(lambda: stage.child.given)
        assert stage.held.tokens() == {lease.job_id: lease.token}
        stage.held.learned(lease.job_id, lease.token, pulse)
        async with asyncio.timeout(10):
            await running
        job = await stage.job(lease)
        assert (job.state, job.attempt) == (state, attempt)
        assert stage.held.tokens() == {}

    async def test_result_that_is_ready_wins_over_a_cancel(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = slowly(monkeypatch, stage.store.queue, "settle")
        lease = await stage.lease()
        running = stage.begin(lease)
        await begun.wait()
        await stage.store.jobs.cancel("acme", lease.job_id)
        stage.held.learned(lease.job_id, lease.token, Pulse.CANCEL)
        go_on.set()
        await running
        assert (await stage.job(lease)).state is JobState.SUCCEEDED

    async def test_attempt_whose_job_was_taken_away_shows_nothing(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, books: Books
    ) -> None:
        begun, go_on = slowly(monkeypatch, stage.objects, "put_file")
        zombie = await stage.lease()
        running = stage.begin(zombie)
        await begun.wait()
        await stage.store.queue.settle(Settlement.release(zombie))  # as recovery would
        heir = await stage.take()
        winner = make_result(heir)
        await stage.store.queue.settle(Settlement.complete(heir, winner))
        go_on.set()
        await running
        job = await stage.job(heir)
        assert (job.state, job.result) == (JobState.SUCCEEDED, winner)
        (spoiled,) = books.zset("trash")
        assert spoiled.startswith(f"attempts/{zombie.job_id}/1-")


class TestShutdown:
    async def test_shutdown_hands_the_job_back(self, stage: Stage) -> None:
        stage.child.part = endless
        lease = await stage.lease()
        running = stage.begin(lease)
        await eventually(lambda: stage.child.given)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        job = await stage.job(lease)
        assert (job.state, job.attempt) == (JobState.QUEUED, 0)
        assert stage.held.tokens() == {}

    @pytest.mark.parametrize("times", [1, 3])
    async def test_shutdown_while_it_settles_waits_for_the_books(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, times: int
    ) -> None:
        begun, go_on = slowly(monkeypatch, stage.store.queue, "settle")
        lease = await stage.lease()
        running = stage.begin(lease)
        await begun.wait()
        for _ in range(times):
            running.cancel()
            await asyncio.sleep(0)
        assert not running.done()
        assert stage.held.tokens() == {lease.job_id: lease.token}  # its lease is kept until then
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await stage.job(lease)).state is JobState.SUCCEEDED

    async def test_shutdown_does_not_wait_for_ever_for_a_store_that_is_away(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "HAND_BACK_S", 0.3)
        begun, given_up = asyncio.Event(), asyncio.Event()

        async def away(_: Settlement) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

        monkeypatch.setattr(stage.store.queue, "settle", away)
        lease = await stage.lease()
        running = stage.begin(lease)
        await begun.wait()
        running.cancel()
        before = time.monotonic()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await running
        assert 0.3 <= time.monotonic() - before < 1.1
        async with asyncio.timeout(5):
            await given_up.wait()  # nobody writes after the store is closed
        assert (await stage.job(lease)).state is JobState.RUNNING  # until its lease ends

    async def test_settles_when_the_store_is_back(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, waits: Waits
    ) -> None:
        pauses = (0.011, 0.012, 0.013)
        monkeypatch.setattr(module, "SETTLE_PAUSE_S", pauses)
        away = [StoreUnavailableError("Away.") for _ in range(5)]
        failing(monkeypatch, stage.store.queue, "settle", *away)
        lease = await stage.lease()
        await stage.executor.execute(lease)
        assert (await stage.job(lease)).state is JobState.SUCCEEDED
        slept = [pause for pause in waits.slept if pause in pauses]
        assert slept == [0.011, 0.012, 0.013, 0.013, 0.013]


def test_no_two_attempts_share_a_prefix() -> None:
    prefixes = {attempt_prefix("job_1", token) for token in (1, 1, 2)}
    assert len(prefixes) == 3  # also where a store that lost its last writes repeats a token


@pytest.mark.parametrize(
    ("lane", "asked", "allowed"),
    [
        ("default", None, 100),
        ("default", 20, 20),
        ("default", 900, 100),
        ("heavy", None, 500),
        ("heavy", 300, 300),
    ],
)
def test_time_limit_is_the_jobs_own_but_not_above_its_lanes(
    settings: Settings, lane: str, asked: float | None, allowed: float
) -> None:
    limited = settings.model_copy(update={"job_timeout_s": 100, "heavy_job_timeout_s": 500})
    document = make_job().document.model_copy(update={"timeout_s": asked})
    limits = limits_for(limited, make_lease("job_1", lane=lane, document=document))
    assert limits.timeout_s == allowed
    assert limits.memory_bytes == settings.max_memory_bytes
    assert limits.scratch_bytes == settings.max_scratch_bytes
    assert limits.pixels == settings.max_pixels
    assert limits.output_files == settings.max_output_files


@pytest.mark.parametrize(("cores", "threads"), [(7, 7), (1, 1), (None, 1)])
def test_attempt_may_use_as_many_threads_as_there_are_cores(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert limits_for(settings, make_lease("job_1")).threads == threads
