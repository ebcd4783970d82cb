"""The version of what stands in Redis. A start migrates forward, or refuses."""

from __future__ import annotations

from fileproc.errors import SchemaError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys

VERSION = 1


async def ensure_schema(pipeline: Pipeline, keys: Keys) -> None:
    """Write the version into an empty store; there is no older one to migrate from yet.

    Raises:
        SchemaError: a newer fileproc has written here, or something else has.
        StoreUnavailableError: Redis is away: ask again.
    """
    await pipeline.command("SET", keys.schema, VERSION, "NX")
    found = await pipeline.command("GET", keys.schema)
    if found != str(VERSION):
        raise SchemaError(
            f"The data in Redis is of version {found!s:.20}, this fileproc knows {VERSION}: "
            "run the newer fileproc, or set another FILEPROC_REDIS_PREFIX."
        )
