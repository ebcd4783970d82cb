"""How an unfinished job stands: its place in the queue, and when it may be done."""

from __future__ import annotations

from typing import Any

import pytest

from fileproc.api.context import API
from fileproc.jobs import Usage
from fileproc.settings import Auth
from fileproc.store import Role, Store, outlook
from support.events import following
from support.http import Hands, problem, submit
from support.waiting import eventually

# So many go to the list of what is taken next, whatever the order there.
SHORT_LIST = 16


async def stands(api: Any, job: dict[str, Any]) -> tuple[int | None, float | None]:
    found = await (await api.get(job["links"]["self"])).json()
    return found["queue_position"], found["eta_s"]


async def test_a_waiting_job_tells_its_place_and_nothing_it_cannot_know(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "FRESH_S", 0)
    jobs = [await submit(api) for _ in range(SHORT_LIST + 3)]
    assert [job["queue_position"] for job in jobs[:2]] == [None, None]  # nobody has asked yet
    assert [await stands(api, job) for job in jobs[-4:]] == [
        (1, None), (1, None), (2, None), (3, None),
    ]  # fmt: skip
    await api.post(jobs[-2]["links"]["cancel"])
    assert await stands(api, jobs[-1]) == (2, None)
    assert await stands(api, jobs[-2]) == (None, None)
    async with following(api, jobs[-1]["links"]["events"]) as reader:
        first = await reader.next()
        assert first is not None
        assert first.data["queue_position"] == 2


async def test_who_polls_gets_the_place_in_the_round_trip_that_reads_the_job(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "FRESH_S", 0)
    api = await serve(auth=Auth.REQUIRED, rate_read="off", rate_submit="off")
    acme, other = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("acme", "other")
    ]
    jobs = [
        await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
        for _ in range(SHORT_LIST + 2)
    ]
    path = jobs[-1]["links"]["self"]
    pipeline = api.server.app[API].resources.store.pipeline
    sent: list[list[str]] = []
    real = pipeline._round_trip

    async def seen(commands: list[tuple[Any, ...]]) -> list[Any]:
        sent.append([command[0] for command in commands])
        replies: list[Any] = await real(commands)
        return replies

    monkeypatch.setattr(pipeline, "_round_trip", seen)
    for _ in range(3):
        assert (await (await api.get(path, headers=acme)).json())["queue_position"] == 2
    assert ["ZRANK", "HGETALL"] in sent[-3:]
    sent.clear()
    await problem(await api.get(path, headers=other), 404, "not_found")
    assert "ZRANK" not in str(sent)
    # Once it is over it has no place, whatever was asked ahead.
    await api.post(jobs[-1]["links"]["cancel"], headers=acme)
    found = await (await api.get(path, headers=acme)).json()
    assert (found["state"], found["queue_position"]) == ("canceled", None)


async def test_when_a_job_is_done_is_learned_from_those_before_it(
    api: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "FRESH_S", 0)
    running, waiting = await submit(api), await submit(api)
    await hands.take()
    assert await stands(api, running) == (None, None)
    for _ in range(outlook.LEAST_SAMPLES):
        used = Usage(wall_s=500, cpu_s=1, peak_rss_bytes=1)
        await hands.store.costs.learn("file.probe", 5, used)

    async def known() -> bool:  # once this process has heard of the start
        return (await stands(api, waiting))[1] is not None

    await eventually(known)
    place, eta_s = await stands(api, waiting)
    assert place == 1
    assert eta_s == pytest.approx(500 + 60, abs=1)  # one was started in the last minute
    place, eta_s = await stands(api, running)
    assert place is None
    assert eta_s is not None
    assert 300 < eta_s <= 500
    # One that takes longer than those before may take any time.
    key = hands.store.names.job(running["id"])
    await hands.store.pipeline.command("HSET", key, "sa", 1)
    await hands.store.pipeline.command("HINCRBY", key, "v", 1)
    assert await stands(api, running) == (None, None)


async def test_what_a_client_writes_is_not_taken_for_an_outlook(api: Any) -> None:
    body = {
        "operation": "debug.sleep",
        "params": {"seconds": 0},
        "metadata": {"queue_position": None, "eta_s": None},
    }
    job = await (await api.post("/v1/jobs", json=body)).json()
    found = await (await api.get(job["links"]["self"])).json()
    assert found["metadata"] == body["metadata"]
    assert found["queue_position"] == 1
