"""A deployment to break: apis and workers as processes, real engines, proxies in between."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from faults.fsyncs import cut
from faults.history import History
from faults.http_proxy import HttpProxy
from faults.resp_proxy import RespProxy
from faults.sink import connections
from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import Child, free_port
from fileproc.settings import Settings
from support.commands import descendants

ROOT = Path(__file__).parents[2]
APIS, WORKERS = 2, 4
START_S = 60.0
_FSYNCS = Path(__file__).with_name("fsyncs.py")
_UP = re.compile(rb'"worker": "(wrk_\w+)".*"worker is up"')
_CRASHED = re.compile(rb"^crash point (\S+)", re.MULTILINE)


@dataclass
class Role:
    """One api or worker process; restarted by the cluster whenever it is gone."""

    kind: str
    number: int
    folder: Path
    port: int
    env: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)  # for its next start only
    worker_id: str = ""
    held: bool = False  # not to be restarted now
    alive: bool = False  # as far as the cluster has noticed
    killed_at: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    deaths: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)  # crash points
    child: Child = field(init=False)
    _begin: int = 0

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "fileproc", self.kind, "--port", str(self.port)]
        self.child = Child(self.name, command, log=self.folder / f"{self.name}.log")

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        self.child.env = {**self.env, **self.extra}
        self.extra = {}
        self.worker_id, self.killed_at = "", 0.0
        self.ready.clear()
        self.child.start()
        self.alive = True

    def said(self) -> bytes:
        """Its log since the last start."""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            return file.read()

    def crashed_at(self) -> str | None:
        """The crash point it died at."""
        found = _CRASHED.findall(self.said()[-300:])
        return found[-1].decode() if found else None

    async def until_ready(self) -> None:
        """Wait until it answers; a worker is asked for its id, too.

        Raises:
            TimeoutError: with the end of its log.
            ChildProcessError: it has ended; likewise.
        """
        deadline = time.monotonic() + START_S
        async with aiohttp.ClientSession() as session:
            while self.child.running and time.monotonic() < deadline:
                with suppress(aiohttp.ClientError, TimeoutError):
                    timeout = aiohttp.ClientTimeout(total=2)
                    async with session.get(f"{self.url}/healthz", timeout=timeout):
                        if self.kind == "api" or self._found_id():
                            self.ready.set()
                            return
                await asyncio.sleep(0.05)
        if self.child.running:
            raise TimeoutError(f"{self.name} does not answer:\n{self.child.tail()}")
        raise ChildProcessError(f"{self.name} has ended at its start:\n{self.child.tail()}")

    def _found_id(self) -> bool:
        found = _UP.search(self.said())
        self.worker_id = found[1].decode() if found else ""
        return bool(found)


class Cluster:
    """Start it, hurt it, stop it. `hurt` things come back by themselves.

    Attributes:
        direct: settings that reach the engines past the proxies, for the checker.
    """

    def __init__(self, folder: Path, history: History, **env: str) -> None:
        self.folder = folder
        self.history = history
        self.synced = folder / "synced.json"
        self.valkey = watched_valkey(folder / "valkey", self.synced)
        self.s3 = S3Server(folder / "s3")
        self.redis_proxy: RespProxy
        self.s3_proxy: HttpProxy
        self.scratch = folder / "scratch"
        self.roles: list[Role] = []
        self.valkey_away = False
        self.measuring = ""  # the name under which recoveries from kills are measured now
        self.offspring: set[tuple[int, str]] = set()  # (pid, start time) of what roles have started
        self._env = env
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.gather(asyncio.to_thread(self.valkey.start), asyncio.to_thread(self.s3.start))
        self.redis_proxy = RespProxy("127.0.0.1", self.valkey.port)
        self.s3_proxy = HttpProxy("127.0.0.1", self.s3.port)
        await self.redis_proxy.start()
        await self.s3_proxy.start()
        self.direct = self._settings()
        for kind, number in (("api", APIS), ("worker", WORKERS)):
            for i in range(number):
                self.roles.append(
                    Role(kind, i, self.folder, free_port(), self._environment(kind, i))
                )
        for role in self.roles:
            role.start()
        await asyncio.gather(*(role.until_ready() for role in self.roles))
        self._keeper = asyncio.create_task(self._keep())

    def _settings(self, **others: Any) -> Settings:
        given: dict[str, Any] = {
            "redis_url": self.valkey.url,
            "s3_endpoint": self.s3.endpoint,
            "s3_access_key_id": self.s3.access_key,
            "s3_secret_access_key": self.s3.secret_key,
            "auth": "off",
            "debug_operations": True,
            "_env_file": None,
            **others,
        }
        return Settings(**given)

    def _environment(self, kind: str, number: int) -> dict[str, str]:
        redis_url = self.valkey.url.replace(f":{self.valkey.port}/", f":{self.redis_proxy.port}/")
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FILEPROC_", "AWS_", "REDIS"))
        }
        downloads = "proxy" if kind == "api" and number % 2 else "redirect"
        return {
            **clean,
            "PYTHONPATH": str(ROOT),
            "FILEPROC_REDIS_URL": redis_url,
            "FILEPROC_S3_ENDPOINT": f"http://127.0.0.1:{self.s3_proxy.port}",
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            "FILEPROC_AUTH": "off",
            "FILEPROC_DEBUG_OPERATIONS": "1",
            "FILEPROC_SANDBOX": "best-effort",
            "FILEPROC_SCRATCH_DIR": str(self.scratch),
            "FILEPROC_LOG_FORMAT": "json",
            "FILEPROC_DOWNLOADS": downloads,
            "FILEPROC_CONNECTIONS": connections(self.s3, f"http://127.0.0.1:{self.s3_proxy.port}"),
            **self._env,
        }

    @property
    def _appended(self) -> Path:
        return self.valkey.folder / "appendonlydir"

    @property
    def _copy(self) -> Path:
        return self.folder / "replica"

    @property
    def bucket(self) -> Path:
        """Where the S3 server keeps our objects."""
        return self.s3.folder / "objects" / self.direct.s3_bucket

    @property
    def apis(self) -> list[Role]:
        return [role for role in self.roles if role.kind == "api"]

    @property
    def workers(self) -> list[Role]:
        return [role for role in self.roles if role.kind == "worker"]

    # --- processes -----------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Start again whatever has died."""
        while True:
            for role in self.roles:
                if role.alive and not role.child.running:
                    self._died(role)
                if not role.child.running and not role.held:
                    role.start()
                elif role.child.running and not role.ready.is_set():
                    with suppress(TimeoutError, ChildProcessError):  # it may be hurt at once
                        await asyncio.wait_for(role.until_ready(), 0.2)
            await asyncio.sleep(0.05)

    def _died(self, role: Role) -> None:
        role.alive = False
        role.ready.clear()
        role._found_id()
        point = role.crashed_at()
        self.history.mark(
            "death",
            role=role.name,
            worker=role.worker_id,
            status=role.child.ending,
            point=point,
            killed_at=role.killed_at,
            measured=self.measuring if role.killed_at else "",
        )
        role.deaths.put_nowait(point)

    def kill(self, role: Role) -> None:
        """SIGKILL; the keeper starts it again."""
        self.note_offspring(role)
        role.killed_at = time.time()
        role.child.signal(signal.SIGKILL)
        self.history.mark("kill", role=role.name, worker=role.worker_id)

    def terminate(self, role: Role) -> None:
        """SIGTERM, as an operator's; the role is down in an orderly way."""
        self.note_offspring(role)
        role.killed_at = time.time()
        role.child.signal(signal.SIGTERM)

    def note_offspring(self, role: Role) -> None:
        """Remember the processes below it: none may outlive it."""
        self.offspring.update((pid, began(pid)) for pid in descendants(role.child.pid))

    async def steady(self, within_s: float = 60) -> None:
        """Wait until every role is up.

        Raises:
            TimeoutError: one does not come up.
        """
        async with asyncio.timeout(within_s):
            for role in self.roles:
                while not (role.ready.is_set() and role.child.running):
                    await asyncio.sleep(0.05)

    async def restart_all(self, **env: str) -> None:
        """Stop everything in order and start it with other settings."""
        self._env.update(env)
        for role in self.roles:
            role.held = True
            role.child.signal(signal.SIGTERM)
        for role in self.roles:
            await asyncio.to_thread(role.child.wait, 40)
            role.env.update(env)
            role.held = False
        await self.steady()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for role in self.roles:
            role.child.signal(signal.SIGCONT)
            role.child.signal(signal.SIGTERM)
        for role in self.roles:
            if not await asyncio.to_thread(role.child.wait, 45):
                role.child.kill()
        await self.redis_proxy.stop()
        await self.s3_proxy.stop()
        await asyncio.to_thread(self.valkey.stop)
        await asyncio.to_thread(self.s3.stop)

    # --- the store -----------------------------------------------------------------------------

    async def kill_valkey(self) -> None:
        """kill -9 and start again over the same files."""
        self.history.mark("kill", role="valkey")
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.to_thread(self.valkey.start)

    def copy_store(self) -> None:
        """What a replica has whose link breaks now."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._appended, self._copy)

    async def promote_copy(self) -> None:
        """The store is gone; it goes on as it was when the copy was made."""
        self.history.mark("failover", role="valkey")
        await asyncio.to_thread(self.valkey.kill)
        shutil.rmtree(self._appended)
        shutil.copytree(self._copy, self._appended)
        await asyncio.to_thread(self.valkey.start)

    async def cut_power(self, rng: Any) -> int:
        """Kill Valkey, take back what was not synced, start it; returns how many bytes that was."""
        self.history.mark("power", role="valkey")
        self.synced.unlink(missing_ok=True)
        await asyncio.to_thread(self.valkey.kill)
        async with asyncio.timeout(10):
            while not self.synced.exists():
                await asyncio.sleep(0.01)
        lost = cut(self._appended, self.synced, rng)
        await asyncio.to_thread(self.valkey.start)
        return lost


def watched_valkey(folder: Path, table: Path) -> Valkey:
    """A server whose power can be cut: see `fsyncs`."""
    program = [sys.executable, "-I", "-S", str(_FSYNCS), str(table), str(folder / "appendonlydir")]
    return Valkey(folder, under=program)


def began(pid: int) -> str:
    """When a process was started, in clock ticks; "" if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
