"""Outputs to the places that clients name: while the attempt has them on scratch, or once more."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from fileproc.connections import SCHEME
from fileproc.errors import (
    BadInput,
    ErrorClass,
    InsufficientStorageError,
    JobError,
    ObjectMissingError,
    StorageUnavailableError,
    UrlNotAllowedError,
)
from fileproc.jobs import Made, OutputInfo, StepError, Target, TargetState, TargetStatus
from fileproc.objects import file_chunks
from fileproc.operations import Output
from fileproc.outbound import put_file
from fileproc.resources import Resources
from fileproc.store import Lease
from fileproc.telemetry import DELIVERED, LIMITS_HIT, TARGETS, get_logger
from fileproc.worker.transfers import TRANSFERS_AT_ONCE, patiently, together

_PAUSE_CAP_S: Final = 5.0

File = tuple[Output, OutputInfo]

log = get_logger(__name__)


class Deliverer:
    def __init__(self, resources: Resources) -> None:
        self._objects = resources.objects
        self._outbound = resources.outbound
        self._connections = resources.connections
        self._patience_s = resources.settings.delivery_patience_s
        self._timeout_s = resources.settings.delivery_timeout_s

    async def deliver(
        self, lease: Lease, files: Sequence[File], statuses: list[TargetStatus]
    ) -> list[JobError]:
        """One after the other; `statuses` says how each went.

        Returns why some failed. It is not raised: that a place takes nothing is no reason to lose
        what was made, and none not to try the next one.
        """
        # One clock for all: a place that reads slowly must not hold a slot of the worker for long.
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        patience_s, failures = self._patience_s, []
        for place, delivery in enumerate(lease.document.deliver):
            sent = 0
            try:
                for file in _chosen(delivery, files):
                    await self._in_time(lease.owner, delivery, file, deadline, patience_s)
                    sent += 1
            except Exception as exc:  # noqa: BLE001 - whatever it is, the outputs are there
                failure = _told(exc, lease.job_id)
                error = StepError(code=failure.job_code, detail=failure.detail)
                statuses[place] = TargetStatus(state=TargetState.FAILED, files=sent, error=error)
                failures.append(failure)
                patience_s = 0  # one has used it up; the others are tried once
            else:
                statuses[place] = TargetStatus(state=TargetState.DELIVERED, files=sent)
            TARGETS.labels(statuses[place].state).inc()
        return failures

    async def bring(self, made: Made, targets: Sequence[Target], folder: Path) -> list[File]:
        """What an earlier job has made, as far as it is to be sent; checked by size and digest.

        Raises:
            JobError: it is gone (`outputs_missing`), or the disk is full.
            StorageUnavailableError: from the storage.
        """
        places = folder / "made"
        await asyncio.to_thread(places.mkdir, mode=0o700)
        wanted = {target.output for target in targets}
        gate = asyncio.Semaphore(TRANSFERS_AT_ONCE)

        async def bring(number: int, info: OutputInfo) -> File:
            path = places / str(number)
            key = f"{made.prefix}{number}"
            async with gate:
                if None in wanted or number in wanted:
                    await patiently(
                        lambda: self._objects.get_file(
                            key, path, size=info.size, sha256=info.sha256
                        )
                    )
            return Output(path, info.name, info.type), info

        try:
            return await together([bring(*each) for each in enumerate(made.outputs)])
        except ObjectMissingError as exc:
            raise BadInput(
                "The outputs that were to be sent are no longer stored: their job is over.",
                code="outputs_missing",
            ) from exc

    async def _in_time(
        self, owner: str, delivery: Target, file: File, deadline: float, patience_s: float
    ) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._patiently(owner, delivery, file, patience_s)
        except TimeoutError as exc:
            LIMITS_HIT.labels("delivery_timeout_s").inc()
            raise JobError(
                f"The outputs could not be sent within {self._timeout_s:g} seconds.",
                code="delivery_failed",
            ) from exc

    async def _patiently(self, owner: str, delivery: Target, file: File, patience_s: float) -> None:
        """Again after what may pass: the operation's work is not to be done twice for that."""
        loop = asyncio.get_running_loop()
        deadline, ceiling = loop.time() + patience_s, 0.2
        while True:
            try:
                return await self._send(owner, delivery, file)
            except JobError as exc:
                if exc.job_class is not ErrorClass.TRANSIENT or loop.time() > deadline:
                    raise
            await asyncio.sleep(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - spreads load
            ceiling = min(2 * ceiling, _PAUSE_CAP_S)

    async def _send(self, owner: str, delivery: Target, file: File) -> None:
        output, info = file
        if delivery.url.startswith(SCHEME):
            await self._to_connection(owner, delivery.url + info.name, file)
            return
        named = {name.lower() for name in delivery.headers}
        typed = {} if "content-type" in named else {"Content-Type": info.type}
        await put_file(
            self._outbound,
            delivery.url,
            lambda: file_chunks(output.path),
            size=info.size,
            headers={**delivery.headers, **typed},
        )
        DELIVERED.inc(info.size)

    async def _to_connection(self, owner: str, url: str, file: File) -> None:
        output, info = file
        try:
            async with aclosing(file_chunks(output.path)) as chunks:
                await self._connections.put(owner, url, chunks, content_type=info.type)
        except UrlNotAllowedError as exc:  # it is no longer what it was, or of such a name
            raise BadInput(exc.detail, code="url_not_allowed") from exc
        except (StorageUnavailableError, InsufficientStorageError, ObjectMissingError) as exc:
            detail = "The connection does not take an output."
            raise JobError(detail, code="delivery_failed") from exc
        DELIVERED.inc(info.size)


def _told(exc: Exception, job_id: str) -> JobError:
    """What its owner is told of a failure; of one that nobody planned for the log has the rest."""
    if isinstance(exc, JobError):
        return exc
    log.error("a delivery failed in the worker itself", job=job_id, exc_info=exc)
    return JobError("The worker met an error that it does not know.", code="delivery_failed")


def _chosen(delivery: Target, files: Sequence[File]) -> Sequence[File]:
    if delivery.output is None:
        if len(files) == 1 or delivery.url.startswith(SCHEME):
            return files
        raise BadInput(
            f"The job made {len(files)} files: name one for each delivery by `output`.",
            code="delivery_impossible",
        )
    if delivery.output >= len(files):
        raise BadInput(
            f"The job made {len(files)} files: there is no output {delivery.output}.",
            code="delivery_impossible",
        )
    return [files[delivery.output]]
