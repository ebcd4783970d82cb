"""Files: what a job took in. A file lives as long as the last job that uses it."""

from __future__ import annotations

from fileproc.errors import NotFoundError
from fileproc.jobs import FileInfo
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys


class Files:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def get(self, owner: str, file_id: str) -> FileInfo:
        """What is known of a file.

        Raises:
            NotFoundError: no such file, or another owner's.
        """
        own, meta = await self._pipeline.command("HMGET", self._keys.file(file_id), "own", "meta")
        if own != owner:
            raise NotFoundError(f"There is no file {file_id}.")
        return FileInfo.model_validate_json(meta)

    async def exists(self, file_id: str) -> bool:
        """Whether any owner has this file; for the sweep of orphans."""
        return bool(await self._pipeline.command("EXISTS", self._keys.file(file_id)))
