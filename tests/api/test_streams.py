"""Event streams: what a reader is told, in which order, and what happens when it comes back."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from fileproc.api import streams
from fileproc.api.context import API
from fileproc.ids import new_id
from fileproc.jobs import Progress
from fileproc.settings import Auth
from fileproc.store import Role, Store, subscription
from fileproc.telemetry import STREAMS_ENDED, STREAMS_OPEN
from support.events import following, moves
from support.http import Hands, problem, submit
from support.waiting import eventually


async def test_a_job_is_followed_from_its_queue_to_its_end(api: Any, hands: Hands) -> None:
    job = await submit(api)
    async with following(api, job["links"]["events"]) as reader:
        first = await reader.next()
        assert first is not None
        assert (first.name, first.data["id"], first.data["state"]) == ("job", job["id"], "queued")
        assert reader.answer.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in reader.answer.headers
        lease = await hands.take()
        (claim,) = await reader.until("move")
        assert {**claim.data, "at": ""} == {
            "object": "move",
            "job_id": job["id"],
            "move": "claim",
            "state": "running",
            "version": 2,
            "at": "",
            "error_code": None,
        }
        await hands.succeed(lease, ("o.txt", "text/plain", b"x"))
        complete, last, end = await reader.rest()
    assert complete.data["state"] == last.data["state"] == "succeeded"
    assert last.data == await (await api.get(job["links"]["self"])).json()
    assert complete.id == last.id > claim.id
    assert (end.name, end.data) == ("end", {"reason": "final"})


async def test_a_failed_move_names_its_code_and_a_deleted_job_ends_its_stream(
    api: Any, hands: Hands
) -> None:
    one, two = await submit(api), await submit(api)
    async with (
        following(api, one["links"]["events"]) as reader,
        following(api, two["links"]["events"]) as other,
    ):
        await hands.fail(await hands.take(), code="corrupt_input")
        (failed,) = [event for event in await reader.rest() if event.data.get("move") == "fail"]
        assert failed.data["error_code"] == "corrupt_input"
        await hands.take()
        await api.delete(two["links"]["self"])
        told = await other.rest()
    assert moves(told) == ["claim", "delete"]
    assert told[-2].data["state"] == "deleted"
    assert told[-1].data == {"reason": "final"}
    await problem(await api.get(two["links"]["events"]), 410, "gone")


async def test_a_reader_that_comes_back_gets_what_it_missed_and_nothing_twice(
    serve: Any, hands: Hands
) -> None:
    api, another = await serve(), await serve()
    job = await submit(api)
    path = job["links"]["events"]
    async with following(api, path) as reader:
        await hands.take()
        claim = (await reader.until("move"))[-1]
    leases = await hands.store.queue.claim("default", 0, 0, hands.store.queue.next_call())
    assert leases == []
    await hands.store.jobs.cancel("local", job["id"])
    for server in (api, another):  # any process tells the same
        async with following(server, path, after=claim.id) as reader:
            (canceling,) = await reader.until("move")
            assert (canceling.data["move"], canceling.data["state"]) == (
                "cancel_requested",
                "running",
            )
            assert canceling.id > claim.id
        async with following(server, path, after=canceling.id, params={"wait": "0"}) as reader:
            assert [event.name for event in await reader.rest()] == ["end"]


async def test_a_reader_that_has_had_the_end_is_told_not_to_come_back(
    api: Any, hands: Hands
) -> None:
    job = await submit(api)
    path = job["links"]["events"]
    async with following(api, path) as reader:
        opening = await reader.next()
        assert opening is not None
        await hands.succeed(await hands.take(), ("o.txt", "text/plain", b"x"))
        told = await reader.rest()
    assert (await api.get(path, headers={"Last-Event-ID": told[-1].id})).status == 204
    async with following(api, path) as reader:  # who comes only now
        late = await reader.rest()
    assert [event.name for event in late] == ["job", "end"]
    assert (await api.get(path, headers={"Last-Event-ID": late[-1].id})).status == 204
    async with following(api, path, after=opening.id) as reader:
        again = await reader.rest()
    assert moves(again) == moves(told) == ["claim", "complete"]
    assert [event.name for event in again[-2:]] == ["job", "end"]


async def test_progress_is_told_and_the_latest_is_repeated(api: Any, hands: Hands) -> None:
    job = await submit(api)
    lease = await hands.take()
    path = job["links"]["events"]
    async with following(api, path) as reader, following(api, "/v1/events") as all_jobs:
        await reader.next()
        done = 0.0

        async def heard() -> bool:
            # Again: what is said before the feed hears the channel reaches nobody.
            nonlocal done
            done += 1
            progress = Progress(phase="render", done=done, total=400, unit="pages", percent=done)
            await hands.store.queue.report_progress(
                lease, "default", progress.model_dump_json(exclude_none=True)
            )
            try:
                told = await reader.next(0.2)
            except TimeoutError:
                return False
            assert told is not None
            assert told.name == "progress"
            assert told.data["job_id"] == job["id"]
            assert told.data["progress"]["unit"] == "pages"
            assert told.data["steps"] is None
            return True

        await eventually(heard)
        told = (await all_jobs.until("progress"))[-1]
        assert told.data["job_id"] == job["id"]
    async with following(api, path, after=reader.last_id, params={"wait": "0"}) as reader:
        latest, end = await reader.rest()
    assert latest.data["progress"]["done"] == done
    assert end.data == {"reason": "time"}


async def test_a_reader_behind_what_is_kept_gets_a_reset_and_the_whole_job(
    serve: Any,
) -> None:
    await submit(await serve())
    api = await serve()
    job = await submit(api)
    path = job["links"]["events"]
    # What was before the first entry that there is, a place to come, and what is none at all.
    for after in ("1-0.0", "9" * 14 + "-0.0", "x", "1-0", "\u0661-0.0", "-1-0.0", "9" * 400):
        async with following(api, path, after=after, params={"wait": "0"}) as reader:
            told = await reader.rest()
        assert [event.name for event in told] == ["reset", "job", "end"], after
        assert told[0].data["reason"]
        assert told[1].data["id"] == job["id"]
    async with following(api, path, after=told[1].id, params={"wait": "0"}) as reader:
        assert [event.name for event in await reader.rest()] == ["end"]


async def test_a_process_that_starts_after_a_trim_knows_what_it_does_not_know(
    serve: Any, store: Store
) -> None:
    api = await serve()
    job = await submit(api)
    async with following(api, "/v1/events") as reader:
        opening = await reader.next()
        assert opening is not None
        await api.post(job["links"]["cancel"])
        last = (await reader.until("move"))[-1]
    await store.pipeline.command("XTRIM", store.names.events, "MAXLEN", 0)
    fresh = await serve()
    for after, names in ((opening.id, ["reset", "owner", "end"]), (last.id, ["end"])):
        async with following(fresh, "/v1/events", after=after, params={"wait": "0"}) as reader:
            assert [event.name for event in await reader.rest()] == names


async def test_moves_beyond_those_remembered_are_a_reset(serve: Any, hands: Hands) -> None:
    api = await serve(moves_remembered=2)
    job = await submit(api)
    async with following(api, job["links"]["events"]) as reader:
        opening = await reader.next()
        assert opening is not None
        for _ in range(4):
            await submit(api)
        await hands.take()
        await reader.until("move")
    async with following(api, job["links"]["events"], after=opening.id) as reader:
        told = await reader.until("job")
    assert [event.name for event in told] == ["reset", "job"]
    assert told[1].data["state"] == "running"


async def test_an_owner_follows_all_jobs_and_nobody_elses(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    acme = {"Authorization": f"Bearer {(await store.keys.create('acme', Role.USER)).token}"}
    job = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
    # An owner may be called like a job, and is not told of that for it.
    strange = {"Authorization": f"Bearer {(await store.keys.create(job['id'], Role.USER)).token}"}
    async with (
        following(api, "/v1/events", headers=acme) as reader,
        following(api, "/v1/events", headers=strange) as other,
    ):
        first = await reader.next()
        assert first is not None
        assert first.name == "owner"
        assert first.data["jobs"]["queued"] == 1
        assert set(first.data["jobs"].values()) == {0, 1}
        nothing = await other.next()
        assert nothing is not None
        assert set(nothing.data["jobs"].values()) == {0}
        await store.keys.create("acme", Role.USER)  # no move of a job
        theirs = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=strange)).json()
        await api.post(job["links"]["cancel"], headers=acme)
        (mine,) = await reader.until("move")
        assert (mine.data["job_id"], mine.data["move"]) == (job["id"], "cancel")
        (told,) = await other.until("move")
        assert (told.data["job_id"], told.data["move"]) == (theirs["id"], "submit")
        assert told.data["state"] == "queued"
        last = told.id
    async with following(api, "/v1/events", headers=acme, after=first.id) as reader:
        assert moves(await reader.until("move")) == ["cancel"]
    async with following(
        api, "/v1/events", headers=strange, after=last, params={"wait": "0"}
    ) as reader:
        assert [event.name for event in await reader.rest()] == ["end"]
    await problem(await api.get(job["links"]["events"], headers=strange), 404, "not_found")


async def test_places_are_counted_and_given_back(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BEAT_S", 0.05)
    api = await serve(max_streams_per_owner=2)
    open_before = STREAMS_OPEN._value.get()
    async with following(api, "/v1/events"), following(api, "/v1/events"):
        document = await problem(await api.get("/v1/events"), 429, "too_many_streams")
        assert (document["limit"], document["allowed"]) == ("max_streams_per_owner", 2)
        assert STREAMS_OPEN._value.get() == open_before + 2

    async def gone() -> bool:
        return bool(STREAMS_OPEN._value.get() == open_before)

    await eventually(gone)
    for _ in range(3):  # one that has ended takes none
        async with following(api, "/v1/events", params={"wait": "0"}) as reader:
            await reader.rest()
    full = await serve(max_streams=1)
    async with following(full, "/v1/events"):
        document = await problem(await full.get("/v1/events"), 429, "too_many_streams")
        assert document["limit"] == "max_streams"


async def test_a_quiet_stream_beats_and_ends_in_its_time(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BEAT_S", 0.05)
    api = await serve(stream_life_s=0.5)
    async with following(api, "/v1/events") as reader:
        told = await reader.rest()
    assert [event.name for event in told] == ["owner", "end"]
    assert told[-1].data == {"reason": "time"}
    assert reader.beats >= 2


async def test_a_head_says_what_a_get_would_and_ends(api: Any) -> None:
    job = await submit(api)
    answer = await api.head(job["links"]["events"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert (await api.head(f"/v1/jobs/{new_id('job')}/events")).status == 404
    for wrong in ("-1", "x", "1.5", str(10**9)):
        await problem(
            await api.get(job["links"]["events"], params={"wait": wrong}), 422, "invalid_request"
        )


async def test_a_server_that_stops_sends_its_readers_away(api: Any) -> None:
    job = await submit(api)
    async with (
        following(api, job["links"]["events"]) as reader,
        following(api, "/v1/events") as other,
    ):
        await reader.next()
        await other.next()
        api.server.app[API].drain()
        for each in (reader, other):
            (end,) = await each.rest()
            assert end.data == {"reason": "draining"}
    async with following(api, job["links"]["events"]) as reader:
        assert [event.name for event in await reader.rest()] == ["job", "end"]


# --- readers that do not read ------------------------------------------------------------------


async def tell(store: Store, count: int, owner: str = "local") -> None:
    """One entry that tells of this many moves."""
    lines = "\n".join(f"{new_id('job')} claim {owner} 2 {{}}" for _ in range(count))
    await store.pipeline.command("XADD", store.names.events, "*", "l", lines)


async def test_a_reader_too_far_behind_is_told_so_and_can_catch_up(
    api: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "MOST_WAITING", 10)
    async with following(api, "/v1/events") as reader:
        opening = await reader.next()
        assert opening is not None
        await tell(store, 11)
        (end,) = await reader.rest()
    assert end.data == {"reason": "slow"}
    async with following(api, "/v1/events", after=opening.id, params={"wait": "0"}) as reader:
        assert len(moves(await reader.rest())) == 11


async def test_a_reader_that_takes_nothing_is_cut_off(
    api: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITE_S", 0.2)
    # Too far behind, or stuck in the middle of a piece: whichever is noticed first.
    ends = [STREAMS_ENDED.labels(reason) for reason in ("stalled", "slow")]
    before = sum(end._value.get() for end in ends)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((api.server.host, api.server.port))
        line.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")

        async def is_cut() -> bool:
            await tell(store, 1_500)
            return bool(sum(end._value.get() for end in ends) > before)

        await eventually(is_cut)
    job = await submit(api)  # and the others are served
    async with following(api, job["links"]["events"]) as reader:
        assert await reader.next() is not None


async def test_a_hundred_readers_of_one_job_are_told_the_same(api: Any, hands: Hands) -> None:
    job = await submit(api)

    async def follow() -> list[str]:
        async with following(api, job["links"]["events"]) as reader:
            opening = await reader.next()
            begun.append(opening)
            return [str(event) for event in await reader.rest()]

    begun: list[Any] = []
    readers = [asyncio.create_task(follow()) for _ in range(100)]

    async def all_begun() -> bool:
        return len(begun) == 100

    await eventually(all_begun)
    await hands.succeed(await hands.take(), ("o.txt", "text/plain", b"x"))
    told = await asyncio.gather(*readers)
    assert len({tuple(each) for each in told}) == 1
    assert len(told[0]) == 4
