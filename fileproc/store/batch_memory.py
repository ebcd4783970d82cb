"""Batches as the journal knows them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from fileproc.jobs import JobState
from fileproc.store.events import Event


@dataclass(frozen=True, slots=True)
class RememberedBatch:
    """A batch as its events leave it. Times in ms since 1970."""

    id: str
    owner: str
    total: int
    document: str
    retention_ms: int
    created: int
    completed: int | None = None
    idempotency: str = ""

    def lapsed(self, now: int) -> bool:
        """Whether its retention is over."""
        return self.completed is not None and self.completed + self.retention_ms <= now


class BatchMemory:
    """Folds the events of batches, oldest first."""

    def __init__(self) -> None:
        self.known: dict[str, RememberedBatch] = {}
        self._forgotten: dict[str, dict[str, int]] = {}

    def forgotten(self, batch_id: str) -> Mapping[str, int]:
        """How those of its jobs ended that are not known any more: state -> number."""
        return self._forgotten.get(batch_id, {})

    def count(self, batch_id: str, state: JobState | str) -> None:
        """One more job that is not known any more."""
        ends = self._forgotten.setdefault(batch_id, {})
        ends[str(state)] = ends.get(str(state), 0) + 1

    def fold(self, event: Event, now: int) -> None:
        """Take one event in; one that is known already changes nothing."""
        known = self.known.get(event.job_id)
        if event.move == "batch_deleted":
            self.known.pop(event.job_id, None)
            self._forgotten.pop(event.job_id, None)
        elif event.move == "batch_snapshot":
            told = json.loads(event.data)
            self._forgotten[event.job_id] = told.pop("forgotten")
            self.known[event.job_id] = RememberedBatch(**told)
        elif event.move == "batch_completed" and known is not None:
            self.known[event.job_id] = replace(known, completed=known.completed or now)
        elif event.move == "batch_created" and known is None:
            told = json.loads(event.data)
            self.known[event.job_id] = RememberedBatch(
                id=event.job_id,
                owner=event.owner,
                total=told["n"],
                document=json.dumps(told["doc"], ensure_ascii=False, separators=(",", ":")),
                retention_ms=told["rt"],
                created=told["ca"],
                idempotency=told["idem"],
            )

    def forget_lapsed(self, now: int) -> None:
        """Drop those whose retention is over (ms)."""
        self.known = {name: each for name, each in self.known.items() if not each.lapsed(now)}

    def snapshot(self, entry: str) -> Iterator[tuple[str, str]]:
        """Entries for `pack`."""
        for batch in self.known.values():
            told = {**asdict(batch), "forgotten": self.forgotten(batch.id)}
            data = json.dumps(told, ensure_ascii=False)
            yield entry, f"{batch.id} batch_snapshot {batch.owner} 1 {data}"
