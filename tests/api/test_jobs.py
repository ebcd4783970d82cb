"""Looking at jobs, waiting for them, and what can be done to them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fileproc.ids import new_id
from support.http import Hands, jpeg, problem, submit

# --- looking -----------------------------------------------------------------------------------


async def test_an_etag_changes_with_the_job_and_saves_the_body(api: Any, hands: Hands) -> None:
    job = await submit(api)
    url = f"/v1/jobs/{job['id']}"
    first = await api.get(url)
    tag = first.headers["ETag"]
    assert first.headers["Retry-After"] == "1"
    for given in (tag, f'"x", {tag}', "*", f"W/{tag}"):
        again = await api.get(url, headers={"If-None-Match": given})
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == tag
    await hands.take()
    changed = await api.get(url, headers={"If-None-Match": tag})
    assert changed.status == 200
    assert (await changed.json())["state"] == "running"


async def test_a_password_is_told_to_the_worker_and_to_nobody_else(api: Any, hands: Hands) -> None:
    params = {"password": "correct horse", "dpi": "72"}
    answer = await api.put("/v1/jobs/pdf.to_images", params=params, data=b"%PDF-1.7\n%%EOF\n")
    job = await answer.json()
    assert (answer.status, job["params"]["password"], job["params"]["dpi"]) == (202, "********", 72)
    for url in (f"/v1/jobs/{job['id']}", "/v1/jobs"):
        assert "correct horse" not in await (await api.get(url)).text()
    lease = await hands.take()
    assert lease.document.params["password"] == "correct horse"


async def test_head_answers_without_a_body(api: Any) -> None:
    job = await submit(api)
    answer = await api.head(f"/v1/jobs/{job['id']}")
    assert (answer.status, await answer.read()) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


async def test_a_long_poll_ends_with_the_job(api: Any, hands: Hands) -> None:
    job = await submit(api)
    poll = asyncio.create_task(api.get(f"/v1/jobs/{job['id']}?wait=30"))
    await hands.fail(await hands.take())
    answer = await poll
    found = await answer.json()
    assert found["state"] == "failed"
    assert found["error"]["class"] == "permanent"
    assert found["error"]["code"] == "bad_input"
    assert found["links"]["retry"] == f"/v1/jobs/{job['id']}/retry"
    assert "Retry-After" not in answer.headers


async def test_a_long_poll_in_vain_shows_the_job_as_it_is(api: Any) -> None:
    job = await submit(api)
    answer = await api.get(f"/v1/jobs/{job['id']}?wait=1")
    assert answer.status == 200
    assert (await answer.json())["state"] == "queued"


async def test_many_wait_for_one_job(api: Any, hands: Hands) -> None:
    job = await submit(api)
    polls = [asyncio.create_task(api.get(f"/v1/jobs/{job['id']}?wait=30")) for _ in range(50)]
    await hands.succeed(await hands.take(), ("o", "text/plain", b"x"))
    answers = await asyncio.gather(*polls)
    assert {(await answer.json())["state"] for answer in answers} == {"succeeded"}


async def test_a_drain_ends_long_polls_at_once(api: Any) -> None:
    from fileproc.api.context import API

    job = await submit(api)
    poll = asyncio.create_task(api.get(f"/v1/jobs/{job['id']}?wait=60"))
    await asyncio.wait({poll}, timeout=0.2)
    api.app[API].drain()
    answer = await asyncio.wait_for(poll, 5)
    assert (await answer.json())["state"] == "queued"
    document = await (await api.get("/readyz")).json()
    assert document["checks"]["server"]["status"] == "failed"


@pytest.mark.parametrize("wait", ["61", "-1", "x", "1.5", ""])
async def test_a_wait_out_of_bounds(api: Any, wait: str) -> None:
    answer = await api.get(f"/v1/jobs/{new_id('job')}?wait={wait}")
    await problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "job_id",
    [
        "job_01kqb4h0nme8atrb9rgb0yvm3j",
        "job_",
        "x",
        "JOB_01KQB4H0NME8ATRB9RGB0YVM3J",
        "job_01kqb4h0nme8atrb9rgb0yvm3j%0a",
        "..%2f..%2fetc",
        "%00",
        "*",
        "file_01kqb4h0nme8atrb9rgb0yvm3k",
        "%F0%9F%92%A3",
    ],
)
async def test_what_is_no_job_is_a_404_everywhere(api: Any, job_id: str) -> None:
    from yarl import URL

    def url(tail: str) -> URL:
        return URL(f"/v1/jobs/{job_id}{tail}", encoded=True)

    await problem(await api.get(url("")), 404, "not_found")
    await problem(await api.get(url("/result")), 404, "not_found")
    await problem(await api.post(url("/cancel")), 404, "not_found")
    await problem(await api.post(url("/retry")), 404, "not_found")
    await problem(await api.delete(url("")), 404, "not_found")


# --- lists -------------------------------------------------------------------------------------


async def test_pages_follow_one_another_by_cursor(api: Any) -> None:
    made = [(await submit(api))["id"] for _ in range(7)]
    seen: list[str] = []
    url = "/v1/jobs?limit=3"
    pages = 0
    while url:
        answer = await api.get(url)
        page = await answer.json()
        seen += [job["id"] for job in page["data"]]
        pages += 1
        link = answer.headers.get("Link", "")
        assert bool(link) == (page["next_cursor"] is not None)
        url = link.partition(">")[0].lstrip("<")
    assert seen == made[::-1]
    assert pages == 3


async def test_filters(api: Any, hands: Hands) -> None:
    first = await submit(api, labels="team=red")
    second = await submit(api, labels="team=blue")
    picture = await (await api.put("/v1/jobs/image.resize?width=3", data=jpeg())).json()
    await hands.fail(await hands.take())

    async def ids(**query: str) -> list[str]:
        answer = await api.get("/v1/jobs", params=query)
        assert answer.status == 200, await answer.text()
        return [job["id"] for job in (await answer.json())["data"]]

    assert await ids(state="failed") == [first["id"]]
    assert await ids(label="team=blue") == [second["id"]]
    assert await ids(operation="image.resize") == [picture["id"]]
    assert await ids(operation="image.resize", label="team=blue") == []
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert await ids(created_after=later) == []
    assert len(await ids(created_before=later)) == 3


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=many",
        "state=done",
        "created_after=yesterday",
        "created_after=2026-01-01T00:00:00",
        "label=x",
        "sort=id",
        "limit=1&limit=2",
    ],
)
async def test_a_list_that_cannot_be(api: Any, query: str) -> None:
    await problem(await api.get(f"/v1/jobs?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%00", "9" * 200, "é"])
async def test_a_cursor_that_is_not_ours(api: Any, cursor: str) -> None:
    await problem(await api.get("/v1/jobs", params={"cursor": cursor}), 400, "bad_request")


# --- cancel, delete, retry ---------------------------------------------------------------------


async def test_a_waiting_job_is_canceled_at_once_and_stays_so(api: Any) -> None:
    job = await submit(api)
    for _ in range(2):
        answer = await api.post(f"/v1/jobs/{job['id']}/cancel")
        assert answer.status == 200
        assert (await answer.json())["state"] == "canceled"


async def test_a_running_job_is_asked_to_stop(api: Any, hands: Hands) -> None:
    job = await submit(api)
    await hands.take()
    answer = await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status == 202
    found = await answer.json()
    assert (found["state"], found["cancel_requested"]) == ("running", True)


async def test_a_job_that_is_over_cannot_be_canceled(api: Any, hands: Hands) -> None:
    job = await submit(api)
    await hands.fail(await hands.take())
    document = await problem(await api.post(f"/v1/jobs/{job['id']}/cancel"), 409, "wrong_state")
    assert document["state"] == "failed"


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
async def test_a_deleted_job_is_gone(api: Any, hands: Hands, state: str) -> None:
    job = await submit(api)
    if state != "queued":
        lease = await hands.take()
        if state == "failed":
            await hands.fail(lease)
    url = f"/v1/jobs/{job['id']}"
    answer = await api.delete(url)
    assert (answer.status, await answer.read()) == (204, b"")
    await problem(await api.get(url), 410, "gone")
    await problem(await api.get(url + "/result"), 410, "gone")
    await problem(await api.post(url + "/cancel"), 410, "gone")
    await problem(await api.post(url + "/retry"), 410, "gone")


async def test_a_failed_job_is_repeated_as_a_new_one(api: Any, hands: Hands) -> None:
    job = await submit(api, labels="a=b", priority="low")
    await hands.fail(await hands.take())
    answer = await api.post(f"/v1/jobs/{job['id']}/retry")
    assert answer.status == 202
    again = await answer.json()
    assert again["id"] != job["id"]
    assert answer.headers["Location"] == f"/v1/jobs/{again['id']}"
    assert (again["state"], again["retry_of"]) == ("queued", job["id"])
    for same in ("inputs", "params", "labels", "priority", "operation", "max_attempts"):
        assert again[same] == job[same]
    await hands.succeed(await hands.take(), ("o", "text/plain", b"x"))
    done = await (await api.get(f"/v1/jobs/{again['id']}")).json()
    assert done["state"] == "succeeded"


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
async def test_a_job_that_may_still_succeed_is_not_repeated(
    api: Any, hands: Hands, state: str
) -> None:
    job = await submit(api)
    if state != "queued":
        lease = await hands.take()
        if state == "succeeded":
            await hands.succeed(lease, ("o", "text/plain", b"x"))
    document = await problem(await api.post(f"/v1/jobs/{job['id']}/retry"), 409, "wrong_state")
    assert document["state"] == state
