"""What the clients were told, what they saw, what was done to the system, and when.

Kept in memory for the checker, and written line by line so that a run can be read afterwards.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Ack:
    """A 202: from now on the job must not get lost."""

    at: float
    job_id: str
    kind: str
    key: str  # its Idempotency-Key and its label
    params: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False  # its owner has asked for that
    gone: float | None = None  # when the owner was told that it is


@dataclass(slots=True)
class Seen:
    """A job as an answer showed it."""

    at: float
    job_id: str
    version: int
    state: str
    attempt: int
    outputs: list[str]  # digests


@dataclass(slots=True)
class Download:
    at: float
    job_id: str
    index: int
    sha256: str


@dataclass(slots=True)
class Mark:
    at: float
    what: str
    facts: dict[str, Any]


class History:
    def __init__(self, path: Path) -> None:
        self.acks: dict[str, Ack] = {}
        self.seen: dict[str, list[Seen]] = {}
        self.downloads: list[Download] = []
        self.files: dict[str, float] = {}  # that were stored on their own, since when
        self.marks: list[Mark] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []  # what a client saw that must never be seen
        self._file = path.open("w", encoding="utf-8")

    def ack(self, ack: Ack) -> None:
        known = self.acks.setdefault(ack.job_id, ack)
        if known.key != ack.key:
            self.wrong.append(f"{ack.job_id} was acknowledged for two requests")
        self._write("ack", asdict(ack))

    def saw(self, seen: Seen) -> None:
        before = self.seen.setdefault(seen.job_id, [])
        if not before or (before[-1].version, before[-1].state) != (seen.version, seen.state):
            before.append(seen)
            self._write("seen", asdict(seen))

    def downloaded(self, download: Download) -> None:
        self.downloads.append(download)
        self._write("download", asdict(download))

    def kept(self, file_id: str) -> None:
        """A client was told that this file is stored: from now on it must not get lost."""
        self.files[file_id] = time.time()
        self._write("file", {"at": self.files[file_id], "file_id": file_id})

    def status(self, what: str, status: int) -> None:
        self.statuses[what, status] += 1

    def complain(self, sentence: str) -> None:
        self.wrong.append(sentence)
        self._write("wrong", {"sentence": sentence})

    def mark(self, what: str, **facts: Any) -> Mark:
        mark = Mark(time.time(), what, facts)
        self.marks.append(mark)
        self._write("mark", asdict(mark))
        return mark

    def marked(self, *whats: str) -> list[Mark]:
        return [mark for mark in self.marks if mark.what in whats]

    def _write(self, kind: str, facts: dict[str, Any]) -> None:
        self._file.write(json.dumps({"kind": kind, **facts}) + "\n")

    def close(self) -> None:
        self._file.close()
