"""Sees one moment after the other: what must never go back, and whether the events tell all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fileproc.jobs import FINAL, JobState
from fileproc.store import Memory, pack, unpack
from fileproc.store.events import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fileproc.store import Remembered
    from support.books import Books
    from support.snapshot import Fields, Snapshot


MOVED_BY_THE_CLOCK = {"due", "ex"}  # see support/clock.py
TOLD = (
    *("st", "own", "ln", "tok", "at", "ma", "ca", "sa", "fa", "rt", "pre", "fi"),
    *("doc", "res", "err"),
)


class Witness:
    """Remembers the last moment, and folds every event into a `Memory`."""

    def __init__(self, books: Books) -> None:
        self.memory = Memory()
        self._books = books
        self._before: dict[str, Fields] = {}
        self._last = "-"

    def complaints(self, now: Snapshot) -> list[str]:
        """What went back since the last look, and where events and records differ."""
        self._read_events()
        wrong = [*self._backwards(now), *self._untold(now)]
        self._before = now.records
        return wrong

    def _read_events(self) -> None:
        start = self._last if self._last == "-" else f"({self._last}"
        for entry, fields in self._books.redis.xrange(self._books.key("events"), start, "+"):
            for event in parse(entry, fields["l"]):
                self.memory.fold(event)
            self._last = entry

    def _backwards(self, now: Snapshot) -> Iterator[str]:
        for job, was in self._before.items():
            fields = now.records.get(job)
            if fields is None:
                if was["st"] != "deleted":
                    yield f"{job} was {was['st']} and has vanished"
            elif was["st"] == "deleted":
                if fields["st"] != "deleted":
                    yield f"{job} was deleted and is {fields['st']}"
            elif fields["st"] != "deleted":
                yield from _worse(job, was, fields)

    def _untold(self, now: Snapshot) -> Iterator[str]:
        shown = {job: fields for job, fields in now.jobs.items() if "del" not in fields}
        if shown.keys() != self.memory.jobs.keys():
            yield f"the events know {set(self.memory.jobs)}, the store {set(shown)}"
        for job, fields in shown.items():
            if job in self.memory.jobs:
                told, true = account(self.memory.jobs[job]), record_of(fields)
                if told != true:
                    yield f"{job}: the events tell {told}, the store says {true}"

    def folded_again(self) -> Memory:
        """The memory, through a snapshot of the journal."""
        again = Memory()
        for event in unpack(pack(self.memory.snapshot())):
            again.fold(event)
        return again


def _worse(job: str, was: Fields, now: Fields) -> Iterator[str]:
    changed = {name for name in {*was, *now} if was.get(name) != now.get(name)}
    if changed - MOVED_BY_THE_CLOCK and int(now["v"]) <= int(was["v"]):
        yield f"{job} changed from {was} to {now}, and its version did not grow"
    if int(now["tok"]) < int(was["tok"]):
        yield f"the token of {job} fell from {was['tok']} to {now['tok']}"
    handed_back = was["st"] == JobState.RUNNING and now["st"] == JobState.QUEUED
    if int(now["at"]) < int(was["at"]) - handed_back:
        yield f"the attempts of {job} fell from {was['at']} to {now['at']}"
    if was["st"] in FINAL and was["st"] != now["st"]:
        yield f"{job} was {was['st']} and is {now['st']}"
    if was.get("pre", now.get("pre")) != now.get("pre"):
        yield f"{job} shows {now.get('pre')} after {was.get('pre')}"


def account(job: Remembered) -> Fields:
    """A job as the events tell it, in the fields of its record."""
    state = job.state if job.over or job.state == JobState.RUNNING else JobState.QUEUED
    fields = {
        "st": str(state),
        "own": job.owner,
        "ln": job.lane,
        "tok": str(job.token),
        "at": str(job.attempt),
        "ma": str(job.max_attempts),
        "ca": str(job.created),
        "sa": str(job.started or ""),
        "fa": str(job.finished or ""),
        "rt": str(job.retention_ms),
        "pre": job.prefix,
        "fi": " ".join(job.files),
        "doc": job.document,
        "res": job.result,
        "err": job.problem,
    }
    return _comparable(fields)


def record_of(record: Fields) -> Fields:
    fields = {name: record.get(name, "") for name in TOLD}
    if record["st"] in ("delayed", "awaiting_upload"):
        fields["st"] = JobState.QUEUED  # what becomes of it after a rebuild
    return _comparable(fields)


def _comparable(fields: Fields) -> Fields:
    """JSON is compared by what it says."""
    for name in ("doc", "res", "err"):
        if fields[name]:
            fields[name] = json.dumps(json.loads(fields[name]), sort_keys=True)
    return fields
