"""Redis or the storage goes away, and comes back: 503 meanwhile, and no restart of the api."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fileproc.api import make_app
from fileproc.dev.engines import S3Server, Valkey
from support.http import noise, problem
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.settings import Settings

MIB = 1024 * 1024


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """One that may be killed."""
    engine = Valkey(tmp_path / "own-valkey")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[S3Server]:
    engine = S3Server(tmp_path / "own-s3")
    engine.start()
    yield engine
    engine.stop()


async def client_of(settings: Settings) -> Any:
    client: Any = TestClient(TestServer(make_app(settings)))
    await client.start_server()
    return client


@pytest.fixture
async def frail(settings: Settings, own_valkey: Valkey, own_s3: S3Server) -> AsyncIterator[Any]:
    """An api on engines of its own."""
    from pydantic import SecretStr

    client = await client_of(
        settings.model_copy(
            update={
                "redis_url": SecretStr(own_valkey.url),
                "s3_endpoint": own_s3.endpoint,
                "s3_access_key_id": SecretStr(own_s3.access_key),
                "s3_secret_access_key": SecretStr(own_s3.secret_key),
            }
        )
    )

    async def ready() -> bool:
        return bool((await client.get("/readyz")).status == 200)

    await eventually(ready)
    yield client
    await client.close()


async def checks(api: Any) -> tuple[int, dict[str, str]]:
    answer = await api.get("/readyz")
    document = await answer.json()
    assert document["status"] == ("ready" if answer.status == 200 else "not_ready")
    return answer.status, {name: check["status"] for name, check in document["checks"].items()}


async def is_ready(api: Any) -> bool:
    return (await checks(api))[0] == 200


async def test_redis_killed_and_back(frail: Any, own_valkey: Valkey) -> None:
    job = await (await frail.put("/v1/jobs/file.probe", data=b"x")).json()
    poll = asyncio.create_task(frail.get(f"/v1/jobs/{job['id']}?wait=2"))
    own_valkey.kill()
    for answer in await asyncio.gather(
        frail.put("/v1/jobs/file.probe", data=b"x"),
        frail.put("/v1/jobs/file.probe", data=b"x", headers={"Idempotency-Key": "k"}),
        frail.post("/v1/jobs", json={"operation": "file.probe", "inputs": []}),
        frail.get("/v1/jobs"),
        frail.get(f"/v1/jobs/{job['id']}"),
        frail.get(f"/v1/jobs/{job['id']}/result"),
        frail.post(f"/v1/jobs/{job['id']}/cancel"),
        frail.post(f"/v1/jobs/{job['id']}/retry"),
        frail.delete(f"/v1/jobs/{job['id']}"),
    ):
        if answer.status == 422:
            continue  # refused without asking anybody: too few files
        document = await problem(answer, 503, "store_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert str(own_valkey.port) not in document["detail"]
    assert (await frail.get("/healthz")).status == 200
    assert (await frail.get("/metrics")).status == 200
    assert (await frail.get("/v1/operations")).status == 200
    await eventually(lambda: not_ready(frail, "redis"))
    assert (await poll).status in {200, 503}
    own_valkey.start()
    await eventually(lambda: is_ready(frail))
    found = await (await frail.get(f"/v1/jobs/{job['id']}")).json()
    assert found["state"] == "queued"
    assert (await frail.put("/v1/jobs/file.probe", data=b"x")).status == 202


async def not_ready(api: Any, name: str) -> bool:
    status, found = await checks(api)
    return status == 503 and found[name] == "failed"


async def test_storage_killed_and_back(frail: Any, own_s3: S3Server) -> None:
    own_s3.kill()
    for size in (10, 20 * MIB):
        answer = await frail.put("/v1/jobs/file.probe", data=io.BytesIO(noise(size)))
        await problem(answer, 503, "storage_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    await eventually(lambda: not_ready(frail, "storage"))
    assert (await (await frail.get("/v1/jobs")).json())["data"] == []
    own_s3.start()
    await eventually(lambda: is_ready(frail))
    assert (await frail.put("/v1/jobs/file.probe", data=b"x")).status == 202


async def test_the_api_starts_before_its_engines_do(settings: Settings, tmp_path: Path) -> None:
    from pydantic import SecretStr

    redis, storage = Valkey(tmp_path / "late-valkey"), S3Server(tmp_path / "late-s3")
    for engine in (redis, storage):  # once, to have ports and passwords
        engine.start()
        engine.stop()
    api = await client_of(
        settings.model_copy(
            update={
                "redis_url": SecretStr(redis.url),
                "s3_endpoint": storage.endpoint,
                "s3_access_key_id": SecretStr(storage.access_key),
                "s3_secret_access_key": SecretStr(storage.secret_key),
            }
        )
    )
    try:
        assert (await api.get("/healthz")).status == 200
        status, found = await checks(api)
        assert status == 503
        assert {found["redis"], found["storage"], found["bucket"]} == {"failed"}
        redis.start()
        storage.start()
        await eventually(lambda: is_ready(api), within_s=60)
        assert (await api.put("/v1/jobs/file.probe", data=b"x")).status == 202
    finally:
        await api.close()
        redis.stop()
        storage.stop()


async def test_a_silent_redis_keeps_nobody_from_health_and_figures(
    frail: Any, own_valkey: Valkey
) -> None:
    """Whoever watches has deadlines of his own, and looks just then."""

    async def noticed() -> bool:  # what was looked up last is told again for a second
        return bool((await frail.get("/readyz")).status == 503)

    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        await eventually(noticed, within_s=15)
        async with asyncio.timeout(15):
            ready = await frail.get("/readyz")
            figures = await frail.get("/metrics")
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert ready.status == 503
    assert (await ready.json())["checks"]["redis"]["status"] == "failed"
    assert figures.status == 200
    assert "fileproc_http_requests" in await figures.text()
