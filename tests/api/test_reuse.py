"""What was done before is not done again, where those who ask say so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import reuse
from fileproc.settings import Auth
from fileproc.store import Role, Settlement, Store, Verdict
from fileproc.worker.janitor import Janitor
from support.clock import step_clock
from support.http import Hands, field, file_part, form, jpeg, problem
from support.jobs import PROBLEM, due_trash
from support.surface import bearer

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from support.books import Books

URL = "/v1/jobs/image.resize?width=9&reuse=true&filename=a.jpg"


async def put(api: Any, url: str = URL, data: bytes | None = None, **headers: str) -> Any:
    return await api.put(url, data=jpeg() if data is None else data, headers=headers)


async def done(api: Any, hands: Hands, url: str = URL) -> dict[str, Any]:
    """A job that is done by a worker."""
    answer = await put(api, url)
    assert answer.status == 202, await answer.text()
    await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    job: dict[str, Any] = await (await api.get(f"/v1/jobs/{(await answer.json())['id']}")).json()
    return job


async def test_the_same_again_is_answered_at_once(api: Any, hands: Hands) -> None:
    first = await done(api, hands)
    assert first["provenance"]["cached"] is False
    answer = await put(api, URL + "&labels=x=y&retention_s=600")
    assert answer.status == 200
    again = await answer.json()
    assert again["id"] != first["id"]
    assert (again["state"], again["attempt"], again["labels"]) == ("succeeded", 0, {"x": "y"})
    assert again["outputs"] == first["outputs"]
    assert again["provenance"] == {**first["provenance"], "cached": True}
    assert again["usage"] == {"wall_s": 0, "cpu_s": 0, "peak_rss_bytes": 0}
    assert await (await api.get(f"/v1/jobs/{again['id']}")).json() == again
    moved = await api.get(again["links"]["result"])
    assert await moved.read() == b"small"
    assert await hands.store.queue.claim("default", 0, 5, hands.store.queue.next_call()) == []


async def test_only_the_same_is_the_same(api: Any, hands: Hands) -> None:
    await done(api, hands)
    for url, data in (
        (URL.replace("9", "8"), jpeg()),
        (URL, jpeg(65)),
        (URL.replace("a.jpg", "b.jpg"), jpeg()),
        (URL.replace("image.resize?width=9", "image.convert?format=webp"), jpeg()),
        (URL + "&force=true", jpeg()),
        (URL.replace("&reuse=true", ""), jpeg()),
    ):
        answer = await put(api, url, data)
        assert answer.status == 202, url
    assert (await put(api)).status == 200


async def test_forms_json_and_batches_have_it_too(api: Any, hands: Hands) -> None:
    first = await done(api, hands)
    body = {"operation": "image.resize", "params": {"width": 9}, "reuse": True}
    by_id = {**body, "inputs": [{"file_id": first["inputs"][0]["file_id"]}]}
    assert (await api.post("/v1/jobs", json=by_id)).status == 200
    assert (await api.post("/v1/jobs?force=true", json=by_id)).status == 202
    headers, content = form(
        (field("job"), b'{"operation":"image.resize","params":{"width":9},"reuse":true}'),
        (file_part("a.jpg"), jpeg()),
    )
    assert (await api.post("/v1/jobs", data=content, headers=headers)).status == 200
    other = {**by_id, "params": {"width": 7}}
    answer = await api.post("/v1/batches", json={"jobs": [by_id, other]})
    batch = await answer.json()
    assert answer.status == 202, batch
    assert (batch["counts"]["succeeded"], batch["counts"]["queued"]) == (1, 1)
    answer = await api.post("/v1/batches", json={"jobs": [by_id]})
    assert (await answer.json())["state"] == "completed"


async def test_what_failed_for_good_is_refused_with_its_old_problem(api: Any, hands: Hands) -> None:
    job = await (await put(api)).json()
    await hands.fail(await hands.take())
    document = await problem(await put(api), 422, "known_failure")
    assert document["job_id"] == job["id"]
    assert document["error"]["code"] == "bad_input"
    assert "cut off" in document["detail"]
    assert len(await hands.files()) == 1  # what came with the refused one did not stay
    answer = await put(api, URL + "&force=true")
    assert answer.status == 202
    assert (await put(api, URL.replace("&reuse=true", ""))).status == 202
    await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))  # the forced one
    assert (await put(api)).status == 200


async def test_what_may_pass_is_tried_again(api: Any, hands: Hands) -> None:
    await put(api)
    lease = await hands.take()
    await hands.store.queue.settle(Settlement.fail(lease, PROBLEM))
    assert (await put(api)).status == 202
    await hands.fail(await hands.take(), "input_missing")  # permanent, and not the file's fault
    assert (await put(api)).status == 202


async def test_what_another_version_has_made_is_made_anew(
    api: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await done(api, hands)
    monkeypatch.setattr(reuse, "environment", lambda: "another")
    assert (await put(api)).status == 202


async def test_what_a_worker_of_another_version_has_made_is_not_given_out(
    api: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.http.environment", lambda: "of an old worker")
    await done(api, hands)
    assert (await put(api)).status == 202


async def test_what_lies_at_a_url_is_fetched_each_time(api: Any, hands: Hands) -> None:
    for place in ("a", "b", "b"):
        body = {
            "operation": "file.probe",
            "reuse": True,
            "inputs": [{"url": f"https://example.com/{place}"}],
        }
        answer = await api.post("/v1/jobs", json=body)
        assert answer.status == 202, await answer.text()
        await hands.succeed(await hands.take(), ("o", "text/plain", b"x"))


async def test_owners_do_not_share_results(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    statuses = []
    for owner in ("acme", "umbrella"):
        token = (await store.keys.create(owner, Role.USER)).token
        answer = await put(api, Authorization=f"Bearer {token}")
        statuses.append(answer.status)
        await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    assert statuses == [202, 202]


async def test_outputs_stay_until_the_last_job_that_has_them_is_gone(
    api: Any, hands: Hands, store: Store, resources: Resources, books: Books
) -> None:
    first = await done(api, hands)
    copies = [await (await put(api)).json() for _ in range(2)]
    prefix = books.jobs()[first["id"]]["pre"]
    janitor = Janitor(resources, "test")
    for gone in (first, copies[0]):
        assert (await api.delete(f"/v1/jobs/{gone['id']}")).status == 204
        assert prefix not in await due_trash(store)
        await janitor.sweep(age=timedelta(seconds=-60))
        assert [entry.key async for entry in resources.objects.list(prefix)] == [f"{prefix}0"]
    step_clock(books.redis, books.prefix, 86_400_001)
    await store.upkeep.purge()
    assert prefix in await due_trash(store)
    assert "shared" not in books.look().hashes


async def test_a_copy_that_races_with_the_delete_of_its_original_is_whole_or_none(
    api: Any, hands: Hands, books: Books
) -> None:
    for width in range(20, 26):
        url = URL.replace("9", str(width))
        first = await done(api, hands, url)
        answers = await asyncio.gather(
            *(put(api, url) for _ in range(4)), api.delete(f"/v1/jobs/{first['id']}")
        )
        for answer in answers[:4]:
            job = await answer.json()
            assert (answer.status, job["state"]) in {(200, "succeeded"), (202, "queued")}
            if answer.status == 202:
                await api.delete(f"/v1/jobs/{job['id']}")
        assert books.complaints() == []


async def test_settlement_that_comes_again_after_a_delete_spares_what_others_have(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    """Its first answer was lost; meanwhile another job has the outputs, and its own is deleted."""
    answer = await put(api)
    lease = await hands.take()
    settled: list[Settlement] = []
    real = store.queue.settle

    async def noted(settlement: Settlement) -> Verdict:
        settled.append(settlement)
        return await real(settlement)

    store.queue.settle = noted  # type: ignore[method-assign] # listens, and does the same
    await hands.succeed(lease, ("a.webp", "image/webp", b"small"))
    assert (await put(api)).status == 200
    assert (await api.delete(f"/v1/jobs/{(await answer.json())['id']}")).status == 204
    assert await real(settled[0]) is Verdict.STALE
    assert settled[0].prefix not in await due_trash(store)
    assert books.complaints() == []


# --- keys for which it is the rule -------------------------------------------------------------


async def test_a_key_says_what_its_requests_mean_that_do_not_say(
    serve: Any, hands: Hands, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    plain = bearer((await store.keys.create("acme", Role.ADMIN)).token)
    made = await api.post("/v1/keys", json={"owner": "acme", "reuse": True}, headers=plain)
    key = await made.json()
    assert key["reuse"] is True
    await store.keys.rotate(key["id"], overlap_s=60)  # another secret, the same key
    shown = await (await api.get(f"/v1/keys/{key['id']}", headers=plain)).json()
    assert (shown["reuse"], shown["state"]) == (True, "live")
    rule, silent = bearer(key["token"]), URL.replace("&reuse=true", "")
    first = await put(api, silent, None, **rule)
    assert first.status == 202
    await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    for url, headers, status in (
        (silent, rule, 200),
        (URL, rule, 200),
        (URL, plain, 200),
        (silent, plain, 202),
        (silent + "&reuse=false", rule, 202),
        (silent + "&force=true", rule, 202),
    ):
        assert (await put(api, url, None, **headers)).status == status, (url, headers is rule)
    parts = (
        (field("job"), b'{"operation": "image.resize", "params": {"width": 9}}'),
        (file_part("a.jpg"), jpeg()),
    )
    for headers, status in ((rule, 200), (plain, 202)):
        kind, body = form(*parts)
        answer = await api.post("/v1/jobs", data=body, headers={**kind, **headers})
        assert answer.status == status


async def test_a_batch_and_an_upload_token_mean_what_the_key_says(
    serve: Any, hands: Hands, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    rule = bearer((await store.keys.create("acme", Role.USER, reuse=True)).token)
    first = await (await put(api, URL.replace("&reuse=true", ""), None, **rule)).json()
    await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    asked = {"operation": "image.resize", "params": {"width": 9}}
    files = [{"file_id": first["inputs"][0]["file_id"]}]
    for more, succeeded in (({}, 1), ({"reuse": False}, 0)):
        body = {"jobs": [{**asked, **more, "inputs": files}]}
        batch = await (await api.post("/v1/batches", json=body, headers=rule)).json()
        assert batch["counts"]["succeeded"] == succeeded
    await hands.fail(await hands.take())
    steps = {"steps": {"small": asked}}
    await api.put("/v1/templates/small", json=steps, headers=rule)
    statuses = []
    for more in ({}, {}, {"reuse": False}):
        asked_for = {"template": "small", **more}
        granted = await api.post("/v1/upload-tokens", json=asked_for, headers=rule)
        token = bearer((await granted.json())["token"])
        answer = await api.put("/v1/jobs?filename=a.jpg", data=jpeg(), headers=token)
        statuses.append(answer.status)
        if len(statuses) == 1:
            await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    assert statuses == [202, 200, 202]


async def test_a_retry_of_what_failed_for_good_is_no_question_of_the_key(
    serve: Any, hands: Hands, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    rule = bearer((await store.keys.create("acme", Role.USER, reuse=True)).token)
    job = await (await put(api, URL, None, **rule)).json()
    await hands.fail(await hands.take())
    await problem(await put(api, URL, None, **rule), 422, "known_failure")
    assert (await api.post(f"/v1/jobs/{job['id']}/retry", headers=rule)).status == 202
