"""Many jobs in one request: all accepted or none, counted together, ended once."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.errors import NotFoundError
from fileproc.ids import new_id
from fileproc.jobs import JobDocument
from fileproc.settings import Auth
from fileproc.store import BatchDocument, NewBatch, Role, Settlement, Store, open_store
from support.clock import step_clock
from support.http import Hands, jpeg, problem
from support.jobs import make_job, make_result

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from support.books import Books

NDJSON = {"Content-Type": "application/x-ndjson"}
SLEEP = {"operation": "debug.sleep", "params": {"seconds": 0}}


async def file_of(api: Any, data: bytes, **headers: str) -> str:
    """A file that is there already; the job that brought it is over."""
    answer = await api.put("/v1/jobs/file.probe", data=data, headers=headers)
    job = await answer.json()
    await api.post(f"/v1/jobs/{job['id']}/cancel", headers=headers)
    return str(job["inputs"][0]["file_id"])


async def send(api: Any, body: Any, **headers: str) -> Any:
    return await api.post("/v1/batches", json=body, headers=headers)


async def made(answer: Any) -> dict[str, Any]:
    assert answer.status == 202, await answer.text()
    batch: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/batches/{batch['id']}"
    return batch


async def look(api: Any, batch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await (await api.get(f"/v1/batches/{batch['id']}")).json()
    return found


async def jobs_of(api: Any, batch: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = await api.get("/v1/jobs", params={"batch": batch["id"], **query})
    assert answer.status == 200, await answer.text()
    data: list[dict[str, Any]] = (await answer.json())["data"]
    return data


async def told(store: Store, move: str) -> list[str]:
    """Lines of this event since the beginning."""
    lines = [line for _, some in await store.journal.unshipped() for line in some.split("\n")]
    return [line for line in lines if f" {move} " in line]


def counted(batch: dict[str, Any]) -> dict[str, int]:
    return {state: number for state, number in batch["counts"].items() if number}


async def test_a_batch_over_files_counts_its_jobs_to_the_end(
    api: Any, hands: Hands, store: Store
) -> None:
    files = [await file_of(api, bytes([65 + number])) for number in range(3)]
    batch = await made(
        await send(
            api,
            {
                "name": "three",
                "labels": {"a": "b"},
                "metadata": {"mine": [1]},
                "each": {"operation": "file.probe", "labels": {"of": "batch"}},
                "files": [{"file_id": file_id} for file_id in files],
            },
        )
    )
    assert (batch["state"], batch["total"], counted(batch)) == ("running", 3, {"queued": 3})
    assert (batch["name"], batch["labels"], batch["metadata"]) == (
        "three",
        {"a": "b"},
        {"mine": [1]},
    )
    jobs = await jobs_of(api, batch)
    assert {job["inputs"][0]["file_id"] for job in jobs} == set(files)
    assert all(job["batch"] == batch["id"] and job["labels"] == {"of": "batch"} for job in jobs)
    await hands.succeed(await hands.take(), ("o", "text/plain", b"x"))
    lease = await hands.take()
    now = await look(api, batch)
    assert counted(now) == {"succeeded": 1, "running": 1, "queued": 1}
    assert now["progress"] == {"done": 1, "total": 3, "unit": "jobs", "percent": 33.3}
    await hands.fail(lease)
    assert await told(store, "batch_completed") == []
    last = (await jobs_of(api, batch, state="queued"))[0]
    await api.post(f"/v1/jobs/{last['id']}/cancel")
    now = await look(api, batch)
    assert (now["state"], counted(now)) == (
        "completed",
        {"succeeded": 1, "failed": 1, "canceled": 1},
    )
    assert now["finished_at"] < now["expires_at"]
    assert "cancel" not in now["links"]
    (line,) = await told(store, "batch_completed")
    assert json.loads(line.split(" ", 4)[4]) == {
        "total": 3,
        "succeeded": 1,
        "failed": 1,
        "canceled": 1,
        "expired": 0,
    }
    await api.delete(f"/v1/jobs/{last['id']}")
    assert counted(await look(api, batch)) == counted(now)
    assert len(await jobs_of(api, batch)) == 2


async def test_jobs_of_a_batch_may_differ_and_come_as_lines(api: Any) -> None:
    file_id = await file_of(api, jpeg())
    jobs = [
        {**SLEEP, "priority": "high"},
        {"operation": "image.resize", "params": {"width": 3}, "inputs": [{"file_id": file_id}]},
        {"steps": {"probe": {"operation": "file.probe"}}, "inputs": [{"file_id": file_id}]},
    ]
    first = await made(await send(api, {"jobs": jobs}))
    manifest = "\n".join(["", *map(json.dumps, jobs), "", ""]).encode().replace(b"\n", b"\r\n")
    url = "/v1/batches?name=night&labels=a=1"
    second = await made(await api.post(url, data=manifest, headers=NDJSON))
    assert (second["name"], second["labels"]) == ("night", {"a": "1"})
    for batch in (first, second):
        found = await jobs_of(api, batch)
        assert sorted(job["operation"] for job in found) == [
            "debug.sleep",
            "image.resize",
            "pipeline",
        ]
    page = await (await api.get("/v1/batches?limit=1")).json()
    assert [batch["id"] for batch in page["data"]] == [second["id"]]
    page = await (await api.get("/v1/batches", params={"cursor": page["next_cursor"]})).json()
    assert ([batch["id"] for batch in page["data"]], page["next_cursor"]) == ([first["id"]], None)


async def test_inputs_of_each_come_after_its_file(api: Any) -> None:
    photo, mark = await file_of(api, jpeg()), await file_of(api, jpeg(8, 8))
    each = {"operation": "image.watermark", "inputs": [{"file_id": mark}]}
    batch = await made(await send(api, {"each": each, "files": [{"file_id": photo}]}))
    (job,) = await jobs_of(api, batch)
    assert [info["file_id"] for info in job["inputs"]] == [photo, mark]


async def test_one_wrong_job_refuses_all_of_them_and_is_named(
    api: Any, store: Store, books: Books
) -> None:
    unknown = {"file_id": "file_01kqb4h0nme8atrb9rgb0yvm3j"}
    before = len(books.jobs())
    for wrong, status, code, pointer in (
        ({"operation": "no.such"}, 422, "unknown_operation", "/jobs/1/operation"),
        ({**SLEEP, "params": {"seconds": -1}}, 422, "invalid_request", "/jobs/1/params/seconds"),
        ({**SLEEP, "x": 1}, 422, "invalid_request", "/jobs/1/x"),
        ({**SLEEP, "timeout_s": 9999}, 422, "invalid_request", "/jobs/1/timeout_s"),
        ({"operation": "file.probe"}, 422, "invalid_request", "/jobs/1/inputs"),
        (
            {"operation": "file.probe", "inputs": [unknown]},
            404,
            "not_found",
            "/jobs/1/inputs/0/file_id",
        ),
        ({"template": "gone"}, 404, "not_found", "/jobs/1"),
        ({}, 422, "invalid_request", "/jobs/1/operation"),
    ):
        document = await problem(await send(api, {"jobs": [SLEEP, wrong]}), status, code)
        assert document["errors"][0]["pointer"] == pointer
    document = await problem(
        await send(api, {"jobs": [{**SLEEP, "x": 1}] * 60}), 422, "invalid_request"
    )
    assert len(document["errors"]) == 40
    lines = b'{"operation": "debug.sleep"}\n\n{"operation"\n'
    answer = await api.post("/v1/batches", data=lines, headers=NDJSON)
    document = await problem(answer, 400, "bad_request")
    assert "Line 3" in document["detail"]
    assert len(books.jobs()) == before
    assert not [name for name in books.look().names if name.startswith("batch")]
    assert await told(store, "batch_created") == []


async def test_what_is_no_batch_is_refused(serve: Any) -> None:
    api = await serve(max_batch_jobs=3, max_manifest_bytes=2000)
    files = [{"file_id": "file_01kqb4h0nme8atrb9rgb0yvm3j"}]
    bodies: tuple[Any, ...] = (
        {},
        {"jobs": []},
        {"jobs": "x"},
        {"jobs": [1]},
        {"jobs": None, "each": SLEEP},
        {"files": files},
        {"each": SLEEP, "files": []},
        {"jobs": [SLEEP], "each": SLEEP, "files": files},
        {"each": {**SLEEP, "inputs": 5}, "files": files},
        {"jobs": [SLEEP], "name": "x" * 201},
        {"jobs": [SLEEP], "labels": {"": "x"}},
        {"jobs": [SLEEP], "metadata": {"x": "y" * 17_000}},
        {"jobs": [SLEEP], "webhook": 1},
        [SLEEP],
    )
    for body in bodies:
        await problem(await send(api, body), 422, "invalid_request")
    document = await problem(await send(api, {"jobs": [SLEEP] * 4}), 413, "too_large")
    assert (document["limit"], document["limit_value"]) == ("max_batch_jobs", 3)
    for data, status, code in (
        (b"", 422, "invalid_request"),
        (b"\n \n", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"\xff", 400, "bad_request"),
        (b" " * 3000, 413, "too_large"),
    ):
        answer = await api.post("/v1/batches", data=data, headers=NDJSON)
        await problem(answer, status, code)
    answer = await api.post("/v1/batches", data=b"a,b", headers={"Content-Type": "text/csv"})
    await problem(answer, 415, "unsupported_media_type")
    await problem(await api.get("/v1/batches?cursor=x"), 400, "bad_request")
    await problem(await api.get("/v1/jobs?batch=x"), 422, "invalid_request")


async def test_what_a_batch_is_made_of_is_made_when_its_turn_comes(serve: Any) -> None:
    """A hundred thousand times the same, or nothing on a million lines, costs what was sent."""
    api = await serve(max_batch_jobs=1_000, max_inputs=5)
    photo = {"file_id": "file_01kqb4h0nme8atrb9rgb0yvm3j"}
    many = {"operation": "file.probe", "inputs": [1] * 5}
    answer = await send(api, {"each": many, "files": [photo] * 900})
    document = await problem(answer, 422, "invalid_request")
    assert document["errors"] == [
        {"pointer": "/each/inputs", "detail": "With its file a job takes at most 5."}
    ]
    wrong = {"operation": "file.probe", **{f"x{number}": 1 for number in range(900)}}
    answer = await send(api, {"each": wrong, "files": [photo] * 900})
    document = await problem(answer, 422, "invalid_request")
    assert [error["pointer"] for error in document["errors"][:2]] == ["/each/x0", "/each/x1"]
    tracemalloc.start()
    try:
        answer = await api.post("/v1/batches", data=b"1\n" * 500_000, headers=NDJSON)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    document = await problem(answer, 413, "too_large")
    assert (document["limit"], document["limit_value"]) == ("max_batch_jobs", 1_000)
    assert most_bytes < 30 * 1024 * 1024


async def test_a_batch_beyond_the_quota_is_refused_whole(serve: Any, books: Books) -> None:
    api = await serve(max_queued_per_owner=5)
    await made(await send(api, {"jobs": [SLEEP] * 3}))
    document = await problem(await send(api, {"jobs": [SLEEP] * 3}), 429, "quota_exceeded")
    assert (document["limit"], document["allowed"]) == ("max_queued_per_owner", 5)
    assert len(books.jobs()) == 3
    await made(await send(api, {"jobs": [SLEEP] * 2}))


async def test_what_a_batch_stands_for_is_bounded_not_only_what_was_sent(
    serve: Any, books: Books
) -> None:
    api = await serve(max_batch_bytes=100_000, max_job_bytes=20_000)
    each = {"operation": "file.probe", "metadata": {"note": "x" * 10_000}}
    files = [{"url": "https://example.com/a"}]
    await made(await send(api, {"each": each, "files": files * 5}))
    body = {"each": each, "files": files * 20}
    assert len(json.dumps(body)) < 12_000
    document = await problem(await send(api, body), 413, "too_large")
    assert document["limit"] == "max_batch_bytes"
    place = {"url": "https://example.com/b?" + "z" * 2_000}
    job = {**each, "inputs": files, "deliver": [{**place, "output": n} for n in range(6)]}
    document = await problem(await api.post("/v1/jobs", json=job), 413, "too_large")
    assert (document["limit"], document["limit_value"]) == ("max_job_bytes", 20_000)
    document = await problem(await send(api, {"jobs": [job]}), 413, "too_large")
    assert document["limit"] == "max_job_bytes"
    assert len(books.jobs()) == 5


async def test_another_owners_batch_is_not_there(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    keys = {}
    for owner in ("acme", "umbrella"):
        token = (await store.keys.create(owner, Role.USER)).token
        keys[owner] = {"Authorization": f"Bearer {token}"}
    own = await made(await send(api, {"jobs": [SLEEP]}, **keys["acme"]))
    foreign_file = await file_of(api, b"hello", **keys["acme"])
    url = f"/v1/batches/{own['id']}"
    for missing in (url, f"/v1/batches/{new_id('batch')}", "/v1/batches/x"):
        await problem(await api.get(missing, headers=keys["umbrella"]), 404, "not_found")
        answer = await api.post(f"{missing}/cancel", headers=keys["umbrella"])
        await problem(answer, 404, "not_found")
    for path in ("/v1/batches", f"/v1/jobs?batch={own['id']}"):
        assert (await (await api.get(path, headers=keys["umbrella"])).json())["data"] == []
    # Nor does a cursor tell of it, of a batch that is longer than what one page looks at.
    long = new_id("batch")
    member = JobDocument(operation="file.probe", batch=long)
    jobs = [make_job("acme", document=member) for _ in range(1_100)]
    await store.batches.accept(NewBatch(long, "acme", BatchDocument(), jobs))
    page = await api.get(f"/v1/jobs?batch={long}", headers=keys["umbrella"])
    assert await page.json() == {"data": [], "next_cursor": None}
    each = {"operation": "file.probe"}
    answer = await send(
        api, {"each": each, "files": [{"file_id": foreign_file}]}, **keys["umbrella"]
    )
    await problem(answer, 404, "not_found")
    assert (await (await api.get(url, headers=keys["acme"])).json())["state"] == "running"


async def test_a_batch_is_canceled_with_all_that_is_not_over(
    api: Any, hands: Hands, store: Store
) -> None:
    batch = await made(await send(api, {"jobs": [SLEEP] * 5}))
    await hands.succeed(await hands.take())
    running = await hands.take()
    answer = await api.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status == 202
    assert counted(await answer.json()) == {"succeeded": 1, "running": 1, "canceled": 3}
    await store.queue.settle(Settlement.cancel(running))
    again = await api.post(f"/v1/batches/{batch['id']}/cancel")
    assert again.status == 200
    assert counted(await again.json()) == {"succeeded": 1, "canceled": 4}
    assert len(await told(store, "batch_completed")) == 1


# --- once, whatever happens --------------------------------------------------------------------


async def test_a_batch_ends_once_though_its_jobs_end_at_the_same_time(
    api: Any, settings: Settings, store: Store
) -> None:
    batch = await made(await send(api, {"jobs": [SLEEP] * 60}))
    async with open_store(settings) as other:
        leases = []
        for queue in (store.queue, other.queue):
            leases += [
                (queue, lease) for lease in await queue.claim("default", 0, 30, queue.next_call())
            ]
        ends: list[Any] = []
        for place, (queue, lease) in enumerate(leases):
            done = Settlement.complete(lease, make_result(lease))
            ends += [queue.settle(done), queue.settle(done)]  # sent again, as after a lost reply
            if place % 3 == 0:
                ends.append(other.jobs.cancel("local", lease.job_id))
            if place % 5 == 0:
                ends.append(other.jobs.delete("local", lease.job_id))
        await asyncio.gather(*ends, return_exceptions=True)
    now = await look(api, batch)
    assert now["state"] == "completed"
    assert sum(counted(now).values()) == 60
    assert len(await told(store, "batch_completed")) == 1


async def test_a_batch_whose_jobs_were_over_before_it_was_whole_ends_with_its_seal(
    store: Store, books: Books
) -> None:
    """Workers do not wait for the last of ten thousand jobs."""
    new = new_batch(2)
    await store.batches._open(new)
    for job in new.jobs:
        await store.jobs.accept(job)
    leases = await store.queue.claim("default", 0, 2, store.queue.next_call())
    for lease in leases:
        await store.queue.settle(Settlement.complete(lease, make_result(lease)))
    assert await told(store, "batch_completed") == []
    for _ in range(2):  # the second as after a lost reply
        assert await store.batches._seal(new) == new.id
    assert (await store.batches.get("acme", new.id)).completed
    assert len(await told(store, "batch_completed")) == 1
    assert books.complaints() == []


def new_batch(number: int) -> NewBatch:
    batch_id = new_id("batch")
    document = JobDocument(operation="debug.sleep", params={"seconds": 0}, batch=batch_id)
    jobs = [make_job(document=document) for _ in range(number)]
    return NewBatch(batch_id, "acme", BatchDocument(), jobs)


async def test_a_batch_whose_server_died_is_withdrawn_with_its_jobs(
    store: Store, books: Books
) -> None:
    """Nobody was told of it, so nobody shall find half of it done."""
    new = new_batch(6)
    await store.batches._open(new)
    for job in new.jobs[:4]:
        await store.jobs.accept(job)
    (lease,) = await store.queue.claim("default", 0, 1, store.queue.next_call())
    assert await store.batches.end() == 0
    step_clock(books.redis, books.prefix, 60_001)
    assert await store.batches.end() == 0  # one job still runs
    assert {fields["st"] for fields in books.jobs().values()} == {"deleted", "running"}
    await store.queue.settle(Settlement.cancel(lease))
    await store.upkeep.purge()
    step_clock(books.redis, books.prefix, 1_001)
    assert await store.batches.end() == 1
    assert {fields["st"] for fields in books.jobs().values()} == {"deleted"}
    assert not [name for name in books.look().names if name.startswith(("batch", "members"))]
    late = await asyncio.gather(store.jobs.accept(new.jobs[5]), return_exceptions=True)
    assert type(late[0]).__name__ == "GoneError"
    assert type(
        (await asyncio.gather(store.batches._seal(new), return_exceptions=True))[0]
    ).__name__


async def test_a_refusal_in_the_middle_withdraws_the_batch(store: Store, books: Books) -> None:
    new = new_batch(3)
    broken = make_job(
        document=new.jobs[0].document, reused_files=["file_01kqb4h0nme8atrb9rgb0yvm3j"]
    )
    new.jobs.append(broken)
    with pytest.raises(NotFoundError):
        await store.batches.accept(new)
    await store.batches.end()
    step_clock(books.redis, books.prefix, 1_001)
    assert await store.batches.end() == 1
    assert {fields["st"] for fields in books.jobs().values()} == {"deleted"}


async def test_a_batch_is_forgotten_at_the_end_of_its_retention(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    batch = await made(await send(api, {"jobs": [{**SLEEP, "retention_s": 600}]}))
    await hands.succeed(await hands.take())
    assert await store.batches.end() == 0
    step_clock(books.redis, books.prefix, 600_001)
    await store.upkeep.purge()
    assert await store.batches.end() == 1
    await problem(await api.get(f"/v1/batches/{batch['id']}"), 404, "not_found")
    assert (await (await api.get("/v1/batches")).json())["data"] == []


async def test_a_batch_that_a_loss_left_without_its_jobs_ends(store: Store, books: Books) -> None:
    new = new_batch(2)
    await store.batches.accept(new)
    for job in new.jobs:
        books.redis.delete(books.key(f"job:{job.id}"))
        for name in ("wait:default:acme", "jobs:acme", "jobs:acme:queued", f"members:{new.id}"):
            books.redis.zrem(books.key(name), job.id)
        books.redis.lrem(books.key("ready:default"), 0, job.id)
    books.redis.delete(books.key("flow:default:acme"))
    step_clock(books.redis, books.prefix, 86_400_001)
    await store.batches.end()
    assert (await store.batches.get("acme", new.id)).completed
    books.redis.delete(books.key(f"batch:{new.id}"))  # its numbers cannot be right any more
    books.redis.delete(books.key("batch_ends"), books.key("batches:acme"))


async def test_the_same_batch_sent_by_many_at_once_is_one(serve: Any, books: Books) -> None:
    servers = [await serve() for _ in range(3)]
    body = {"jobs": [SLEEP] * 10, "labels": {"a": "1", "b": "2"}}
    key = {"Idempotency-Key": "night"}
    answers = await asyncio.gather(*(send(servers[n % 3], body, **key) for n in range(30)))
    assert {answer.status for answer in answers} <= {202, 409}
    ids = {(await answer.json())["id"] for answer in answers if answer.status == 202}
    again = await send(servers[0], {**body, "labels": {"b": "2", "a": "1"}}, **key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ids == {(await again.json())["id"]}
    assert len(books.jobs()) == 10
    for other in ({"jobs": [SLEEP] * 9, "labels": body["labels"]}, {"jobs": [SLEEP] * 10}):
        await problem(await send(servers[1], other, **key), 422, "idempotency_mismatch")
    answer = await servers[1].put("/v1/jobs/file.probe", data=b"x", headers=key)
    await problem(answer, 422, "idempotency_mismatch")
    refused = {"Idempotency-Key": "refused"}
    await problem(await send(servers[0], {"jobs": [{}]}, **refused), 422, "invalid_request")
    await made(await send(servers[0], {"jobs": [SLEEP]}, **refused))


async def test_a_batch_that_is_sent_again_is_found_though_its_files_are_gone(api: Any) -> None:
    file_id = (await (await api.post("/v1/files", data=b"hello")).json())["id"]
    key = {"Idempotency-Key": "k"}

    def over(file_id: str) -> dict[str, Any]:
        return {"jobs": [{"operation": "file.probe", "inputs": [{"file_id": file_id}]}]}

    body = over(file_id)
    first = await made(await send(api, body, **key))
    assert (await api.delete(f"/v1/files/{file_id}")).status == 204
    assert (await made(await send(api, body, **key)))["id"] == first["id"]
    other = await send(api, over(new_id("file")), **key)
    await problem(other, 422, "idempotency_mismatch")
