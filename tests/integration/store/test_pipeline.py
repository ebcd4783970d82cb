"""Calls that share a pipeline: what is sent together, and what is said when Redis refuses."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as LostConnectionError

from fileproc.dev.engines import Valkey
from fileproc.errors import StoreUnavailableError
from fileproc.store import Settlement, Store, Verdict, open_store
from fileproc.store import connection as module
from fileproc.store import events as events_module
from fileproc.store import queue as queue_module
from fileproc.store.connection import connect, translated, unavailable
from support.jobs import make_job, make_result

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.settings import Settings


@pytest.fixture
def sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Any, ...]]]:
    """The pipelines as they are sent."""
    real, pipelines = store.pipeline._round_trip, []

    async def seen(commands: list[tuple[Any, ...]]) -> list[Any]:
        pipelines.append(commands)
        return await real(commands)

    monkeypatch.setattr(store.pipeline, "_round_trip", seen)
    return pipelines


async def test_pipeline_holds_no_more_than_its_limit(
    store: Store, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PER_PIPELINE", 10)
    echoes = await asyncio.gather(*(store.pipeline.command("ECHO", str(n)) for n in range(35)))
    assert echoes == [str(n) for n in range(35)]
    assert [len(commands) for commands in sent] == [10, 10, 10, 5]


async def test_no_more_than_two_pipelines_are_under_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PER_PIPELINE", 1)
    under_way, most = 0, 0
    real = store.pipeline._round_trip

    async def counted(commands: list[tuple[Any, ...]]) -> list[Any]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        replies = await real(commands)
        under_way -= 1
        return replies

    monkeypatch.setattr(store.pipeline, "_round_trip", counted)
    await asyncio.gather(*(store.pipeline.command("ECHO", "x") for _ in range(9)))
    assert most == module.PIPELINES_IN_FLIGHT


async def test_only_scripts_that_the_server_forgot_are_sent_again(
    store: Store, sent: list[list[tuple[Any, ...]]]
) -> None:
    await store.pipeline.command("SCRIPT", "FLUSH")
    sent.clear()
    key = f"{store.names.prefix}lock:n"
    counted, probed = await asyncio.gather(
        store.pipeline.command("INCR", key), store.pipeline.script("probe", "x")
    )
    assert (counted, probed) == (1, 1)
    first, loading, again = sent
    assert [command[0] for command in first] == ["INCR", "EVALSHA"]
    assert {command[:2] for command in loading} == {("SCRIPT", "LOAD")}
    assert [command[0] for command in again] == ["EVALSHA"]
    await store.pipeline.command("DEL", key)


async def test_refused_command_fails_alone(store: Store) -> None:
    commands = [("ECHO", "a"), ("NONESUCH",), ("ECHO", "b")]
    calls = [store.pipeline.command(*command) for command in commands]
    replies: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    good, bad, last = replies
    assert (good, last) == ("a", "b")
    assert isinstance(bad, StoreUnavailableError)
    assert "NONESUCH" not in bad.detail


@pytest.mark.parametrize("wrong", [None, True, ["a"], "\ud800"])
async def test_what_redis_cannot_be_told_keeps_nobody_waiting(store: Store, wrong: Any) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(StoreUnavailableError):
            await store.pipeline.command("ECHO", wrong)
        assert await store.pipeline.command("ECHO", "x") == "x"


async def test_replies_are_read_as_redis_py_reads_them(store: Store) -> None:
    key = f"{store.names.prefix}lock:read"
    commands: list[tuple[Any, ...]] = [
        ("HSET", key, "a", "\u00fc", "b", 1.5, b"c", b"\xc3\xbc"),
        ("HGETALL", key),
        ("HMGET", key, "b", "nonesuch"),
        ("INFO", "server"),
        ("PING",),
        ("TIME",),
        ("DEL", key),
        ("ZADD", key, 1, "x"),
        ("ZRANGE", key, 0, -1, "WITHSCORES"),
        ("ZMSCORE", key, "x", "y"),
        ("XRANGE", store.names.events, "-", "+", "COUNT", 1),
        ("EXISTS", key),
        ("DEL", key),
    ]
    ours = await asyncio.gather(*(store.pipeline.command(*command) for command in commands))
    async with store.pipeline._client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        theirs = await pipe.execute()
    assert ours[1] == {"a": "\u00fc", "b": "1.5", "c": "\u00fc"}
    for command, mine, other in zip(commands, ours, theirs, strict=True):
        assert type(mine) is type(other), command
        if command[0] not in {"INFO", "TIME"}:
            assert mine == other, command


async def test_redis_that_does_not_answer_is_given_up_and_taken_up_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = Valkey(tmp_path / "frozen")
    frozen.start()
    try:
        url = type(settings.redis_url)(frozen.url)
        async with open_store(settings.model_copy(update={"redis_url": url})) as store:
            assert await store.pipeline.command("ECHO", "before") == "before"
            monkeypatch.setattr(module, "COMMAND_TIMEOUT_S", 0.2)
            os.kill(frozen.pid, signal.SIGSTOP)
            calls = [store.pipeline.command("ECHO", f"late {n}") for n in range(5)]
            lost = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in lost} == {StoreUnavailableError}
            os.kill(frozen.pid, signal.SIGCONT)
            monkeypatch.undo()
            # What the frozen one still answers is nobody's reply.
            for n in range(20):
                assert await store.pipeline.command("ECHO", str(n)) == str(n)
    finally:
        frozen.stop()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AuthenticationError("WRONGPASS secret"), "credentials. Nothing was accepted"),
        (ResponseError("OOM secret"), "cannot take the request now. Nothing was accepted"),
        (LostConnectionError("secret 10.0.0.1"), "same Idempotency-Key: if it was accepted"),
        (TimeoutError(), "same Idempotency-Key: if it was accepted"),
    ],
)
def test_error_for_the_client_tells_the_kind_and_no_detail(error: Exception, said: str) -> None:
    told = unavailable(error)
    assert said in told.detail
    assert told.retry_after_s == module.RETRY_AFTER_S
    assert "secret" not in told.detail
    with pytest.raises(StoreUnavailableError) as raised, translated():
        raise error
    assert raised.value.__cause__ is error


def test_connection_for_waiting_never_sends_twice() -> None:
    url = "redis://127.0.0.1:1/0"
    for retries in (0, 3):
        arguments = connect(url, timeout_s=3, retries=retries).connection_pool.connection_kwargs
        assert arguments["retry"].get_retries() == retries
        assert arguments["socket_timeout"] == 3
        assert arguments["socket_connect_timeout"] == 3
        assert arguments["decode_responses"] is True
        assert arguments["socket_keepalive"] is True
    patient = connect(url, timeout_s=60).connection_pool.connection_kwargs
    assert patient["socket_connect_timeout"] == module.COMMAND_TIMEOUT_S


def test_calls_are_sent_again_soon_and_not_many_times() -> None:
    arguments = connect("redis://127.0.0.1:1/0").connection_pool.connection_kwargs
    assert arguments["retry"].get_retries() == 3
    pauses = [arguments["retry"]._backoff.compute(failures) for failures in range(100)]
    assert pauses[0] <= 0.05
    assert max(pauses) <= 0.5
    never = connect("redis://127.0.0.1:1/0", retries=0).connection_pool.connection_kwargs
    assert never["retry"]._backoff.compute(9) == 0


async def test_waiting_outlasts_the_servers_block(settings: Settings) -> None:
    """A socket less patient than the block would take a quiet queue for a dead server."""
    async with open_store(settings) as store:
        tailing = store.feed._client.connection_pool.connection_kwargs
        assert tailing["socket_timeout"] > events_module.BLOCK_MS / 1000
        assert tailing["retry"].get_retries() == 0
        arguments = store.queue._waiting.connection_pool.connection_kwargs
        assert arguments["socket_timeout"] > queue_module.POP_BLOCK_S
        assert arguments["retry"].get_retries() == 0
        assert await store.queue.wait("default") is False


async def test_away_store_is_said_to_whoever_waits_or_settles(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.jobs.accept(make_job())
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    settlement = Settlement.complete(lease, make_result(lease))

    async def away(*_: object) -> object:
        raise LostConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store.pipeline, "_round_trip", away)
        patch.setattr(store.queue._waiting, "brpoplpush", away)
        with pytest.raises(StoreUnavailableError):
            await store.queue.wait("default")
        with pytest.raises(StoreUnavailableError):
            await store.queue.settle(settlement)
    assert await store.queue.settle(settlement) is Verdict.DONE


async def test_call_whose_pipeline_is_cancelled_ends_too(store: Store) -> None:
    call = asyncio.create_task(store.pipeline.command("ECHO", "x"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for pipeline in store.pipeline._in_flight:
        pipeline.cancel()
    await asyncio.wait({call}, timeout=5)
    assert call.cancelled()


async def test_close_waits_for_what_was_sent_and_leaves_no_connection(settings: Settings) -> None:
    async with open_store(settings) as store:
        clients = (store.pipeline._client, store.queue._waiting, store.feed._client)
        await asyncio.gather(*(client.ping() for client in clients))
        call = asyncio.create_task(store.pipeline.command("ECHO", "late"))
        await asyncio.sleep(0)
    assert await call == "late"
    for client in clients:
        connections = client.connection_pool._available_connections
        assert connections
        assert not any(connection.is_connected for connection in connections)


async def test_no_more_than_two_settlements_are_under_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MOST_SETTLED", 1)
    for _ in range(6):
        await store.jobs.accept(make_job())
    leases = await store.queue.claim("default", 0, 6, store.queue.next_call())
    under_way, most = 0, 0
    real = store.pipeline.command

    async def counted(_: object, *command: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        reply = await real(*command)
        under_way -= 1
        return reply

    monkeypatch.setattr(type(store.pipeline), "command", counted)
    ends = [Settlement.complete(lease, make_result(lease)) for lease in leases]
    settled = await asyncio.gather(*(store.queue.settle(end) for end in ends))
    assert settled == [Verdict.DONE] * 6
    assert most == queue_module.SETTLES_IN_FLIGHT


async def test_attempts_that_end_together_are_settled_together(
    store: Store, sent: list[list[tuple[Any, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MOST_SETTLED", 4)
    for _ in range(10):
        await store.jobs.accept(make_job())
    leases = await store.queue.claim("default", 0, 10, store.queue.next_call())
    sent.clear()
    ends = [Settlement.complete(lease, make_result(lease)) for lease in leases]
    first = asyncio.create_task(store.queue.settle(ends[0]))
    cancelled = asyncio.create_task(store.queue.settle(ends[1]))
    others = [asyncio.create_task(store.queue.settle(end)) for end in ends[2:]]
    await asyncio.sleep(0)
    cancelled.cancel()  # its answer is nobody's, least of all the next one's
    assert await first is Verdict.DONE
    assert await asyncio.gather(*others) == [Verdict.DONE] * 8
    calls = [command for commands in sent for command in commands]
    assert [(len(call) - 4) // 8 for call in calls] == [4, 4, 2]
    states = {(await store.jobs.get("acme", lease.job_id)).state for lease in leases}
    assert states == {"succeeded"}
