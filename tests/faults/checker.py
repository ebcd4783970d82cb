"""Proves the promises from what clients were told, what the store did, and what is there now."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from faults.history import Ack, History
from faults.load import FINAL
from faults.tail import Line
from fileproc.resources import Resources
from support.books import Books

END_OF = {"complete": "succeeded", "fail": "failed", "cancel": "canceled", "expire": "expired"}
READ_AT_ONCE = 16
SAMPLE = 400  # objects that are read in full, beside those of jobs that ran more than once

# What may stay: one key per deployment or per lane, and whatever ends by itself.
_LASTING = ("events", "shipped", "compacted", "schema", "lane:", "workers", "keys", "webhooks_read")


@dataclass
class Findings:
    """Everything that is off, as sentences."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.dangling, *self.orphans, *self.others]

    def add(self, other: Findings) -> None:
        for name in ("lost", "doubled", "dangling", "orphans", "others"):
            getattr(self, name).extend(getattr(other, name))


def by_job(lines: Iterable[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.job_id].append(line)
    return found


# --- the history -------------------------------------------------------------------------------


def check_moves(lines: Iterable[Line]) -> Findings:
    """No job ends twice, tokens only rise, and an attempt is given back by a hand-back only."""
    findings = Findings()
    for job_id, everything in by_job(lines).items():
        moves = _until_forgotten(everything)
        ends = [line for line in moves if line.move in END_OF]
        if len(ends) > 1:
            findings.doubled.append(f"{job_id} ended {[line.move for line in ends]}")
        version, token, attempt, over = 0, 0, 0, False
        for line in moves:
            if line.version <= version and line.move != "delete":
                findings.others.append(f"{job_id}: version {line.version} after {version}")
            version = line.version
            if over and line.move not in {"delete", *END_OF}:
                findings.doubled.append(f"{job_id}: {line.move} after its end")
            over = over or line.move in END_OF
            if line.move == "release":
                attempt -= 1
            elif line.move == "claim":
                facts = line.facts
                if int(facts["token"]) <= token or facts["attempt"] != attempt + 1:
                    findings.others.append(f"{job_id}: claim {facts} after {token}, {attempt}")
                token, attempt = int(facts["token"]), facts["attempt"]
    return findings


def _until_forgotten(moves: list[Line]) -> list[Line]:
    """Without what befalls a job that had ended and was deleted: nobody sees it any more.

    A replica that is behind may still have it running; the rebuild takes it away again.
    """
    over = False
    for place, line in enumerate(moves):
        if over and line.move == "delete":
            return moves[: place + 1]
        over = over or line.move in END_OF
    return moves


def check_seen(history: History, lines: Iterable[Line]) -> Findings:
    """What clients saw only went forward."""
    findings = Findings(others=list(history.wrong))
    released = Counter(line.job_id for line in lines if line.move == "release")
    for job_id, seen in history.seen.items():
        views = sorted(seen, key=lambda view: view.version)
        falls = 0
        for before, after in itertools.pairwise(views):
            if before.state in FINAL and after.state != before.state:
                findings.doubled.append(f"{job_id} was {before.state}, then {after.state}")
            falls += max(0, before.attempt - after.attempt)
        if falls > released[job_id]:
            findings.others.append(f"{job_id}: its attempts fell by {falls}")
        if len({tuple(view.outputs) for view in views if view.state == "succeeded"}) > 1:
            findings.doubled.append(f"{job_id} showed two sets of outputs")
    digests: dict[tuple[str, int], str] = {}
    for download in history.downloads:
        place = download.job_id, download.index
        if digests.setdefault(place, download.sha256) != download.sha256:
            findings.doubled.append(f"output {place} was downloaded with two digests")
    return findings


# --- the store and the storage -----------------------------------------------------------------


class Checker:
    def __init__(self, history: History, resources: Resources, rng: random.Random) -> None:
        settings = resources.settings
        self._history = history
        self._objects = resources.objects
        self._prefix = settings.redis_prefix
        self._url = settings.redis_url.get_secret_value()
        self._redis: Any = redis.Redis.from_url(self._url, decode_responses=True)
        self._rng = rng

    def records(self) -> dict[str, dict[str, str]]:
        head = f"{self._prefix}job:"
        keys = list(self._redis.scan_iter(match=_glob(head) + "*", count=1000))
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        return dict(zip((key.removeprefix(head) for key in keys), pipe.execute(), strict=True))

    def uploaded(self) -> list[str]:
        """Ids of the files that were uploaded on their own, and are there."""
        return [str(file_id) for file_id in self._redis.zrange(f"{self._prefix}files", 0, -1)]

    def unfinished(self) -> list[str]:
        """Jobs that are not over; accepted without an acknowledgement, they count too."""
        over = {*FINAL, "deleted"}
        return [job_id for job_id, record in self.records().items() if record["st"] not in over]

    async def check(self, lines: list[Line]) -> Findings:
        """All but the collection, when every job is over."""
        findings = check_seen(self._history, lines)
        findings.add(check_moves(lines))
        records = self.records()
        findings.add(self._accepted(records))
        findings.add(_twins(records))
        findings.add(await self._published(records, by_job(lines)))
        findings.lost += self._files()
        findings.others += Books(self._url, self._prefix).complaints()
        return findings

    def _accepted(self, records: dict[str, dict[str, str]]) -> Findings:
        findings = Findings()
        for ack in self._history.acks.values():
            state = records.get(ack.job_id, {}).get("st")
            if ack.gone and state not in {None, "deleted"}:
                findings.doubled.append(f"{ack.job_id} was deleted and is {state} again")
            if ack.deleted and state in {None, "deleted", *FINAL}:
                continue
            if state not in FINAL:
                findings.lost.append(f"{ack.job_id} ({ack.kind}) was accepted and is {state}")
        for job_id, record in records.items():
            if record["st"] not in {*FINAL, "deleted"}:
                findings.lost.append(f"{job_id} is {record['st']} for ever")
        return findings

    def _files(self) -> list[str]:
        """Every file that was said to be stored is there, unless its owner deleted it."""
        there = set(self.uploaded())
        wipes = [mark.facts for mark in self._history.marked("wipe")]
        return [
            f"{file_id} was stored and is gone"
            for file_id, at in self._history.files.items()
            if file_id not in there
            and not any(wipe["up_to"] < at <= wipe["wiped"] for wipe in wipes)
        ]

    def open_batches(self) -> list[str]:
        """Batches that were never whole, and are not yet withdrawn."""
        found = self._redis.scan_iter(match=_glob(f"{self._prefix}batch:") + "*", count=1000)
        return [key for key in found if self._redis.hget(key, "st") in {"open", "dropped"}]

    def open_uploads(self) -> list[tuple[str, str]]:
        """(id, kind) of uploads that nobody has completed."""
        ids = self._redis.zrange(f"{self._prefix}uploads", 0, -1)
        told = [self._redis.hget(f"{self._prefix}upload:{upload}", "doc") for upload in ids]
        return [(upload, json.loads(doc)["kind"]) for upload, doc in zip(ids, told, strict=True)]

    async def _published(
        self, records: dict[str, dict[str, str]], moves: dict[str, list[Line]]
    ) -> Findings:
        """Every pointer leads to an object, and the object is what the record says."""
        findings = Findings()
        listed: dict[str, int] = {}
        for root in ("attempts/", "files/"):
            listed |= {entry.key: entry.size async for entry in self._objects.list(root)}
        wanted: list[tuple[str, str]] = []
        rerun: list[tuple[str, str]] = []
        gone = [file_id for file_id in self.uploaded() if f"files/{file_id}" not in listed]
        findings.dangling += [f"files/{file_id} was uploaded, and is gone" for file_id in gone]
        for job_id, record in records.items():
            for file_id in record.get("fi", "").split():
                if f"files/{file_id}" not in listed:
                    findings.dangling.append(f"{job_id} needs files/{file_id}, which is gone")
            findings.dangling += _kept_and_gone(job_id, record, listed)
            if record["st"] != "succeeded":
                continue
            result = json.loads(record["res"])
            claims = sum(line.move == "claim" for line in moves.get(job_id, ()))
            for index, output in enumerate(result["outputs"]):
                key = f"{record['pre']}{index}"
                if listed.get(key) != output["size"]:
                    findings.dangling.append(f"{job_id} points to {key}: {listed.get(key)}")
                else:
                    (rerun if claims > 1 else wanted).append((key, output["sha256"]))
            ack = self._history.acks.get(job_id)
            if ack and (sentence := _not_as_asked(ack, record, result)):
                findings.doubled.append(sentence)
        sample = rerun + self._rng.sample(wanted, min(SAMPLE, len(wanted)))
        findings.dangling += await self._read(sample)
        return findings

    async def _read(self, wanted: list[tuple[str, str]]) -> list[str]:
        gate = asyncio.Semaphore(READ_AT_ONCE)

        async def read(key: str, expected: str) -> str | None:
            digest = hashlib.sha256()
            async with gate:
                async for chunk in self._objects.stream(key):
                    digest.update(chunk)
            found = digest.hexdigest()
            return None if found == expected else f"{key} is {found}, the record says {expected}"

        answers = await asyncio.gather(*(read(key, sha256) for key, sha256 in wanted))
        return [answer for answer in answers if answer]

    # --- after the collection ------------------------------------------------------------------

    def left(self, bucket: Path, scratch: Path) -> list[str]:
        """What is there though every job is gone; `bucket` is the folder of the S3 server's."""
        files = (
            Path(folder, name).relative_to(bucket)
            for folder, _, names in os.walk(bucket)
            for name in names
        )
        left = [f"object {path}" for path in files if path.parts[0] != "journal"]
        keys = list(self._redis.scan_iter(match=_glob(self._prefix) + "*", count=1000))
        names = [
            name for key in keys if not (name := key[len(self._prefix) :]).startswith(_LASTING)
        ]
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.ttl(self._prefix + name)
        left += [f"key {name}" for name, ttl in zip(names, pipe.execute(), strict=True) if ttl < 0]
        left += [f"scratch {path.relative_to(scratch)}" for path in scratch.glob("wrk_*/job_*")]
        return left

    async def uploads(self) -> int:
        """Unfinished multipart uploads; they are aborted by being counted."""
        return await self._objects.abort_uploads(older_than_s=0)


def _kept_and_gone(job_id: str, record: dict[str, str], listed: dict[str, int]) -> list[str]:
    """What a failed job says it has kept of its steps, and is not there."""
    if record["st"] != "failed" or "pre" not in record:
        return []
    kept = json.loads(record["err"])["kept"]
    keys = [f"{record['pre']}{number}" for number in range(kept["files"] + 1)]
    return [f"{job_id} has kept {key}, which is gone" for key in keys if key not in listed]


def _twins(records: dict[str, dict[str, str]]) -> Findings:
    """One request makes one job, however often it was sent."""
    findings = Findings()
    jobs: dict[str, list[str]] = defaultdict(list)
    for job_id, record in records.items():
        if "doc" in record:
            key = json.loads(record["doc"]).get("labels", {}).get("key")
            if key:
                jobs[key].append(job_id)
    findings.doubled += [f"{ids} are of one request" for ids in jobs.values() if len(ids) > 1]
    return findings


def _not_as_asked(ack: Ack, record: dict[str, str], result: dict[str, Any]) -> str | None:
    """Where the output can be foretold: it is this job's, and of the attempt that counts."""
    if ack.kind == "transient":
        expected = hashlib.sha256(f"{record['at']}\n".encode()).hexdigest()
    elif ack.params.get("output_bytes"):
        expected = hashlib.sha256(bytes(ack.params["output_bytes"])).hexdigest()
    else:
        return None
    found = [output["sha256"] for output in result["outputs"]]
    if found == [expected]:
        return None
    return f"{ack.job_id}, attempt {record['at']}, has outputs of something else: {found}"


def _glob(text: str) -> str:
    return text.replace("{", "[{]").replace("}", "[}]")


def recoveries(history: History, lines: Iterable[Line], name: str) -> list[float]:
    """Seconds from a kill that is measured under `name` to the next claim of each of its jobs."""
    holder: dict[str, tuple[str, float]] = {}
    deaths = [mark for mark in history.marked("death") if mark.facts.get("worker")]
    died = {
        mark.facts["worker"]: mark.facts["killed_at"]
        for mark in deaths
        if mark.facts["measured"] == name
    }
    took = []
    for line in lines:
        if line.move == "claim":
            worker, since = holder.get(line.job_id, ("", 0.0))
            if worker in died and since < died[worker]:
                took.append(line.at - died[worker])
            holder[line.job_id] = line.facts["worker"], line.at
        elif line.move != "recover":
            holder.pop(line.job_id, None)
    return sorted(took)
