"""What browsers and polite clients rely on: CORS, OPTIONS, HEAD, compression; over every route."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from fileproc.api import app
from fileproc.api.compression import LEAST_BYTES, takes_gzip
from fileproc.api.context import API
from fileproc.api.cors import _ACCEPTED, _EXPOSED
from fileproc.api.routes import ENDPOINTS
from fileproc.errors import SettingsError
from fileproc.settings import Auth, Downloads, load_settings
from fileproc.store import Role, Store
from support.http import Hands, problem, submit, wire
from support.surface import MAKERS, Someone, bearer, call, place_of
from support.waiting import eventually

PAGE = "https://app.example.com"


# --- CORS --------------------------------------------------------------------------------------


async def test_a_page_of_an_allowed_origin_may_ask_and_read(serve: Any) -> None:
    api = await serve(auth=Auth.REQUIRED, cors_origins=f"{PAGE}, http://localhost:5173")
    for path in ("/v1/jobs", "/v1/jobs/image.resize", "/v1/keys/x/rotate", "/nothing"):
        asked = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        answer = await api.options(path, headers=asked)  # without a key: browsers send none
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"].split(", ")
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
        assert answer.headers["Access-Control-Max-Age"] == "600"
    refused = await api.get("/v1/jobs", headers={"Origin": PAGE})  # errors can be read as well
    assert refused.status == 401
    assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Location" in refused.headers["Access-Control-Expose-Headers"].split(", ")


@pytest.mark.parametrize(
    ("origins", "origin"),
    [
        ("", PAGE),
        (PAGE, "https://evil.example.com"),
        (PAGE, "http://app.example.com"),
        (PAGE, "https://app.example.com.evil.example"),
        (PAGE, "https://app.example.com:8443"),
        (PAGE, "https://sub.app.example.com"),
        (PAGE, "https://APP.example.com"),
        (PAGE, "null"),
        (PAGE, f"{PAGE}/"),
        (PAGE, f"{PAGE}, https://evil.example.com"),
        (PAGE, ""),
    ],
)
async def test_a_page_of_any_other_origin_may_not(serve: Any, origins: str, origin: str) -> None:
    api = await serve(cors_origins=origins)
    preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    for answer in (
        await api.options("/v1/jobs", headers=preflight),
        await api.get("/v1/jobs", headers={"Origin": origin}),
        await api.get("/v1/jobs"),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert ("Origin" in answer.headers.get("Vary", "")) == bool(origins)


async def test_nothing_is_ever_allowed_with_credentials(serve: Any) -> None:
    api = await serve(cors_origins="*")
    for headers in ({"Origin": PAGE}, {"Origin": "null"}, {}):
        answer = await api.get("/v1/jobs", headers=headers)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_what_routes_answer_and_take_in_headers_a_page_can_read_and_send() -> None:
    simple = {"accept", "expires", "cache-control", "content-length", "content-type"}
    readable = set(_EXPOSED.lower().split(", ")) | simple
    sendable = set(_ACCEPTED.lower().split(", ")) | simple
    for endpoint in ENDPOINTS:
        for answer in endpoint.answers.values():
            assert {name.lower() for name in answer.headers} <= readable, endpoint.operation_id
        assert {header.name.lower() for header in endpoint.headers} <= sendable, (
            endpoint.operation_id
        )


@pytest.mark.parametrize(
    "origins",
    [
        "example.com",
        "https://a.example/",
        "https://A.example",
        "ftp://a.example",
        "null",
        "https://*",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_at_start(
    origins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEPROC_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="FILEPROC_CORS_ORIGINS"):
        load_settings()


# --- OPTIONS and HEAD --------------------------------------------------------------------------


async def test_options_names_what_each_address_takes(
    serve: Any, store: Store, hands: Hands
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    someone = await Someone.of("acme", Role.ADMIN, api, store, hands)
    for endpoint in ENDPOINTS:
        answer = await call(api, endpoint, method="OPTIONS", headers=someone.headers)
        assert answer.status in {200, 204}, endpoint.operation_id
        if "Allow" in answer.headers or endpoint.method != "OPTIONS":
            allowed = set(answer.headers["Allow"].split(", "))
            assert {endpoint.method, "OPTIONS"} <= allowed, endpoint.operation_id
            assert ("GET" in allowed) <= ("HEAD" in allowed)
        assert await answer.read() == b""
    await problem(await api.options("/nothing"), 404, "route_not_found")


_CHANGING = {"Date", "RateLimit", "X-Request-ID", "Content-Length", "Transfer-Encoding", "Location"}


async def test_head_is_get_without_its_body(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    someone = await Someone.of("acme", Role.ADMIN, api, store, hands)
    made: dict[str, list[tuple[str, ...]]] = {}
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET":
            continue
        place = place_of(endpoint)
        if place is not None and place not in made:
            made[place] = await MAKERS[place](someone)
        for values in made[place] if place else [()]:
            found = []
            for method in ("GET", "HEAD"):
                answer = await call(api, endpoint, values, method=method, headers=someone.headers)
                if method == "HEAD":
                    assert await answer.read() == b""
                headers = {
                    name: text for name, text in answer.headers.items() if name not in _CHANGING
                }
                found.append((answer.status, headers))
                answer.close()
            assert found[0] == found[1], (endpoint.operation_id, values)


# --- compression -------------------------------------------------------------------------------


async def raw(api: Any, path: str, coding: str | None, **more: Any) -> tuple[Any, bytes]:
    """An answer as it travels."""
    headers = {"Accept-Encoding": coding} if coding is not None else {}
    async with ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as bare:
        answer = await bare.get(api.make_url(path), headers={**headers, **more.pop("headers", {})})
        return answer, await answer.read()


async def test_json_travels_compressed_to_those_who_take_it(api: Any) -> None:
    for _ in range(4):
        await submit(api)
    plain, whole = await raw(api, "/v1/jobs", None)
    assert len(whole) > LEAST_BYTES
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]
    for coding in ("gzip", "GZIP", "br, gzip;q=0.5", "*", "deflate;q=0, *;q=0.1", "gzip ; q=1.0"):
        packed, body = await raw(api, "/v1/jobs", coding)
        assert packed.headers["Content-Encoding"] == "gzip", coding
        assert int(packed.headers["Content-Length"]) == len(body) < len(whole) / 2
        assert json.loads(gzip.decompress(body)) == json.loads(whole)
        assert "Accept-Encoding" in packed.headers["Vary"]
    for coding in ("", "identity", "br", "gzip;q=0", "gzip;q=0.0, *", "*;q=0", "xgzip", "gzip;q=x"):
        packed, body = await raw(api, "/v1/jobs", coding)
        assert "Content-Encoding" not in packed.headers, coding
        assert body == whole


async def test_what_is_small_or_no_text_is_sent_as_it_is(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY)
    job = await submit(api)
    await hands.succeed(await hands.take(), ("o.json", "application/json", b"[" + b"1," * 9999))
    for path in (f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/result", "/healthz"):
        answer, _ = await raw(api, path, "gzip")
        assert answer.status == 200
        assert "Content-Encoding" not in answer.headers


async def test_the_etag_of_what_was_compressed_still_matches(api: Any) -> None:
    for path in ("/openapi.json", "/docs"):
        packed, body = await raw(api, path, "gzip")
        tag = packed.headers["ETag"]
        assert tag.startswith('W/"')
        assert len(gzip.decompress(body)) > len(body)
        for given in (tag, tag.removeprefix("W/")):
            again, rest = await raw(api, path, "gzip", headers={"If-None-Match": given})
            assert again.status == 304
            assert rest == b""


async def test_long_problems_are_compressed_too(api: Any) -> None:
    answer = await api.put("/v1/jobs/nothing", data=b"x", headers={"Accept-Encoding": "gzip"})
    document = await problem(answer, 422, "unknown_operation")
    assert document["errors"]


def test_a_flood_of_codings_is_judged_quickly() -> None:
    for text in (
        "gzip;q=" + "0" * 100_000,
        "," * 100_000,
        "a;q=1 " * 20_000,
        "gzip" + " " * 90_000,
    ):
        request = make_mocked_request("GET", "/", headers={"Accept-Encoding": text})
        takes_gzip(request)


# --- the slow ----------------------------------------------------------------------------------


async def test_headers_that_drip_are_cut_at_their_deadline(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app._SERVER, "keepalive_timeout", 0.5)
    api = await serve()
    async with wire(api.server) as line:
        await line.send(b"GET /healthz HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                await line.send(b"X-A: b\r\n")
                await asyncio.sleep(0.2)  # slower than the most headers are reached

        dripping = asyncio.create_task(drip())
        assert await line.ended(within_s=10)
        dripping.cancel()
        await asyncio.wait({dripping})


async def test_a_download_that_nobody_takes_is_cut(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY, upload_idle_s=0.5)
    job = await submit(api)
    await hands.succeed(await hands.take(), ("o.bin", "application/octet-stream", bytes(32 << 20)))
    async with wire(api.server) as line:
        await line.send(f"GET /v1/jobs/{job['id']}/result HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        async def cut() -> bool:
            return bool(api.server.app[API].open == 0)

        await eventually(lambda: asyncio.sleep(0, api.server.app[API].open == 1))
        await eventually(cut)


# --- figures -----------------------------------------------------------------------------------


async def test_metrics_have_a_switch_of_their_own(serve: Any, store: Store) -> None:
    secret = "m" * 20
    api = await serve(auth=Auth.REQUIRED, metrics_token=SecretStr(secret))
    key = await store.keys.create("acme", Role.ADMIN)
    for headers in ({}, bearer("x" * 20), bearer(key.token), bearer(secret + "m"), bearer("é")):
        answer = await api.get("/metrics", headers=headers)
        await problem(answer, 401, "unauthorized")
        assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert (await api.get("/metrics", headers=bearer(secret))).status == 200
    assert (await (await serve(auth=Auth.REQUIRED)).get("/metrics")).status == 200
