"""The way to Redis: one shared pipeline for concurrent calls, and connections apart for waiting.

redis-py, not HTTP, is the limit of the api: one script call per request on a connection of its own
makes half as many requests a second as all requests in flight sharing one pipeline. So calls of one
tick of the loop are sent together, at most two pipelines under way.

A whole pipeline is sent again when the connection breaks. That is safe here because every
command that goes through this pipeline is idempotent: the scripts know their jobs by id, token or
call number. What is not (BRPOPLPUSH) has its own connection, with retries off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    DataError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from fileproc.errors import StoreUnavailableError
from fileproc.store.scripts import scripts
from fileproc.telemetry import STORE_ERRORS, get_logger

MOST_PER_PIPELINE = 500
PIPELINES_IN_FLIGHT = 2
COMMAND_TIMEOUT_S = 5.0
RETRY_AFTER_S = 2
LOST_RETRY_AFTER_S = 10
_LOST = "LOST"  # how the answer of a script begins that found no mark: see the prelude

log = get_logger(__name__)


def connect(url: str, *, timeout_s: float | None = COMMAND_TIMEOUT_S, retries: int = 3) -> Redis:
    """A client; `retries` = 0 for commands that must not be sent twice.

    `timeout_s` holds for each reply; None for who keeps a time of its own.
    """
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5) if retries else NoBackoff()
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s or COMMAND_TIMEOUT_S, COMMAND_TIMEOUT_S),
        socket_keepalive=True,
        retry=Retry(backoff, retries),
        decode_responses=True,
        max_connections=64,
    )


def at_most_once(timeout_s: float) -> dict[str, Any]:
    """Options of a client of others whose commands must not be sent twice."""
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": 16,
    }


@contextmanager
def translated() -> Iterator[None]:
    """Past this border nobody catches RedisError: what failed is in the log, not in the message."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise unavailable(exc) from exc


def unavailable(exc: BaseException, *, noted: bool = False) -> StoreUnavailableError:
    """The error for callers; the truth goes to the log, unless it stands there already."""
    kind = type(exc).__name__
    STORE_ERRORS.labels(kind).inc()
    if not noted:
        log.warning("redis call failed", kind=kind, error=str(exc)[:300])
    if isinstance(exc, ResponseError) and str(exc).startswith(_LOST):
        return lost()
    if isinstance(exc, AuthenticationError):
        detail = "The job store refuses our credentials. Nothing was accepted; try again."
    elif isinstance(exc, ResponseError):
        detail = "The job store cannot take the request now. Nothing was accepted; try again."
    else:  # a reply that never came says nothing of what was done
        detail = (
            "The job store cannot be reached at the moment. Try again, a submission with the same "
            "Idempotency-Key: if it was accepted after all, you get that job."
        )
    return StoreUnavailableError(detail, retry_after_s=RETRY_AFTER_S)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Give Redis so long; raises redis-py's error, after which it tries again."""
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            yield
    except TimeoutError as exc:
        raise RedisTimeoutError("no reply in time") from exc


def lost() -> StoreUnavailableError:
    """The error for requests to a store that has lost everything, or has never been used."""
    return StoreUnavailableError(
        "The job store has lost its data and is not yet built again, or is new and not yet in use. "
        "Nothing was accepted; try again.",
        retry_after_s=LOST_RETRY_AFTER_S,
    )


class Pipeline:
    """Calls of one tick travel together. Safe to cancel: a call that was sent is carried out.

    `client` is one without a timeout: each exchange has its time, not each reply.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        # How redis-py reads the replies to some commands; a plain dictionary is looked up faster.
        self._readers = dict(client.response_callbacks)
        self._prefix = prefix
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._in_flight: set[asyncio.Task[None]] = set()

    async def script(self, name: str, *args: Any) -> Any:
        """Run one of our scripts.

        Raises:
            StoreUnavailableError: Redis is away or refuses; whether it acted is unknown.
        """
        return await self.command("EVALSHA", scripts()[name].sha, 1, self._prefix, *args)

    async def command(self, *command: Any) -> Any:
        """Run one idempotent command; raises as `script`."""
        return await self.ask(*command)

    def ask(self, *command: Any) -> asyncio.Future[Any]:
        """As `command`, for who asks several at once, in one round trip, and awaits them later."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        self._start()
        return future

    async def now_ms(self) -> int:
        """Redis' clock, ms since 1970: the one by which everything is dated; raises as `script`."""
        seconds, micros = await self.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _start(self) -> None:
        if self._waiting and len(self._in_flight) < PIPELINES_IN_FLIGHT:
            task = asyncio.get_running_loop().create_task(self._send())
            self._in_flight.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._start()

    async def _send(self) -> None:
        # The task starts after the callers of this tick have all put in their calls.
        batch = self._waiting[:MOST_PER_PIPELINE]
        del self._waiting[:MOST_PER_PIPELINE]
        if not batch:
            return
        try:
            replies = await self._execute([command for command, _ in batch])
        except (RedisError, OSError, TimeoutError) as exc:
            replies = [exc] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        noted: BaseException | None = None
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, BaseException):
                # A broken connection fails all calls of the batch: one line says so.
                future.set_exception(unavailable(reply, noted=reply is noted))
                noted = reply
            else:
                future.set_result(reply)

    async def _execute(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        replies = await self._round_trip(commands)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            # Redis was restarted, or is another one. The other commands did run: only those that
            # did not are sent again.
            await self.load_scripts()
            again = await self._round_trip([commands[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return replies

    async def _round_trip(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies, in order; an error that Redis answers stands in the place of its reply.

        redis-py's own pipeline does the same at five times the cost: it packs in Python, and
        starts a timer for each reply. Connections, and sending again, are redis-py's here too.
        """
        pool: Any = self._client.connection_pool
        async with _in_time():
            connection: Connection = await pool.get_connection()
        try:
            return await connection.retry.call_with_retry(
                partial(self._exchange, connection, commands), lambda _: connection.disconnect()
            )
        finally:
            await pool.release(connection)

    async def _exchange(
        self, connection: Connection, commands: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        try:
            packed = b"".join(map(pack_command, commands))
        except (TypeError, ValueError) as exc:
            raise DataError("a command with what Redis cannot be told") from exc
        async with _in_time():  # cut off, redis-py closes the connection: replies may still come
            await connection.send_packed_command(packed)
            return [await self._reply(connection, command[0]) for command in commands]

    async def _reply(self, connection: Connection, name: str) -> Any:
        try:
            reply = await connection.read_response()
        except ResponseError as exc:
            return exc
        read = self._readers.get(name)
        return reply if read is None else read(reply)

    async def load_scripts(self) -> None:
        await self._round_trip([("SCRIPT", "LOAD", script.source) for script in scripts().values()])

    async def close(self) -> None:
        """Let what was sent come back; then close the connections."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        await self._client.aclose()
