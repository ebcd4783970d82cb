"""Files: what jobs take in.

A file that came with a job lives as long as the last record of a job that uses it. One that was
uploaded on its own has a retention of its own: it goes when that is over, or when its owner deletes
it, but not before the last unfinished job that uses it is over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fileproc.errors import (
    BacklogError,
    FileOfJobError,
    GoneError,
    NotFoundError,
    QuotaError,
)
from fileproc.jobs import FileInfo
from fileproc.store.connection import Pipeline
from fileproc.store.cursors import decode_cursor, encode_cursor, entries_below
from fileproc.store.keys import Keys
from fileproc.store.owners import Limits, quota_error
from fileproc.store.records import when
from fileproc.store.reserve import Reserve
from fileproc.store.shelf import ShelvedFile
from fileproc.telemetry import LIMITS_HIT

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as its owner sees it.

    Attributes:
        created_at, expires_at: None where it came with a job and lives as long as that.
        jobs: how many unfinished jobs use it; None where it came with a job.
    """

    info: FileInfo
    created_at: datetime | None
    expires_at: datetime | None
    jobs: int | None


@dataclass(frozen=True, slots=True)
class FilePage:
    files: list[StoredFile]
    next_cursor: str | None


class Files:
    def __init__(
        self,
        pipeline: Pipeline,
        keys: Keys,
        *,
        most: int,
        everybody: Limits,
        max_event_backlog: int,
        reserve: Reserve,
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._most = most
        self._everybody = everybody.for_scripts()
        self._max_event_backlog = max_event_backlog
        self._reserve = reserve

    async def put(self, owner: str, info: FileInfo, retention_s: int) -> StoredFile:
        """Keep a file, whose object is in the storage already, for so long.

        Raises:
            QuotaError: the owner has too many files, or may not upload so much today.
            BacklogError: the events are not shipped fast enough, or Redis is nearly full.
            StoreUnavailableError: nothing is known to be kept.
        """
        await self._reserve.check()
        file_id, *others = self.arguments(info, retention_s)
        return self.kept(info, await self._pipeline.script("file", "put", file_id, owner, *others))

    def arguments(self, info: FileInfo, retention_s: int) -> list[Any]:
        """What a script needs to keep a file: its id, and the rest."""
        record = info.model_dump_json(exclude_none=True)
        limits = (self._most, self._max_event_backlog, self._everybody)
        return [info.file_id, record, retention_s * 1000, *limits]

    def kept(self, info: FileInfo, reply: list[str]) -> StoredFile:
        """The file, from the answer of a script that keeps one; raises as `put`."""
        match reply:
            case ["ok", created, expires]:
                return StoredFile(info, when(str(created)), when(str(expires)), 0)
            case ["quota", _, _, _, _]:
                raise quota_error(reply)
            case ["quota", held]:
                LIMITS_HIT.labels("max_files_per_owner").inc()
                raise QuotaError(
                    f"You have {held} files; at most {self._most} are kept. Delete some, or wait "
                    "until their retention is over.",
                    limit="max_files_per_owner",
                    allowed=self._most,
                    used=int(held),
                )
            case ["backlog", entries]:
                LIMITS_HIT.labels("max_event_backlog").inc()
                raise BacklogError(
                    f"The server has {entries} events to write out and takes nothing new until "
                    f"there are fewer than {self._max_event_backlog}.",
                    retry_after_s=30,
                )
        raise AssertionError(f"a file was answered with {reply!r}")

    async def get(self, owner: str, file_id: str) -> FileInfo:
        """What a job needs to know of a file; raises as `look`."""
        return (await self.look(owner, file_id)).info

    async def look(self, owner: str, file_id: str) -> StoredFile:
        """What is known of a file.

        Raises:
            NotFoundError: no such file, or another owner's.
            GoneError: it was deleted, or its retention is over.
        """
        own, meta, created, expires, used, over, gone = await self._pipeline.command(
            *("HMGET", self._keys.file(file_id)),
            *("own", "meta", "ca", "ex", "u", "over", "gone"),
        )
        if own != owner or not (meta or gone):
            raise NotFoundError(f"There is no file {file_id}.")
        if over or gone:
            raise GoneError(f"The file {file_id} is deleted or expired.")
        jobs = int(used) if used is not None else None
        info = FileInfo.model_validate_json(meta)
        return StoredFile(info, when(created), when(expires), jobs)

    async def list(self, owner: str, *, cursor: str | None = None, limit: int = 50) -> FilePage:
        """A page of the files that an owner uploaded on their own, newest first.

        Raises:
            BadRequestError: the cursor is not one of ours.
        """
        after = decode_cursor(cursor) if cursor else None
        top: str | int = after[0] if after else "+inf"
        index = self._keys.files_of(owner)
        entries = await entries_below(self._pipeline, index, top, "-inf", limit + 1, after)
        found = await asyncio.gather(
            *(self._shown(owner, file_id) for file_id, _ in entries[:limit])
        )
        last = entries[limit - 1] if len(entries) > limit else None
        return FilePage(
            [file for file in found if file is not None],
            encode_cursor(last[1], last[0]) if last else None,
        )

    async def _shown(self, owner: str, file_id: str) -> StoredFile | None:
        try:
            return await self.look(owner, file_id)
        except (NotFoundError, GoneError):  # since the index was read
            return None

    async def delete(self, owner: str, file_id: str) -> None:
        """Give a file up: no new job can use it, and it goes when those are over that do.

        Raises:
            NotFoundError, GoneError: as `look`.
            FileOfJobError: it came with a job, and goes with that.
        """
        match await self._pipeline.script("file", "delete", file_id, owner):
            case "absent":
                raise NotFoundError(f"There is no file {file_id}.")
            case "gone":
                raise GoneError(f"The file {file_id} is deleted or expired.")
            case "of_job":
                raise FileOfJobError("The file came with a job and goes with it: delete the job.")

    async def expire(self) -> int:
        """End those whose retention is over, some at a time; returns how many."""
        return int(await self._pipeline.script("file", "expire", AT_ONCE))

    async def exists(self, file_id: str) -> bool:
        """Whether any owner has this file; for the sweep of orphans."""
        return bool(await self._pipeline.command("HEXISTS", self._keys.file(file_id), "meta"))

    async def restore(self, file: ShelvedFile) -> bool:
        """Write back what the journal knows; before the jobs. False if it is there."""
        return bool(
            await self._pipeline.script(
                *("file", "restore", file.id, file.owner, file.record),
                *(file.created, file.expires, 1 if file.over else 0),
            )
        )

    async def settle(self, file_id: str) -> None:
        """After the jobs are written back: let go of what is over and no job uses."""
        await self._pipeline.script("file", "settle", file_id)
