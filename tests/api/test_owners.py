"""Over every route there is: no key opens nothing, and what is another's looks like nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from fileproc.settings import Auth
from fileproc.store import Role, Store
from fileproc.store.connection import Pipeline
from support.http import Hands, problem
from support.surface import MAKERS, PRIVATE, PUBLIC, Someone, bearer, call, place_of

if TYPE_CHECKING:
    from support.books import Books


Asked = defaultdict[str, list[str]]


async def none_of_them(store: Store) -> list[dict[str, str]]:
    """Headers that hold no valid key, and some that nearly do."""
    live = await store.keys.create("acme", Role.ADMIN)
    revoked = await store.keys.create("acme", Role.ADMIN)
    await store.keys.revoke(revoked.info.id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await store.keys.create("acme", Role.ADMIN, expires_at=past)
    rotated = await store.keys.create("acme", Role.ADMIN)
    await store.keys.rotate(rotated.info.id, overlap_s=0)
    token = live.token
    return [
        {},
        bearer(""),
        bearer("fp_x"),
        bearer(token[:-1] + ("A" if token[-1] != "A" else "B")),
        bearer(re.sub(r"^fp_.{12}", "fp_000000000000", token)),
        bearer(re.sub(r"^fp_.{12}", f"fp_{revoked.info.id}", token)),
        bearer(revoked.token),
        bearer(expired.token),
        bearer(rotated.token),
        bearer(token.upper()),
        bearer(token.replace("_", "-")),
        bearer(token[:-1]),
        bearer(token + "x"),
        bearer("fp_" + "*" * 12 + token[15:]),
        bearer("x" * 7000),
        bearer(f"{token} {token}"),
        bearer(token + "\u00e9"),
        bearer(f'"{token}"'),
        {"Authorization": token},
        {"Authorization": f"Basic {token}"},
        {"Authorization": f"Token {token}"},
        {"Authorization": f"Bearer,{token}"},
        {"X-API-Key": token},
        {"Proxy-Authorization": f"Bearer {token}"},
        {"X-Forwarded-Authorization": f"Bearer {token}"},
        {"Cookie": f"key={token}"},
    ]


async def test_a_key_that_is_none_opens_no_route(serve: Any, store: Store, books: Books) -> None:
    api = await serve(auth=Auth.REQUIRED, rate_sign_in="off")
    headers = await none_of_them(store)
    before = books.look().streams["events"]
    for endpoint in PRIVATE:
        for given in headers:
            answer = await call(api, endpoint, headers=given)
            assert answer.status == 401, (endpoint.operation_id, given)
            await problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="fileproc"'
        in_query = await call(api, endpoint, params={"key": "k", "access_token": "k"})
        await problem(in_query, 401, "unauthorized")
    assert books.look().streams["events"] == before


def test_only_what_must_be_is_public() -> None:
    assert {endpoint.path for endpoint in PUBLIC} == {
        "/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/style.css",
        "/d/{code}",
    }  # fmt: skip
    assert all(endpoint.path.startswith("/v1/") for endpoint in PRIVATE)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What each request asks of Redis, by its id: the time that it takes is the time of these.

    But for the look at Redis' memory, which the first request of every second takes.
    """
    found: Asked = defaultdict(list)
    honest = Pipeline.command

    async def noted(self: Pipeline, *command: Any) -> Any:
        request = str(structlog.contextvars.get_contextvars().get("request_id"))
        if command[0] != "INFO":
            found[request].append(str(command[0]))
        return await honest(self, *command)

    monkeypatch.setattr(Pipeline, "command", noted)
    return found


async def test_what_is_anothers_looks_on_every_route_exactly_like_nothing(
    serve: Any, store: Store, hands: Hands, books: Books, asked: Asked
) -> None:
    rates = dict.fromkeys(("rate_read", "rate_write", "rate_submit"), "off")  # they count down
    api = await serve(auth=Auth.REQUIRED, **rates)
    acme = await Someone.of("acme", Role.USER, api, store, hands)
    routes = [(endpoint, place) for endpoint in PRIVATE if (place := place_of(endpoint))]
    things = {place: await MAKERS[place](acme) for place in {place for _, place in routes}}
    strangers = [
        await Someone.of("other", role, api, store, hands) for role in (Role.USER, Role.ADMIN)
    ]
    before = books.look().streams["events"]
    for endpoint, place in routes:
        for stranger in strangers:
            if endpoint.needs is Role.ADMIN and stranger is strangers[1]:
                continue  # an admin sees what is every owner's, on such routes only
            seen = [await look(stranger, endpoint, values, asked) for values in things[place]]
            expected = (403, "forbidden") if endpoint.needs is Role.ADMIN else (404, "not_found")
            for answer in seen:
                assert (answer["status"], answer["code"]) == expected, (
                    endpoint.operation_id,
                    answer,
                )
                assert answer == seen[-1], endpoint.operation_id
    assert books.look().streams["events"] == before  # and nothing happened to them


async def look(
    stranger: Someone, endpoint: Any, values: tuple[str, ...], asked: Asked
) -> dict[str, Any]:
    """The whole answer, but for the id that was asked for and the request's own; and its work."""
    answer = await stranger.call(endpoint, values)
    document: dict[str, Any] = await answer.json()
    work = asked[document.pop("request_id")]
    assert work
    for value in values:
        document["detail"] = document["detail"].replace(value, "ID")
    headers = {name: text for name, text in answer.headers.items() if name not in _OWN}
    return {**document, "headers": headers, "work": work}


_OWN = {"X-Request-ID", "Date", "Content-Length"}


async def test_every_route_asks_for_its_role(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    for role in Role:
        someone = await Someone.of("acme", role, api, store, hands)
        for endpoint in PRIVATE:
            answer = await someone.call(endpoint)
            allowed = role.includes(endpoint.needs)
            by_role = answer.status == 403 and "needed" in await answer.json()
            assert by_role != allowed, (role, endpoint.operation_id, answer.status)
            if not allowed:
                document = await problem(answer, 403, "forbidden")
                assert (document["role"], document["needed"]) == (role, endpoint.needs)
            answer.close()
            assert answer.status not in {401, 500}


def test_who_only_looks_changes_nothing() -> None:
    for endpoint in PRIVATE:
        if endpoint.method != "GET":
            assert endpoint.needs is not Role.VIEWER, endpoint.operation_id
    assert {endpoint.operation_id for endpoint in PRIVATE if endpoint.needs is Role.ADMIN} >= {
        *("createKey", "listKeys", "getKey", "rotateKey", "revokeKey"),
    }


async def test_public_routes_need_no_key(serve: Any) -> None:
    api = await serve(auth=Auth.REQUIRED)
    for endpoint in PUBLIC:
        answer = await call(api, endpoint)
        assert answer.status not in {401, 403}, endpoint.path
        assert (answer.status == 404) == (endpoint.path == "/d/{code}")  # there is no such link
