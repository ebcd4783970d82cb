"""Webhooks by the API: endpoints, secrets, the log, hooks of jobs, and other owners'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import examples
from fileproc.api.webhook_models import (
    DeliveryDetail,
    DeliveryView,
    NewWebhookView,
    WebhookList,
    WebhookView,
)
from fileproc.ids import new_id
from fileproc.settings import Auth
from fileproc.store import NewDelivery, Outcome, Role
from fileproc.webhooks import JOBS, is_secret
from support.http import field, file_part, form, problem

if TYPE_CHECKING:
    from fileproc.store import Store

HOOKS = "/v1/webhooks"
URL = "https://example.com/hook?token=1"
ENDS = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


async def make(api: Any, **others: Any) -> dict[str, Any]:
    answer = await api.post(HOOKS, json={"url": URL, **others})
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"{HOOKS}/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    return made


def test_the_examples_are_what_the_models_say() -> None:
    WebhookView.model_validate(examples.WEBHOOK)
    assert is_secret(NewWebhookView.model_validate(examples.NEW_WEBHOOK).secret)
    DeliveryView.model_validate(examples.DELIVERY)


async def test_a_webhook_is_made_shown_changed_and_deleted(api: Any) -> None:
    made = await make(api)
    secret = made.pop("secret")
    assert is_secret(secret)
    assert (made["url"], made["events"], made["enabled"]) == (URL, ENDS, True)
    NewWebhookView.model_validate({**made, "secret": secret})
    address = f"{HOOKS}/{made['id']}"
    assert await (await api.get(address)).json() == made
    listed = await (await api.get(HOOKS)).json()
    assert listed == {"data": [made]}
    WebhookList.model_validate(listed)
    changes = {"events": ["job.failed", "job.failed"], "description": "x", "enabled": False}
    changed = await (await api.patch(address, json=changes)).json()
    assert (changed["events"], changed["url"]) == (["job.failed"], URL)
    assert (changed["enabled"], changed["disabled_reason"]) == (False, "owner")
    enabled = await (await api.patch(address, json={"enabled": True})).json()
    assert (enabled["enabled"], enabled["description"]) == (True, "x")
    assert secret not in await (await api.get(HOOKS)).text()
    assert (await api.delete(address)).status == 204
    for again in (api.get(address), api.delete(address), api.patch(address, json={})):
        await problem(await again, 404, "not_found")


async def test_a_new_secret_is_told_once(api: Any) -> None:
    made = await make(api)
    answer = await api.post(f"{HOOKS}/{made['id']}/rotate")
    rotated = await answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert is_secret(rotated["secret"])
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] is not None


async def test_what_is_no_webhook_is_refused_by_its_place(api: Any) -> None:
    wrong: list[tuple[Any, str]] = [
        ({}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["job.exploded"]}, "/events/0"),
        ({"url": URL, "events": "job.failed"}, "/events"),
        ({"url": URL, "events": [5]}, "/events/0"),
        ({"url": URL, "description": "x" * 201}, "/description"),
        ({"url": URL, "enabled": "yes"}, "/enabled"),
        ({"url": URL, "secret": "whsec_AAAA"}, "/secret"),
        ({"url": 5}, "/url"),
        ({"url": ""}, "/url"),
    ]
    for body, pointer in wrong:
        told = await problem(await api.post(HOOKS, json=body), 422, "invalid_request")
        assert pointer in {error["pointer"] for error in told["errors"]}, body
    made = await make(api)
    patches: list[dict[str, Any]] = [{"url": ""}, {"events": []}, {"other": 1}, {"enabled": 1}]
    for patch in patches:
        answer = await api.patch(f"{HOOKS}/{made['id']}", json=patch)
        await problem(answer, 422, "invalid_request")
    await problem(await api.post(HOOKS, data=b"url=x"), 415, "unsupported_media_type")
    assert len((await (await api.get(HOOKS)).json())["data"]) == 1


REFUSED = [
    "ftp://example.com/",
    "http://127.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://0x7f.1/",
    "http://localhost/",
    "http://user:secret@example.com/",
    "https://example.com:22/",
    "file:///etc/passwd",
    "nonsense",
]


async def test_an_address_of_ours_is_refused_when_it_is_named(api: Any) -> None:
    made = await make(api)
    for url in REFUSED:
        patched = await api.patch(f"{HOOKS}/{made['id']}", json={"url": url})
        for answer in (await api.post(HOOKS, json={"url": url}), patched):
            told = await problem(answer, 422, "url_not_allowed")
            assert told["errors"][0]["pointer"] == "/url"
        job = {"operation": "debug.sleep", "webhook": {"url": url}}
        told = await problem(await api.post("/v1/jobs", json=job), 422, "url_not_allowed")
        assert told["errors"][0]["pointer"] == "/webhook/url"


async def test_an_owner_has_so_many(serve: Any) -> None:
    api = await serve(max_webhooks=2)
    await (await api.get(f"{HOOKS}/{JOBS}")).json()
    for _ in range(2):
        await make(api)
    told = await problem(await api.post(HOOKS, json={"url": URL}), 429, "quota_exceeded")
    assert (told["limit"], told["allowed"]) == ("max_webhooks", 2)


async def test_a_test_message_is_queued_and_logged_and_can_be_sent_again(
    api: Any, store: Store
) -> None:
    made = await make(api)
    address = f"{HOOKS}/{made['id']}"
    answer = await api.post(f"{address}/test")
    queued = await answer.json()
    assert (answer.status, queued["state"], queued["type"]) == (202, "pending", "webhook.test")
    again = f"{address}/deliveries/{queued['id']}/redeliver"
    await problem(await api.post(again), 409, "delivery_pending")
    (posting,) = await store.deliveries.take(1)
    await store.deliveries.settle(posting, Outcome.DEAD, note="500 ")
    shown = await (await api.get(f"{address}/deliveries/{queued['id']}")).json()
    DeliveryDetail.model_validate(shown)
    assert shown["payload"]["data"] == {"webhook_id": made["id"]}
    assert (shown["state"], shown["tries"][0]["status"]) == ("failed", 500)
    assert (await api.post(again)).status == 202
    (posting,) = await store.deliveries.take(1)
    assert posting.id == queued["id"]
    await store.deliveries.settle(posting, Outcome.DONE, note="204 ")
    await api.patch(address, json={"enabled": False})
    await problem(await api.post(f"{address}/test"), 409, "webhook_disabled")
    await problem(await api.post(again), 409, "webhook_disabled")


async def test_the_log_comes_in_pages(api: Any, store: Store) -> None:
    made = await make(api)
    address = f"{HOOKS}/{made['id']}/deliveries"
    new = [
        NewDelivery(new_id("msg"), "local", made["id"], "", "job.failed", "", "{}")
        for _ in range(5)
    ]
    await store.deliveries.queue(None, new)
    seen, onward = [], f"{address}?limit=2"
    while onward:
        answer = await api.get(onward)
        page = await answer.json()
        seen += [each["id"] for each in page["data"]]
        onward = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert sorted(seen) == sorted(each.id for each in new)
    waiting = await (await api.get(address, params={"state": "pending"})).json()
    assert len(waiting["data"]) == 5
    assert (await (await api.get(address, params={"state": "failed"})).json())["data"] == []
    await problem(await api.get(address, params={"cursor": "?"}), 400, "bad_request")
    await problem(await api.get(address, params={"state": "lost"}), 422, "invalid_request")


async def test_too_many_waiting_refuse_a_test(serve: Any) -> None:
    api = await serve(max_pending_deliveries=1)
    address = f"{HOOKS}/{(await make(api))['id']}"
    assert (await api.post(f"{address}/test")).status == 202
    await problem(await api.post(f"{address}/test"), 429, "quota_exceeded")


async def test_the_webhook_of_jobs_is_always_there_and_stays_as_it_is(api: Any) -> None:
    address = f"{HOOKS}/{JOBS}"
    shown = await (await api.get(address)).json()
    assert (shown["id"], shown["url"], shown["events"]) == (JOBS, None, [])
    assert is_secret((await (await api.post(f"{address}/rotate")).json())["secret"])
    assert await (await api.get(f"{address}/deliveries")).json() == {
        "data": [],
        "next_cursor": None,
    }
    for call in (api.patch(address, json={}), api.delete(address), api.post(f"{address}/test")):
        await problem(await call, 409, "webhook_built_in")


@pytest.mark.parametrize("as_form", [False, True])
async def test_a_job_carries_its_hook_and_its_repetition_too(
    api: Any, store: Store, *, as_form: bool
) -> None:
    hook = {"url": URL, "events": ["job.failed"]}
    if as_form:
        text = f'{{"operation": "file.probe", "webhook": {{"url": "{URL}"}}}}'
        headers, body = form((field("job"), text.encode()), (file_part("a.txt"), b"hello"))
        hook["events"] = ENDS
        answer = await api.post("/v1/jobs", data=body, headers=headers)
    else:
        job = {"operation": "debug.sleep", "params": {"seconds": 0}, "webhook": hook}
        answer = await api.post("/v1/jobs", json=job)
    accepted = await answer.json()
    assert answer.status == 202, accepted
    assert accepted["webhook"] == hook
    shown = await (await api.get(f"/v1/jobs/{accepted['id']}")).json()
    assert shown["webhook"] == hook
    await api.post(f"/v1/jobs/{accepted['id']}/cancel")
    repeated = await (await api.post(f"/v1/jobs/{accepted['id']}/retry")).json()
    assert repeated["webhook"] == hook
    assert [each.id for each in await store.webhooks.list("local")] == [JOBS]


async def test_a_batch_carries_its_hook(api: Any) -> None:
    job = {"operation": "debug.sleep", "params": {"seconds": 0}}
    asked = {"jobs": [job], "webhook": {"url": URL}}
    made = await (await api.post("/v1/batches", json=asked)).json()
    assert made["webhook"] == {"url": URL, "events": ["batch.completed"]}
    wrong = {"jobs": [job], "webhook": {"url": "http://127.0.0.1/"}}
    told = await problem(await api.post("/v1/batches", json=wrong), 422, "url_not_allowed")
    assert told["errors"][0]["pointer"] == "/webhook/url"
    job["webhook"] = {"url": URL, "events": ["batch.completed"]}
    await problem(await api.post("/v1/jobs", json=job), 422, "invalid_request")


async def test_another_hook_is_another_request(api: Any) -> None:
    job = {"operation": "debug.sleep", "params": {"seconds": 0}, "webhook": {"url": URL}}
    headers = {"Idempotency-Key": "k"}
    first = await (await api.post("/v1/jobs", json=job, headers=headers)).json()
    again = await (await api.post("/v1/jobs", json=job, headers=headers)).json()
    assert again["id"] == first["id"]
    job["webhook"] = {"url": URL, "events": ["job.failed"]}
    answer = await api.post("/v1/jobs", json=job, headers=headers)
    await problem(answer, 422, "idempotency_mismatch")


async def test_another_owners_webhook_is_none(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    mine, theirs = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("mine", "theirs")
    ]
    made = await (await api.post(HOOKS, json={"url": URL}, headers=mine)).json()
    address = f"{HOOKS}/{made['id']}"
    sent = await (await api.post(f"{address}/test", headers=mine)).json()
    delivery = f"{address}/deliveries/{sent['id']}"
    calls: list[tuple[str, str]] = [
        ("GET", address),
        ("PATCH", address),
        ("DELETE", address),
        ("POST", f"{address}/rotate"),
        ("POST", f"{address}/test"),
        ("GET", f"{address}/deliveries"),
        ("GET", delivery),
        ("POST", f"{delivery}/redeliver"),
        ("GET", f"{HOOKS}/{JOBS}/deliveries/{sent['id']}"),
        ("POST", f"{HOOKS}/{JOBS}/deliveries/{sent['id']}/redeliver"),
    ]
    for method, path in calls:
        body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        answer = await api.request(method, path, headers=theirs, **body)
        await problem(answer, 404, "not_found")
        await problem(await api.request(method, path, **body), 401, "unauthorized")
    listed = (await (await api.get(HOOKS, headers=theirs)).json())["data"]
    assert listed == []
    assert (await api.get(address, headers=mine)).status == 200


@pytest.mark.parametrize("name", ["x", "wh_", "wh_" + "z" * 26, "job_" + "0" * 26, "%00", "a%2Fb"])
async def test_what_cannot_be_an_id_is_not_found(api: Any, name: str) -> None:
    await problem(await api.get(f"{HOOKS}/{name}"), 404, "not_found")
    answer = await api.get(f"{HOOKS}/{JOBS}/deliveries/{name}")
    await problem(answer, 404, "not_found")
