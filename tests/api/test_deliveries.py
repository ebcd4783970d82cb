"""Places that outputs are sent to: what is taken, and what is refused before a job exists."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from fileproc.jobs import StepError, TargetState, TargetStatus
from support.http import Hands, problem
from support.spellings import refused_urls

if TYPE_CHECKING:
    from fileproc.store import Store

URL = "https://bucket.example/out.bin?X-Amz-Signature=secret"


async def post(api: Any, *places: dict[str, Any], **headers: str) -> Any:
    body = {"operation": "debug.sleep", "params": {"seconds": 0}, "deliver": list(places)}
    return await api.post("/v1/jobs", json=body, headers=headers)


async def test_a_place_is_noted_and_its_secret_is_not_shown(api: Any, store: Store) -> None:
    place = {"url": URL, "output": 0, "headers": {"x-amz-meta-a": "hidden"}}
    answer = await post(api, place)
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    looked = await (await api.get(f"/v1/jobs/{job['id']}")).json()
    assert job["deliveries"] == looked["deliveries"]
    assert job["deliveries"] == [
        {
            "url": "https://bucket.example/out.bin?********",
            "output": 0,
            "state": "waiting",
            "files": 0,
            "error": None,
        }
    ]
    (kept,) = (await store.jobs.get("local", job["id"])).document.deliver
    assert (kept.url, kept.output, kept.headers) == (URL, 0, {"x-amz-meta-a": "hidden"})


async def test_a_retry_delivers_to_the_same_place(api: Any, store: Store) -> None:
    job = await (await post(api, {"url": URL})).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    again = await (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    (kept,) = (await store.jobs.get("local", again["id"])).document.deliver
    assert kept.url == URL


async def test_of_a_job_that_succeeded_only_what_failed_is_delivered_again(
    api: Any, store: Store, hands: Hands
) -> None:
    places = [{"url": URL, "output": number} for number in range(3)]
    job = await (await post(api, *places)).json()
    error = StepError(code="delivery_refused", detail="403")
    done = TargetStatus(state=TargetState.DELIVERED, files=1)
    failed = TargetStatus(state=TargetState.FAILED, error=error)
    await hands.succeed(
        await hands.take(), ("o", "text/plain", b"x"), deliveries=[done, failed, done]
    )
    job = await (await api.get(job["links"]["self"])).json()
    assert (job["state"], [one["state"] for one in job["deliveries"]]) == (
        "succeeded",
        ["delivered", "failed", "delivered"],
    )
    assert job["deliveries"][1]["error"]["code"] == "delivery_refused"
    assert (await api.get(job["links"]["result"], allow_redirects=False)).status == 302
    answer = await api.post(job["links"]["retry"], headers={"Idempotency-Key": "again"})
    assert answer.status == 202, await answer.text()
    again = await answer.json()
    assert (again["retry_of"], again["inputs"], len(again["deliveries"])) == (job["id"], [], 1)
    replayed = await api.post(job["links"]["retry"], headers={"Idempotency-Key": "again"})
    assert (await replayed.json())["id"] == again["id"]
    kept = (await store.jobs.get("local", again["id"])).document
    assert [target.output for target in kept.deliver] == [1]
    assert kept.made is not None
    assert [output.name for output in kept.made.outputs] == ["o"]
    assert "prefix" not in json.dumps(again)
    lease = await hands.take()
    assert lease.document.made == kept.made
    await hands.fail(lease, "delivery_refused")  # then that can be repeated in turn
    last = await (await api.post(f"/v1/jobs/{again['id']}/retry")).json()
    document = (await store.jobs.get("local", last["id"])).document
    assert (document.made, document.deliver) == (kept.made, kept.deliver)
    await hands.succeed(await hands.take(), deliveries=[done])
    await problem(await api.post(f"/v1/jobs/{last['id']}/retry"), 409, "wrong_state")
    elsewhere = {"deliver": [{"url": URL.replace("secret", "anew"), "output": 0}]}
    for over in (job["id"], last["id"]):  # whatever became of the first places
        answer = await api.post(f"/v1/jobs/{over}/retry", json=elsewhere)
        assert answer.status == 202, await answer.text()
        document = (await store.jobs.get("local", (await answer.json())["id"])).document
        assert document.made == kept.made
        assert [target.url for target in document.deliver] == [elsewhere["deliver"][0]["url"]]
    wrong = {"deliver": [{"url": "http://127.0.0.1/x"}]}
    answer = await api.post(f"/v1/jobs/{job['id']}/retry", json=wrong)
    refusal = await problem(answer, 422, "url_not_allowed")
    assert refusal["errors"][0]["pointer"] == "/deliver/0/url"


async def test_another_place_is_another_request(api: Any) -> None:
    key = {"Idempotency-Key": "k"}
    first = await (await post(api, {"url": URL}, **key)).json()
    assert (await (await post(api, {"url": URL}, **key)).json())["id"] == first["id"]
    await problem(await post(api, {"url": URL, "output": 1}, **key), 422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        ({}, "/deliver/0/url"),
        ({"url": URL, "output": -1}, "/deliver/0/output"),
        ({"url": URL, "method": "POST"}, "/deliver/0/method"),
        ({"url": URL, "headers": {"Host": "x"}}, "/deliver/0/headers/Host"),
        ({"url": URL, "headers": {"Authorization": "x"}}, "/deliver/0/headers/Authorization"),
        ({"url": URL, "headers": {"Content-Length": "1"}}, "/deliver/0/headers/Content-Length"),
        ({"url": URL, "headers": {"x-amz-a": "b\r\nHost: c"}}, "/deliver/0/headers/x-amz-a"),
    ],
)
async def test_what_cannot_be_sent_along_is_named(
    api: Any, place: dict[str, Any], pointer: str
) -> None:
    document = await problem(await post(api, place), 422, "invalid_request")
    assert [error["pointer"] for error in document["errors"]] == [pointer]


async def test_places_inside_are_refused(api: Any) -> None:
    inside = sorted(url for url in set(refused_urls(443)) if url.startswith("http://1"))
    urls = [url for url in inside if "1e3" not in url][:100]
    document = await problem(
        await post(api, *({"url": url} for url in urls)), 422, "url_not_allowed"
    )
    assert len(document["errors"]) == len(urls)


async def test_a_connection_of_another_owner_looks_like_none(serve: Any) -> None:
    one = {"bucket": "b", "access_key_id": "a", "secret_access_key": "b", "endpoint": "http://x"}
    known = {
        "ours": {**one, "owners": ["local"], "write": True},
        "read": {**one, "owners": ["*"]},
        "theirs": {**one, "owners": ["acme"], "write": True},
    }
    api = await serve(connections=SecretStr(json.dumps(known)))
    assert (await post(api, {"url": "s3://ours/out/"})).status == 202
    for name in ("read", "theirs", "nowhere"):
        refused = await post(api, {"url": f"s3://{name}/out/"})
        document = await problem(refused, 422, "url_not_allowed")
        assert document["errors"][0]["pointer"] == "/deliver/0/url"
        assert document["detail"] == f"There is no connection '{name}' that may be used so."
    await problem(await post(api, {"url": "s3://ours/out/../"}), 422, "url_not_allowed")
    for name, status in (("ours", 202), ("read", 202), ("theirs", 422)):
        body = {"operation": "file.probe", "inputs": [{"url": f"s3://{name}/a.pdf"}]}
        assert (await api.post("/v1/jobs", json=body)).status == status
