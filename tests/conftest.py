"""The engines that all tests share, and settings that point at them.

Every test gets a prefix and a bucket of its own in one Valkey and one S3 server per test process,
so tests never see one another and nothing has to be flushed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from fileproc.dev.engines import S3Server, Valkey
from fileproc.settings import Auth, SandboxMode, Settings
from support.books import Books

if TYPE_CHECKING:
    from fileproc.objects import ObjectStore
    from fileproc.resources import Resources
    from fileproc.store import Store


class RedisServer(Protocol):
    @property
    def url(self) -> str: ...


class Storage(Protocol):
    @property
    def endpoint(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...


@dataclass(frozen=True)
class OutsideRedis:
    """A server that somebody else runs: a service container in CI."""

    url: str


@dataclass(frozen=True)
class OutsideS3:
    endpoint: str
    access_key: str
    secret_key: str


# Where others run the engines, these say so; without them the tests run their own.
_OTHERS = {
    name: os.environ.get(f"FILEPROC_TEST_{name}", "")
    for name in ("REDIS_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")
}


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """Settings of whoever runs the tests must not reach them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("FILEPROC_", "AWS_")) or name == "REDIS_URL":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if _OTHERS["REDIS_URL"]:
        yield OutsideRedis(_OTHERS["REDIS_URL"])
        return
    engine = Valkey(tmp_path_factory.mktemp("valkey"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    if _OTHERS["S3_ENDPOINT"]:
        yield OutsideS3(_OTHERS["S3_ENDPOINT"], _OTHERS["S3_ACCESS_KEY"], _OTHERS["S3_SECRET_KEY"])
        return
    engine = S3Server(tmp_path_factory.mktemp("s3"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def settings(valkey: RedisServer, s3_server: Storage, tmp_path: Path) -> Settings:
    """Settings of a deployment that nobody else uses; its store is in use."""
    made = make_settings(valkey, s3_server, tmp_path)
    ledger = Books(valkey.url, made.redis_prefix)
    ledger.mark()
    ledger.redis.close()
    return made


def make_settings(valkey: RedisServer, storage: Storage, folder: Path, **others: Any) -> Settings:
    name = secrets.token_hex(6)
    (folder / "scratch").mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "redis_url": valkey.url,
        "redis_prefix": f"{{t{name}}}:",
        "s3_endpoint": storage.endpoint,
        "s3_access_key_id": storage.access_key,
        "s3_secret_access_key": storage.secret_key,
        "s3_bucket": f"test-{name}",
        "_env_file": None,
        "port": 0,
        "worker_port": 0,
        "auth": Auth.OFF,
        "allowed_hosts": "x",  # as tests that speak HTTP by hand call every server
        "debug_operations": True,
        "sandbox": SandboxMode.BEST_EFFORT,
        "scratch_dir": folder / "scratch",
        **others,
    }
    return Settings(**given)


# The house may still be building: what is not there yet must not keep other tests from running.


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    from fileproc.store import open_store

    async with open_store(settings) as opened:
        yield opened


@pytest.fixture
async def objects(settings: Settings) -> AsyncIterator[ObjectStore]:
    from fileproc.objects import open_object_store
    from fileproc.worker.transfers import patiently

    async with open_object_store(settings) as opened:
        await patiently(opened.ensure_bucket)  # on a busy machine it may answer late
        yield opened


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    from fileproc.resources import open_resources
    from fileproc.worker.transfers import patiently

    async with open_resources(settings) as opened:
        await patiently(opened.objects.ensure_bucket)
        yield opened


@pytest.fixture
def books(valkey: RedisServer, settings: Settings) -> Iterator[Books]:
    """Balanced after the test, whatever the test was about."""
    ledger = Books(valkey.url, settings.redis_prefix)
    yield ledger
    assert ledger.complaints() == []
    ledger.redis.close()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Files are named by their argument, not by their bytes.

    They are made anew in each process, and archives hold the time: the processes of one run would
    come to different lists of tests.
    """
    return argname if isinstance(val, bytes) and len(val) > 32 else None
