"""What was done before need not be done again, where those who ask, or their keys, say so.

Two jobs ask for the same if their operation or steps, parameters and files (content and name, since
outputs are named after them) are the same, and what computes is too (`operations.environment`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from fileproc.errors import ErrorClass, KnownFailureError
from fileproc.jobs import FileInfo, Job, JobResult, JobState, Usage
from fileproc.operations import Operation, environment
from fileproc.store import NewJob
from fileproc.telemetry import REUSED

if TYPE_CHECKING:
    from fileproc.api.context import Api, Caller
    from fileproc.api.drafts import Draft

# Permanent, and yet not of the files or parameters.
_OF_CIRCUMSTANCES: Final = frozenset({"corrupt_record", "input_missing", "unknown_operation"})
_LEFT: Final = timedelta(seconds=5)  # of the retention of a job whose answer is given again


async def with_answer(
    api: Api,
    caller: Caller,
    draft: Draft,
    new: NewJob,
    *,
    force: bool = False,
    refuse: bool = False,
) -> NewJob:
    """The job with the answer that another has, if that is wanted and there is one.

    Raises:
        KnownFailureError: with `refuse`, if another has failed for good; not with `force`.
    """
    inputs = new.document.inputs
    wanted = caller.reuse if draft.reuse is None else draft.reuse
    if not wanted or not _lasting(draft):
        return new
    build = await asyncio.to_thread(environment)  # the first call reads what is installed
    new = replace(new, digest=_digest(draft, inputs, build))
    if force:
        return new
    known = await api.resources.store.jobs.answers(new.owner, new.digest)
    if known is None:
        return new
    if known.state is JobState.FAILED and refuse:
        _refuse(known)
    result = _result(known, build)
    if result is None:
        return new
    REUSED.labels("succeeded").inc()
    return replace(new, answered_by=known.id, result=result)


def _lasting(draft: Draft) -> bool:
    """Whether what comes of it depends on nothing but what the digest tells.

    What lies at a URL is known when it is fetched, and may be another thing the next time.
    """
    plan = draft.plan
    operations = [plan] if isinstance(plan, Operation) else list(plan.operations.values())
    asks_others = any(operation.service is not None for operation in operations)
    return not (asks_others or draft.sources or draft.deliver or draft.run_at)


def _digest(draft: Draft, inputs: Sequence[FileInfo], build: str) -> str:
    files = [[info.name, info.sha256, info.type] for info in inputs]
    steps = [step.model_dump() for step in draft.steps]
    told = json.dumps([draft.plan.name, draft.params, steps, files, build], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _refuse(known: Job) -> None:
    error = known.error
    if error is None or error.error_class is not ErrorClass.PERMANENT:
        return
    if error.code in _OF_CIRCUMSTANCES:
        return
    REUSED.labels("failed").inc()
    raise KnownFailureError(
        f"The same has failed for good before: {error.detail} With ?force=true it is tried again.",
        job_id=known.id,
        error=error.model_dump(mode="json", by_alias=True),
    )


def _result(known: Job, build: str) -> JobResult | None:
    """The result for whoever gets it again, None if it is none, or will be gone at once."""
    result = known.result
    if known.state is not JobState.SUCCEEDED or result is None or result.provenance.build != build:
        return None
    if known.expires_at is None or known.expires_at - datetime.now(UTC) < _LEFT:
        return None
    provenance = result.provenance.model_copy(update={"cached": True})
    unused = Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0)
    return result.model_copy(update={"provenance": provenance, "usage": unused})
