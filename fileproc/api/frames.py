"""Server-sent events as bytes.

Source of the format: the HTML standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import to_json

from fileproc.jobs import Job, PipelineProgress
from fileproc.store import Batch, Moved, Position, Progressed
from fileproc.views import batch_progress

_COME_BACK_MS: Final = (2_000, 6_000)  # at random, so that not all come back at once
BEAT: Final = b": \n\n"


def frame(name: str, data: bytes, position: Position | None = None) -> bytes:
    """One event; a reader that comes back after one without position goes on after the last."""
    head = f"id: {position}\nevent: {name}\ndata: " if position else f"event: {name}\ndata: "
    return head.encode() + data + b"\n\n"


def retry() -> bytes:
    """When to come back, should the connection break."""
    return b"retry: %d\n" % random.randint(*_COME_BACK_MS)  # noqa: S311 - spreads load


def reset(why: str) -> bytes:
    """What the reader knows is out of date."""
    return frame("reset", to_json({"reason": why}))


def end(why: str) -> bytes:
    """The last frame of a stream."""
    return frame("end", to_json({"reason": why}))


def frame_of(moved: Moved) -> bytes:
    """A move as it is sent; built once, however many follow it.

    Of the end of a batch nothing: it is told by the batch itself.
    """
    if moved.of_batch:
        return b""
    if moved.frame is None:
        view = {
            "object": "move",
            "job_id": moved.job_id,
            "move": moved.move,
            "state": moved.state,
            "version": moved.version,
            "at": datetime.fromtimestamp(moved.position.ms / 1000, UTC),
            "error_code": moved.code,
        }
        moved.frame = frame("move", to_json(view), moved.position)
    return moved.frame


def progressed(progress: Progressed) -> bytes:
    """As `frame_of`, of a progress, which has no place in the stream."""
    if progress.frame is None:
        told = PipelineProgress.model_validate_json(progress.data)
        plain = told.model_dump(exclude={"steps"})
        progress.frame = _progress_frame(progress.job_id, progress.version, plain, told.steps)
    return progress.frame


def progress_of(job: Job) -> bytes:
    """The latest of a job; nothing where there is none."""
    if job.progress is None:
        return b""
    return _progress_frame(job.id, job.version, job.progress, job.steps or None)


def tally(batch: Batch) -> bytes:
    """How far a batch has come."""
    head = {"object": "progress", "batch_id": batch.id}
    return frame("progress", to_json({**head, **batch_progress(batch)}))


def _progress_frame(job_id: str, version: int, progress: Any, steps: Any) -> bytes:
    head = {"object": "progress", "job_id": job_id, "version": version}
    return frame("progress", to_json({**head, "progress": progress, "steps": steps}))
