"""A stream is open for as long as what it was opened with opens doors, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from fileproc.api.context import API
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.events import following
from support.http import problem
from support.surface import TEMPLATE, bearer
from support.waiting import eventually

SECRET = "s" * 32
ENDED = {"reason": "key"}
LIFE_S = 15  # a stream that does not end with its key ends then, for another reason


async def test_a_stream_ends_with_its_key_and_no_other_does(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED, stream_life_s=LIFE_S)
    revoked, rotated, other = [await store.keys.create("acme", Role.USER) for _ in range(3)]
    async with (
        following(api, "/v1/events", headers=bearer(revoked.token)) as first,
        following(api, "/v1/events", headers=bearer(rotated.token)) as second,
        following(api, "/v1/events", headers=bearer(other.token)) as third,
    ):
        await store.keys.revoke(revoked.info.id)
        assert (await first.rest())[-1].data == ENDED
        again = await store.keys.rotate(rotated.info.id, overlap_s=0)
        assert (await second.rest())[-1].data == ENDED
        job = await api.put("/v1/jobs/file.probe", data=b"x", headers=bearer(other.token))
        assert job.status == 202
        assert (await third.until("move"))[-1].data["move"] == "submit"
    for token in (revoked.token, rotated.token):
        await problem(await api.get("/v1/events", headers=bearer(token)), 401, "unauthorized")
    assert again is not None
    async with following(api, "/v1/events", headers=bearer(again.token)) as reader:
        assert await reader.next() is not None


async def test_a_stream_ends_when_its_secret_or_token_expires(serve: Any, store: Store) -> None:
    api = await serve(
        auth=Auth.REQUIRED,
        stream_life_s=LIFE_S,
        jwt_algorithm="HS256",
        jwt_secret=SecretStr(SECRET),
        jwt_issuer="https://id.example/",
        jwt_audience="fileproc",
        jwt_leeway_s=0,
    )
    soon = datetime.now(UTC) + timedelta(seconds=2)
    expiring = await store.keys.create("acme", Role.USER, expires_at=soon)
    old = await store.keys.create("acme", Role.USER)
    await store.keys.rotate(old.info.id, overlap_s=2)
    claims = {"iss": "https://id.example/", "aud": "fileproc", "sub": "acme"}
    token = jwt.encode({**claims, "exp": int(soon.timestamp()) + 1}, SECRET, "HS256")
    async with (
        following(api, "/v1/events", headers=bearer(expiring.token)) as first,
        following(api, "/v1/events", headers=bearer(old.token)) as second,
        following(api, "/v1/events", headers=bearer(token)) as third,
    ):
        for reader in (first, second, third):
            assert (await reader.rest())[-1].data == ENDED
    for over in (expiring.token, old.token, token):
        await problem(await api.get("/v1/events", headers=bearer(over)), 401, "unauthorized")


async def test_a_stream_of_an_upload_token_ends_with_the_key_that_made_it(
    serve: Any, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED, stream_life_s=LIFE_S)
    key = await store.keys.create("acme", Role.USER)
    headers = bearer(key.token)
    await api.put("/v1/templates/thumbs", json=TEMPLATE, headers=headers)
    asked = {"template": "thumbs"}
    made = await api.post("/v1/upload-tokens", json=asked, headers=headers)
    token = bearer((await made.json())["token"])
    job = await (await api.put("/v1/jobs", data=b"x", headers=token)).json()
    async with following(api, job["links"]["events"], headers=token) as reader:
        await reader.next()
        await store.keys.revoke(key.info.id)
        assert (await reader.rest())[-1].data == ENDED


async def test_a_key_that_is_revoked_while_its_stream_is_opened_opens_none(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await serve(auth=Auth.REQUIRED, stream_life_s=LIFE_S)
    key = await store.keys.create("acme", Role.USER)
    running = api.server.app[API]
    feed = running.resources.store.feed
    admit = running.rates.admit_key

    async def revoked_meanwhile(*asked: Any) -> None:
        await admit(*asked)
        before = feed.history.position
        await store.keys.revoke(key.info.id)
        await eventually(lambda: feed.history.position > before)

    await feed.position()
    monkeypatch.setattr(running.rates, "admit_key", revoked_meanwhile)
    answer = await api.get("/v1/events", headers=bearer(key.token), params={"wait": "5"})
    await problem(answer, 401, "unauthorized")
