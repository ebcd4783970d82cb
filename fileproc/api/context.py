"""What the handlers share: one typed key of the application, and what a request carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from fileproc.api.places import Places
from fileproc.api.rates import Rates
from fileproc.operations import Operation
from fileproc.resources import Resources
from fileproc.settings import Settings
from fileproc.store import Role
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from fileproc.api.tokens import Tokens

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking. With auth off that is the owner `local`, as admin.

    Attributes:
        scopes: what it may start jobs of; () is no bound.
        key_id: of the api key, '' where there is none.
        reuse: whether its jobs may be answered by earlier ones where they do not say.
        grant: of an upload token, what it is for (JSON); '' for all others.
        granted_by: id of the key that made it; '' for all others.
        valid_until: when what was shown ends by itself.
    """

    owner: str
    role: Role
    scopes: tuple[str, ...] = ()
    key_id: str = ""
    reuse: bool = False
    grant: str = ""
    granted_by: str = ""
    valid_until: datetime | None = None

    @property
    def counted_as(self) -> str:
        """Whose requests these are: the key's, or of all tokens of the owner together.

        Upload tokens count together, too: whoever has a key makes as many of them as it likes.
        """
        if self.grant:
            return f"uploads-{self.owner}"
        return f"key-{self.key_id}" if self.key_id else f"owner-{self.owner}"

    @property
    def only_looks(self) -> bool:
        """Whether it may change nothing that is there, by its role or by its scopes."""
        return bool(self.scopes) or not self.role.includes(Role.USER)


LOCAL: Final = Caller(owner="local", role=Role.ADMIN)


@dataclass(slots=True)
class Api:
    """One running api.

    Attributes:
        operations: the catalogue that this deployment offers.
        pending: what the start could not do yet (make the bucket, ...), by name; shown in /readyz.
        draining: SIGTERM came; long polls answer at once, /readyz says no.
        open: requests being answered.
        tokens: verifies tokens of an issuer; None where only keys are taken.
        places: of event streams.
        unusable: gets the reason for which this process must end, if ever.
    """

    settings: Settings
    resources: Resources
    operations: Mapping[str, Operation]
    rates: Rates
    tokens: Tokens | None = None
    pending: dict[str, str] = field(default_factory=dict)
    draining: bool = False
    open: int = 0
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)
    unusable: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    places: Places = field(init=False)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _waits: set[asyncio.Timeout] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places = Places(self.settings.max_streams, self.settings.max_streams_per_owner)

    def in_background(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run to the end even if the request goes away; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", task=task.get_name(), exc_info=error)

    @asynccontextmanager
    async def interruptible(self, seconds: float) -> AsyncIterator[None]:
        """A timeout that also fires when the api drains; raises TimeoutError as any other."""
        async with asyncio.timeout(0 if self.draining else seconds) as timeout:
            self._waits.add(timeout)
            try:
                yield
            finally:
                self._waits.discard(timeout)

    async def ask_store(self, owner: str, size: int, *, jobs: int = 1) -> None:
        """Ask before a body of so many bytes is read that could not be accepted afterwards.

        Raises:
            StoreUnavailableError: Redis is away.
            QuotaError: the owner has no room for so many jobs more, or not for so much.
        """
        await self.resources.store.owners.check_room(owner, size, jobs=jobs)

    def drain(self) -> None:
        """End every long poll and event stream now."""
        self.draining = True
        now = asyncio.get_running_loop().time()
        for timeout in self._waits:
            if not timeout.expired():  # one that has fired refuses
                timeout.reschedule(now)

    def answered(self) -> None:
        """One request less is open."""
        self.open -= 1
        if self.draining and not self.open:
            self._quiet.set()

    async def quiet(self, within_s: float) -> bool:
        """Wait, while draining, until no request is open; False if the time is over before."""
        try:
            async with asyncio.timeout(within_s):
                while self.open:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Wait for what runs in the background."""
        while self._tasks:
            await asyncio.wait(self._tasks)


API: Final = web.AppKey("api", Api)
CALLER: Final = web.RequestKey("caller", Caller)
REQUEST_ID: Final = web.RequestKey("request_id", str)
# Of a list that has nothing to show. So has one of a store that has lost everything: the middleware
# looks which of the two it is.
EMPTY_LIST: Final = web.RequestKey("empty_list", bool)


def api_of(request: web.Request) -> Api:
    """The api that this request came to."""
    return request.app[API]


def caller_of(request: web.Request) -> Caller:
    """Who is asking; the middleware has made sure that somebody is."""
    return request[CALLER]
