"""Jobs, files and results for tests of the store."""

from __future__ import annotations

import hashlib
from typing import Any

from fileproc.errors import ErrorClass
from fileproc.ids import new_id
from fileproc.jobs import FileInfo, JobDocument, JobResult, OutputInfo, Problem, Provenance, Usage
from fileproc.store import Lease, NewJob

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
