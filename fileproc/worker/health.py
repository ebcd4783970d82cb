"""The worker's own port: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_async.aio.web import server_stats

from fileproc import __version__
from fileproc.errors import EngineError, FileprocError
from fileproc.store import lost
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from fileproc.worker.app import Worker

log = get_logger(__name__)


async def readiness(worker: Worker) -> tuple[bool, dict[str, Any]]:
    """(ready, each check by name with `ok` and what there is to say)."""
    store = await worker.resources.store.health()
    checks: dict[str, Any] = {
        "redis": {
            "ok": store.reachable and store.scripts_ok and store.in_use,
            "version": store.version,
            "detail": lost().detail if store.reachable and not store.in_use else "",
        },
        "durability": {
            "ok": store.durable,
            "required": False,
            "appendfsync": store.appendfsync,
            "maxmemory_policy": store.maxmemory_policy,
            "warnings": store.warnings,
        },
    }
    try:
        await worker.resources.objects.check()
        checks["storage"] = {"ok": True}
    except FileprocError as exc:
        checks["storage"] = {"ok": False, "detail": exc.detail}
    checks["sandbox"] = worker.sandbox_report()
    checks["scratch"] = {"ok": worker.scratch.has_room, "free_bytes": worker.scratch.free_bytes}
    checks["draining"] = {"ok": not worker.stopping}
    ready = all(check["ok"] for check in checks.values() if check.get("required", True))
    return ready, checks


@asynccontextmanager
async def serving(worker: Worker, host: str, port: int) -> AsyncIterator[int]:
    """Serve the health port for the life of the context; yields the port that was taken.

    Raises:
        EngineError: the port is in use.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "role": "worker", "version": __version__})

    async def readyz(_: web.Request) -> web.Response:
        ready, checks = await readiness(worker)
        body = {"status": "ready" if ready else "not_ready", "worker": worker.id, "checks": checks}
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(request: web.Request) -> web.StreamResponse:
        # Sets the figures of the store: what was so at the start, before its mark, would be told.
        await worker.resources.store.health()
        response: web.StreamResponse = await server_stats(request)
        return response

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as exc:
        await runner.cleanup()
        raise EngineError(
            f"The worker's health port {host}:{port} cannot be taken ({exc.strerror}): "
            "set FILEPROC_WORKER_PORT (0 takes any free port)."
        ) from exc
    try:
        yield site.port or port
    finally:
        await runner.cleanup()
