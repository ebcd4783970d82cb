"""Failed jobs are repeated in bulk: those that are meant, in parts, and none twice."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import GoneError
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.http import Hands, problem, submit

if TYPE_CHECKING:
    from support.books import Books

URL = "/v1/jobs/retry"


async def failed(api: Any, hands: Hands, number: int, code: str = "bad_input") -> list[str]:
    """Ids of jobs that have failed, the oldest first."""
    ids = []
    for _ in range(number):
        ids.append((await submit(api, labels=f"code={code}"))["id"])
        await hands.fail(await hands.take(), code)
    return ids


async def retry(api: Any, **asked: Any) -> dict[str, Any]:
    answer = await api.post(URL, json=asked)
    assert answer.status == 200, await answer.text()
    told: dict[str, Any] = await answer.json()
    return told


def of(told: dict[str, Any]) -> list[str]:
    return [one["job_id"] for one in told["retried"]]


async def test_parts_follow_one_another_until_no_failed_job_is_left(api: Any, hands: Hands) -> None:
    ids = await failed(api, hands, 7)
    await submit(api)  # neither those that wait
    first = await retry(api, limit=3)
    assert (of(first), first["skipped"], first["stopped"]) == (ids[:3], [], None)
    again = await (await api.get(f"/v1/jobs/{first['retried'][0]['retried_as']}")).json()
    assert (again["retry_of"], again["state"]) == (ids[0], "queued")
    before = await (await api.get(f"/v1/jobs/{ids[0]}")).json()
    assert (before["retried_as"], before["state"]) == (again["id"], "failed")
    second = await retry(api, limit=3, cursor=first["next_cursor"])
    third = await retry(api, limit=3, cursor=second["next_cursor"])
    assert (of(second), of(third), third["next_cursor"]) == (ids[3:6], ids[6:], None)


async def test_who_begins_anew_repeats_nothing_twice(api: Any, hands: Hands) -> None:
    ids = await failed(api, hands, 4)
    assert of(await retry(api, limit=2)) == ids[:2]
    assert of(await retry(api)) == ids[2:]
    assert of(await retry(api)) == []
    assert of(await retry(api, again=True, limit=1)) == ids[:1]


async def test_two_at_once_repeat_each_job_once(serve: Any, hands: Hands, books: Books) -> None:
    servers = [await serve() for _ in range(3)]
    ids = await failed(servers[0], hands, 12)
    told = await asyncio.gather(*(retry(server) for server in servers))
    assert sorted(job for one in told for job in of(one)) == sorted(ids)
    skipped = [one for part in told for one in part["skipped"]]
    assert {one["code"] for one in skipped} <= {"wrong_state"}
    assert len(books.jobs()) == 24


async def test_what_fails_meanwhile_is_left_for_the_next_sweep(api: Any, hands: Hands) -> None:
    ids = await failed(api, hands, 2)
    first = await retry(api, limit=1)
    await hands.fail(await hands.take())
    second = await retry(api, limit=10, cursor=first["next_cursor"])
    assert (of(second), second["next_cursor"]) == (ids[1:], None)
    assert of(await retry(api)) == [first["retried"][0]["retried_as"]]


async def test_filters(api: Any, hands: Hands) -> None:
    old = await failed(api, hands, 2, "timeout")
    other = await failed(api, hands, 1, "bad_pdf")
    moment = (await (await api.get(f"/v1/jobs/{other[0]}")).json())["finished_at"]
    assert of(await retry(api, operation="pdf.merge")) == []
    assert of(await retry(api, batch="batch_01kqb4h0nme8atrb9rgb0yvm3m")) == []
    assert of(await retry(api, labels={"code": "bad_pdf", "x": "y"})) == []
    assert of(await retry(api, failed_after=moment)) == []
    assert of(await retry(api, failed_before=moment)) == old
    assert of(await retry(api, code="timeout", again=True)) == old
    assert of(await retry(api, labels={"code": "bad_pdf"}, operation="file.probe")) == other


async def test_a_job_whose_input_is_gone_is_skipped_and_named(
    api: Any, hands: Hands, books: Books
) -> None:
    ids = await failed(api, hands, 2)
    info = (await (await api.get(f"/v1/jobs/{ids[0]}")).json())["inputs"][0]
    record = books.key(f"file:{info['file_id']}")
    kept = books.redis.dump(record)
    books.redis.delete(record)
    told = await retry(api)
    assert of(told) == ids[1:]
    (skipped,) = told["skipped"]
    assert (skipped["job_id"], skipped["code"]) == (ids[0], GoneError.code)
    books.redis.restore(record, 0, kept)


async def test_a_limit_on_the_way_stops_it_and_it_goes_on_from_there(
    serve: Any, hands: Hands
) -> None:
    api = await serve(max_queued_per_owner=2)
    ids = await failed(api, hands, 3)
    first = await retry(api)
    assert of(first) == ids[:2]
    assert first["stopped"]["code"] == "quota_exceeded"
    assert first["stopped"]["retry_after_s"] > 0
    answer = await api.post(URL, json={"cursor": first["next_cursor"]})
    await problem(answer, 429, "quota_exceeded")
    await hands.succeed(await hands.take())
    assert of(await retry(api, cursor=first["next_cursor"])) == ids[2:]


async def test_an_empty_body_means_all_and_a_key_makes_it_safe_to_repeat(
    api: Any, hands: Hands
) -> None:
    ids = await failed(api, hands, 2)
    headers = {"Idempotency-Key": "k"}
    answers = [await api.post(URL, headers=headers) for _ in range(2)]
    told = [await answer.json() for answer in answers]
    assert told[0] == told[1]
    assert of(told[0]) == ids


async def test_a_job_over_a_url_is_repeated_over_that_url(api: Any, hands: Hands) -> None:
    url = "https://example.com/x?secret=1"
    body = {"operation": "file.probe", "inputs": [{"url": url}]}
    job = await (await api.post("/v1/jobs", json=body)).json()
    await hands.fail(await hands.take())
    await api.post(f"/v1/jobs/{job['id']}/retry")
    sources = [(await hands.take()).document.sources]
    await retry(api, again=True)
    sources.append((await hands.take()).document.sources)
    assert [[one.url for one in found] for found in sources] == [[url], [url]]


async def test_only_ones_own_jobs_are_repeated(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    keys = {}
    for owner in ("acme", "umbrella"):
        token = (await store.keys.create(owner, Role.USER)).token
        keys[owner] = {"Authorization": f"Bearer {token}"}
    await api.put("/v1/jobs/file.probe", data=b"x", headers=keys["acme"])
    await hands.fail(await hands.take())
    answer = await api.post(URL, json={}, headers=keys["umbrella"])
    assert (await answer.json())["retried"] == []
    bound = (await store.keys.create("acme", Role.USER, scopes=["operation:image.*"])).token
    answer = await api.post(URL, json={}, headers={"Authorization": f"Bearer {bound}"})
    await problem(answer, 403, "forbidden")


@pytest.mark.parametrize("cursor", ["x", "1.2", "1.2.job_1", "-1.2.job_1", "é" * 5, "9" * 190])
async def test_a_cursor_that_is_not_ours(api: Any, cursor: str) -> None:
    await problem(await api.post(URL, json={"cursor": cursor}), 400, "bad_request")


async def test_what_cannot_be_asked_for(api: Any) -> None:
    for body in (
        {"limit": 0},
        {"limit": 201},
        {"limit": "5"},
        {"failed_after": "yesterday"},
        {"batch": "x"},
        {"state": "failed"},
        {"labels": {"": "x"}},
    ):
        await problem(await api.post(URL, json=body), 422, "invalid_request")
    headers = {"Content-Type": "text/plain"}
    answer = await api.post(URL, data=json.dumps({}), headers=headers)
    await problem(answer, 415, "unsupported_media_type")
