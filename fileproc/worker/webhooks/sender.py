"""The sender: posts what is due, and writes down how that went.

A delivery is leased while it is under way. A sender that is killed leaves the lease behind; when
that ends, another sends the same message again, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

import aiohttp

from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError, StoreUnavailableError, UrlNotAllowedError
from fileproc.outbound import check_url
from fileproc.resources import Resources
from fileproc.store import Outcome, Posting
from fileproc.telemetry import DELIVERIES, DELIVERY_SECONDS, WEBHOOKS_DISABLED, get_logger
from fileproc.webhooks import delay_s, retry_after_s, schedule, signed_headers

POLL_S: Final = 0.25
AWAY_S: Final = 1.0
LAST_S: Final = 0.5  # for what is under way when the worker stops
MAX_ANSWER_BYTES: Final = 16 * 1024
_CHUNK: Final = 4 * 1024
_GONE: Final = 410

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt: a status, or the class of a failure, never what was said."""

    status: int = 0
    error: str = ""
    retry_after_s: float = 0

    @property
    def ok(self) -> bool:
        return not self.error and 200 <= self.status < 300  # noqa: PLR2004 - as HTTP has it

    @property
    def kind(self) -> str:
        """For the metrics."""
        return self.error or f"{self.status // 100}xx"


class Sender:
    def __init__(self, resources: Resources) -> None:
        settings = resources.settings
        self._settings = settings
        self._deliveries = resources.store.deliveries
        self._upkeep = resources.store.upkeep
        self._outbound = resources.outbound
        self._schedule = schedule(settings.webhook_schedule_s)
        self._most = settings.webhook_concurrency
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send for ever. When it is cancelled, what is under way gets a moment to end."""
        try:
            while True:
                await self._round()
        finally:
            await self._finish()

    async def send_due(self) -> int:
        """Send what may be sent now, and wait for the answers; returns how many there were."""
        postings = await self._deliveries.take(self._most)
        await asyncio.gather(*(self._send(posting) for posting in postings))
        return len(postings)

    async def _round(self) -> None:
        free = self._most - len(self._tasks)
        postings: list[Posting] = []
        try:
            if free:
                postings = await self._deliveries.take(free)
        except FileprocError as exc:
            log.warning("webhooks: nothing can be taken", reason=exc.detail)
            await asyncio.sleep(AWAY_S)
        except Exception:
            log.exception("webhooks: a round failed")
            await asyncio.sleep(AWAY_S)
        for posting in postings:
            task = asyncio.create_task(self._send(posting), name=posting.id)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if postings:
            return
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL_S)

    async def _finish(self) -> None:
        """Let go in order: what has not been answered is due at once, for another worker."""
        tasks = list(self._tasks)
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=LAST_S)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LAST_S)

    async def _send(self, posting: Posting) -> None:
        try:
            crash_point("delivery-taken")
            began = time.monotonic()
            answer = await self._post(posting)
            DELIVERY_SECONDS.labels(answer.kind).observe(time.monotonic() - began)
            crash_point("delivery-sent")
            await self._settle(posting, answer)
            crash_point("delivery-settled")
        except asyncio.CancelledError:
            with contextlib.suppress(FileprocError):
                await self._deliveries.settle(posting, Outcome.RELEASE)
            raise
        except Exception:
            log.exception("webhooks: a delivery broke", delivery=posting.id)

    async def _post(self, posting: Posting) -> Answer:
        try:
            url = check_url(posting.url, self._settings)
            # The receiver compares with its own clock; Redis' is the one that ours agree on.
            now_s = await self._upkeep.now_ms() // 1000
            headers = signed_headers(posting.id, now_s, posting.body, posting.secrets)
            headers["Content-Type"] = "application/json"
            async with (
                asyncio.timeout(self._settings.webhook_timeout_s),
                self._outbound.session.post(
                    url, data=posting.body, headers=headers, allow_redirects=False
                ) as response,
            ):
                await _skim(response)
                return _judged(response)
        except UrlNotAllowedError:
            return Answer(error="url_not_allowed")
        except TimeoutError:
            return Answer(error="timeout")
        except (aiohttp.ClientError, OSError, ValueError):
            return Answer(error="connection")

    async def _settle(self, posting: Posting, answer: Answer) -> None:
        outcome, wait_s = self._outcome(posting, answer)
        note = f"{answer.status} {answer.error}"
        while True:
            try:
                noted = await self._deliveries.settle(posting, outcome, note=note, wait_s=wait_s)
            except StoreUnavailableError:
                # Until then the lease keeps it from others; when it ends they send it again.
                await asyncio.sleep(AWAY_S)
            else:
                break
        if noted:
            DELIVERIES.labels(str(outcome)).inc()
        if noted == 2:  # noqa: PLR2004 - see `settle`
            WEBHOOKS_DISABLED.inc()
            log.warning("a webhook is disabled", webhook=posting.webhook_id, by=answer.kind)

    def _outcome(self, posting: Posting, answer: Answer) -> tuple[Outcome, float]:
        if answer.ok:
            return Outcome.DONE, 0
        if answer.status == _GONE and not answer.error:
            return Outcome.GONE, 0
        if posting.attempt > len(self._schedule):
            return Outcome.DEAD, 0
        wait_s = delay_s(self._schedule, posting.attempt)
        return Outcome.RETRY, max(wait_s, answer.retry_after_s)


async def _skim(response: aiohttp.ClientResponse) -> None:
    """Read the body to its end, so that the connection can be used again, but not for ever.

    An answer that breaks off is none: whoever died while giving it may not have kept the message.
    """
    left = MAX_ANSWER_BYTES
    while left > 0:
        chunk = await response.content.read(min(left, _CHUNK))
        if not chunk:
            return
        left -= len(chunk)
    response.close()


def _judged(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 300 <= status < 400:  # noqa: PLR2004 - never followed
        return Answer(status, "redirect")
    return Answer(status, retry_after_s=retry_after_s(response.headers.get("Retry-After")))
