"""The api as a process: how it begins and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import run_api
from fileproc.dev.processes import free_port
from fileproc.errors import SettingsError
from support.commands import environment
from support.http import wire
from support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.settings import Settings

Start = Callable[[], Any]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Start:
    """Starts `python -m fileproc api` on a free port; its log is in the test's folder."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Any]:
        port = free_port()
        key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
        assert key is not None
        assert secret is not None
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fileproc", "api", "--port", str(port)),
            cwd=tmp_path,
            env=environment(
                FILEPROC_REDIS_URL=settings.redis_url.get_secret_value(),
                FILEPROC_REDIS_PREFIX=settings.redis_prefix,
                FILEPROC_S3_ENDPOINT=settings.s3_endpoint or "",
                FILEPROC_S3_BUCKET=settings.s3_bucket,
                AWS_ACCESS_KEY_ID=key.get_secret_value(),
                AWS_SECRET_ACCESS_KEY=secret.get_secret_value(),
                FILEPROC_AUTH="off",
                FILEPROC_GRACE_S="20",
            ),
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def listens() -> bool:
            assert process.returncode is None
            try:
                async with wire(SimpleNamespace(host="127.0.0.1", port=port)) as line:
                    await line.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    return (await line.answer())[0] == 200
            except ConnectionError:
                return False

        try:
            await eventually(listens)
            yield SimpleNamespace(host="127.0.0.1", port=port, process=process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    return run


async def test_sigterm_lets_an_upload_finish_and_refuses_what_comes_later(start: Start) -> None:
    async with start() as server, wire(server) as line:
        await line.send(
            b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert (await line.answer())[0] == 100
        await line.send(b"hello")
        server.process.send_signal(signal.SIGTERM)

        async def closed() -> bool:
            try:
                async with wire(server):
                    return False
            except ConnectionError:
                return True

        await eventually(closed)
        await line.send(b"world")
        assert (await line.answer())[0] == 202
        assert await asyncio.wait_for(server.process.wait(), 15) == 0


async def test_sigterm_ends_a_long_poll_at_once(start: Start) -> None:
    async with start() as server, wire(server) as line:
        await line.send(b"PUT /v1/jobs/file.probe?wait=60 HTTP/1.1\r\nHost: localhost\r\n")
        await line.send(b"Content-Length: 5\r\n\r\nhello")
        async with wire(server) as other:  # which is answered while the first one waits

            async def accepted() -> bool:
                await other.send(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return b'"queued"' in (await other.answer())[2]

            await eventually(accepted)
        server.process.send_signal(signal.SIGTERM)
        assert (await line.answer(within_s=10))[0] == 202
        assert await asyncio.wait_for(server.process.wait(), 15) == 0


async def test_a_second_signal_ends_it_now(start: Start) -> None:
    async with start() as server, wire(server) as line:
        await line.send(b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: localhost\r\n")
        await line.send(b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert (await line.answer())[0] == 100
        server.process.send_signal(signal.SIGTERM)
        await asyncio.wait({asyncio.create_task(server.process.wait())}, timeout=0.5)
        assert server.process.returncode is None
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 5) == 128 + signal.SIGTERM


def test_a_port_that_is_taken_is_said_in_a_sentence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} on 127.0.0.1 is taken"):
            run_api(settings.model_copy(update={"port": port}))


def test_an_admin_key_file_that_is_not_there_is_said_in_a_sentence(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="FILEPROC_ADMIN_KEY_FILE"):
        run_api(settings.model_copy(update={"admin_key_file": tmp_path / "none"}))


@pytest.mark.parametrize("held", ["", "secret", "fp_abcdefghjkmn_short", "fp_" + "x" * 60])
def test_an_admin_key_file_without_a_key_is_said_in_a_sentence(
    settings: Settings, tmp_path: Path, held: str
) -> None:
    file = tmp_path / "admin-key"
    file.write_text(held)
    with pytest.raises(SettingsError, match=r"holds no key.*keys create --owner me"):
        run_api(settings.model_copy(update={"admin_key_file": file}))
