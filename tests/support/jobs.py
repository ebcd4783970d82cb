"""Jobs, files and results for tests of the store."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from fileproc.errors import ErrorClass
from fileproc.ids import new_id
from fileproc.jobs import (
    FileInfo,
    JobDocument,
    JobResult,
    KeptState,
    KeptSteps,
    Move,
    OutputInfo,
    PipelineProblem,
    Problem,
    Provenance,
    Usage,
)
from fileproc.store import Lease, NewJob, Settlement, Store

PROBLEM = Problem(
    type="/docs#error-x",
    title="x",
    status=500,
    detail="It broke.",
    code="x",
    error_class=ErrorClass.TRANSIENT,
    retryable=True,
    attempt=1,
)


def make_job(owner: str = "acme", **others: Any) -> NewJob:
    given: dict[str, Any] = {
        "id": new_id("job"),
        "owner": owner,
        "lane": "default",
        "document": JobDocument(operation="debug.sleep", params={"seconds": 0}),
        "max_attempts": 3,
        "retention_s": 3600,
        **others,
    }
    return NewJob(**given)


def accept_arguments(
    store: Store,
    new: NewJob,
    *,
    due: int = 0,
    deadline: int = 0,
    cap: int = 0,
    weight: int = 1,
    upload: bool = False,
) -> list[Any]:
    """For the script: what it can do and the api does not ask for yet. Moments in ms since 1970."""
    arguments: list[Any] = store.jobs._arguments(new)
    limits = dataclasses.replace(store.owners.everybody, max_running=cap, weight=weight)
    arguments[9] = limits.for_scripts()
    arguments[13:15] = [due, deadline]
    arguments[16] = int(upload)
    return arguments


def make_file(name: str = "a.txt", content: bytes = b"hello") -> FileInfo:
    return FileInfo(
        file_id=new_id("file"),
        name=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        type="text/plain",
    )


def make_result(lease: Lease) -> JobResult:
    output = OutputInfo(name="out.txt", size=1, sha256="0" * 64, type="text/plain")
    return JobResult(
        prefix=f"attempts/{lease.job_id}/{lease.token}-00000000/",
        outputs=[output],
        usage=Usage(wall_s=0.1, cpu_s=0.1, peak_rss_bytes=1),
        provenance=Provenance(fileproc="0"),
    )


def make_failure(lease: Lease) -> tuple[PipelineProblem, str]:
    """The failure of a pipeline that has kept what its first step made, and where."""
    prefix = f"attempts/{lease.job_id}/{lease.token}-11111111/"
    kept = KeptSteps(
        state=KeptState.KEPT,
        steps=["first"],
        files=1,
        bytes=4,
        prefix=prefix,
        list_size=1,
        list_sha256="0" * 64,
    )
    return PipelineProblem(**dict(PROBLEM), kept=kept), prefix


def settlement_of(lease: Lease, move: Move, delay_s: float = 0) -> Settlement:
    """One of each kind."""
    result = make_result(lease)
    match move:
        case Move.COMPLETE:
            return Settlement.complete(lease, result)
        case Move.FAIL:
            return Settlement.fail(lease, PROBLEM, result.prefix)
        case Move.RETRY:
            return Settlement.retry(lease, PROBLEM, delay_s, result.prefix)
        case Move.CANCEL:
            return Settlement.cancel(lease, result.prefix)
        case _:
            return Settlement.release(lease, result.prefix)


async def due_trash(store: Store) -> list[str]:
    """What may be deleted, once the journal has everything that happened."""
    while entries := await store.journal.unshipped():
        await store.journal.shipped(entries[-1][0])
    return await store.upkeep.trash()
