"""Outputs to the places that clients name, while the attempt still has them on scratch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
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
from fileproc.jobs import OutputInfo, StepError, Target, TargetState, TargetStatus
from fileproc.objects import file_chunks
from fileproc.operations import Output
from fileproc.outbound import put_file
from fileproc.resources import Resources
from fileproc.store import Lease
from fileproc.telemetry import DELIVERED, LIMITS_HIT

_PAUSE_CAP_S: Final = 5.0

File = tuple[Output, OutputInfo]


class Deliverer:
    def __init__(self, resources: Resources) -> None:
        self._outbound = resources.outbound
        self._connections = resources.connections
        self._patience_s = resources.settings.delivery_patience_s
        self._timeout_s = resources.settings.delivery_timeout_s

    async def deliver(
        self, lease: Lease, files: Sequence[File], statuses: list[TargetStatus]
    ) -> None:
        """One after the other; `statuses` says how far each has come, also after an error.

        Raises:
            JobError: one cannot be delivered; those after it are not tried.
        """
        # One clock for all: a place that reads slowly must not hold a slot of the worker for long.
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        for place, delivery in enumerate(lease.document.deliver):
            sent = 0
            try:
                for file in _chosen(delivery, files):
                    await self._in_time(lease.owner, delivery, file, deadline)
                    sent += 1
            except JobError as exc:
                error = StepError(code=exc.job_code, detail=exc.detail)
                statuses[place] = TargetStatus(state=TargetState.FAILED, files=sent, error=error)
                raise
            statuses[place] = TargetStatus(state=TargetState.DELIVERED, files=sent)

    async def _in_time(self, owner: str, delivery: Target, file: File, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._patiently(owner, delivery, file)
        except TimeoutError as exc:
            LIMITS_HIT.labels("delivery_timeout_s").inc()
            raise JobError(
                f"The outputs could not be sent within {self._timeout_s:g} seconds.",
                code="delivery_failed",
            ) from exc

    async def _patiently(self, owner: str, delivery: Target, file: File) -> None:
        """Again after what may pass: the operation's work is not to be done twice for that."""
        loop = asyncio.get_running_loop()
        deadline, ceiling = loop.time() + self._patience_s, 0.2
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
