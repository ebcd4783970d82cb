"""Upload tokens: one file, one job, for minutes; and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import examples
from fileproc.api.grant_models import UploadTokenView
from fileproc.settings import Auth
from fileproc.store import Memory, Role, Store
from fileproc.store.events import parse
from support.http import Hands, jpeg, problem
from support.surface import PRIVATE, Someone, bearer

if TYPE_CHECKING:
    from support.books import Books

THUMBS = {
    "variables": {"width": {"type": "integer", "default": 9}},
    "steps": {
        "small": {"operation": "image.resize", "params": {"width": {"$var": "width"}}},
    },
}


@pytest.fixture
async def owner(serve: Any, store: Store, hands: Hands) -> Someone:
    api = await serve(auth=Auth.REQUIRED)
    someone = await Someone.of("acme", Role.USER, api, store, hands)
    kept = await api.put("/v1/templates/thumbs", json=THUMBS, headers=someone.headers)
    assert kept.status == 200
    return someone


async def mint(owner: Someone, **more: Any) -> dict[str, Any]:
    answer = await owner.api.post(
        "/v1/upload-tokens", json={"template": "thumbs", **more}, headers=owner.headers
    )
    assert answer.status == 201, await answer.text()
    view: dict[str, Any] = await answer.json()
    UploadTokenView.model_validate(view)
    return view


async def send(owner: Someone, token: str, data: Any = None, **more: Any) -> Any:
    body = jpeg() if data is None else data
    return await owner.api.put("/v1/jobs", data=body, headers=bearer(token), **more)


def test_the_example_is_what_the_model_says() -> None:
    UploadTokenView.model_validate(examples.UPLOAD_GRANT)


async def test_one_file_becomes_the_job_that_was_chosen(owner: Someone, store: Store) -> None:
    view = await mint(
        owner, variables={"width": 7}, labels={"from": "page"}, metadata={"user": 5}, life_s=60
    )
    left = datetime.fromisoformat(view["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)
    assert view["template"] == "thumbs@1"
    answer = await send(owner, view["token"], params={"filename": "me.jpg"})
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    assert job["steps"][0]["params"]["width"] == 7
    assert (job["labels"], job["metadata"], job["template"]) == (
        *({"from": "page"}, {"user": 5}, "thumbs@1"),
    )
    assert job["inputs"][0]["name"] == "me.jpg"
    assert (await store.jobs.get("acme", job["id"])).owner == "acme"
    seen = await owner.api.get(answer.headers["Location"], headers=bearer(view["token"]))
    assert (await seen.json())["id"] == job["id"]


async def test_where_no_key_is_asked_for_a_token_does_as_much_and_no_more(
    serve: Any, store: Store, hands: Hands
) -> None:
    api = await serve()
    anyone = Someone(api, store, hands, {})
    assert (await api.put("/v1/templates/thumbs", json=THUMBS)).status == 200
    token = (await mint(anyone))["token"]
    answer = await send(anyone, token)
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    assert (await store.jobs.get("local", job["id"])).owner == "local"
    assert (await api.get(f"/v1/jobs/{job['id']}", headers=bearer(token))).status == 200
    await problem(await send(anyone, token, jpeg(32, 32)), 409, "token_used")
    await problem(await api.get("/v1/jobs", headers=bearer(token)), 403, "forbidden")
    # What is no token is looked over: here anyone may do everything.
    assert (
        await api.get("/v1/jobs", headers=bearer("fp_" + "a" * 12 + "_" + "b" * 40))
    ).status == 200
    key = await store.keys.create("acme", Role.VIEWER)
    assert (await api.get(f"/v1/jobs/{job['id']}", headers=bearer(key.token))).status == 200


async def test_what_was_judged_is_what_runs_whatever_becomes_of_the_template(
    owner: Someone,
) -> None:
    view = await mint(owner)
    other = {"steps": {"hash": {"operation": "file.hash"}}}
    await owner.api.put("/v1/templates/thumbs", json=other, headers=owner.headers)
    job = await (await send(owner, view["token"])).json()
    assert job["template"] == "thumbs@1"
    later = await mint(owner)
    await owner.api.delete("/v1/templates/thumbs", headers=owner.headers)
    await problem(await send(owner, later["token"]), 404, "not_found")


async def test_the_same_file_again_is_the_same_job_and_another_is_refused(
    owner: Someone, hands: Hands
) -> None:
    token = (await mint(owner))["token"]
    first = await (await send(owner, token)).json()
    again = await send(owner, token)
    assert (await again.json())["id"] == first["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    await problem(await send(owner, token, jpeg(32, 32)), 409, "token_used")
    renamed = await send(owner, token, params={"filename": "other.jpg"})
    await problem(renamed, 409, "token_used")
    assert len(await hands.files()) == 1


async def test_of_many_sends_at_once_one_makes_a_job(owner: Someone, hands: Hands) -> None:
    token = (await mint(owner))["token"]
    answers = await asyncio.gather(
        *(send(owner, token, jpeg(20 + number, 20)) for number in range(12))
    )
    made = {(await answer.json())["id"] for answer in answers if answer.status == 202}
    assert len(made) == 1
    assert {answer.status for answer in answers} <= {202, 409}
    assert len(await hands.files()) == 1


async def test_a_refused_file_leaves_the_token_good(owner: Someone, hands: Hands) -> None:
    token = (await mint(owner, max_bytes=2000))["token"]
    await problem(await send(owner, token, b"hello"), 415, "type_mismatch")
    await problem(await send(owner, token, b""), 422, "empty_file")
    for size in (2001, 100_000):
        document = await problem(await send(owner, token, b"x" * size), 413, "too_large")
        assert (document["limit"], document["limit_value"]) == ("max_bytes", 2000)

    async def unannounced() -> Any:
        for _ in range(10):
            yield jpeg()

    await problem(await send(owner, token, unannounced()), 413, "too_large")
    coded = {"Content-Encoding": "gzip", **bearer(token)}
    answer = await owner.api.put("/v1/jobs", data=b"x", headers=coded)
    await problem(answer, 415, "unsupported_media_type")
    assert await hands.files() == []
    assert (await send(owner, token, jpeg(16, 16))).status == 202


async def test_an_upload_token_opens_nothing_else(owner: Someone, books: Books) -> None:
    token = (await mint(owner))["token"]
    headers = bearer(token)
    job = await (await send(owner, token)).json()
    another = await owner.submit()
    unsent = bearer((await mint(owner))["token"])
    before = books.look().streams["events"]
    for endpoint in PRIVATE:
        if not endpoint.granted:
            for given in (headers, unsent):
                answer = await Someone(owner.api, owner.store, owner.hands, given).call(endpoint)
                await problem(answer, 403, "forbidden")
        elif "{name}" in endpoint.path:
            for given, job_id in ((headers, another["id"]), (unsent, job["id"]), (headers, "x")):
                answer = await Someone(owner.api, owner.store, owner.hands, given).call(
                    endpoint, (job_id,)
                )
                await problem(answer, 404, "not_found")
    assert books.look().streams["events"] == before
    assert {endpoint.method for endpoint in PRIVATE if endpoint.granted} == {"GET", "PUT"}


async def test_a_key_is_no_upload_token(owner: Someone) -> None:
    answer = await owner.api.put("/v1/jobs", data=jpeg(), headers=owner.headers)
    await problem(answer, 403, "forbidden")


async def test_a_token_ends_by_itself_and_with_the_key_that_made_it(
    owner: Someone, store: Store, books: Books
) -> None:
    parent = await store.keys.create("acme", Role.USER)
    someone = Someone(owner.api, store, owner.hands, bearer(parent.token))
    token = (await mint(someone))["token"]
    key_id = token.split("_")[1]
    assert 0 < books.redis.ttl(books.key(f"key:{key_id}")) <= 600
    assert key_id not in books.zset("keys")  # not in the list, and no key to be rotated there
    assert key_id not in [info.id for info in await store.keys.list()]
    await store.keys.revoke(parent.info.id)
    await problem(await send(owner, token), 401, "unauthorized")
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await store.keys.grant("acme", "{}", expires_at=past, by="")
    assert await store.keys.authenticate(expired) is None


async def test_tokens_survive_the_loss_of_redis_and_no_longer_than_they_live(
    owner: Someone, store: Store, books: Books
) -> None:
    token = (await mint(owner))["token"]
    key_id = token.split("_")[1]
    memory = Memory()
    for entry, lines in await store.journal.unshipped():
        for event in parse(entry, lines):
            memory.fold(event)
    listed = books.zset("keys")
    books.wipe()
    for known, fields in memory.keys.items():
        await store.journal.restore_key(known, fields)
    assert books.zset("keys") == listed
    assert 0 < books.redis.ttl(books.key(f"key:{key_id}")) <= 600
    found = await store.keys.authenticate(token)
    assert found is not None
    assert found.grant
    memory.forget_keys_ended_before(int(memory.keys[key_id]["expires"]) + 1)
    assert key_id not in memory.keys


async def test_what_makes_no_token_is_refused_by_its_place(owner: Someone) -> None:
    wrong: list[tuple[dict[str, Any], int, str | None]] = [
        ({}, 422, "/template"),
        ({"template": "Thumbs"}, 422, "/template"),
        ({"template": "none"}, 404, None),
        ({"template": "thumbs@2"}, 404, None),
        ({"template": "thumbs", "variables": {"width": 0}}, 422, None),
        ({"template": "thumbs", "variables": {"height": 1}}, 422, None),
        ({"template": "thumbs", "max_bytes": 0}, 422, "/max_bytes"),
        ({"template": "thumbs", "max_bytes": 1 << 50}, 422, "/max_bytes"),
        ({"template": "thumbs", "max_bytes": True}, 422, "/max_bytes"),
        ({"template": "thumbs", "life_s": 59}, 422, "/life_s"),
        ({"template": "thumbs", "life_s": 3601}, 422, "/life_s"),
        ({"template": "thumbs", "owner": "root"}, 422, "/owner"),
        ({"template": "thumbs", "inputs": []}, 422, "/inputs"),
        ({"operation": "file.hash"}, 422, "/template"),
    ]
    for body, status, pointer in wrong:
        answer = await owner.api.post("/v1/upload-tokens", json=body, headers=owner.headers)
        document = await answer.json()
        assert answer.status == status, (body, document)
        if pointer is not None:
            assert pointer in [error["pointer"] for error in document["errors"]], body


async def test_who_may_not_start_the_job_may_not_let_others(owner: Someone, store: Store) -> None:
    for role, scopes, status in (
        (Role.VIEWER, (), 403),
        (Role.USER, ("operation:file.hash",), 403),
        (Role.USER, ("template:thumbs",), 201),
        (Role.USER, ("operation:image.*",), 201),
    ):
        key = await store.keys.create("acme", role, scopes=scopes)
        answer = await owner.api.post(
            "/v1/upload-tokens", json={"template": "thumbs"}, headers=bearer(key.token)
        )
        assert answer.status == status, (role, scopes)


async def test_many_tokens_have_no_more_requests_than_one(
    serve: Any, store: Store, hands: Hands
) -> None:
    """Whoever has a key makes as many tokens as it likes: a rate for each would be none."""
    api = await serve(auth=Auth.REQUIRED, rate_read="4/hour", rate_patience_s=60)
    someone = await Someone.of("acme", Role.USER, api, store, hands)
    other = await Someone.of("other", Role.USER, api, store, hands)
    for owner in (someone, other):
        await api.put("/v1/templates/thumbs", json=THUMBS, headers=owner.headers)
    tokens = [(await mint(someone))["token"] for _ in range(3)]
    path = f"/v1/jobs/{(await (await send(someone, tokens[0])).json())['id']}"
    answers = [await api.get(path, headers=bearer(token)) for token in tokens for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200, 404, 404, 429, 429]
    assert (await api.get(path, headers=someone.headers)).status == 200
    theirs = await mint(other)
    assert (await api.get(path, headers=bearer(theirs["token"]))).status == 404


async def test_no_more_tokens_of_an_owner_live_than_may(
    serve: Any, store: Store, hands: Hands, books: Books
) -> None:
    api = await serve(auth=Auth.REQUIRED, max_upload_tokens_per_owner=3)
    someone = await Someone.of("acme", Role.USER, api, store, hands)
    other = await Someone.of("other", Role.USER, api, store, hands)
    for owner in (someone, other):
        await api.put("/v1/templates/thumbs", json=THUMBS, headers=owner.headers)
    made = [await mint(someone, life_s=life_s) for life_s in (60, 600, 60)]
    answer = await api.post(
        "/v1/upload-tokens", json={"template": "thumbs"}, headers=someone.headers
    )
    document = await problem(answer, 429, "quota_exceeded")
    assert (document["limit"], document["allowed"]) == ("max_upload_tokens_per_owner", 3)
    await mint(other)
    listed = books.key("grants:acme")
    assert 500 < books.redis.ttl(listed) <= 600
    books.redis.zadd(listed, {made[0]["token"].split("_")[1]: 1})  # its end has come
    await mint(someone)
    assert books.redis.zcard(listed) == 3
