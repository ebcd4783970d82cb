"""The janitor: every worker has one, one at a time works; two at once do no harm.

The books and the storage are kept apart: a storage that is slow or away, or a long sweep of it,
must not delay the recovery of jobs.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError
from fileproc.objects import ObjectInfo, file_key
from fileproc.resources import Resources
from fileproc.store import file_of, upload_of
from fileproc.telemetry import (
    ADOPTED,
    PURGED,
    RECOVERED,
    SWEPT,
    get_logger,
    show_queue,
)
from fileproc.worker.rebuild import found_empty

ROUND_S = 0.5
LOCK_S = 5.0
SWEPT_AT_ONCE = 100
PREFIXES_AT_ONCE = 16  # each takes two calls to the storage, most of it waiting
REBUILD_S = 10.0  # a lost store is looked at so often, by one of all workers

_ATTEMPT = re.compile(r"attempts/(job_[0-9a-z]+)/(\d+)-[0-9a-f]{8}/\d+")

log = get_logger(__name__)


class Janitor:
    def __init__(self, resources: Resources, holder: str) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._upkeep = resources.store.upkeep
        self._store = resources.store
        self._objects = resources.objects
        self._holder = holder
        # Not at once: workers that are restarted in a loop shall not list the bucket in a loop.
        self._next_sweep = time.monotonic() + self._settings.sweep_s / 10

    async def run(self) -> None:
        """Both kinds of rounds, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rounds("janitor", self.round))
            group.create_task(self._rounds("collector", self.tidy))

    async def _rounds(self, lock: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Two rounds a second, or one after the other; an engine that is away only costs rounds."""
        while True:
            try:
                if await self._upkeep.lock(lock, self._holder, LOCK_S) and await work():
                    continue
            except FileprocError as exc:
                log.warning("a round was cut short", of=lock, reason=exc.detail)
            except Exception:
                log.exception("a round failed", of=lock)
            await asyncio.sleep(ROUND_S)

    async def round(self) -> bool:
        """What is due in the books: each step is one bounded call to Redis. The rest has time."""
        if await self._store.journal.empty():
            await self._look_at_lost()
            return False
        await self._upkeep.tick()
        crash_point("janitor-ticked")
        RECOVERED.inc(await self._upkeep.recover())
        crash_point("recovered")
        ADOPTED.inc(await self._upkeep.adopt())
        crash_point("adopted")
        PURGED.inc(await self._upkeep.purge())
        await self._store.batches.end()
        await self._store.files.expire()
        crash_point("purged")
        await self._upkeep.trim_events(self._settings.events_window_s)
        await self._measure()
        return False

    async def _look_at_lost(self) -> None:
        """A store that is empty: built again, if that is allowed; one of us looks now and then."""
        if await self._upkeep.lock("rebuild", secrets.token_hex(8), REBUILD_S):
            await found_empty(self._resources)

    async def tidy(self) -> bool:
        """What is due in the storage; whether there is more, which waits for nothing.

        Not on the word of a store that has lost everything: what it takes for trash may be what
        the journal knows to be published.
        """
        if await self._store.journal.empty():
            return False
        collected = await self.collect()
        await self.end_uploads()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + self._settings.sweep_s
            await self.sweep()
        return bool(collected)

    async def collect(self) -> int:
        """Empty the trash: objects first, the note of them after. Returns how many notes."""
        due = await self._upkeep.trash()
        keys = [what for what in due if not what.endswith(("/", "-"))]
        prefixes = [what for what in due if what.endswith(("/", "-"))]
        if keys:
            await self._objects.delete(keys)
            SWEPT.labels("file").inc(len(keys))
        gate = asyncio.Semaphore(PREFIXES_AT_ONCE)

        async def delete(prefix: str) -> None:
            async with gate:
                SWEPT.labels("output").inc(await self._objects.delete_prefix(prefix))

        # All of them to their ends: what one could not delete is due again.
        failed = await asyncio.gather(*map(delete, prefixes), return_exceptions=True)
        for error in failed:
            if error is not None:
                raise error
        if due:
            crash_point("trash-deleted")
        await self._upkeep.trashed(due)
        return len(due)

    async def end_uploads(self) -> int:
        """Give up uploads whose time is over; returns how many.

        If we die in between, the sweep aborts what the storage has of them.
        """
        ended = 0
        for upload_id in await self._store.uploads.due():
            multipart = await self._store.uploads.close(upload_id)
            crash_point("upload-ended")
            if multipart:
                await self._objects.direct.abort(file_key(file_of(upload_id)), multipart)
            ended += multipart is not None
        SWEPT.labels("upload").inc(ended)
        return ended

    async def sweep(self, age: timedelta | None = None) -> int:
        """Delete objects that nothing points to: what a killed process has left. Returns how many.

        Nothing younger than `age` is touched: its record may be about to be written. A file gets
        more time than an output: the first of a form is stored while the last still arrives.
        """
        ages = {
            "attempts/": age or timedelta(seconds=self._settings.orphan_s),
            "files/": age or timedelta(seconds=self._settings.stale_upload_s),
            "uploads/": age or timedelta(seconds=self._settings.stale_upload_s),
        }
        if await self._store.journal.empty():
            log.error("no sweep: redis has lost its data; run `python -m fileproc rebuild`")
            return 0
        swept = 0
        for root, oldest in ages.items():
            batch: list[ObjectInfo] = []
            async for entry in self._objects.list(root):
                if entry.age_s > oldest.total_seconds():
                    batch.append(entry)
                if len(batch) >= SWEPT_AT_ONCE:
                    swept += await self._sweep_batch(batch)
                    batch = []
            swept += await self._sweep_batch(batch)
        aborted = await self._objects.abort_uploads(
            older_than_s=self._settings.stale_upload_s, wanted=self._under_way
        )
        SWEPT.labels("upload").inc(aborted)
        if swept or aborted:
            log.info("swept orphans", objects=swept, uploads=aborted)
        return swept

    async def _sweep_batch(self, batch: list[ObjectInfo]) -> int:
        wanted = await asyncio.gather(*(self._wanted(entry.key) for entry in batch))
        orphans = [entry.key for entry, keep in zip(batch, wanted, strict=True) if not keep]
        if orphans and await self._store.journal.empty():
            # It was lost while we listed: everything looks like an orphan since.
            log.error("the sweep has stopped: redis has lost its data")
            return 0
        if orphans:
            crash_point("sweep-found")
            await self._objects.delete(orphans)
            crash_point("sweep-deleted")
            SWEPT.labels("orphan").inc(len(orphans))
        return len(orphans)

    async def _wanted(self, key: str) -> bool:
        if key.startswith("files/"):
            # In this order: an upload that is completed in between is a file by then.
            return await self._under_way(key) or await self._store.files.exists(
                key.removeprefix("files/")
            )
        if key.startswith("uploads/"):
            return await self._store.uploads.exists(key.split("/")[1])
        parts = _ATTEMPT.fullmatch(key)
        if parts is None:
            return True  # not of a form we write: not ours to delete
        state, token, prefix = await self._upkeep.live_prefix(parts[1])
        if prefix is not None and key.startswith(prefix):
            return True
        if prefix is None and state == "running" and token == parts[2]:
            return True
        return await self._upkeep.shared(key.rpartition("/")[0] + "/")

    async def _under_way(self, key: str) -> bool:
        """Whether an upload is to become this object."""
        _, _, name = key.partition("files/")
        return bool(name) and await self._store.uploads.exists(upload_of(name))

    async def _measure(self) -> None:
        show_queue(await self._store.queue_stats())
