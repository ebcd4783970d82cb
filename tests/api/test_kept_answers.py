"""Whatever is sent again with its Idempotency-Key is answered as it was, and not done again."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from fileproc.api import health, kept
from fileproc.api.context import API
from fileproc.api.endpoints import Answer, Endpoint, Repeats, Tag
from fileproc.api.routes import ENDPOINTS
from fileproc.store import Reservation
from support.http import Hands, problem, submit, wire

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.books import Books

KEY = {"Idempotency-Key": "once"}
STEPS = {"steps": {"probe": {"operation": "file.probe"}}}


def template(width: int) -> dict[str, Any]:
    params = {"width": width}
    return {"steps": {"small": {"operation": "image.resize", "params": params}}}


async def versions(api: Any) -> int:
    answer = await api.get("/v1/templates/t")
    return int((await answer.json())["version"])


async def test_a_repetition_gets_the_first_answer_whatever_has_happened_since(api: Any) -> None:
    first = await api.put("/v1/templates/t", json=template(1), headers=KEY)
    assert first.status == 200
    assert "Idempotency-Replayed" not in first.headers
    assert (await api.put("/v1/templates/t", json=template(2))).status == 200
    again = await api.put("/v1/templates/t", json=template(1), headers=KEY)
    assert (again.status, again.content_type) == (200, "application/json")
    assert await again.read() == await first.read()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert await versions(api) == 2


async def test_what_has_no_body_is_done_once_too(api: Any, hands: Hands) -> None:
    job = await submit(api)
    lease = await hands.take()
    url = f"/v1/jobs/{job['id']}/cancel"
    first = await api.post(url, headers=KEY)
    assert first.status == 202
    await hands.fail(lease)
    again = await api.post(url, headers=KEY)
    assert (again.status, await again.read()) == (202, await first.read())
    await problem(await api.post(url), 409, "wrong_state")  # without the key


async def test_the_key_with_another_request_is_a_422(api: Any) -> None:
    job = await submit(api)
    assert (await api.put("/v1/templates/t", json=template(1), headers=KEY)).status == 200
    for other in (
        api.put("/v1/templates/t", json=template(2), headers=KEY),
        api.put("/v1/templates/u", json=template(1), headers=KEY),
        api.post(f"/v1/jobs/{job['id']}/cancel", headers=KEY),
        api.put("/v1/jobs/file.probe", data=b"x", headers=KEY),
        api.post(f"/v1/jobs/{job['id']}/cancel", data=b"x", headers=KEY),
    ):
        await problem(await other, 422, "idempotency_mismatch")
    other_key = {"Idempotency-Key": "of a job"}
    assert (await api.put("/v1/jobs/file.probe", data=b"x", headers=other_key)).status == 202
    answer = await api.put("/v1/templates/t", json=template(1), headers=other_key)
    await problem(answer, 422, "idempotency_mismatch")
    assert await versions(api) == 1


async def test_the_body_is_compared_by_its_bytes_however_they_arrive(api: Any) -> None:
    body = json.dumps(template(1)).encode()
    headers = {**KEY, "Content-Type": "application/json"}
    assert (await api.put("/v1/templates/t", data=body, headers=headers)).status == 200

    async def chunks() -> Any:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    again = await api.put("/v1/templates/t", data=chunks(), headers=headers)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")


async def test_while_the_first_is_under_way_the_second_is_a_409(api: Any) -> None:
    body = json.dumps(template(1)).encode()
    async with wire(api.server) as line:
        head = (
            "PUT /v1/templates/t HTTP/1.1\r\nHost: x\r\nIdempotency-Key: once\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        await line.send(head.encode())
        assert (await line.answer())[0] == 100  # the key is reserved by now
        second = await api.put("/v1/templates/t", data=body, headers=KEY)
        assert (await problem(second, 409, "idempotency_in_flight"))["retryable"] is True
        await line.send(body)
        assert (await line.answer())[0] == 200


async def test_a_refused_request_frees_its_key(api: Any) -> None:
    url = "/v1/templates/t"
    await problem(await api.put(url, data=b"{", headers=KEY), 400, "bad_request")
    await problem(await api.put(url, json={"steps": {}}, headers=KEY), 422, "invalid_request")
    await problem(
        await api.post("/v1/jobs/job_01kqb4h0nme8atrb9rgb0yvm3j/cancel", headers=KEY),
        404,
        "not_found",
    )
    assert (await api.put(url, json=template(1), headers=KEY)).status == 200


async def test_a_key_that_cannot_be_one_is_refused_before_anything_is_done(api: Any) -> None:
    for key in ("", "x" * 256, " "):
        headers = {"Idempotency-Key": key}
        answer = await api.put("/v1/templates/t", json=template(1), headers=headers)
        await problem(answer, 400, "bad_request")
    await problem(await api.get("/v1/templates/t"), 404, "not_found")


async def test_a_key_that_was_lost_meanwhile_is_not_taken_from_another(
    api: Any, store: Store, books: Books
) -> None:
    """A server that slept longer than its reservation lives must not overwrite what came since."""
    slow = await store.idempotency.reserve("local", "once")
    assert isinstance(slow, Reservation)
    (name,) = [name for name in books.look().strings if name.startswith("idem:")]
    books.redis.delete(books.key(name))
    assert (await api.put("/v1/templates/t", json=template(1), headers=KEY)).status == 200
    before = books.redis.get(books.key(name))
    await store.idempotency.keep(slow, "f", "[200, {}, '']")
    assert books.redis.get(books.key(name)) == before


async def test_many_at_once_over_three_servers_do_it_once(serve: Any, store: Store) -> None:
    servers = [await serve() for _ in range(3)]

    async def send(number: int) -> tuple[int, bytes]:
        answer = await servers[number % 3].put("/v1/templates/t", json=template(1), headers=KEY)
        return answer.status, await answer.read() if answer.status == 200 else b""

    answers = await asyncio.gather(*(send(number) for number in range(60)))
    assert {status for status, _ in answers} <= {200, 409}
    assert len({body for status, body in answers if status == 200}) == 1
    events = await store.journal.unshipped()
    assert sum(lines.count(" template_put ") for _, lines in events) == 1


def endpoint(**others: Any) -> Endpoint:
    given: dict[str, Any] = {
        "operation_id": "makeThing",
        "tag": Tag.SERVICE,
        "summary": "x",
        "answers": {201: Answer("x")},
        **others,
    }
    return Endpoint("POST", "/v1/things", health.healthz, **given)


def test_a_secret_is_told_once_and_kept_nowhere() -> None:
    body = json.dumps({"id": "1", "token": "fp_secret", "other": None}).encode()
    headers = {"Location": "/v1/things/1", "Set-Cookie": "x", "X-Own": "y"}
    answer = web.Response(status=201, body=body, headers=headers, content_type="application/json")
    written = kept._written(endpoint(secrets=("token", "other")), answer)
    assert written is not None
    assert "fp_secret" not in written
    assert "\n" not in written
    status, kept_headers, told = json.loads(written)
    assert (status, json.loads(told)) == (201, {"id": "1", "token": "********", "other": None})
    assert kept_headers == {"Content-Type": "application/json", "Location": "/v1/things/1"}


def test_only_what_succeeded_and_is_small_is_kept() -> None:
    assert kept._written(endpoint(), web.Response(status=404, body=b"{}")) is None
    assert kept._written(endpoint(), web.Response(body=b"x" * 300_000)) is None
    assert kept._written(endpoint(), web.StreamResponse()) is None
    assert kept._written(endpoint(), web.Response(status=204)) == '[204, {}, ""]'


async def test_every_post_and_put_heeds_a_key_and_says_so(api: Any) -> None:
    document = await (await api.get("/openapi.json")).json()
    named = {
        entry["operationId"]: {parameter["name"] for parameter in entry["parameters"]}
        for item in document["paths"].values()
        for entry in item.values()
    }
    for each in ENDPOINTS:
        if each.shown and each.method in {"POST", "PUT"} and each.repeats is not Repeats.NONE:
            names = [each.operation_id] if each.operation_id in named else ["putFileProbe"]
            assert all("Idempotency-Key" in named[name] for name in names), each.operation_id
        if each.repeats is Repeats.NONE:
            own = "/tus" in each.path or each.operation_id == "putUpload"  # the token is the key
            assert own or each.public, "a protocol of its own, else it needs the key"


async def test_a_redis_that_is_nearly_full_keeps_no_answers_and_takes_no_definitions(
    api: Any, books: Books
) -> None:
    """What they take is missing to the jobs that are there."""
    store = api.app[API].resources.store
    assert (await api.put("/v1/templates/t", json=template(1), headers=KEY)).status == 200
    used = int(books.redis.info("memory")["used_memory"])
    books.redis.config_set("maxmemory", int(used * 1.05))
    try:
        store.reserve._next = 0.0  # look now, not in a second
        answer = await api.put("/v1/templates/u", json=template(1))
        await problem(answer, 503, "backlog")
        cancel = "/v1/jobs/job_01kqb4h0nme8atrb9rgb0yvm3j/cancel"
        answer = await api.post(cancel, headers={"Idempotency-Key": "other"})
        await problem(answer, 503, "backlog")
        await problem(await api.post(cancel), 404, "not_found")
    finally:
        books.redis.config_set("maxmemory", 0)
    store.reserve._next = 0.0
    assert (await api.put("/v1/templates/u", json=template(1))).status == 200
