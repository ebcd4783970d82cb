"""Places in the code where a process can be told to die: every gap between two steps is tried.

`FILEPROC_CRASH_AT=claimed` makes a role send itself SIGKILL the moment it passes that point,
`claimed:0.1` once in ten times. For the tests of faults only; unarmed, a point costs a comparison.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass

API, WORKER = "api", "worker"

# name -> (role that passes it, what has happened by then); the documentation is made from this.
POINTS: dict[str, tuple[str, str]] = {
    "key-reserved": (API, "an idempotency key is reserved, the body not yet read"),
    "upload-begun": (API, "a multipart upload is begun, no part of it stored"),
    "upload-part": (API, "a part of a multipart upload is stored"),
    "upload-parts": (API, "all parts are stored, the upload is not completed"),
    "file-stored": (API, "a file is in the storage, no job knows it"),
    "file-kept": (API, "a file on its own is written down, the client does not know"),
    "file-deleted": (API, "a delete of a file is written down, the client does not know"),
    "upload-opened": (API, "an upload to the storage is written down, the client does not know"),
    "upload-checked": (API, "an upload is whole and looked at, it is not yet a file"),
    "upload-kept": (API, "an upload is a file, the client does not know"),
    "upload-closed": (API, "an upload is given up, its parts are there"),
    "tus-begun": (API, "parts of a resumable upload may be sent, this is not written down"),
    "tus-part": (API, "a part of a resumable upload is stored, this is not written down"),
    "tus-tail": (API, "the end of a piece is stored, this is not written down"),
    "tus-noted": (API, "what is safe of an upload is written down, the client does not know"),
    "upload-refused": (API, "a request is refused, its files are not yet deleted"),
    "before-accept": (API, "all is ready to write the job down"),
    "batch-open": (API, "jobs of a batch are written down, it is not yet whole"),
    "accepted": (API, "the job is written down, the client does not know"),
    "cancel-noted": (API, "a cancel is written down, the client does not know"),
    "delete-noted": (API, "a delete is written down, the client does not know"),
    "download": (API, "a part of a result has been sent"),
    "api-stopping": (API, "SIGTERM has come, requests are under way"),
    "popped": (WORKER, "an id lies in the processing list, unclaimed"),
    "claimed": (WORKER, "jobs are leased, nothing of them is begun"),
    "input-fetched": (WORKER, "the inputs are in the scratch folder"),
    "child-started": (WORKER, "the child process is ordered"),
    "progress": (WORKER, "progress is written down, the child is at work"),
    "child-done": (WORKER, "the child is gone, its outputs are in the scratch folder"),
    "before-put": (WORKER, "an output is about to be stored"),
    "output-stored": (WORKER, "an output is stored, the attempt is not settled"),
    "delivering": (WORKER, "the outputs are stored, none is sent to where they are to go"),
    "delivered": (WORKER, "the outputs are sent to where they are to go, this is not written down"),
    "before-settle": (WORKER, "the attempt has ended, this is not written down"),
    "settled": (WORKER, "the attempt is settled, its slot not yet free"),
    "canceling": (WORKER, "a child is killed as its job is canceled or lost, this is not settled"),
    "stopping": (WORKER, "SIGTERM has come, jobs are running"),
    "handing-back": (WORKER, "the grace is over, running jobs are not yet handed back"),
    "heartbeat": (WORKER, "a beat is due"),
    "janitor-ticked": (WORKER, "the clock is served, expired leases are not"),
    "recovered": (WORKER, "jobs are taken from silent workers"),
    "adopted": (WORKER, "popped ids of silent workers are put back"),
    "purged": (WORKER, "jobs past retention are forgotten, their objects are there"),
    "trash-deleted": (WORKER, "objects are deleted, the note of them is there"),
    "upload-ended": (WORKER, "an upload is given up as its time is over, its parts are there"),
    "sweep-found": (WORKER, "orphans are found and not yet deleted"),
    "sweep-deleted": (WORKER, "some orphans are deleted"),
    "ship-read": (WORKER, "events are read and not yet in the journal"),
    "ship-stored": (WORKER, "a batch is in the journal, the mark has not moved"),
    "compact-stored": (WORKER, "a snapshot is in the journal beside what it stands for"),
    "compact-deleted": (WORKER, "some of what the snapshot stands for is deleted"),
    "events-judged": (WORKER, "events are read for webhooks, nothing of them is queued"),
    "deliveries-queued": (WORKER, "deliveries are queued, the mark of the events has moved"),
    "delivery-taken": (WORKER, "a delivery is leased and not sent"),
    "delivery-sent": (WORKER, "a delivery is sent and answered, this is not written down"),
    "delivery-settled": (WORKER, "the outcome of a delivery is written down"),
}


@dataclass(slots=True)
class _Armed:
    name: str = ""
    probability: float = 1.0


_armed = _Armed()


def arm(where: str | None) -> None:
    """Set where this process dies: `name`, or `name:probability`; None: nowhere.

    Raises:
        ValueError: there is no such point, or the probability is none.
    """
    _armed.name, _armed.probability = parse(where) if where else ("", 1.0)


def parse(where: str) -> tuple[str, float]:
    """(name, probability); raises ValueError."""
    name, _, probability = where.partition(":")
    if name not in POINTS:
        raise ValueError(f"must name a crash point; there is no {name!r}")
    chance = float(probability or 1)
    if not 0 < chance <= 1:
        raise ValueError("the probability must be above 0 and at most 1")
    return name, chance


def crash_point(name: str) -> None:
    """Die here, if this process is armed for it."""
    if name == _armed.name:
        _crash()


def _crash() -> None:
    if random.random() < _armed.probability:  # noqa: S311 - which pass of many does not matter
        os.write(2, f"crash point {_armed.name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def of_role(role: str) -> Iterator[str]:
    """Names of the points that this role passes."""
    return (name for name, (by, _) in POINTS.items() if by == role)
