"""Whether the api is there, whether it can serve, and its figures."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from aiohttp import web
from prometheus_async.aio.web import server_stats
from pydantic_core import to_json

from fileproc import __version__
from fileproc.api.answers import Check, Readiness
from fileproc.api.context import API, Api
from fileproc.errors import FileprocError, UnauthorizedError
from fileproc.settings import unknown_variables
from fileproc.store import LOOK_S, lost
from fileproc.telemetry import get_logger, show_queue

log = get_logger(__name__)

FRESH_S: Final = 1.0
STORAGE: Final = "storage"

Value = TypeVar("Value")


class Cached(Generic[Value]):
    """A value that is looked up at most once a second, whoever and however many ask."""

    def __init__(self, look_up: Callable[[], Awaitable[Value]]) -> None:
        self._look_up = look_up
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._value: Value | None = None

    async def get(self) -> Value:
        """The value, at most a second old; raises what looking it up raises."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._value is None or now >= self._until:
                self._value = await self._look_up()
                self._until = asyncio.get_running_loop().time() + FRESH_S
            return self._value


class Health:
    """What /readyz and /metrics show of this api."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.checks = Cached(self._check)
        self.queue = Cached(api.resources.store.queue_stats)
        self.store = Cached(api.resources.store.health)

    async def _check(self) -> dict[str, Check]:
        async with asyncio.TaskGroup() as group:
            storage = group.create_task(self._storage())
            store = group.create_task(self._store())
            workers = group.create_task(self._workers())
        checks = {**store.result(), STORAGE: storage.result(), **workers.result()}
        for name, detail in self._api.pending.items():
            checks[name] = Check(status="failed", detail=detail)
        if self._api.draining:
            checks["server"] = Check(status="failed", detail="The server is shutting down.")
        return checks

    async def _storage(self) -> Check:
        try:
            await self._api.resources.objects.check()
        except FileprocError as exc:
            return Check(status="failed", detail=exc.detail)
        return Check(status="ok", detail="The bucket answers.")

    async def _workers(self) -> dict[str, Check]:
        """What the workers say of themselves; the api serves without them, jobs wait."""
        try:
            async with asyncio.timeout(LOOK_S):
                alive = await self._api.resources.store.status.workers()
        except (FileprocError, TimeoutError):
            unknown = Check(status="warning", detail="Unknown while the job store is away.")
            return {"workers": unknown, "sandbox": unknown}
        if not alive:
            none = Check(status="warning", detail="No worker is alive: jobs wait.")
            return {"workers": none, "sandbox": none}
        reports = [json.loads(worker["about"]).get("sandbox", {}) for worker in alive]
        missing = sorted({line for report in reports for line in report.get("missing", ())})
        return {
            "workers": Check(status="ok", detail=f"{len(alive)} alive."),
            "sandbox": Check(
                status="warning" if missing else "ok",
                detail=" ".join(missing) or "Landlock, seccomp and limits hold on every worker.",
            ),
        }

    async def _store(self) -> dict[str, Check]:
        found = await self.store.get()
        if not found.reachable:
            unknown = Check(status="failed", detail="Unknown while the job store is away.")
            away = Check(status="failed", detail=" ".join(found.warnings))
            return {"redis": away, "durability": unknown, "scripts": unknown}
        kept = "What was accepted survives a power cut (appendfsync always, noeviction)."
        return {
            "redis": Check(
                status="ok" if found.in_use else "failed",
                detail=f"{found.version} answers." if found.in_use else lost().detail,
            ),
            "durability": Check(
                status="ok" if found.durable else "warning",
                detail=kept if found.durable else " ".join(found.warnings),
            ),
            "scripts": Check(
                status="ok" if found.scripts_ok else "failed",
                detail="They run." if found.scripts_ok else "They do not do what they should.",
            ),
        }


HEALTH: Final = web.AppKey("health", Health)


async def healthz(request: web.Request) -> web.StreamResponse:
    """`GET /healthz`: the process answers; nothing else is asked."""
    del request
    return web.Response(body=_ALIVE, content_type="application/json")


_ALIVE: Final = to_json({"status": "ok", "version": __version__})


async def readyz(request: web.Request) -> web.StreamResponse:
    """`GET /readyz`: 200 if requests can be served, else 503; each need by name."""
    checks = await request.app[HEALTH].checks.get()
    ready = all(check.status != "failed" for check in checks.values())
    body = Readiness(status="ready" if ready else "not_ready", version=__version__, checks=checks)
    return web.Response(
        body=to_json(body), status=200 if ready else 503, content_type="application/json"
    )


async def metrics(request: web.Request) -> web.StreamResponse:
    """`GET /metrics`: Prometheus' text format.

    Raises:
        UnauthorizedError: FILEPROC_METRICS_TOKEN is set, and this is not it.
    """
    token = request.app[API].settings.metrics_token
    if token is not None:
        expected = f"Bearer {token.get_secret_value()}".encode()
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, expected):
            raise UnauthorizedError("The figures need the token of FILEPROC_METRICS_TOKEN.")
    # Sets the figures of its own: never raises, and waits no longer either.
    looking = asyncio.create_task(request.app[HEALTH].store.get())
    try:
        async with asyncio.timeout(LOOK_S):
            stats = await request.app[HEALTH].queue.get()
    except (FileprocError, TimeoutError):
        log.warning("metrics: the queue's figures are old, the job store is away")
    else:
        show_queue(stats)
    await looking
    response: web.StreamResponse = await server_stats(request)
    return response


async def announce(api: Api) -> None:
    """Say at start, loudly, what Redis will not keep, and what is set in vain."""
    for sentence in unknown_variables():
        log.warning("settings", warning=sentence)
    found: Any = await api.resources.store.health()
    for warning in found.warnings:
        log.warning("job store", warning=warning)
