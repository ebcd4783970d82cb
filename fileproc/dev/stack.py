"""Everything at once: Valkey, the S3 server, the api and a worker over one data folder.

Used by `dev`, which keeps it running, and by `demo`, which runs one job through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.folder import DataFolder
from fileproc.dev.processes import Child, free_port, port_problem
from fileproc.errors import EngineError
from fileproc.objects import journal_root
from fileproc.settings import Auth, Settings

_READY_S = 60.0
_LOOK_S = 0.2
_BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 30.0  # what ran so long before it ended is started again at once

_T = TypeVar("_T")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run.

    Attributes:
        host, port: where the api listens.
        worker_port: of the worker's health server, on loopback.
        auth: whether requests need a key.
        settings: the user's; what they set is kept, unless it names other engines.
        lenient: the worker may run where the kernel lacks a layer of the sandbox.
        logs: folder for the roles' logs; None: they go where ours go.
    """

    host: str
    port: int
    worker_port: int
    auth: Auth
    settings: Settings
    lenient: bool = False
    logs: Path | None = None

    @property
    def url(self) -> str:
        """The api as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def worker_url(self) -> str:
        return f"http://127.0.0.1:{self.worker_port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def pick_worker_port(settings: Settings, api_port: int, *, chosen: bool = True) -> int:
    """The worker's port as set, else the api's next one, else any that is free.

    Args:
        settings: the user's.
        api_port: where the api will listen.
        chosen: the user chose that port; beside one that was merely free, others soon are taken.
    """
    if "worker_port" in settings.model_fields_set and settings.worker_port:
        return settings.worker_port
    if not chosen:
        return free_port()
    following = api_port + 1
    if following < 65_536 and port_problem("127.0.0.1", following) is None:  # noqa: PLR2004 - of TCP
        return following
    return free_port()


def check_port(host: str, port: int, option: str) -> None:
    """Before anything is started for nothing.

    Raises:
        EngineError: nobody can listen there now; `option` is named as the way out.
    """
    if problem := port_problem(host, port):
        raise EngineError(
            f"Nobody can listen at port {port} of {host}: {problem}. Choose another: {option}."
        )


class Part(Protocol):
    """What is kept running: an engine or a role."""

    name: str

    @property
    def running(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...


class Stack:
    """The engines first, then the roles; stopped the other way round."""

    def __init__(self, folder: DataFolder) -> None:
        self.folder = folder
        self.valkey = Valkey(folder.valkey)
        self.s3 = S3Server(folder.s3)
        self.roles: list[Child] = []

    @contextlib.asynccontextmanager
    async def engines(self) -> AsyncIterator[None]:
        """Run both engines; announced in the folder while they run."""
        try:
            await asyncio.gather(_thread(self.valkey.start), _thread(self.s3.start))
            self.folder.announce(self._engine_environment())
            yield
        finally:
            await asyncio.gather(_thread(self.valkey.stop), _thread(self.s3.stop))

    @contextlib.asynccontextmanager
    async def running(self, plan: Plan) -> AsyncIterator[None]:
        """Run both roles, ready when entered. The worker goes first, so that it can hand back.

        Raises:
            EngineError: a role does not become ready.
        """
        environment = self.environment(plan)
        self.folder.scratch.mkdir(mode=0o700, exist_ok=True)
        api, worker = (_role(name, environment, plan.logs) for name in ("api", "worker"))
        self.roles = [worker, api]
        try:
            api.start()
            worker.start()
            await asyncio.gather(_ready(api, plan.url), _ready(worker, plan.worker_url))
            yield
        finally:
            for role in self.roles:
                await _thread(role.stop, plan.settings.grace_s + 10)

    def has_journal(self, bucket: str) -> bool:
        """Whether anything was ever done with this folder."""
        journal = self.s3.folder / "objects" / bucket / journal_root()
        return journal.is_dir() and any(journal.iterdir())

    def kill(self) -> None:
        """Everything, now."""
        for part in reversed(self._parts()):
            part.kill()

    async def keep(self, say: Say) -> None:
        """Start again what ends, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in self._parts():
                group.create_task(_keep(part, say))

    def _parts(self) -> list[Part]:
        return [self.valkey, self.s3, *self.roles]

    def _engine_environment(self) -> dict[str, str]:
        return {
            "FILEPROC_REDIS_URL": self.valkey.url,
            "FILEPROC_S3_ENDPOINT": self.s3.endpoint,
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
        }

    def environment(self, plan: Plan) -> dict[str, str]:
        """For the roles: the user's settings, our engines."""
        given = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        chosen = {
            "FILEPROC_HOST": plan.host,
            "FILEPROC_PORT": str(plan.port),
            "FILEPROC_WORKER_HOST": "127.0.0.1",
            "FILEPROC_WORKER_PORT": str(plan.worker_port),
            "FILEPROC_AUTH": str(plan.auth),
            "FILEPROC_S3_REGION": "us-east-1",
            "FILEPROC_S3_ADDRESSING": "path",
        }
        fallback = _fallback(plan, self.s3.endpoint, self.folder.scratch)
        return {**fallback, **given, **chosen, **self._engine_environment()}


def _fallback(plan: Plan, s3_endpoint: str, scratch: Path) -> Mapping[str, str]:
    """What holds unless the user has set it."""
    fallback = {
        "FILEPROC_S3_PUBLIC_ENDPOINT": s3_endpoint,
        "FILEPROC_SCRATCH_DIR": str(scratch),
    }
    given = plan.settings.model_fields_set
    if not is_loopback(plan.host) and "downloads" not in given:
        # The S3 server stays on loopback; whoever asks from elsewhere downloads through the api.
        fallback["FILEPROC_DOWNLOADS"] = "proxy"
    if (plan.lenient or sys.platform != "linux") and "sandbox" not in given:
        fallback["FILEPROC_SANDBOX"] = "best-effort"
    return fallback


def _role(name: str, environment: Mapping[str, str], logs: Path | None) -> Child:
    return Child(
        name,
        [sys.executable, "-m", "fileproc", name],
        env=environment,
        log=logs / f"{name}.log" if logs else None,
    )


async def _ready(role: Child, url: str) -> None:
    """Wait for 200 on /readyz.

    Raises:
        EngineError: the role ended, or is not ready in time; with what it said.
    """
    said = ""
    timeout = aiohttp.ClientTimeout(total=5)
    deadline = asyncio.get_running_loop().time() + _READY_S
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while role.running and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{url}/readyz") as answer:
                    if answer.ok:
                        return
                    said = await answer.text()
            await asyncio.sleep(0.05)
    log = role.tail() or "Its own words stand above."
    if not role.running:
        raise EngineError(f"The {role.name} ended with status {role.ending}. {log}")
    raise EngineError(f"The {role.name} is not ready after {_READY_S:g} s: {said}\n{log}")


async def _keep(part: Part, say: Say) -> None:
    loop = asyncio.get_running_loop()
    tries, started = 0, loop.time()
    while True:
        await asyncio.sleep(_LOOK_S)
        if part.running:
            continue
        if loop.time() - started > _STEADY_S:
            tries = 0
        pause_s = _BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)]
        say(f"The {part.name} has ended; starting it again in {pause_s:g} s.")
        await asyncio.sleep(pause_s)
        tries, started = tries + 1, loop.time()
        try:
            await _thread(_start_again, part)
        except EngineError as exc:
            say(exc.detail)


def _start_again(part: Part) -> None:
    part.kill()  # an engine may have lost only one of its two processes
    part.start()


async def _thread(function: Callable[..., _T], *args: object) -> _T:
    """Run something that blocks; when cancelled, wait for its end first.

    So no thread starts a process behind the back of one that stops it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
