"""The reader: judges the event stream, and queues a delivery for whoever asked to be told.

Any worker's reader works, under a lock that only saves work: what was judged and where that ended
is written in one step, and refused if another has done it meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError
from fileproc.jobs import TargetState
from fileproc.resources import Resources
from fileproc.store import Event, NewDelivery, Webhook, message_id
from fileproc.telemetry import DELIVERIES, WEBHOOK_LAG, WEBHOOK_OVERDUE, get_logger
from fileproc.webhooks import JOBS, LAST, OF_DELIVERIES, OF_MOVE, EventType
from fileproc.worker.webhooks.bodies import Bodies

ROUND_S = 0.25
LOCK_S = 5.0
ENTRIES = 500
EVENTS = 500  # judged in one step: their deliveries travel in one call
_HOOK = '"webhook":{'  # in the document of a job with a hook of its own, and hardly elsewhere

_FAILED = '"state":"failed"'  # in what came of a job of which a step or a delivery failed

_BEGINNINGS = frozenset({"submit", "batch_created"})
_ENDINGS = frozenset({"delete", "batch_completed", "batch_deleted"})

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Target:
    webhook_id: str
    url: str  # "": the endpoint's own


class EventReader:
    def __init__(self, resources: Resources, holder: str) -> None:
        self._upkeep = resources.store.upkeep
        self._webhooks = resources.store.webhooks
        self._deliveries = resources.store.deliveries
        self._bodies = Bodies(resources)
        self._holder = holder

    async def run(self) -> None:
        """Judge for ever; a store that is away only makes the lag grow."""
        while True:
            try:
                if await self._upkeep.lock("webhooks", self._holder, LOCK_S):
                    while await self.read():
                        await self._upkeep.lock("webhooks", self._holder, LOCK_S)
                # By every worker: one that no longer reads would tell what it saw last.
                WEBHOOK_LAG.set(await self._deliveries.lag_s())
                WEBHOOK_OVERDUE.set(await self._deliveries.overdue_s())
            except FileprocError as exc:
                log.warning("webhooks: a round was cut short", reason=exc.detail)
            except Exception:
                log.exception("webhooks: a round failed")
            await asyncio.sleep(ROUND_S)

    async def read(self) -> int:
        """Judge the next events; returns how many there were."""
        lot = await self._deliveries.unread(ENTRIES, EVENTS)
        if not lot.events:
            return 0
        hooks = _new_hooks(lot.events)
        known = await self._known_hooks(lot.events)
        wanted = await self._wanted(lot.events, {**known, **hooks})
        deliveries = [new for each in wanted for new in await self._deliveries_of(*each)]
        over = {event.job_id: "" for event in lot.events if _ends(event)}
        changed = {job: json.dumps(hook) for job, hook in hooks.items()}
        changed |= {job: "" for job in over if job in known or job in hooks}
        crash_point("events-judged")
        queued = await self._deliveries.queue(lot, deliveries, changed)
        if queued is None:
            return len(lot.events)  # another reader did it: the next lot may be ours
        crash_point("deliveries-queued")
        DELIVERIES.labels("queued").inc(queued[0])
        DELIVERIES.labels("skipped").inc(queued[1])
        return len(lot.events)

    async def _known_hooks(self, events: Sequence[Event]) -> dict[str, Any]:
        if not await self._deliveries.any_hooks():
            return {}
        jobs = dict.fromkeys(e.job_id for e in events if e.move in OF_MOVE or _ends(e))
        return await self._deliveries.hooks(list(jobs))

    async def _wanted(
        self, events: Sequence[Event], hooks: Mapping[str, Any]
    ) -> list[tuple[Event, str, list[_Target]]]:
        """Events that somebody asked to be told of, what to call each, and all who did."""
        told = [event for event in events if event.move in OF_MOVE]
        owners = await self._webhooks.owners(list(dict.fromkeys(e.owner for e in told)))
        endpoints: dict[str, list[Webhook]] = defaultdict(list)
        for owner in owners:
            endpoints[owner] = [w for w in await self._webhooks.list(owner) if w.enabled]
        wanted = []
        for event, kind in [(each, kind) for each in told for kind in _kinds(each)]:
            targets = [_Target(w.id, "") for w in endpoints[event.owner] if kind in w.events]
            hook = hooks.get(event.job_id)
            if hook and kind in hook["events"]:
                targets.append(_Target(JOBS, hook["url"]))
            if targets:
                wanted.append((event, kind, targets))
        return wanted

    async def _deliveries_of(
        self, event: Event, kind: str, targets: Sequence[_Target]
    ) -> list[NewDelivery]:
        at = datetime.fromtimestamp(int(event.id.partition("-")[0]) / 1000, UTC)
        try:
            body = await self._bodies.of(kind, at, event.owner, event.job_id)
        except FileprocError:
            raise
        except Exception:
            # One record that nobody can show must not stop the events of all others.
            log.exception("webhooks: a job cannot be told of", job=event.job_id)
            DELIVERIES.labels("broken").inc(len(targets))
            return []
        return [
            NewDelivery(
                id=message_id(_name_of(event, kind), target.webhook_id),
                owner=event.owner,
                webhook_id=target.webhook_id,
                url=target.url,
                type=kind,
                job_id=event.job_id,
                body=body,
            )
            for target in targets
        ]


def _kinds(event: Event) -> list[str]:
    """What a move is told as: its own type, and of outputs that did not arrive another."""
    kinds = [str(OF_MOVE[event.move])]
    if event.move in OF_DELIVERIES and _FAILED in event.data:
        statuses = json.loads(event.data).get("deliveries") or ()
        if any(status["state"] == TargetState.FAILED for status in statuses):
            kinds.append(str(EventType.DELIVERY_FAILED))
    return kinds


def _name_of(event: Event, kind: str) -> str:
    """The same each time that it is judged, and different for each thing that it is told as."""
    return event.id if kind == OF_MOVE[event.move] else f"{event.id} {kind}"


def _new_hooks(events: Sequence[Event]) -> dict[str, Any]:
    """Hooks of jobs and batches that were accepted just now, by id."""
    found = {}
    for event in events:
        if event.move in _BEGINNINGS and _HOOK in event.data:
            hook = json.loads(event.data)["doc"].get("webhook")
            if hook:
                found[event.job_id] = hook
    return found


def _ends(event: Event) -> bool:
    return event.move in _ENDINGS or OF_MOVE.get(event.move) in LAST
