"""How many requests a key, or an address, may make: counted in Redis, told in headers.

Where a rate is high, permits are fetched some at a time, so that not every request waits for Redis.
What is fetched counts at once: the processes together never give out more than the rate allows.
Each may have a four-hundredth of it left over, which it keeps for a window at most.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from aiohttp import web

from fileproc.api.addresses import address_of
from fileproc.api.endpoints import Endpoint, RateClass
from fileproc.errors import RateLimitError, StoreUnavailableError
from fileproc.networks import networks
from fileproc.rates import Rate, parse_rate
from fileproc.settings import Settings
from fileproc.store.rates import RateWindows
from fileproc.telemetry import LIMITS_HIT, RATES_UNCHECKED, get_logger

log = get_logger(__name__)

PORTION: Final = 400  # the part of a rate that a process fetches at once
REST_S: Final = 1.0  # after Redis did not answer, nobody is counted for so long
LEAST_WAIT_S: Final = 0.05
MOST_BOOKS: Final = 10_000

_WHAT: Final = {
    RateClass.READ: "This key may make {} requests that read",
    RateClass.WRITE: "This key may make {} requests that change something",
    RateClass.SUBMIT: "This key may make {} submissions",
    RateClass.SIGN_IN: "This address may make {} requests without a valid key",
    RateClass.PUBLIC: "This address may make {} requests to such links",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a rate after this request."""

    kind: RateClass
    rate: Rate
    left: int
    reset_s: int

    def headers(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """As draft-ietf-httpapi-ratelimit-headers has them."""
        return (
            ("RateLimit-Policy", f'"{self.kind}";q={self.rate.requests};w={self.rate.window_s}'),
            ("RateLimit", f'"{self.kind}";r={self.left};t={self.reset_s}'),
        )


STANDING: Final = web.RequestKey("standing", Standing)


@dataclass(slots=True)
class _Book:
    """What this process has fetched for one key or address and one class."""

    portion: int
    permits: int = 0
    left: int = 0  # in Redis, when it was last asked
    reset_at: float = 0.0
    stale_at: float = 0.0
    full_until: float = 0.0  # nothing can become free before
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rates:
    """The rates of this deployment, and who has used how much of them."""

    def __init__(self, settings: Settings) -> None:
        self._rates = {kind: parse_rate(getattr(settings, f"rate_{kind}")) for kind in RateClass}
        self._proxies = networks(settings.trusted_proxies)
        self._books: dict[tuple[RateClass, str], _Book] = {}
        self._rest_until = 0.0
        url = settings.redis_url.get_secret_value()
        self._windows = RateWindows(url, settings.redis_prefix, patience_s=settings.rate_patience_s)

    @property
    def table(self) -> dict[RateClass, Rate | None]:
        """Each class with its rate; None where it has none."""
        return self._rates

    async def close(self) -> None:
        await self._windows.close()

    async def admit_key(self, request: web.Request, endpoint: Endpoint, who: str) -> None:
        """Count a request of a key, or of who else may come in; the answer tells what is left.

        Raises:
            RateLimitError: it is one too many.
        """
        if (kind := endpoint.rate_class) is not None:
            await self._admit(request, kind, who)

    async def admit_address(self, request: web.Request, kind: RateClass) -> None:
        """Count a request of a stranger; as `admit_key`."""
        said = request.headers.getall("X-Forwarded-For", ()) if self._proxies else ()
        address = address_of(request.remote, said, self._proxies)
        await self._admit(request, kind, f"address-{address}")

    async def admit_firing(self, owner: str) -> None:
        """Count what a schedule does, for which there is no request, as a submission of its owner.

        Raises:
            RateLimitError: it is one too many.
        """
        await self._count(RateClass.SUBMIT, f"owner-{owner}")

    async def _admit(self, request: web.Request, kind: RateClass, who: str) -> None:
        try:
            standing = await self._count(kind, who)
        except RateLimitError as exc:
            rate, wait_s = self._rates[kind], exc.retry_after_s
            if rate is not None and wait_s is not None:
                request[STANDING] = Standing(kind, rate, 0, wait_s)
            raise
        if standing is not None:
            request[STANDING] = standing

    async def _count(self, kind: RateClass, who: str) -> Standing | None:
        """What is left; None: it is not counted, or cannot be now.

        Raises:
            RateLimitError: it is one too many.
        """
        rate = self._rates[kind]
        if rate is None:
            return None
        book = self._book(kind, who, rate)
        now = monotonic()
        if book.permits <= 0 or now >= book.stale_at:
            try:
                wait_s = await self._fetch(book, kind, who, rate)
            except StoreUnavailableError:
                wait_s = 0.0
                self._rest_until = monotonic() + REST_S
                log.warning("rates are not counted: redis does not answer")
            if not wait_s and book.permits <= 0:  # nobody was asked
                # What costs anything needs Redis, and is refused by itself while it is away.
                RATES_UNCHECKED.inc()
                return None
            if wait_s:
                raise _refusal(kind, rate, math.ceil(wait_s))
        book.permits -= 1
        reset_s = max(0, math.ceil(book.reset_at - now))
        return Standing(kind, rate, book.left + book.permits, reset_s)

    def _book(self, kind: RateClass, who: str, rate: Rate) -> _Book:
        book = self._books.get((kind, who))
        if book is None:
            if len(self._books) >= MOST_BOOKS:
                self._forget()
            book = self._books[kind, who] = _Book(max(1, rate.requests // PORTION))
        return book

    def _forget(self) -> None:
        """Drop the books that say nothing any more; of too many, all that nobody is writing in."""
        now = monotonic()
        for key, book in list(self._books.items()):
            idle = now >= book.stale_at and now >= book.full_until
            if not book.lock.locked() and (idle or len(self._books) >= MOST_BOOKS):
                del self._books[key]

    async def _fetch(self, book: _Book, kind: RateClass, who: str, rate: Rate) -> float:
        """Put permits into the book; whoever comes meanwhile waits.

        Returns 0, or how many seconds nobody gets any.
        """
        async with book.lock:
            now = monotonic()
            if now < self._rest_until or (book.permits > 0 and now < book.stale_at):
                return 0.0
            if now < book.full_until:
                return book.full_until - now
            book.permits = 0
            taken = book.portion
            if not await self._windows.take(rate, kind, who, taken):
                taken = 1
                if book.portion == 1 or not await self._windows.take(rate, kind, who):
                    _, wait_s = await self._windows.left(rate, kind, who)
                    book.full_until = now + (wait_s := max(wait_s, LEAST_WAIT_S))
                    return wait_s
            book.left, reset_s = await self._windows.left(rate, kind, who)
            book.permits = taken
            book.reset_at = now + reset_s
            book.stale_at = now + rate.window_s
            return 0.0


def _refusal(kind: RateClass, rate: Rate, wait_s: int) -> RateLimitError:
    LIMITS_HIT.labels(f"rate_{kind}").inc()
    what = _WHAT[kind].format(f"{rate.requests:,}")
    return RateLimitError(
        f"{what} in {rate.window_s} s, and has made them. Try again in {wait_s} s.",
        retry_after_s=wait_s,
        limit=f"rate_{kind}",
        allowed=rate.requests,
        window_s=rate.window_s,
    )
