"""The journal: every event in batches in object storage, and from it the store built again.

A batch is gzip over lines of JSON, `[stream id, lines of events]`. A snapshot is the same with one
line a job, folded; it stands for every batch that ends no later than itself. Both are named
by their first and last entry: one that is stored twice is the same object, and a batch that a slow
shipper stores late never replaces a longer one that begins with the same entry.
"""

from __future__ import annotations

import gzip
import heapq
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from fileproc.jobs import JobState, Move
from fileproc.store.accounts import Accounts
from fileproc.store.apikeys import listed, remembered_until
from fileproc.store.batch_memory import BatchMemory
from fileproc.store.connection import Pipeline
from fileproc.store.events import Event, flat, parse
from fileproc.store.idempotency import LIFE_S
from fileproc.store.jobs import TOMBSTONE_S
from fileproc.store.keys import Keys
from fileproc.store.link_memory import LinkMemory
from fileproc.store.remembered import Remembered, advance
from fileproc.store.schedule_memory import ScheduleMemory
from fileproc.store.shelf import Shelf
from fileproc.store.templates import MOST_VERSIONS
from fileproc.store.webhook_memory import WebhookMemory

AT_ONCE = 2_000  # entries in a batch
_NAME = re.compile(r"(snapshot_)?(\d+)-(\d+)_(\d+)-(\d+)")

StreamId = tuple[int, int]
Versions = dict[int, tuple[int, str]]  # of a template: number -> (kept since (ms), definition)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The entries that a journal object stands for."""

    first: StreamId
    last: StreamId
    folded: bool = False  # a snapshot

    @classmethod
    def of(cls, name: str) -> Span | None:
        """From the object's name, None if it is not one of ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        first, last = (int(found[2]), int(found[3])), (int(found[4]), int(found[5]))
        return cls(first, last, folded=bool(found[1]))

    @property
    def name(self) -> str:
        ends = f"{self.first[0]}-{self.first[1]}_{self.last[0]}-{self.last[1]}"
        return f"snapshot_{ends}" if self.folded else ends


def needed(spans: Iterable[Span]) -> list[Span]:
    """What must be read, oldest first: nothing that a snapshot stands for.

    A snapshot forgets deleted jobs; a batch of before that survived a crash of the compaction would
    bring them back.
    """
    ordered = sorted(spans)
    newest = max((s for s in ordered if s.folded), key=lambda span: span.last, default=None)
    if newest is None:
        return ordered
    return [newest, *(span for span in ordered if not span.folded and span.last > newest.last)]


def stream_id(text: str) -> StreamId:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


def pack(entries: Iterable[tuple[str, str]]) -> bytes:
    """Entries of the stream as a journal object."""
    lines = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return gzip.compress(lines.encode(), compresslevel=1, mtime=0)


def unpack(body: bytes) -> Iterator[Event]:
    """The events of a journal object."""
    for line in gzip.decompress(body).decode().split("\n"):
        if line:
            entry_id, lines = json.loads(line)
            yield from parse(entry_id, lines)


class Memory:
    """Folds events, oldest first, into what the store was."""

    def __init__(self) -> None:
        self.jobs: dict[str, Remembered] = {}
        self.keys: dict[str, dict[str, str]] = {}
        self.files: dict[str, str] = {}  # id -> record, also of those whose job is gone
        self.uploads = Shelf()
        self.deleted: dict[str, tuple[str, int]] = {}  # job id -> owner, when (ms)
        self.broken = 0  # objects that could not be read
        self.templates: dict[tuple[str, str], Versions] = {}  # by owner and name
        self.deleted_templates: dict[tuple[str, str], int] = {}  # when (ms)
        self.batches = BatchMemory()
        self.hooks = WebhookMemory()
        self.links = LinkMemory()
        self.schedules = ScheduleMemory()
        # Of idempotency keys, by owner and hash: when (ms), fingerprint and answer.
        self.answers: dict[tuple[str, str], tuple[int, str]] = {}
        self.accounts = Accounts()
        self._others: dict[str, Callable[[Event, int], None]] = {  # what is no job, by its moves
            "answer": self._fold_answer,
            "batch": self.batches.fold,
            "delivery": self.hooks.fold_delivery,
            "file": self._fold_file,
            "key": self._fold_key,
            "owner": self.accounts.fold_settings,
            "pause": self.accounts.fold_pause,
            "resume": self.accounts.fold_pause,
            "link": self.links.fold,
            "schedule": self.schedules.fold,
            "template": self._fold_template,
            "usage": self.accounts.fold_usage,
            "webhook": self.hooks.fold,
        }
        self.last: StreamId = (0, 0)
        self._waiting: list[tuple[StreamId, int, int, Event]] = []  # for objects that overlap
        self._taken = 0

    def take(self, span: Span, events: Iterable[Event]) -> None:
        """Take one journal object in; in the order of `needed`, and `take_rest` after the last.

        Once a replica has stood in for a lost server, objects overlap: the mark of what is
        shipped went back with the store. So entries are folded in the order in which they happened,
        not in that of the objects.
        """
        if span.folded:
            for event in events:
                self.fold(event)
            return
        while self._waiting and self._waiting[0][0] < span.first:
            self.fold(heapq.heappop(self._waiting)[-1])
        for event in events:
            entry, _, number = event.id.rpartition(".")
            self._taken += 1
            heapq.heappush(self._waiting, (stream_id(entry), int(number), self._taken, event))

    def take_rest(self) -> None:
        """There are no more objects."""
        while self._waiting:
            self.fold(heapq.heappop(self._waiting)[-1])

    def fold(self, event: Event) -> None:
        """Take one event in; one that is known already changes nothing."""
        entry = stream_id(event.id.rpartition(".")[0])
        self.last = max(self.last, entry)
        others = self._others.get(event.move.partition("_")[0])
        if others is not None:
            others(event, entry[0])
        elif event.move == "snapshot":
            folded = self.jobs[event.job_id] = Remembered(**json.loads(event.data))
            self.files.update(folded.files)
        elif event.move == Move.SUBMIT:
            if event.job_id not in self.jobs:
                self._submit(event, entry[0])
                self.accounts.submitted(event, entry)
        elif event.move == "delete":
            if known := self.jobs.pop(event.job_id, None):
                self._forget(known)
            self.deleted[event.job_id] = event.owner, entry[0]
        elif (job := self.jobs.get(event.job_id)) and event.version > job.version:
            advance(job, event, entry[0])
            if event.move == Move.COMPLETE:
                self.accounts.completed(event, entry)

    def _submit(self, event: Event, now: int) -> None:
        new = self.jobs[event.job_id] = self._submitted(event, now)
        if before := self.jobs.get(json.loads(new.document).get("retry_of", "")):
            before.retried_as = new.id

    def _submitted(self, event: Event, now: int) -> Remembered:
        told = json.loads(event.data)
        # Of files that another job brought, which is forgotten by now, the document tells as well.
        for info in told["doc"].get("inputs", ()):
            self.files.setdefault(info["file_id"], _compact(info))
        self.files.update({file_id: _compact(told["files"][file_id]) for file_id in told["files"]})
        return Remembered(
            id=event.job_id,
            owner=event.owner,
            version=event.version,
            state=JobState.DELAYED if told["due"] > now else JobState.QUEUED,
            lane=told["ln"],
            document=_compact(told["doc"]),
            max_attempts=told["ma"],
            retention_ms=told["rt"],
            score=told["sc"],
            created=now,
            idempotency=told["idem"],
            batch=told["doc"].get("batch", ""),
            digest=told.get("rd", ""),
            due=told["due"],
            deadline=told["deadline"],
            files={file_id: self.files.get(file_id, "") for file_id in told["fi"].split()},
            uploads=told.get("up", "").split(),
        )

    def _fold_answer(self, event: Event, now: int) -> None:
        self.answers[event.owner, event.job_id] = now, event.data

    def _fold_file(self, event: Event, now: int) -> None:
        if event.move == "file_put" and event.job_id not in self.uploads.files:
            self.accounts.uploaded(event)
        self.uploads.fold(event, now)

    def _fold_key(self, event: Event, now: int) -> None:
        if event.move == "key_created":
            # Told again by another history, it stays revoked.
            known = self.keys.get(event.job_id, {})
            self.keys[event.job_id] = {"created": str(now), **json.loads(event.data), **known}
        elif event.job_id in self.keys:
            known = self.keys[event.job_id]
            told = json.loads(event.data)
            if event.move == "key_revoked":  # the first time counts
                told["revoked"] = known.get("revoked") or told.get("revoked") or str(now)
            known.update(told)

    def honour_cancels(self) -> None:
        """What was to be canceled while it ran has lost its worker: it is canceled."""
        for job in self.jobs.values():
            if job.cancel_requested and not job.over:
                job.state, job.finished = JobState.CANCELED, job.cancel_requested

    def _fold_template(self, event: Event, now: int) -> None:
        template = (event.owner, event.job_id)
        if event.move == "template_put":
            versions = self.templates.setdefault(template, {})
            versions[event.version] = (now, event.data)
            versions.pop(event.version - MOST_VERSIONS, None)
        else:
            self.templates.pop(template, None)
            self.deleted_templates[template] = now

    def _forget(self, job: Remembered) -> None:
        """A job is not known any more; its batch still counts it."""
        if job.batch:
            self.batches.count(job.batch, job.state if job.over else JobState.CANCELED)

    def forget_ended_before(self, moment: int) -> int:
        """Drop jobs that ended before this (ms); returns how many."""
        return self._drop(job for job in self.jobs.values() if 0 < (job.finished or 0) < moment)

    def forget_lapsed(self, now: int) -> int:
        """Drop jobs and batches whose retention is over; returns how many jobs."""
        self.batches.forget_lapsed(now)
        self.links.forget_lapsed(now)
        return self._drop(job for job in self.jobs.values() if 0 < (job.expires or 0) <= now)

    def _drop(self, jobs: Iterable[Remembered]) -> int:
        old = list(jobs)
        for job in old:
            self._forget(self.jobs.pop(job.id))
        return len(old)

    def forget_answers_before(self, moment: int) -> None:
        """Drop answers that were kept before this (ms): their keys are free again."""
        self.answers = {key: kept for key, kept in self.answers.items() if kept[0] >= moment}

    def forget_keys_ended_before(self, moment: int) -> None:
        """Drop keys of which the store has forgotten by then (ms) what became of them."""
        self.keys = {
            key_id: fields
            for key_id, fields in self.keys.items()
            if (until := remembered_until(fields)) is None or until >= moment
        }

    def forget_deleted_before(self, moment: int) -> None:
        """Drop deletions older than this (ms): no replica and no tombstone knows them any more."""
        self.deleted = {job: told for job, told in self.deleted.items() if told[1] >= moment}
        templates = self.deleted_templates.items()
        self.deleted_templates = {name: when for name, when in templates if when >= moment}
        self.hooks.forget_before(moment)
        self.schedules.forget_before(moment)
        unfinished = (job for job in self.jobs.values() if not job.over)
        used = {file_id for job in unfinished for file_id in job.uploads}
        self.uploads.forget_over_before(moment, used)

    def snapshot(self) -> Iterator[tuple[str, str]]:
        """Entries for `pack`: a line a job, and of everything else, and what was deleted lately."""
        entry = f"{self.last[0]}-{self.last[1]}"
        for key_id, fields in self.keys.items():
            created = f"{fields.get('created', '0')}-0"
            yield created, f"{key_id} key_created {fields.get('own', '-')} 0 {json.dumps(fields)}"
        for job_id, (owner, when) in self.deleted.items():
            yield f"{when}-0", f"{job_id} delete {owner} 0 "
        for (owner, name), when in self.deleted_templates.items():
            yield f"{when}-0", f"{name} template_deleted {owner} 0 "
        for (owner, name), versions in self.templates.items():
            for version, (since, definition) in versions.items():
                yield f"{since}-0", f"{name} template_put {owner} {version} {definition}"
        yield from self.batches.snapshot(entry)
        yield from self.hooks.lines()
        yield from self.links.snapshot(entry)
        yield from self.schedules.snapshot(entry)
        for (owner, key_hash), (when, kept) in self.answers.items():
            yield f"{when}-0", f"{key_hash} answer_kept {owner} 0 {kept}"
        yield from self.accounts.snapshot(entry)
        yield from self.uploads.snapshot()
        for job in self.jobs.values():
            data = json.dumps(asdict(job), ensure_ascii=False)
            yield entry, f"{job.id} snapshot {job.owner} {job.version} {data}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Restored(IntEnum):
    """What became of a job that was to be written back."""

    PRESENT = 0  # it is there, and no older than we remember it
    WRITTEN = 1
    WITHDRAWN = 2  # it was of a batch that was never whole


class Journal:
    """The store's side: what is to be shipped, and writing back."""

    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def unshipped(self) -> list[tuple[str, str]]:
        """The oldest entries that are not yet in object storage, at most `AT_ONCE`."""
        shipped = await self._pipeline.command("GET", self._keys.shipped)
        start = f"({shipped}" if shipped else "-"
        reply = await self._pipeline.command(
            "XRANGE", self._keys.events, start, "+", "COUNT", AT_ONCE
        )
        return [(entry, fields["l"]) for entry, fields in flat(reply)]

    async def shipped(self, last: str) -> None:
        """Everything up to this entry is stored."""
        await self._pipeline.script("shipped", last)

    async def compaction_due(self, every_s: float) -> bool:
        """Whether the last compaction began so long ago; if so, this one begins now.

        It counts for all workers, so that it comes due where each of them lives a short time only.
        One that dies while it compacts is not followed at once by others.
        """
        now = await self._pipeline.now_ms()
        began = await self._pipeline.command("GET", self._keys.compacted)
        if began is not None and 0 <= now - int(began) < every_s * 1000:
            return False
        await self._pipeline.command("SET", self._keys.compacted, now)
        return True

    async def lag_s(self) -> float:
        """Age of the oldest event that is not in object storage; 0 if all are."""
        oldest = await self.unshipped_since()
        if oldest is None:
            return 0.0
        now = await self._pipeline.command("TIME")
        return max(0.0, int(now[0]) + int(now[1]) / 1e6 - oldest[0] / 1000)

    async def unshipped_since(self) -> StreamId | None:
        shipped = await self._pipeline.command("GET", self._keys.shipped)
        start = f"({shipped}" if shipped else "-"
        reply = await self._pipeline.command("XRANGE", self._keys.events, start, "+", "COUNT", 1)
        entries = flat(reply)
        return stream_id(entries[0][0]) if entries else None

    async def empty(self) -> bool:
        """Whether this store has never been used, or has lost everything."""
        return not await self._pipeline.command("EXISTS", self._keys.schema)

    async def restore_job(self, job: Remembered, *, all_read: bool) -> Restored:
        """Write one job back.

        `all_read`: nothing of the journal is missing; then a batch that is not there was never
        whole, and its jobs are withdrawn.
        """
        over = job.over
        arguments: list[Any] = [
            *(job.id, job.owner, job.lane, job.state if over else JobState.QUEUED),
            *(job.version, job.token, job.attempt, job.max_attempts),
            *(job.created, job.started or "", (job.finished or "") if over else ""),
            *(job.retention_ms, job.score, job.document, job.result, job.problem, job.prefix),
            *(job.expires or "", job.idempotency, LIFE_S),
            *(job.waits_until, 0 if job.started else job.deadline, job.batch, job.retried_as),
            *(job.digest, job.takes_over, TOMBSTONE_S if all_read else 0),
        ]
        for file_id, record in job.files.items():
            arguments += [file_id, record]
        for file_id in job.uploads:
            arguments += [file_id, "+"]
        return Restored(await self._pipeline.script("restore", *arguments))

    async def go_on_after(self, last: StreamId) -> None:
        """After a loss: what happens from now on is newer than what the journal has.

        Redis names entries by its clock. Where the clock of a lost server was ahead, new entries
        would be taken for older ones, which a snapshot stands for already.
        """
        newest = flat(
            await self._pipeline.command("XREVRANGE", self._keys.events, "+", "-", "COUNT", 1)
        )
        now = await self._pipeline.now_ms()
        if last[0] <= now or (newest and stream_id(newest[0][0]) >= last):
            return
        entry = f"{last[0]}-{last[1] + 1}"
        await self._pipeline.command("XADD", self._keys.events, entry, "l", "- rebuilt - 0 ")

    async def restore_key(self, key_id: str, fields: dict[str, str]) -> None:
        """Write an api key back, or what is missing of it: it may have been changed since."""
        pairs = [text for pair in fields.items() for text in pair]
        await self._pipeline.script(
            "restore_key",
            *(key_id, fields.get("v", 1), int(listed(fields)), remembered_until(fields) or ""),
            *pairs,
        )

    async def restore_answer(self, owner: str, key_hash: str, since: int, kept: str) -> None:
        """Tie an idempotency key to its answer again, for what is left of its life."""
        left = since + LIFE_S * 1000 - await self._pipeline.now_ms()
        if left > 0:
            name = self._keys.idempotency(owner, key_hash)
            await self._pipeline.command("SET", name, f"kept {kept}", "NX", "PX", left)

    async def delete_template_again(self, owner: str, name: str, deleted: int) -> None:
        """Forget a template that was deleted then (ms), unless it was kept anew since."""
        key = self._keys.template(owner, name)
        newest = await self._pipeline.command("HGET", key, "last")
        kept = newest and await self._pipeline.command("HGET", key, newest)
        if kept and int(kept.partition(" ")[0]) <= deleted:
            await self._pipeline.script("template", owner, name, "", 0, 0)

    async def restore_template(self, owner: str, name: str, versions: Versions) -> None:
        """Write a template back, or those of its versions that are missing."""
        key, last = self._keys.template(owner, name), max(versions)
        for version, (since, definition) in versions.items():
            await self._pipeline.command("HSETNX", key, version, f"{since} {definition}")
        if int(await self._pipeline.command("HGET", key, "last") or 0) < last:
            await self._pipeline.command("HSET", key, "last", last)
        listed = self._keys.templates(owner)
        await self._pipeline.command("ZADD", listed, "NX", versions[last][0], name)
