"""What the finished steps of a failed job have made, kept for a job that goes on from there.

It is stored below a prefix that no other attempt has, before the failure is settled; the pointer to
it is part of the failure. So it is there or not with the failure itself: who dies in between leaves
objects with the token of the attempt, which recovery puts into the trash.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from fileproc.errors import (
    ErrorClass,
    FileprocError,
    JobError,
    ObjectMissingError,
    StoreUnavailableError,
)
from fileproc.jobs import KeptState, KeptSteps, OutputInfo, Record, StepStatus
from fileproc.objects import attempt_prefix
from fileproc.operations import Output
from fileproc.resources import Resources
from fileproc.store import Lease
from fileproc.telemetry import KEPT, LIMITS_HIT, get_logger
from fileproc.worker.pipeline import Finished
from fileproc.worker.transfers import TRANSFERS_AT_ONCE, patiently, publish, together

log = get_logger(__name__)


class _KeptStep(Record):
    status: StepStatus
    files: list[OutputInfo]


class _KeptList(Record):
    """The object after the last file: what the files are, in their order."""

    steps: list[_KeptStep]


class Keeper:
    def __init__(self, resources: Resources) -> None:
        self._most_bytes = resources.settings.max_kept_bytes
        self._timeout_s = resources.settings.keep_timeout_s
        self._objects = resources.objects
        self._upkeep = resources.store.upkeep

    def prefix_for(self, lease: Lease) -> str:
        """Where to keep: not where outputs are, a put of which may still arrive late."""
        return attempt_prefix(lease.job_id, int(lease.token))

    async def keep(self, prefix: str, finished: list[Finished], folder: Path) -> KeptSteps | None:
        """Store what these steps have made; None: there is nothing, or nothing is ever kept.

        Whatever goes wrong, the job is to fail with its own error: raises CancelledError only.
        """
        if not finished or not self._most_bytes:
            return None
        outputs = [output for one in finished for output in one.outputs]
        steps = [one.status.name for one in finished]
        kept = KeptSteps(state=KeptState.NOT_STORED, steps=steps, files=len(outputs), bytes=0)
        try:
            size = await asyncio.to_thread(_size_of, outputs)
            kept = kept.model_copy(update={"bytes": size})
            if size > self._most_bytes:
                LIMITS_HIT.labels("max_kept_bytes").inc()
                return kept.model_copy(update={"state": KeptState.TOO_LARGE})
            async with asyncio.timeout(self._timeout_s):
                told = await self._store(prefix, finished, outputs, folder)
        except (FileprocError, TimeoutError) as exc:
            log.warning("what finished steps have made is not kept", prefix=prefix, why=str(exc))
            return await self._without(prefix, kept)
        except Exception:
            log.exception("what finished steps have made is not kept", prefix=prefix)
            return await self._without(prefix, kept)
        KEPT.inc(size)
        changes = {
            "state": KeptState.KEPT,
            "prefix": prefix,
            "list_size": told.size,
            "list_sha256": told.sha256,
        }
        return kept.model_copy(update=changes)

    async def _without(self, prefix: str, kept: KeptSteps) -> KeptSteps:
        with contextlib.suppress(StoreUnavailableError):  # then the sweep finds it
            await self._upkeep.discard(prefix)
        return kept

    async def _store(
        self, prefix: str, finished: list[Finished], outputs: list[Output], folder: Path
    ) -> OutputInfo:
        """The files, and what tells of them as the last."""
        stored = iter(await publish(self._objects, prefix, outputs))
        listed = _KeptList(
            steps=[
                _KeptStep(status=one.status, files=[next(stored) for _ in one.outputs])
                for one in finished
            ]
        )
        path = folder / "kept.json"
        await asyncio.to_thread(path.write_text, listed.model_dump_json(), encoding="utf-8")
        last = Output(path, path.name, "application/json")
        (told,) = await publish(self._objects, prefix, [last], first=len(outputs))
        return told

    async def fetch(self, kept: KeptSteps, folder: Path) -> list[Finished]:
        """Bring what was kept to the scratch folder of an attempt.

        Raises:
            JobError: it is gone (`kept_missing`), or the disk is full.
            StorageUnavailableError: from the storage.
        """
        place = folder / "kept"
        await asyncio.to_thread(place.mkdir, mode=0o700)
        path = place / "list"
        try:
            await self._get(f"{kept.prefix}{kept.files}", path, kept.list_size, kept.list_sha256)
            steps = await asyncio.to_thread(_steps_in, path)
            files = [file for step in steps for file in step.files]
            await self._get_all(kept.prefix, files, place)
        except ObjectMissingError as exc:
            raise _missing() from exc
        except JobError as exc:
            raise (_missing() if exc.job_code == "input_changed" else exc) from exc
        outputs = iter(
            [Output(place / str(number), file.name, file.type) for number, file in enumerate(files)]
        )
        return [Finished(step.status, [next(outputs) for _ in step.files]) for step in steps]

    async def _get_all(self, prefix: str, files: list[OutputInfo], place: Path) -> None:
        gate = asyncio.Semaphore(TRANSFERS_AT_ONCE)

        async def get(number: int, file: OutputInfo) -> None:
            async with gate:
                await self._get(f"{prefix}{number}", place / str(number), file.size, file.sha256)

        await together([get(*each) for each in enumerate(files)])

    async def _get(self, key: str, path: Path, size: int, sha256: str) -> None:
        await patiently(lambda: self._objects.get_file(key, path, size=size, sha256=sha256))


def _size_of(outputs: list[Output]) -> int:
    return sum(output.path.stat().st_size for output in outputs)


def _steps_in(path: Path) -> list[_KeptStep]:
    return _KeptList.model_validate_json(path.read_bytes()).steps


def _missing() -> JobError:
    return JobError(
        "What was kept of the job that this one repeats is no longer stored: repeat it whole.",
        code="kept_missing",
        error_class=ErrorClass.PERMANENT,
    )
