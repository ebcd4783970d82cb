"""Fires schedules when they are due. Every api does; which of them it is, the store decides.

A firing is claimed for a while, and held as long as it goes on. It makes a batch, through the same
doors as a request. The script that makes the batch valid ends the firing, so whoever is killed
before that leaves nothing behind, and another begins anew; whoever is killed after it has done it.
What was missed while nobody was there is made up for once: the next time is counted from now.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from fileproc.api import problems
from fileproc.api.batches import accept_batch, new_batch
from fileproc.api.context import Api, Caller
from fileproc.api.manifest import drafted
from fileproc.api.schedule_plan import batch_of, planned
from fileproc.api.schedule_source import Harvest, harvested
from fileproc.cron import Cron
from fileproc.errors import FileprocError, StorageUnavailableError
from fileproc.store import Claim, Fired, Role, Run, RunError, RunOutcome, Trigger
from fileproc.telemetry import REFUSED, SCHEDULES_FIRED, SCHEDULES_LATE, get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

ROUND_S: Final = 0.5
AT_ONCE: Final = 4  # firings of this process; judging thousands of jobs takes time from requests
LIFE_S: Final = 30.0  # of a claim: after that another does it
HOLD_S: Final = 8.0
PATIENCE_S: Final = 600.0
MOST_TRIES: Final = 5  # of one firing, before it is given up until the next time
_PAUSE_S: Final = 5.0  # before the second try; each pause is twice as long
_SERVER_ERRORS: Final = 500
# Of the others, those that pass by themselves. What is gone is a batch that was withdrawn, or a
# firing that is another's by now, which is left to that one.
_PASSING: Final = frozenset({"rate_limited", "gone"})

log = get_logger(__name__)


class Firing:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._schedules = api.resources.store.schedules
        self._tasks: set[asyncio.Task[None]] = set()
        self._away = False

    async def run(self) -> None:
        """Look for what is due, for ever; an engine that is away only costs rounds."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(ROUND_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        free = AT_ONCE - len(self._tasks)
        if self._api.draining or free <= 0:
            return
        try:
            due = await self._schedules.due(free)
            for schedule_id in due:
                claim = await self._schedules.claim(schedule_id, LIFE_S)
                if claim is not None:
                    self._begin(claim)
            self._away = False
        except FileprocError as exc:
            if not self._away:
                log.warning("schedules are not fired", reason=exc.detail)
            self._away = True
        except Exception:
            log.exception("schedules are not fired")

    def _begin(self, claim: Claim) -> None:
        task = asyncio.create_task(self._fire(claim), name=claim.schedule_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fire(self, claim: Claim) -> None:
        if claim.tries > MOST_TRIES:  # it may be what kills us
            await self._failed(claim, FileprocError("It was begun several times, and never ended."))
            return
        try:
            async with asyncio.timeout(PATIENCE_S), self._held(claim):
                await self._attempt(claim)
        except asyncio.CancelledError:  # we are stopping: another need not wait for our end
            with suppress(FileprocError, TimeoutError):
                await asyncio.wait_for(self._schedules.hold(claim, 0), 1)
            raise
        except FileprocError as exc:
            await self._failed(claim, exc)
        except TimeoutError:
            await self._failed(claim, StorageUnavailableError("It took too long."))
        except Exception:
            log.exception("a firing broke", schedule=claim.schedule_id)
            await self._failed(claim, FileprocError("The server made a mistake; it is logged."))

    @asynccontextmanager
    async def _held(self, claim: Claim) -> AsyncIterator[None]:
        async def hold() -> None:
            while True:
                await asyncio.sleep(HOLD_S)
                with suppress(FileprocError):  # what ends the firing finds out whether it is ours
                    await self._schedules.hold(claim, LIFE_S)

        holding = asyncio.create_task(hold())
        try:
            yield
        finally:
            holding.cancel()

    async def _attempt(self, claim: Claim) -> None:
        api = self._api
        asked = planned(claim.definition)
        caller = Caller(claim.owner, Role.USER)
        await api.rates.admit_firing(claim.owner)
        document = batch_of(api, asked, claim.schedule_id)
        harvest = await harvested(api, claim, asked)
        if not harvest.jobs:
            await self._end(claim, _run(claim, RunOutcome.NOTHING, harvest))
            return
        jobs = await drafted(api, caller, harvest.jobs, None)
        new = await new_batch(api, caller, document, jobs)
        run = _run(claim, RunOutcome.ACCEPTED, harvest).model_copy(update={"batch_id": new.id})
        await accept_batch(api, replace(new, fired=_fired(claim, run, harvest.taken)))
        _count(claim, run)

    async def _failed(self, claim: Claim, exc: FileprocError) -> None:
        """What may pass is tried again; all else waits for the next time, and its owner is told."""
        passing = exc.status >= _SERVER_ERRORS or exc.code in _PASSING
        try:
            if passing and claim.tries < MOST_TRIES:
                pause_s = max(_PAUSE_S * 2 ** (claim.tries - 1), exc.retry_after_s or 0)
                log.warning("a firing is put off", schedule=claim.schedule_id, reason=exc.detail)
                await self._schedules.hold(claim, pause_s)
            else:
                REFUSED.labels(exc.code).inc()
                run = _run(claim, RunOutcome.REFUSED, Harvest()).model_copy(
                    update={"error": _error(exc)}
                )
                await self._end(claim, run)
        except FileprocError as then:
            # Its claim ends by itself, and it is tried again.
            log.warning("a firing is left behind", schedule=claim.schedule_id, reason=then.detail)

    async def _end(self, claim: Claim, run: Run) -> None:
        if await self._schedules.end(_fired(claim, run, ())):
            _count(claim, run)


def _fired(claim: Claim, run: Run, taken: Sequence[str]) -> Fired:
    return Fired(
        schedule_id=claim.schedule_id,
        number=claim.number,
        run=run,
        next_at=next_due(claim.definition, claim.now, claim.due),
        taken=taken,
    )


def next_due(definition: str, now: datetime, fired: datetime | None) -> datetime | None:
    """When it is due after now, and after what has been fired: a clock may have been set back.

    None: never, or it cannot be read any more.
    """
    # Where that is days ahead, the clock was wrong then, not now.
    ahead = fired is not None and now < fired < now + timedelta(days=1)
    try:
        asked = planned(definition)
        return Cron(asked.cron, asked.timezone).after(fired if ahead and fired else now)
    except ValueError:
        log.exception("a schedule cannot be fired again")
        return None


def _run(claim: Claim, outcome: RunOutcome, harvest: Harvest) -> Run:
    return Run(
        trigger=claim.trigger,
        scheduled_for=claim.due,
        started_at=claim.now,
        outcome=outcome,
        jobs=len(harvest.jobs),
        left=harvest.left,
        skipped=harvest.skipped,
    )


def _error(exc: FileprocError) -> RunError:
    told = problems.document(exc, "")
    return RunError.model_validate(told)


def _count(claim: Claim, run: Run) -> None:
    SCHEDULES_FIRED.labels(str(run.outcome)).inc()
    if claim.trigger is Trigger.CRON:
        SCHEDULES_LATE.observe(max(0.0, (claim.now - claim.due).total_seconds()))
    log.info(
        "a schedule was fired",
        schedule=claim.schedule_id,
        outcome=str(run.outcome),
        jobs=run.jobs,
        batch=run.batch_id,
    )
