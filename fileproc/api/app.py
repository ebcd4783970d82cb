"""The api as a process: what it is made of, how it starts, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import uvloop
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from fileproc import __version__, operations
from fileproc.api import openapi, tus
from fileproc.api.body import not_yet
from fileproc.api.context import API, Api
from fileproc.api.docs import DOCS, Docs
from fileproc.api.endpoints import Handle
from fileproc.api.firing import Firing
from fileproc.api.health import HEALTH, Health, announce
from fileproc.api.middleware import add_headers, boundary
from fileproc.api.rates import Rates
from fileproc.api.routes import ENDPOINTS, addresses
from fileproc.api.tokens import Tokens
from fileproc.crashpoints import arm, crash_point
from fileproc.descriptors import raise_limit
from fileproc.errors import (
    FileprocError,
    InvalidRequestError,
    SchemaError,
    SettingsError,
    StoreUnavailableError,
)
from fileproc.operations import Operation
from fileproc.resources import Resources, in_use, open_resources
from fileproc.settings import Auth, Settings, services
from fileproc.store import lost
from fileproc.store.apikeys import parts_of
from fileproc.telemetry import BUILD, REQUESTS_OPEN, get_logger

log = get_logger(__name__)

Opener = Callable[[Settings], AbstractAsyncContextManager[Resources]]

START_RETRY_S: Final = 2.0
_LAST_SECONDS: Final = 3.0  # for what is still open when the grace is over


def _our_fault(record: logging.LogRecord) -> bool:
    """Whether a line is worth printing: a client that speaks no HTTP, or hangs up, is not."""
    exc = record.exc_info[1] if record.exc_info else None
    return not isinstance(exc, (HttpProcessingError, ConnectionError))


_protocol_log = logging.getLogger("fileproc.api.protocol")
_protocol_log.addFilter(_our_fault)

_SERVER: Final[dict[str, Any]] = {
    "logger": _protocol_log,
    # A connection that has not brought its headers in this time is closed: the deadline for
    # slow senders of headers, and for idle keep-alive alike. Longer than most proxies keep theirs.
    "keepalive_timeout": 75.0,
    # A refused upload is read on for so long, and thrown away, so that the refusal reaches a
    # client that is still sending; then the connection is closed.
    "lingering_time": 3.0,
    "max_line_size": 32 * 1024,  # labels and names are long when every byte is %-encoded
    "auto_decompress": False,  # bodies with a Content-Encoding are refused, never unpacked
    "access_log": None,  # the middleware logs and counts
}


def make_app(settings: Settings, opener: Opener = open_resources) -> web.Application:
    """The application; its resources open when it starts.

    Neither Redis nor the storage needs to be there then: what they are needed for answers 503.
    """
    offered = _offered(settings)
    handlers: dict[Handle, Any] = {endpoint.handle: endpoint for endpoint in ENDPOINTS}
    app = web.Application(
        middlewares=[boundary(handlers)],
        client_max_size=settings.max_json_bytes,
        handler_args=_SERVER,
    )
    # The router asks one after the other: what is asked for most is found first.
    for endpoint in sorted(ENDPOINTS, key=lambda endpoint: endpoint.operation_id != "getJob"):
        methods = ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,)
        for address in addresses(endpoint, offered):
            for method in methods:
                app.router.add_route(method, address, endpoint.handle, expect_handler=not_yet)
    with_keys = settings.auth is Auth.REQUIRED
    app[DOCS] = Docs(lambda: openapi.build(ENDPOINTS, offered, keys=with_keys))
    app.on_response_prepare.append(add_headers)
    app.on_response_prepare.append(tus.add_headers)
    app.on_shutdown.append(_drain)
    app.cleanup_ctx.append(_resources(settings, opener))
    return app


def _offered(settings: Settings) -> Mapping[str, Operation]:
    return operations.offered(debug=settings.debug_operations, services=services(settings))


def _resources(
    settings: Settings, opener: Opener
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(app: web.Application) -> AsyncIterator[None]:
        BUILD.info({"version": __version__})
        admin_token = _admin_token(settings)
        async with opener(settings) as resources, resources.store.feed.running():
            api = Api(settings, resources, _offered(settings), Rates(settings))
            api.tokens = Tokens(settings) if settings.jwt_algorithm is not None else None
            app[API] = api
            REQUESTS_OPEN.set_function(lambda: api.open)
            app[HEALTH] = Health(api)
            chores = [
                asyncio.create_task(_start_up(api, admin_token), name="start-up"),
                asyncio.create_task(Firing(api).run(), name="schedules"),
            ]
            try:
                yield
            finally:
                for chore in chores:
                    chore.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
                await api.close()
                await api.rates.close()

    return run


async def _drain(app: web.Application) -> None:
    crash_point("api-stopping")
    app[API].drain()


# --- what a start has to do, and may have to wait for ------------------------------------------


async def _start_up(api: Api, admin_token: str | None) -> None:
    """Do each chore once, trying until it works; /readyz names what is not done yet."""
    chores: dict[str, Callable[[], Awaitable[None]]] = {
        "bucket": api.resources.objects.ensure_bucket,
        "schema": lambda: _look_at_the_store(api.resources),
        "store_settings": lambda: announce(api),
    }
    if admin_token:
        chores["admin_key"] = lambda: api.resources.store.keys.ensure_admin(admin_token)
    for name in chores:
        api.pending[name] = "Not done yet."
    while True:
        for name, chore in list(chores.items()):
            if await _done(api, name, chore):
                del chores[name]
        if not chores:
            return
        await asyncio.sleep(START_RETRY_S)


async def _look_at_the_store(resources: Resources) -> None:
    """Is it ours, is it new, or has it lost everything?

    Raises:
        SchemaError: it is of a version that we do not know.
        StoreUnavailableError: it is lost, or away.
    """
    await resources.store.check_schema()
    if not await in_use(resources):
        raise lost()


async def _done(api: Api, name: str, chore: Callable[[], Awaitable[None]]) -> bool:
    try:
        await chore()
    except SchemaError as exc:
        if not api.unusable.done():
            api.unusable.set_exception(exc)  # `_serve` ends with it
        return False
    except FileprocError as exc:
        log.warning("start: not yet", chore=name, error=exc.detail)
        api.pending[name] = exc.detail
        return False
    api.pending.pop(name, None)
    return True


def _admin_token(settings: Settings) -> str | None:
    path = settings.admin_key_file
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
        parts_of(token)
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"FILEPROC_ADMIN_KEY_FILE: cannot read {path}: {exc}") from exc
    except InvalidRequestError as exc:
        raise SettingsError(
            f"FILEPROC_ADMIN_KEY_FILE: {path} holds no key. {exc.detail} Without this setting the "
            "first key is made by: python -m fileproc keys create --owner me --role admin"
        ) from exc
    return token


# --- the process -------------------------------------------------------------------------------


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; blocks.

    The first signal stops accepting, ends long polls, and lets requests under way finish for
    `grace_s`; the second one exits at once.

    Raises:
        SettingsError: the address cannot be bound.
        SchemaError: Redis holds data of another version; it is not touched.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    arm(settings.crash_at)
    stop = asyncio.Event()
    _on_signals(stop)
    raise_limit()
    app = make_app(settings)
    runner = web.AppRunner(app, shutdown_timeout=_LAST_SECONDS)
    await runner.setup()
    try:
        with contextlib.suppress(StoreUnavailableError):  # then a chore asks, once it is there
            await app[API].resources.store.check_schema()
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await _bind(site, settings)
        # What is here now stays: a full collection over it (models, botocore) stops everything for
        # some 50 ms, which is where the slowest of the requests came from.
        gc.collect()
        gc.freeze()
        host, port = runner.addresses[0][:2]
        log.info("api is listening", url=f"http://{host}:{port}", auth=str(settings.auth))
        await _until(stop, app[API].unusable)
        log.info("api is draining", grace_s=settings.grace_s)
        # Our own wait comes first: once aiohttp shuts a connection down it reads no more from it,
        # and an upload under way could never finish.
        await site.stop()
        app[API].drain()
        if not await app[API].quiet(settings.grace_s):
            log.warning("requests are cut off", open=app[API].open)
    finally:
        await runner.cleanup()
    log.info("api has stopped")


async def _until(stop: asyncio.Event, unusable: asyncio.Future[None]) -> None:
    """Until a signal; raises what makes this store unusable, as soon as it is found."""
    stopped = asyncio.create_task(stop.wait())
    both: set[asyncio.Future[Any]] = {stopped, unusable}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if unusable.done():
            unusable.result()
    finally:
        stopped.cancel()


def _on_signals(stop: asyncio.Event) -> None:
    def handle(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)  # asked twice: now, whatever is under way
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)


async def _bind(site: web.TCPSite, settings: Settings) -> None:
    try:
        await site.start()
    except OSError as exc:
        raise SettingsError(_why_not(exc, settings)) from exc


def _why_not(exc: OSError, settings: Settings) -> str:
    where = f"port {settings.port} on {settings.host}"
    if exc.errno == errno.EADDRINUSE:
        return f"FILEPROC_PORT: {where} is taken by another program; choose another port."
    if exc.errno == errno.EACCES:
        return f"FILEPROC_PORT: this user may not open {where}; choose one above 1023."
    return f"FILEPROC_HOST: cannot listen at {where}: {exc.strerror or exc}."
