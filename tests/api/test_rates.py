"""No key and no stranger asks too often, whatever they say of themselves and however many serve."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from fileproc.api.endpoints import RateClass
from fileproc.api.rates import STANDING, Rates
from fileproc.api.routes import ENDPOINTS
from fileproc.errors import RateLimitError
from fileproc.settings import Auth, Settings
from fileproc.store import Role, Store
from support.http import problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENT = {"rate_patience_s": 60}  # on a machine that is busy with other things
JOBS = next(endpoint for endpoint in ENDPOINTS if endpoint.operation_id == "listJobs")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def key_of(store: Store, owner: str = "acme") -> dict[str, str]:
    return bearer((await store.keys.create(owner, Role.USER)).token)


@pytest.fixture
async def processes(settings: Settings) -> AsyncIterator[list[Rates]]:
    """What four api processes have: nothing in common but Redis."""
    chosen = settings.model_copy(update={"rate_read": "2000/10000s", **PATIENT})
    found = [Rates(chosen) for _ in range(4)]
    yield found
    for rates in found:
        await rates.close()


async def test_parallel_requests_over_four_processes_are_counted_exactly(
    processes: list[Rates],
) -> None:
    async def ask(rates: Rates) -> str:
        request = make_mocked_request("GET", "/")
        try:
            await rates.admit_key(request, JOBS, "k")
        except RateLimitError:
            return "refused"
        return "admitted"

    counts: Counter[str] = Counter()
    for _ in range(10):
        asked = (ask(rates) for rates in processes for _ in range(250))
        counts.update(await asyncio.gather(*asked))
    assert counts.total() == 10_000
    assert 1_980 <= counts["admitted"] <= 2_000


async def test_each_class_of_requests_has_its_own_rate_and_says_what_is_left(
    serve: Any, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED, rate_read="3/hour", rate_submit="1/hour", **PATIENT)
    acme, other = await key_of(store), await key_of(store)
    for left in (2, 1, 0):  # whatever the address is: a job's id makes no budget of its own
        path = "/v1/jobs" if left else "/v1/jobs/job_01kqb4h0nme8atrb9rgb0yvm3j"
        answer = await api.get(path, headers=acme)
        assert answer.headers["RateLimit-Policy"] == '"read";q=3;w=3600'
        assert re.fullmatch(rf'"read";r={left};t=3[56][0-9][0-9]', answer.headers["RateLimit"])
        assert "Retry-After" not in answer.headers or answer.status == 200
    answer = await api.get("/v1/operations", headers=acme)
    document = await problem(answer, 429, "rate_limited")
    assert document["retryable"] is True
    told = {name: document[name] for name in ("limit", "allowed", "window_s")}
    assert told == {"limit": "rate_read", "allowed": 3, "window_s": 3600}
    assert 3_500 <= int(answer.headers["Retry-After"]) <= 3_600
    assert document["detail"].endswith(f"Try again in {answer.headers['Retry-After']} s.")
    assert answer.headers["RateLimit"].startswith('"read";r=0;t=')

    assert (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).status == 202
    refused = await api.put("/v1/jobs/file.probe", data=b"x" * 500_000, headers=acme)
    assert (await problem(refused, 429, "rate_limited"))["limit"] == "rate_submit"
    assert int(refused.headers["Retry-After"]) > 3500
    # Another key, though of the same owner, and what changes something, are counted apart.
    assert (await api.get("/v1/jobs", headers=other)).status == 200
    gone = await api.delete("/v1/jobs/job_01kqb4h0nme8atrb9rgb0yvm3j", headers=acme)
    assert gone.headers["RateLimit-Policy"] == '"write";q=6000;w=60'
    metrics = await (await api.get("/metrics")).text()
    for limit in ("rate_read", "rate_submit"):
        assert f'fileproc_limits_hit_total{{limit="{limit}"}}' in metrics


async def test_ten_thousand_spoofed_addresses_are_one(serve: Any) -> None:
    api = await serve(auth=Auth.REQUIRED, rate_sign_in="20/hour", **PATIENT)
    seen: Counter[int] = Counter()

    async def forge(number: int) -> None:
        address = f"{number % 223 + 1}.{number // 250}.{number % 250}.7"
        lies = {
            "X-Forwarded-For": address,
            "X-Real-IP": address,
            "Forwarded": f"for={address}",
            **bearer(f"fp_{number:012}_{'s' * 32}"),
        }
        async with api.get("/v1/jobs", headers=lies) as answer:
            seen[answer.status] += 1

    for start in range(0, 10_000, 100):
        await asyncio.gather(*(forge(number) for number in range(start, start + 100)))
    assert seen == {401: 20, 429: 9_980}


async def test_only_a_configured_proxy_speaks_for_others(serve: Any, store: Store) -> None:
    api = await serve(
        auth=Auth.REQUIRED,
        rate_sign_in="1/hour",
        trusted_proxies="127.0.0.0/8, ::1",
        **PATIENT,
    )

    async def status(forwarded: str) -> int:
        async with api.get("/v1/jobs", headers={"X-Forwarded-For": forwarded}) as answer:
            return int(answer.status)

    assert [await status("203.0.113.5"), await status("203.0.113.5")] == [401, 429]
    assert [await status("203.0.113.6"), await status("9.9.9.9, 203.0.113.6")] == [401, 429]
    # Whoever has a key is not punished for others behind the same address.
    forwarded = {"X-Forwarded-For": "203.0.113.5", **await key_of(store)}
    assert (await api.get("/v1/jobs", headers=forwarded)).status == 200


async def test_without_redis_nobody_is_counted_and_nobody_is_kept_waiting(
    settings: Settings,
) -> None:
    from fileproc.dev.processes import free_port

    away = settings.model_copy(
        update={
            "redis_url": type(settings.redis_url)(f"redis://127.0.0.1:{free_port()}"),
            "rate_read": "1/hour",
        }
    )
    rates = Rates(away)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(500):
        request = make_mocked_request("GET", "/")
        await rates.admit_key(request, JOBS, "k")
        assert STANDING not in request
    assert loop.time() - started < 5
    await rates.close()


async def test_quota_that_refuses_stands_beside_the_rate(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED, quota_bytes_per_day=3, **PATIENT)
    answer = await api.put("/v1/jobs/file.probe", data=b"four", headers=await key_of(store))
    await problem(answer, 429, "quota_exceeded")
    assert re.fullmatch(
        r'"submit";r=[0-9]+;t=[0-9]+, "quota_bytes_per_day";r=3;t=[0-9]+',
        answer.headers["RateLimit"],
    )


async def test_nothing_is_counted_where_keys_or_rates_are_off(serve: Any, store: Store) -> None:
    without_keys = await serve(rate_read="1/hour")
    without_rate = await serve(auth=Auth.REQUIRED, rate_read="off")
    key = await key_of(store)
    for _ in range(3):
        for api, headers in ((without_keys, {}), (without_rate, key)):
            answer = await api.get("/v1/jobs", headers=headers)
            assert answer.status == 200
            assert "RateLimit" not in answer.headers


async def test_strangers_are_forgotten_before_they_fill_the_memory(settings: Settings) -> None:
    from fileproc.api import rates as module

    rates = Rates(settings.model_copy(update={"trusted_proxies": "0.0.0.0/0"}))
    rates._rest_until = asyncio.get_running_loop().time() + 3600  # Redis has no part in this
    for number in range(2 * module.MOST_BOOKS):
        rates._book(RateClass.SIGN_IN, f"address-{number}", rates.table[RateClass.SIGN_IN])  # type: ignore[arg-type] # it has one
    assert len(rates._books) <= module.MOST_BOOKS
    await rates.close()


def test_every_private_endpoint_is_counted() -> None:
    for endpoint in ENDPOINTS:
        assert (endpoint.rate_class is None) == (endpoint.public and endpoint.rate is None)
        if endpoint.submits:
            assert endpoint.rate_class is RateClass.SUBMIT
    assert isinstance(STANDING, web.RequestKey)
