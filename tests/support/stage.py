"""A stage for single attempts: the store and the storage are the real ones, the child is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from fileproc.errors import JobError
from fileproc.jobs import FileInfo, Job, Progress, Usage
from fileproc.objects import file_key
from fileproc.operations import Output
from fileproc.store import Lease
from fileproc.worker.executor import Executor
from fileproc.worker.held import Held
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from fileproc.worker.scratch import Scratch
from support.jobs import make_file, make_job

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from fileproc.resources import Resources

USED = Usage(wall_s=1.5, cpu_s=1.0, peak_rss_bytes=1 << 20)
Report = Callable[[Progress], None]
Part = Callable[[Assignment, Report], Awaitable[Ending]]


def ending(*outputs: Output, error: JobError | None = None) -> Ending:
    return Ending(list(outputs), "an engine", USED, error)


async def two_outputs(assignment: Assignment, report: Report) -> Ending:
    del report
    made = []
    for name in ("a", "b"):
        (assignment.folder / name).write_bytes(name.encode() * 3)
        made.append(Output(assignment.folder / name, f"{name}.txt", "text/plain"))
    return ending(*made)


async def endless(assignment: Assignment, report: Report) -> Ending:
    del assignment, report
    await asyncio.Event().wait()
    raise AssertionError


@dataclass
class Child:
    """Stands in for the sandbox: plays its part, and remembers what it was given."""

    part: Part = two_outputs
    given: list[Assignment] = field(default_factory=list)

    async def run(self, assignment: Assignment, on_progress: Report) -> Ending:
        self.given.append(assignment)
        return await self.part(assignment, on_progress)


class Stage:
    def __init__(self, resources: Resources, folder: Path) -> None:
        self.resources = resources
        self.store, self.objects = resources.store, resources.objects
        self.held, self.child = Held(), Child()
        self.scratch = Scratch(folder / "attempts", 0)
        self.executor = Executor(
            resources, cast("Sandbox", self.child), self.scratch, self.held, "default"
        )

    async def lease(self, **others: Any) -> Lease:
        await self.store.jobs.accept(make_job(**others))
        return await self.take()

    async def take(self) -> Lease:
        (lease,) = await self.store.queue.claim("default", 0, 1, self.store.queue.next_call())
        return lease

    async def job(self, lease: Lease) -> Job:
        return await self.store.jobs.get(lease.owner, lease.job_id)

    async def stored(self, prefix: str) -> list[str]:
        return [entry.key async for entry in self.objects.list(prefix)]

    def begin(self, lease: Lease) -> asyncio.Task[None]:
        return asyncio.create_task(self.executor.execute(lease))


async def put(stage: Stage, content: bytes) -> FileInfo:
    info = make_file(content=content)

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    await stage.objects.put_stream(file_key(info.file_id), chunks(), content_type="text/plain")
    return info


def slowly(
    monkeypatch: pytest.MonkeyPatch, what: object, name: str
) -> tuple[asyncio.Event, asyncio.Event]:
    """The call says that it has begun, and goes on when it may: (begun, go on)."""
    real, begun, go_on = getattr(what, name), asyncio.Event(), asyncio.Event()

    async def slow(*given: Any, **named: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await real(*given, **named)

    monkeypatch.setattr(what, name, slow)
    return begun, go_on


def failing(monkeypatch: pytest.MonkeyPatch, what: object, name: str, *errors: Exception) -> None:
    """The next calls raise these; then it works again."""
    real, left = getattr(what, name), list(errors)

    async def broken(*given: Any, **named: Any) -> Any:
        if left:
            raise left.pop(0)
        return await real(*given, **named)

    monkeypatch.setattr(what, name, broken)


def make_lease(job_id: str, **others: Any) -> Lease:
    document = make_job().document
    given = {"lane": "default", "document": document, **others}
    return Lease(
        job_id=job_id, token="1", attempt=1, max_attempts=3, owner="acme", accepted_ms=0, **given
    )
