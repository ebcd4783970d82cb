"""Schedules as the journal knows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from fileproc.store.events import Event
from fileproc.store.schedules import AT_ONCE, MOST_RUNS


@dataclass(slots=True)
class RememberedSchedule:
    """A schedule as its events leave it; `fields` as the store has them."""

    owner: str
    version: int
    fields: dict[str, str]
    runs: list[str] = field(default_factory=list)  # JSON, the newest first
    taken: set[str] = field(default_factory=set)  # digests of objects


class ScheduleMemory:
    """Folds the events of schedules, oldest first."""

    def __init__(self) -> None:
        self.known: dict[str, RememberedSchedule] = {}
        self.deleted: dict[str, tuple[str, int]] = {}  # owner, when (ms)

    def fold(self, event: Event, now: int) -> None:
        """Take one event in; one that is known already changes nothing."""
        known = self.known.get(event.job_id)
        if event.move == "schedule_deleted":
            self.known.pop(event.job_id, None)
            self.deleted[event.job_id] = event.owner, now
        elif event.move == "schedule_snapshot":
            self.known[event.job_id] = RememberedSchedule(**json.loads(event.data), taken=set())
        elif event.move == "schedule_put" and known is None:
            fields = json.loads(event.data)
            self.known[event.job_id] = RememberedSchedule(event.owner, event.version, fields)
        elif known is not None:
            self._advance(known, event)

    def _advance(self, known: RememberedSchedule, event: Event) -> None:
        if event.move == "schedule_took":  # part of a snapshot
            known.taken.update(event.data.split())
        elif event.move == "schedule_forgot":
            known.taken.difference_update(event.data.split())
        elif event.version > known.version:
            known.version = event.version
            told = json.loads(event.data)
            if event.move == "schedule_put":
                known.fields = told
            else:
                _fire(known, told)

    def forget_before(self, moment: int) -> None:
        """Drop deletions before this (ms)."""
        self.deleted = {name: told for name, told in self.deleted.items() if told[1] >= moment}

    def snapshot(self, entry: str) -> Iterator[tuple[str, str]]:
        """Entries for `pack`."""
        for name, (owner, at) in self.deleted.items():
            yield f"{at}-0", f"{name} schedule_deleted {owner} 0 "
        for name, known in self.known.items():
            told = asdict(known)
            digests = sorted(told.pop("taken"))
            data = json.dumps(told, ensure_ascii=False)
            yield entry, f"{name} schedule_snapshot {known.owner} {known.version} {data}"
            for start in range(0, len(digests), AT_ONCE):
                some = " ".join(digests[start : start + AT_ONCE])
                yield entry, f"{name} schedule_took {known.owner} {known.version} {some}"


def _fire(known: RememberedSchedule, told: dict[str, object]) -> None:
    for name in ("next", "last", "fails"):
        if told[name] != "":
            known.fields[name] = str(told[name])
        else:
            known.fields.pop(name, None)
    if told["trig"] == "manual":
        known.fields.pop("asked", None)
    run = json.dumps(told["run"], ensure_ascii=False, separators=(",", ":"))
    known.runs = [run, *known.runs[: MOST_RUNS - 1]]
    known.taken.update(str(told["taken"]).split())
