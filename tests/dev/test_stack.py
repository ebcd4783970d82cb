"""What the supervisor decides: keys or no keys, ports, and the environment of the roles."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import unused_port

from fileproc.dev.engines import Valkey
from fileproc.dev.folder import DataFolder
from fileproc.dev.processes import Child
from fileproc.dev.stack import Plan, Stack, _keep, check_port, is_loopback, pick_worker_port
from fileproc.dev.supervisor import banner, choose_auth, run_dev
from fileproc.errors import EngineError, SettingsError
from fileproc.settings import Auth, Settings
from fileproc.store import Role, open_store


def bare(**given: Any) -> Settings:
    return Settings(**{"_env_file": None, **given})


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(DataFolder(tmp_path))


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_is_this_machine_alone(host: str, local: bool) -> None:
    assert is_loopback(host) is local


# --- keys --------------------------------------------------------------------------------------


@pytest.fixture
def keyed(settings: Settings, valkey: Valkey, tmp_path: Path) -> tuple[Settings, Stack]:
    """Nothing is set but where the keys are kept."""
    stack = Stack(DataFolder(tmp_path))
    stack.valkey = valkey
    return bare(redis_prefix=settings.redis_prefix), stack


def changed(settings: Settings, **given: Any) -> Settings:
    kept = {name: getattr(settings, name) for name in settings.model_fields_set}
    return bare(**{**kept, **given})


async def test_without_keys_this_machine_needs_none(keyed: tuple[Settings, Stack]) -> None:
    assert await choose_auth(*keyed) is Auth.OFF


async def test_any_other_address_needs_an_admin_key_and_says_how_to_make_one(
    keyed: tuple[Settings, Stack],
) -> None:
    settings, stack = changed(keyed[0], host="0.0.0.0"), keyed[1]
    with pytest.raises(SettingsError, match="keys create --owner me --role admin --data"):
        await choose_auth(settings, stack)
    here = settings.model_copy(update={"redis_url": type(settings.redis_url)(stack.valkey.url)})
    async with open_store(here) as store:
        await store.keys.create("somebody", Role.USER)
        with pytest.raises(SettingsError, match="nobody has an admin key"):
            await choose_auth(settings, stack)
        await store.keys.create("me", Role.ADMIN)
    assert await choose_auth(settings, stack) is Auth.REQUIRED


async def test_a_key_is_needed_here_too_once_there_is_one(keyed: tuple[Settings, Stack]) -> None:
    settings, stack = keyed
    here = settings.model_copy(update={"redis_url": type(settings.redis_url)(stack.valkey.url)})
    async with open_store(here) as store:
        key = await store.keys.create("somebody", Role.USER)
        assert await choose_auth(settings, stack) is Auth.REQUIRED
        assert await choose_auth(changed(settings, auth=Auth.OFF), stack) is Auth.OFF
        await store.keys.revoke(key.info.id)
    assert await choose_auth(settings, stack) is Auth.OFF
    with pytest.raises(SettingsError, match="FILEPROC_AUTH is required"):
        await choose_auth(changed(settings, auth=Auth.REQUIRED), stack)


async def test_what_has_lost_its_keys_is_not_open_to_everybody(
    keyed: tuple[Settings, Stack],
) -> None:
    settings, stack = keyed
    journal = stack.s3.folder / "objects" / settings.s3_bucket / "journal"
    journal.mkdir(parents=True)
    here = settings.model_copy(update={"redis_url": type(settings.redis_url)(stack.valkey.url)})
    async with open_store(here) as store:
        await store.pipeline.command("DEL", store.names.schema)
    assert await choose_auth(settings, stack) is Auth.OFF
    (journal / "1-0_2-0").write_bytes(b"x")
    with pytest.raises(SettingsError, match=r"has lost its data.*FILEPROC_REBUILD_EMPTY=1"):
        await choose_auth(settings, stack)
    assert await choose_auth(changed(settings, rebuild_empty=True), stack) is Auth.REQUIRED


async def test_auth_off_is_refused_where_others_can_ask(keyed: tuple[Settings, Stack]) -> None:
    settings = changed(keyed[0], host="192.0.2.1", auth=Auth.OFF)
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1 can be reached by others"):
        await choose_auth(settings, keyed[1])


async def test_a_file_with_the_admin_key_is_enough(
    keyed: tuple[Settings, Stack], tmp_path: Path
) -> None:
    settings = changed(keyed[0], host="0.0.0.0", admin_key_file=tmp_path / "key")
    assert await choose_auth(settings, keyed[1]) is Auth.REQUIRED


# --- the roles' environment --------------------------------------------------------------------


def plan_for(settings: Settings, host: str = "127.0.0.1", **given: Any) -> Plan:
    return Plan(host, 8090, 8091, Auth.OFF, settings, **given)


def test_the_users_settings_pass_and_their_engines_do_not(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEPROC_DEBUG_OPERATIONS", "1")
    monkeypatch.setenv("FILEPROC_REDIS_URL", "redis://production/0")
    monkeypatch.setenv("FILEPROC_AUTH", "required")
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://production")
    environment = stack.environment(plan_for(bare()))
    assert environment["FILEPROC_DEBUG_OPERATIONS"] == "1"
    assert environment["FILEPROC_AUTH"] == "off"
    assert environment["FILEPROC_PORT"] == "8090"
    assert "production" not in " ".join(environment.values())


def test_downloads_from_elsewhere_go_through_the_api(stack: Stack) -> None:
    assert "FILEPROC_DOWNLOADS" not in stack.environment(plan_for(bare()))
    far = stack.environment(plan_for(bare(), host="0.0.0.0"))
    assert far["FILEPROC_DOWNLOADS"] == "proxy"
    asked = bare(downloads="redirect")
    assert "FILEPROC_DOWNLOADS" not in stack.environment(plan_for(asked, host="0.0.0.0"))


def test_the_demo_runs_where_the_kernel_lacks_a_layer_unless_the_user_insists(stack: Stack) -> None:
    lenient = stack.environment(plan_for(bare(), lenient=True))
    assert lenient["FILEPROC_SANDBOX"] == "best-effort"
    strict = stack.environment(plan_for(bare(sandbox="required"), lenient=True))
    assert "FILEPROC_SANDBOX" not in strict


def test_the_banner_has_a_line_to_copy() -> None:
    text = banner(plan_for(bare(), host="0.0.0.0"), Path("/data"))
    assert "'http://127.0.0.1:8090/v1/jobs/image.resize?width=800&format=webp'" in text
    assert "not needed" in text
    keyed = banner(Plan("::1", 8090, 8091, Auth.REQUIRED, bare()), Path("/data"))
    assert "http://[::1]:8090/docs" in keyed
    assert 'Bearer $FILEPROC_KEY"' in keyed


# --- ports and processes -----------------------------------------------------------------------


def test_the_worker_takes_the_next_port_or_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert pick_worker_port(bare(), port - 1) != port
    free = unused_port()
    assert pick_worker_port(bare(), free - 1) == free
    assert pick_worker_port(bare(worker_port=9123), free - 1) == 9123


def test_a_port_in_use_is_a_sentence_that_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} of 127.*already in use.*--port"):
            check_port("127.0.0.1", port, "--port")


def test_no_folder_is_made_where_the_port_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = bare(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(EngineError, match=r"--port N, or make dev PORT=N\.$"):
            run_dev(settings, folder)
    assert not folder.exists()


async def test_what_ends_is_started_again_and_said() -> None:
    child = Child("sleeper", [sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    child.start()
    first = child.pid
    lines: list[str] = []
    said = asyncio.Event()

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    keeper = asyncio.create_task(_keep(child, say))
    try:
        child.kill()
        await asyncio.wait_for(said.wait(), 10)
        while not child.running:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(0.02)
        assert child.pid != first
        assert lines == ["The sleeper has ended; starting it again in 0.2 s."]
    finally:
        keeper.cancel()
        child.kill()
