"""Schedules: what is to be done again and again, and which process does it this time.

The store knows what is to be done as JSON, and when as a moment; what either means is the api's
business. A firing is claimed under a number, and ends in the script that makes its batch valid: so
there is one for each moment that is due, whoever dies or wakes up when. Every change is an event,
so the journal has it and a rebuild brings it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from fileproc.errors import GoneError, NotFoundError, QuotaError
from fileproc.jobs import Record
from fileproc.store.connection import Pipeline
from fileproc.store.cursors import decode_cursor, encode_cursor, entries_below
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

MOST_RUNS: Final = 100  # of a schedule, as the prelude has it
AT_ONCE: Final = 1_000  # digests in one call


class Trigger(StrEnum):
    CRON = "cron"
    MANUAL = "manual"


class RunOutcome(StrEnum):
    ACCEPTED = "accepted"
    NOTHING = "nothing"
    REFUSED = "refused"


class RunError(Record):
    """Why a firing made nothing: what the same request would have been answered."""

    code: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] = Field(default_factory=list)


class Run(Record):
    """What came of one firing. Times are by Redis' clock."""

    trigger: Trigger
    scheduled_for: datetime = Field(description="When it was due, or was asked for.")
    started_at: datetime
    finished_at: datetime | None = Field(None, description="The script that ends it fills it in.")
    outcome: RunOutcome = Field(
        description="`nothing`: there was no object to be taken. `refused`: see `error`."
    )
    batch_id: str | None = None
    jobs: int = 0
    left: int = Field(0, description="Objects beyond `max_objects`, which the next run gets.")
    skipped: int = Field(0, description="Objects whose key no job could name.")
    error: RunError | None = None


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it is kept. `definition` is JSON in one line.

    Attributes:
        next_at: None: it is paused, or will never be due.
        last_due: the last moment by its clock that has been fired.
        asked: it is to be fired soon, since its owner said so.
        firing: this is being done.
        failures: refused firings since the last that was not.
    """

    id: str
    owner: str
    version: int
    active: bool
    definition: str
    next_at: datetime | None
    last_due: datetime | None
    asked: bool
    firing: bool
    failures: int
    created_at: datetime | None
    updated_at: datetime | None
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do one firing, as long as no other has a higher number.

    Attributes:
        due: the moment that is fired; of a manual firing when it was asked for.
        tries: how often it has been claimed; it is above 1 if somebody died over it.
        now: by Redis' clock, when it was claimed.
        last_due: see `StoredSchedule`.
    """

    schedule_id: str
    owner: str
    definition: str
    number: str
    due: datetime
    trigger: Trigger
    tries: int
    now: datetime
    last_due: datetime | None


@dataclass(frozen=True, slots=True)
class Fired:
    """How a firing ends.

    Attributes:
        next_at: when it is due again; None: never.
        taken: digests of objects that have their job now.
    """

    schedule_id: str
    number: str
    run: Run
    next_at: datetime | None
    taken: Sequence[str] = ()

    def for_scripts(self) -> tuple[Any, ...]:
        """As `end_firing` takes it."""
        failed = int(self.run.outcome is RunOutcome.REFUSED)
        run = self.run.model_dump_json(exclude_none=True, exclude={"finished_at"})
        return (self.number, _ms(self.next_at), failed, run, *self.taken)


@dataclass(frozen=True, slots=True)
class SchedulePage:
    schedules: list[StoredSchedule] = field(default_factory=list)
    next_cursor: str | None = None


class Schedules:
    def __init__(self, pipeline: Pipeline, keys: Keys, *, most: int) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._most = most

    # --- for owners ----------------------------------------------------------------------------

    async def create(
        self, owner: str, schedule_id: str, definition: str, *, next_at: datetime | None
    ) -> None:
        """Keep a schedule, under an id made before the first call; paused without `next_at`.

        Raises:
            QuotaError: the owner has too many.
        """
        state = _state(next_at)
        reply = await self._script(
            "create", schedule_id, owner, self._most, state, _ms(next_at), definition
        )
        if reply[0] == "quota":
            LIMITS_HIT.labels("max_schedules_per_owner").inc()
            raise QuotaError(
                f"You have {reply[1]} schedules; at most {self._most} are kept. Delete one.",
                limit="max_schedules_per_owner",
                allowed=self._most,
                used=int(reply[1]),
            )

    async def change(
        self, known: StoredSchedule, definition: str, *, next_at: datetime | None
    ) -> bool:
        """Replace what it is; paused without `next_at`. False: it has changed since it was read.

        Raises:
            NotFoundError: it is gone.
        """
        reply = await self._script(
            *("change", known.id, known.owner, known.version, _state(next_at), _ms(next_at)),
            definition,
        )
        return bool(self._found(reply, known.id)[0] == "ok")

    async def ask(self, owner: str, schedule_id: str) -> None:
        """Fire it soon; asked again before that, it is fired once.

        Raises:
            NotFoundError: as `get`.
        """
        self._found(await self._script("ask", schedule_id, owner), schedule_id)

    async def delete(self, owner: str, schedule_id: str) -> None:
        """Forget it; what it has made stays.

        Raises:
            NotFoundError: as `get`.
        """
        self._found(await self._script("delete", schedule_id, owner), schedule_id)

    async def get(self, owner: str, schedule_id: str, *, runs: int = 1) -> StoredSchedule:
        """One schedule, with its last runs, the newest first.

        Raises:
            NotFoundError: there is none, or it is another owner's.
        """
        fields, lines = await asyncio.gather(  # in one round trip
            self._pipeline.command("HGETALL", self._keys.schedule(schedule_id)),
            self._pipeline.command("LRANGE", self._keys.runs(schedule_id), 0, runs - 1),
        )
        if fields.get("own") != owner:
            raise _absent(schedule_id)
        return _schedule(schedule_id, fields, lines)

    async def list(self, owner: str, *, cursor: str | None = None, limit: int = 50) -> SchedulePage:
        """A page of an owner's schedules, newest first.

        Raises:
            BadRequestError: the cursor is not one of ours.
        """
        after = decode_cursor(cursor) if cursor else None
        top: str | int = after[0] if after else "+inf"
        index = self._keys.schedules(owner)
        entries = await entries_below(self._pipeline, index, top, "-inf", limit + 1, after)
        found = await asyncio.gather(
            *(self._listed(owner, schedule_id) for schedule_id, _ in entries[:limit])
        )
        schedules = [schedule for schedule in found if schedule is not None]
        if len(entries) <= limit:
            return SchedulePage(schedules)
        last_id, created = entries[limit - 1]
        return SchedulePage(schedules, encode_cursor(created, last_id))

    async def _listed(self, owner: str, schedule_id: str) -> StoredSchedule | None:
        try:
            return await self.get(owner, schedule_id)
        except NotFoundError:  # deleted meanwhile
            return None

    # --- for whoever fires ---------------------------------------------------------------------

    async def now(self) -> datetime:
        """By the clock that decides what is due."""
        return datetime.fromtimestamp(await self._pipeline.now_ms() / 1000, UTC)

    async def due(self, most: int) -> Sequence[str]:
        """Ids of schedules that are worth a claim, those that have waited longest first."""
        now = await self._pipeline.now_ms()
        found: list[str] = await self._pipeline.command(
            "ZRANGE", self._keys.schedules_due, "-inf", now, "BYSCORE", "LIMIT", 0, most
        )
        return found

    async def claim(self, schedule_id: str, life_s: float) -> Claim | None:
        """Take on what is due; None if there is nothing, or another was faster."""
        reply = await self._script("claim", schedule_id, int(life_s * 1000))
        if reply[0] != "ok":
            return None
        _, owner, definition, number, due, trigger, tries, now, last = map(str, reply)
        return Claim(
            schedule_id=schedule_id,
            owner=owner,
            definition=definition,
            number=number,
            due=_moment(due),
            trigger=Trigger(trigger),
            tries=int(tries),
            now=_moment(now),
            last_due=when(last),
        )

    async def hold(self, claim: Claim, life_s: float) -> bool:
        """Nobody else claims it for so long; False: it is another's, or gone."""
        life_ms = int(life_s * 1000)
        return await self._still_ours("hold", claim.schedule_id, claim.number, life_ms)

    async def end(self, fired: Fired) -> bool:
        """End a firing that made no batch; False: it is another's, or gone."""
        return await self._still_ours("end", fired.schedule_id, *fired.for_scripts())

    async def taken(self, schedule_id: str) -> set[str]:
        """Digests of the objects that need not be taken again."""
        key, place = self._keys.taken(schedule_id), "0"
        found: set[str] = set()
        while True:
            place, some = await self._pipeline.command("SSCAN", key, place, "COUNT", AT_ONCE)
            found.update(some)
            if str(place) == "0":
                return found

    async def forget(self, claim: Claim, digests: Sequence[str]) -> None:
        """Forget objects that are not there any more: should they come back, they are new.

        Raises:
            GoneError: the firing is another's, or the schedule is gone.
        """
        for start in range(0, len(digests), AT_ONCE):
            some = digests[start : start + AT_ONCE]
            if not await self._still_ours("forget", claim.schedule_id, claim.number, *some):
                raise GoneError("Another has taken over.")

    # --- for the rebuild -----------------------------------------------------------------------

    async def restore(
        self,
        schedule_id: str,
        owner: str,
        version: int,
        fields: Mapping[str, str],
        *,
        runs: Sequence[str],
        taken: Iterable[str],
    ) -> None:
        """Write it back, unless there is a newer one."""
        told = [item for pair in fields.items() for item in pair]
        await self._script("recall", schedule_id, "r", *runs)
        digests = list(taken)
        for start in range(0, len(digests), AT_ONCE):
            await self._script("recall", schedule_id, "t", *digests[start : start + AT_ONCE])
        reply = await self._script("restore", schedule_id, owner, version, *told)
        if reply[0] != "ok":  # a newer one is there
            await self._script("recall", schedule_id, "r")

    async def delete_again(self, owner: str, schedule_id: str) -> None:
        """Forget what was deleted; ids are never used again."""
        await self._script("delete", schedule_id, owner)

    async def _still_ours(self, verb: str, schedule_id: str, *args: Any) -> bool:
        return bool((await self._script(verb, schedule_id, *args))[0] == "ok")

    async def _script(self, verb: str, schedule_id: str, *args: Any) -> Any:
        return await self._pipeline.script("schedule", verb, schedule_id, *args)

    def _found(self, reply: Any, schedule_id: str) -> Any:
        if reply[0] == "absent":
            raise _absent(schedule_id)
        return reply


def _absent(schedule_id: str) -> NotFoundError:
    return NotFoundError(f"There is no schedule {schedule_id}.")


def _state(next_at: datetime | None) -> str:
    return "active" if next_at else "paused"


def _ms(moment: datetime | None) -> str:
    return str(round(moment.timestamp() * 1000)) if moment else ""


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _schedule(schedule_id: str, fields: Mapping[str, str], lines: Sequence[str]) -> StoredSchedule:
    active = fields["st"] == "active"
    return StoredSchedule(
        id=schedule_id,
        owner=fields["own"],
        version=int(fields["v"]),
        active=active,
        definition=fields["def"],
        next_at=when(fields.get("next")) if active else None,
        last_due=when(fields.get("last")),
        asked="asked" in fields,
        firing="tick" in fields,
        failures=int(fields["fails"]),
        created_at=when(fields["ca"]),
        updated_at=when(fields.get("up")),
        runs=tuple(Run.model_validate_json(line) for line in lines),
    )
