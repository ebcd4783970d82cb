"""Redis restarts, forgets scripts, goes away and comes back; calls are cancelled anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fileproc.dev.engines import Valkey
from fileproc.errors import BadRequestError, NotFoundError, SchemaError, StoreUnavailableError
from fileproc.jobs import Job, JobState
from fileproc.store import JobFilter, Lease, Role, Settlement, Store, open_store
from support.books import Books
from support.jobs import PROBLEM, make_file, make_job, make_result
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from fileproc.settings import Settings


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, to be killed."""
    engine = Valkey(tmp_path / "mortal")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def with_mortal(settings: Settings, mortal: Valkey) -> Settings:
    Books(mortal.url, "{m}:").mark()
    return settings.model_copy(
        update={"redis_url": type(settings.redis_url)(mortal.url), "redis_prefix": "{m}:"}
    )


async def take(store: Store, free: int = 10) -> list[Lease]:
    return await store.queue.claim("default", 0, free, store.queue.next_call())


async def test_server_that_forgot_its_scripts_is_told_them_again(store: Store) -> None:
    await store.jobs.accept(make_job())
    await store.pipeline.command("SCRIPT", "FLUSH")
    news = [make_job() for _ in range(20)]
    ids = await asyncio.gather(*(store.jobs.accept(new) for new in news))
    assert ids == [new.id for new in news]
    assert len(await take(store, 100)) == 21


async def test_away_redis_is_an_error_of_ours_and_comes_back_by_itself(
    with_mortal: Settings, mortal: Valkey
) -> None:
    async with open_store(with_mortal) as store:
        accepted = make_job()
        await store.jobs.accept(accepted)
        mortal.kill()
        with pytest.raises(StoreUnavailableError) as refused:
            await store.jobs.accept(make_job())
        assert refused.value.retry_after_s
        assert "127.0.0.1" not in refused.value.detail
        assert not (await store.health()).reachable
        mortal.start()
        job = await eventually(lambda: _get(store, accepted.id))
        assert job.state is JobState.QUEUED
        assert (await store.health()).durable


async def test_what_breaks_for_many_calls_at_once_is_one_line_of_the_log(
    with_mortal: Settings, mortal: Valkey
) -> None:
    async with open_store(with_mortal) as store:
        await store.jobs.accept(make_job())
        mortal.kill()
        with capture_logs() as lines:
            outcomes = await asyncio.gather(
                *(store.jobs.accept(make_job()) for _ in range(200)), return_exceptions=True
            )
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
        assert len({id(outcome) for outcome in outcomes}) == 200
        failed = [line for line in lines if line["event"] == "redis call failed"]
        assert 1 <= len(failed) <= 2  # of one tick: one exchange, or two


async def _get(store: Store, job_id: str) -> object:
    with contextlib.suppress(StoreUnavailableError):
        return await store.jobs.get("acme", job_id)
    return None


async def test_killed_redis_keeps_every_accepted_job(with_mortal: Settings, mortal: Valkey) -> None:
    async with open_store(with_mortal) as store:
        acknowledged: list[str] = []

        async def submit() -> None:
            with contextlib.suppress(StoreUnavailableError):
                while True:
                    acknowledged.append(await store.jobs.accept(make_job()))

        callers = [asyncio.create_task(submit()) for _ in range(8)]
        await eventually(lambda: len(acknowledged) > 200)
        mortal.kill()
        await asyncio.gather(*callers)
        mortal.start()
        await eventually(lambda: _get(store, acknowledged[0]))
        states = [await store.jobs.get("acme", job_id) for job_id in acknowledged]
        assert {job.state for job in states} == {JobState.QUEUED}


@pytest.mark.parametrize("sent", range(4))
async def test_process_that_dies_between_two_commands_leaves_nothing_half_done(
    store: Store, monkeypatch: pytest.MonkeyPatch, books: Books, sent: int
) -> None:
    """However far a step gets, the books balance: each is one command."""
    real = store.pipeline.command
    for _ in range(6):
        await store.jobs.accept(make_job(new_files=[make_file()]))
    done, failed, put_off, handed_back = await take(store, 4)
    waits = make_job()
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "accept": lambda: store.jobs.accept(waits),
        "claim": lambda: store.queue.claim("default", 0, 1, store.queue.next_call()),
        "complete": lambda: store.queue.settle(Settlement.complete(done, make_result(done))),
        "fail": lambda: store.queue.settle(Settlement.fail(failed, PROBLEM)),
        "retry": lambda: store.queue.settle(Settlement.retry(put_off, PROBLEM, 0)),
        "release": lambda: store.queue.settle(Settlement.release(handed_back)),
        "cancel": lambda: store.jobs.cancel("acme", waits.id),
        "delete": lambda: store.jobs.delete("acme", done.job_id),
        "tick": store.upkeep.tick,
        "recover": store.upkeep.recover,
        "adopt": store.upkeep.adopt,
        "purge": store.upkeep.purge,
        "pause": lambda: store.upkeep.pause("default"),
        "resume": lambda: store.upkeep.resume("default"),
    }
    for name, step in steps.items():
        left = sent

        async def mortal(*command: Any) -> Any:
            nonlocal left
            if not left:
                raise StoreUnavailableError("The process is dead.")
            left -= 1
            return await real(*command)

        monkeypatch.setattr(type(store.pipeline), "command", lambda _, *command: mortal(*command))
        with contextlib.suppress(StoreUnavailableError, NotFoundError):
            await step()
        monkeypatch.undo()
        assert books.complaints() == [], name


async def test_data_of_a_newer_version_is_not_touched(store: Store) -> None:
    await store.ensure_schema()
    await store.ensure_schema()
    await store.pipeline.command("SET", store.names.schema, 99)
    for look in (store.check_schema, store.ensure_schema):
        with pytest.raises(SchemaError, match="99"):
            await look()


async def test_cancelled_calls_never_cross_replies(store: Store) -> None:
    """A reply that nobody waits for must not become the answer to the next question."""
    chance = random.Random(7)

    async def echo(number: int) -> None:
        text = f"echo-{number}"
        assert await store.pipeline.command("ECHO", text) == text

    for round_number in range(40):
        tasks = [asyncio.create_task(echo(round_number * 50 + i)) for i in range(50)]
        await asyncio.sleep(0)
        for task in chance.sample(tasks, 20):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if r and not isinstance(r, asyncio.CancelledError)]


async def test_watcher_hears_of_the_end_of_its_job(store: Store) -> None:
    async with store.feed.running():
        await store.jobs.accept(make_job())
        (lease,) = await take(store, 1)
        with store.feed.watch(lease.job_id) as watch:
            await store.queue.settle(Settlement.complete(lease, make_result(lease)))

            async def over() -> bool:
                await watch.wait(30)
                return (await store.jobs.get("acme", lease.job_id)).state.final

            await eventually(over)


async def test_list_pages_through_all_jobs_once_newest_first(store: Store) -> None:
    ids = [await store.jobs.accept(make_job()) for _ in range(25)]
    await store.jobs.accept(make_job(owner="other"))
    seen: list[Job] = []
    cursor = None
    while True:
        page = await store.jobs.list("acme", JobFilter(), cursor=cursor, limit=10)
        seen += page.jobs
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(job.id for job in seen) == sorted(ids)
    assert seen == sorted(seen, key=lambda job: (job.created_at, job.id), reverse=True)


async def test_list_filters_by_state_operation_and_label(store: Store) -> None:
    plain = make_job()
    labelled = make_job(
        document=plain.document.model_copy(
            update={"labels": {"team": "a"}, "operation": "file.probe"}
        )
    )
    for new in (plain, labelled):
        await store.jobs.accept(new)
    (lease,) = await take(store, 1)

    async def ids(wanted: JobFilter) -> list[str]:
        return [job.id for job in (await store.jobs.list("acme", wanted)).jobs]

    assert await ids(JobFilter(state=JobState.RUNNING)) == [lease.job_id]
    assert await ids(JobFilter(operation="file.probe")) == [labelled.id]
    assert await ids(JobFilter(labels={"team": "a"})) == [labelled.id]
    assert await ids(JobFilter(labels={"team": "b"})) == []


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "AAAA", "a" * 5000, "\u2603"])
async def test_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    if cursor:
        with pytest.raises(BadRequestError):
            await store.jobs.list("acme", JobFilter(), cursor=cursor)
    else:
        await store.jobs.list("acme", JobFilter(), cursor=cursor)


async def test_keys_are_found_by_their_token_only(store: Store) -> None:
    key = await store.keys.create("acme", Role.USER, label="ci")
    assert await store.keys.authenticate(key.token) == key.info
    for wrong in (
        "",
        "fp_",
        key.token + "x",
        key.token[:-1] + "!",
        "fp_" + "0" * 12 + key.token[15:],
    ):
        assert await store.keys.authenticate(wrong) is None
    raw = await store.pipeline.command("HGETALL", store.names.api_key(key.info.id))
    assert key.token.split("_", 2)[2] not in str(raw)  # the secret may hold an underscore
    assert await store.keys.revoke(key.info.id)
    assert await store.keys.authenticate(key.token) is None
    assert not await store.keys.revoke("nonesuch0000")
