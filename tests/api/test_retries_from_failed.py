"""A pipeline that has failed is repeated from the failed step, where what was done is kept."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api.answers import JobView
from fileproc.jobs import KeptState
from fileproc.settings import Auth
from fileproc.store import Lease, Role, Settlement
from support.http import problem, submit
from support.jobs import due_trash, make_failure

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.books import Books
    from support.http import Hands

STEPS = {
    "first": {"operation": "debug.sleep"},
    "second": {"operation": "debug.fail", "needs": ["first"]},
}
FROM_FAILED = {"from": "failed"}


async def failed(api: Any, hands: Hands, *, kept: bool = True, **others: Any) -> dict[str, Any]:
    """A pipeline whose second step has failed."""
    answer = await api.post("/v1/jobs", json={"steps": STEPS}, **others)
    assert answer.status == 202, await answer.text()
    lease = await hands.take()
    if kept:
        await fail(hands, lease)
    else:
        await hands.fail(lease)
    answer = await api.get(f"/v1/jobs/{lease.job_id}", **others)
    told: dict[str, Any] = await answer.json()
    return told


async def fail(hands: Hands, lease: Lease, **changes: Any) -> None:
    told, prefix = make_failure(lease)
    assert told.kept is not None
    kept = told.kept.model_copy(update=changes)
    told = told.model_copy(update={"kept": kept})
    await hands.store.queue.settle(Settlement.fail(lease, told, "", prefix if kept.prefix else ""))


def retry(job: dict[str, Any]) -> str:
    link: str = job["links"]["retry"]
    return link


async def test_the_new_job_says_what_it_reuses(api: Any, hands: Hands) -> None:
    job = await failed(api, hands)
    assert job["kept"] == {"state": "kept", "steps": ["first"], "files": 1, "bytes": 4}
    assert "attempts/" not in json.dumps(job)
    answer = await api.post(retry(job), json=FROM_FAILED)
    assert answer.status == 202, await answer.text()
    again = await answer.json()
    JobView.model_validate_json(json.dumps(again), strict=False)
    assert (again["retry_of"], again["kept"]) == (job["id"], None)
    assert [step["state"] for step in again["steps"]] == ["reused", "waiting"]
    looked = await (await api.get(f"/v1/jobs/{again['id']}")).json()
    assert looked["steps"] == again["steps"]
    lease = await hands.take()
    assert lease.document.resume is not None
    assert lease.document.resume.steps == ["first"]


async def test_without_saying_so_all_of_it_is_done_again(api: Any, hands: Hands) -> None:
    job = await failed(api, hands)
    for body in (None, b"{}", b'{"from": "start"}'):
        headers = {"Content-Type": "application/json"} if body else {}
        again = await (await api.post(retry(job), data=body, headers=headers)).json()
        assert {step["state"] for step in again["steps"]} == {"waiting"}


async def test_a_job_of_which_nothing_is_kept_says_to_repeat_it_whole(
    api: Any, hands: Hands
) -> None:
    plain = await submit(api)
    await hands.fail(await hands.take())
    answer = await api.post(f"/v1/jobs/{plain['id']}/retry", json=FROM_FAILED)
    assert "no steps" in (await problem(answer, 409, "nothing_kept"))["detail"]
    unkept = await failed(api, hands, kept=False)
    assert unkept["kept"] is None
    told = await problem(await api.post(retry(unkept), json=FROM_FAILED), 409, "nothing_kept")
    assert "whole" in told["detail"]
    for state, words in ((KeptState.TOO_LARGE, "too large"), (KeptState.NOT_STORED, "in time")):
        await api.post("/v1/jobs", json={"steps": STEPS})
        lease = await hands.take()
        await fail(hands, lease, state=state, prefix="", bytes=2048)
        job = await (await api.get(f"/v1/jobs/{lease.job_id}")).json()
        assert (job["kept"]["state"], job["kept"]["bytes"]) == (state, 2048)
        told = await problem(await api.post(retry(job), json=FROM_FAILED), 409, "nothing_kept")
        assert words in told["detail"]
        assert (await api.post(retry(job))).status == 202
        await hands.fail(await hands.take())
    waiting = await (await api.post("/v1/jobs", json={"steps": STEPS})).json()
    answer = await api.post(f"/v1/jobs/{waiting['id']}/retry", json=FROM_FAILED)
    await problem(answer, 409, "wrong_state")


async def test_what_was_deleted_is_gone_also_between_the_look_and_the_deed(
    api: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await failed(api, hands)
    url = retry(job)
    seen = await hands.store.jobs.get("local", job["id"])

    async def as_it_was(self: Any, owner: str | None, job_id: str) -> Any:
        del self, owner, job_id
        return seen

    await api.delete(f"/v1/jobs/{job['id']}")
    await problem(await api.post(url, json=FROM_FAILED), 410, "gone")
    monkeypatch.setattr("fileproc.store.jobs.Jobs.get", as_it_was)
    await problem(await api.post(url, json=FROM_FAILED), 409, "nothing_kept")


async def test_two_at_once_both_go_on_from_there(
    serve: Any, hands: Hands, store: Store, books: Books
) -> None:
    servers = [await serve() for _ in range(2)]
    job = await failed(servers[0], hands)
    answers = await asyncio.gather(*(api.post(retry(job), json=FROM_FAILED) for api in servers))
    assert [answer.status for answer in answers] == [202, 202]
    ((prefix, number),) = books.look().hashes["shared"].items()
    assert number == "3"
    await servers[0].delete(f"/v1/jobs/{job['id']}")
    for _ in answers:
        assert prefix not in await due_trash(store)
        await hands.succeed(await hands.take())
    assert prefix in await due_trash(store)


async def test_the_same_key_makes_one_job_and_another_body_is_another_request(
    api: Any, hands: Hands
) -> None:
    job = await failed(api, hands)
    headers = {"Idempotency-Key": "k"}
    answers = [await api.post(retry(job), json=FROM_FAILED, headers=headers) for _ in range(2)]
    first, second = [await answer.json() for answer in answers]
    assert first["id"] == second["id"]
    whole = await api.post(retry(job), headers=headers)
    await problem(whole, 422, "idempotency_mismatch")


async def test_in_bulk_those_of_which_nothing_is_kept_are_named(api: Any, hands: Hands) -> None:
    job = await failed(api, hands)
    unkept = await failed(api, hands, kept=False)
    answer = await api.post("/v1/jobs/retry", json=FROM_FAILED)
    told = await answer.json()
    assert [one["job_id"] for one in told["retried"]] == [job["id"]]
    assert [(one["job_id"], one["code"]) for one in told["skipped"]] == [
        (unkept["id"], "nothing_kept")
    ]
    lease = await hands.take()
    assert lease.document.resume is not None
    rest = await (await api.post("/v1/jobs/retry", json={})).json()
    assert [one["job_id"] for one in rest["retried"]] == [unkept["id"]]


async def test_what_cannot_be_asked_for(api: Any, hands: Hands) -> None:
    url = retry(await failed(api, hands))
    wrong: list[Any] = [{"from": "second"}, {"from": None}, {"start": "failed"}, {"x": 1}, []]
    for body in wrong:
        await problem(await api.post(url, json=body), 422, "invalid_request")
    answer = await api.post(url, data=b"from=failed", headers={"Content-Type": "text/plain"})
    await problem(answer, 415, "unsupported_media_type")


async def test_another_owners_job_is_none(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    keys = {}
    for owner in ("acme", "umbrella"):
        token = (await store.keys.create(owner, Role.USER)).token
        keys[owner] = {"Authorization": f"Bearer {token}"}
    job = await failed(api, hands, headers=keys["acme"])
    answer = await api.post(retry(job), json=FROM_FAILED, headers=keys["umbrella"])
    await problem(answer, 404, "not_found")
    told = await api.post("/v1/jobs/retry", json=FROM_FAILED, headers=keys["umbrella"])
    assert (await told.json())["retried"] == []
