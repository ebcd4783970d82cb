"""A batch as server-sent events: its jobs as they move, what they come to, and its end."""

from __future__ import annotations

from typing import Any

import pytest

from fileproc.api import streams
from fileproc.api.followed import FollowedBatch
from fileproc.ids import new_id
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.events import Told, following, moves
from support.http import Hands, problem, submit
from support.surface import bearer
from support.waiting import eventually

SLEEP = {"operation": "debug.sleep", "params": {"seconds": 0}}


async def made(api: Any, jobs: int, **headers: str) -> dict[str, Any]:
    answer = await api.post("/v1/batches", json={"jobs": [SLEEP] * jobs}, headers=headers)
    assert answer.status == 202, await answer.text()
    batch: dict[str, Any] = await answer.json()
    return batch


async def jobs_of(api: Any, batch: dict[str, Any]) -> list[str]:
    page = await (await api.get(batch["links"]["jobs"])).json()
    return [job["id"] for job in page["data"]]


def names(told: list[Told]) -> list[str]:
    return [event.name for event in told]


async def test_a_batch_is_followed_to_its_end_with_its_counts_and_without_other_jobs(
    serve: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "TALLY_S", 0.01)
    api = await serve()
    batch = await made(api, 3)
    ids = await jobs_of(api, batch)
    path = batch["links"]["events"]
    async with following(api, path) as reader, following(api, "/v1/events") as all_jobs:
        opening = await reader.next()
        assert opening is not None
        assert (opening.name, opening.data["counts"]["queued"]) == ("batch", 3)
        other = await submit(api)
        await api.post(other["links"]["cancel"])
        lease = await hands.take()
        told = await reader.until("progress")
        assert moves(told) == ["claim"]
        assert told[-1].data["batch_id"] == batch["id"]
        assert told[-1].data["counts"]["running"] == 1
        assert told[-1].data["progress"] == {
            "done": 0,
            "total": 3,
            "unit": "jobs",
            "percent": 0.0,
        }
        await hands.succeed(lease, ("o", "text/plain", b"x"))
        await hands.fail(await hands.take())
        queued = await (await api.get(batch["links"]["jobs"] + "&state=queued")).json()
        await api.delete(queued["data"][0]["links"]["self"])
        told += await reader.rest()
        seen = await all_jobs.until("move")
        while moves(seen)[-1] != "delete":
            seen += await all_jobs.until("move")
    assert moves(told) == ["claim", "complete", "claim", "fail", "cancel", "delete"]
    assert {event.data["job_id"] for event in told if event.name == "move"} == set(ids)
    assert names(told[-2:]) == ["batch", "end"]
    assert told[-2].data == await (await api.get(batch["links"]["self"])).json()
    assert (told[-2].data["state"], told[-1].data) == ("completed", {"reason": "final"})
    # To the owner the end of a batch is no move of a job.
    assert {event.data["job_id"] for event in seen if event.name == "move"} == {*ids, other["id"]}


async def test_a_reader_of_a_batch_that_comes_back_gets_what_it_missed_from_any_process(
    serve: Any, hands: Hands
) -> None:
    api = await serve()
    batch = await made(api, 2)
    path = batch["links"]["events"]
    async with following(api, path) as reader:
        opening = await reader.next()
        assert opening is not None
        lease = await hands.take()
        await reader.until("move")
    await hands.succeed(lease, ("o", "text/plain", b"x"))
    for server in (api, await serve()):  # one that has only begun reads its history back
        async with following(server, path, after=reader.last_id, params={"wait": "0"}) as again:
            told = await again.rest()
        assert moves(told) == ["complete"]
        assert names(told) == ["move", "progress", "end"]
        assert told[1].data["counts"]["succeeded"] == 1
    async with following(api, path) as live:  # whose process has read the end when it tells it
        await live.next()
        await hands.fail(await hands.take())
        await live.rest()
    async with following(api, path, after=opening.id) as again:
        told = await again.rest()
    assert moves(told) == ["claim", "complete", "claim", "fail"]
    assert names(told[-2:]) == ["batch", "end"]
    assert (await api.get(path, headers={"Last-Event-ID": told[-1].id})).status == 204
    async with following(api, path) as late:
        told = await late.rest()
    assert names(told) == ["batch", "end"]
    assert (await api.get(path, headers={"Last-Event-ID": told[-1].id})).status == 204
    async with following(api, path, after="nonsense") as late:
        assert names(await late.rest()) == ["reset", "batch", "end"]


async def test_a_batch_of_nobody_or_of_another_has_no_stream_and_takes_a_place(
    serve: Any, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED, max_streams_per_owner=1)
    mine = bearer((await store.keys.create("acme", Role.USER)).token)
    theirs = bearer((await store.keys.create("globex", Role.USER)).token)
    path = (await made(api, 1, **mine))["links"]["events"]
    for wrong, headers in (
        (path, theirs),
        (f"/v1/batches/{new_id('batch')}/events", mine),
        ("/v1/batches/x/events", mine),
    ):
        await problem(await api.get(wrong, headers=headers), 404, "not_found")
    async with following(api, path, headers=mine):
        await problem(await api.get(path, headers=mine), 429, "too_many_streams")


async def test_an_end_that_comes_while_the_batch_is_read_is_not_waited_for(
    serve: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await serve(stream_life_s=5)
    batch = await made(api, 1)
    path = batch["links"]["events"]
    async with following(api, path, params={"wait": "0"}) as reader:
        opening = await reader.next()
        assert opening is not None
    looked = FollowedBatch.snapshot

    async def ends_meanwhile(self: FollowedBatch) -> Any:
        before = await looked(self)
        if before.ended_ms is None:
            history = self.api.resources.store.feed.history
            read = history.position
            await hands.fail(await hands.take())

            def told() -> bool:
                missed = history.since(read, self.topic.has)
                return bool(missed and missed[-1].of_batch)

            await eventually(told)
        return before

    monkeypatch.setattr(FollowedBatch, "snapshot", ends_meanwhile)
    async with following(api, path, after=opening.id) as reader:
        told = await reader.rest()
    assert names(told[-2:]) == ["batch", "end"]
    assert told[-1].data == {"reason": "final"}
