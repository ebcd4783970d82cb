"""The same request sent twice makes one job, however it is sent, and only that same request."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from fileproc.api import idempotency
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.http import Hands, field, file_part, form, jpeg, noise, problem, submit, wire

KEY = {"Idempotency-Key": "order-17"}


async def put(
    api: Any, data: bytes = b"hello", url: str = "/v1/jobs/file.probe", **more: Any
) -> Any:
    return await api.put(url, data=data, headers={**KEY, **more})


async def test_a_put_sent_again_answers_with_the_first_job(api: Any, hands: Hands) -> None:
    first = await put(api)
    again = await put(api)
    assert (first.status, again.status) == (202, 202)
    assert (await again.json())["id"] == (await first.json())["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    assert len(await hands.files()) == 1


async def test_a_repetition_shows_the_job_as_it_is_by_now(api: Any, hands: Hands) -> None:
    await put(api)
    await hands.succeed(await hands.take(), ("o", "text/plain", b"x"))
    again = await put(api, Prefer="wait=5")
    assert again.status == 200
    assert (await again.json())["state"] == "succeeded"


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("/v1/jobs/file.probe", b"other"),
        ("/v1/jobs/file.probe?details=false", b"hello"),
        ("/v1/jobs/file.probe?priority=low", b"hello"),
        ("/v1/jobs/file.probe?labels=a=b", b"hello"),
        ("/v1/jobs/file.probe?filename=x.txt", b"hello"),
        ("/v1/jobs/table.convert?to=jsonl&filename=x.csv", b"hello"),
    ],
)
async def test_the_key_with_another_request_is_a_422(
    api: Any, hands: Hands, url: str, data: bytes
) -> None:
    assert (await put(api)).status == 202
    await problem(await put(api, data, url), 422, "idempotency_mismatch")
    assert len(await hands.files()) == 1


async def test_json_and_forms_have_it_too(api: Any, hands: Hands) -> None:
    file_id = (await submit(api))["inputs"][0]["file_id"]
    body = {
        "operation": "file.probe",
        "inputs": [{"file_id": file_id}],
        "labels": {"a": "1", "b": "2"},
    }
    turned = {**body, "labels": {"b": "2", "a": "1"}}
    ids = [
        (await (await api.post("/v1/jobs", json=sent, headers=KEY)).json())["id"]
        for sent in (body, turned)
    ]
    assert len(set(ids)) == 1
    answer = await api.post("/v1/jobs", json={**body, "priority": "low"}, headers=KEY)
    await problem(answer, 422, "idempotency_mismatch")
    other = {"Idempotency-Key": "form"}
    ids = []
    for boundary in ("one", "two"):
        headers, content = form(
            (field("job"), b'{"operation":"file.probe"}'),
            (file_part("a.jpg"), jpeg()),
            boundary=boundary,
        )
        answer = await api.post("/v1/jobs", data=content, headers={**headers, **other})
        ids.append((await answer.json())["id"])
    assert len(set(ids)) == 1
    assert len(await hands.files()) == 2


async def test_a_retry_sent_twice_makes_one_job(api: Any, hands: Hands) -> None:
    job = await submit(api)
    await hands.fail(await hands.take())
    answers = [await api.post(f"/v1/jobs/{job['id']}/retry", headers=KEY) for _ in range(2)]
    assert len({(await answer.json())["id"] for answer in answers}) == 1


async def test_while_the_first_is_under_way_the_second_is_a_409(api: Any) -> None:
    async with wire(api.server) as line:
        await line.send(
            b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: x\r\nIdempotency-Key: order-17\r\n"
            b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert (await line.answer())[0] == 100  # the key is reserved by now
        second = await put(api)
        assert (await problem(second, 409, "idempotency_in_flight"))["retryable"] is True
        assert second.headers["Retry-After"] == "1"
        await line.send(b"hello")
        status, _, body = await line.answer()
        assert status == 202
    again = await put(api)
    assert (await again.json())["id"] == json.loads(body)["id"]


async def test_a_refused_request_frees_its_key(api: Any) -> None:
    await problem(await put(api, b""), 422, "empty_file")
    url = "/v1/jobs/image.resize?width=9"
    await problem(await put(api, b"text", url), 415, "type_mismatch")
    assert (await put(api)).status == 202


async def test_a_dropped_request_frees_its_key(api: Any, hands: Hands) -> None:
    from support.waiting import eventually

    async with wire(api.server) as line:
        await line.send(
            b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: x\r\nIdempotency-Key: order-17\r\n"
            b"Expect: 100-continue\r\nContent-Length: 500\r\n\r\n"
        )
        assert (await line.answer())[0] == 100
        await line.send(b"hello")
        line.writer.transport.abort()

    async def taken() -> bool:
        return bool((await put(api)).status == 202)

    await eventually(taken, within_s=10)
    assert len(await hands.files()) == 1


async def test_a_long_upload_keeps_its_reservation(
    api: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "RENEW_S", 0.02)
    renewed = asyncio.Event()
    original = type(store.idempotency).renew

    async def renew(self: Any, held: Any) -> None:
        await original(self, held)
        renewed.set()

    monkeypatch.setattr(type(store.idempotency), "renew", renew)
    async with wire(api.server) as line:
        await line.send(
            b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: x\r\nIdempotency-Key: order-17\r\n"
            b"Content-Length: 5\r\n\r\nhel"
        )
        await asyncio.wait_for(renewed.wait(), 10)
        await line.send(b"lo")
        assert (await line.answer())[0] == 202


async def test_two_hundred_at_once_over_three_servers_make_one_job(
    serve: Any, hands: Hands
) -> None:
    servers = [await serve() for _ in range(3)]

    async def send(number: int) -> tuple[int, str]:
        answer = await put(servers[number % 3], noise(1000))
        document = await answer.json()
        return answer.status, str(document.get("id", document.get("code")))

    sent = await asyncio.gather(*(send(number) for number in range(200)))
    counted = Counter(sent)
    accepted = {value for status, value in counted if status == 202}
    assert len(accepted) == 1
    assert {value for status, value in counted if status != 202} <= {"idempotency_in_flight"}
    page = await (await servers[0].get("/v1/jobs")).json()
    assert [job["id"] for job in page["data"]] == list(accepted)
    assert len(await hands.files()) == 1


async def test_owners_do_not_share_keys(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    ids = set()
    for owner in ("acme", "umbrella"):
        token = (await store.keys.create(owner, Role.USER)).token
        answer = await put(api, Authorization=f"Bearer {token}")
        assert answer.status == 202
        ids.add((await answer.json())["id"])
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é", "a\tb", " "])
async def test_a_key_that_cannot_be_one_is_a_400(api: Any, key: str) -> None:
    answer = await api.put("/v1/jobs/file.probe", data=b"x", headers={"Idempotency-Key": key})
    await problem(answer, 400, "bad_request")


async def test_two_keys_are_none(api: Any) -> None:
    answer = await api.put(
        "/v1/jobs/file.probe",
        data=b"x",
        headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )
    await problem(answer, 400, "bad_request")


@pytest.mark.parametrize("key", ["x" * 255, "a b", '"quoted"', "%"])
async def test_keys_of_all_kinds(api: Any, key: str) -> None:
    ids = set()
    for sent in (key, f'"{key.strip(chr(34))}"'):
        answer = await api.put("/v1/jobs/file.probe", data=b"x", headers={"Idempotency-Key": sent})
        assert answer.status == 202, await answer.text()
        ids.add((await answer.json())["id"])
    assert len(ids) == 1


async def test_a_repetition_of_a_deleted_job_is_gone(api: Any) -> None:
    job = await (await put(api)).json()
    await api.delete(f"/v1/jobs/{job['id']}")
    await problem(await put(api), 410, "gone")


async def test_what_is_sent_again_finds_its_job_though_its_file_is_gone(api: Any) -> None:
    """Whoever lost the answer must not take an accepted job for a refused one."""
    file = await (await api.post("/v1/files?filename=a.txt", data=b"hello")).json()
    body = {"operation": "file.probe", "inputs": [{"file_id": file["id"]}]}
    headers = {"Idempotency-Key": "k"}
    first = await (await api.post("/v1/jobs", json=body, headers=headers)).json()
    of_form, body_of_form = form((field("job"), json.dumps(body).encode()))
    of_form = {**of_form, "Idempotency-Key": "form"}
    second = await (await api.post("/v1/jobs", data=body_of_form, headers=of_form)).json()
    assert (await api.delete(f"/v1/files/{file['id']}")).status == 204
    again = await api.post("/v1/jobs", json=body, headers=headers)
    assert (again.status, (await again.json())["id"]) == (202, first["id"])
    again = await api.post("/v1/jobs", data=body_of_form, headers=of_form)
    assert (again.status, (await again.json())["id"]) == (202, second["id"])
