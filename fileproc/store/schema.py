"""The version of what stands in Redis: a role that does not know it refuses to start.

The key is also the mark of a store that is in use: where it is missing, Redis is new or has lost
everything, and nothing may be deleted from object storage on the word of an empty store.
"""

from __future__ import annotations

from fileproc.errors import SchemaError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys

VERSION = 1


async def check_schema(pipeline: Pipeline, keys: Keys) -> None:
    """Look; there is no older version to migrate from yet.

    Raises:
        SchemaError: a newer fileproc has written here, or something else has.
        StoreUnavailableError: Redis is away: ask again.
    """
    found = await pipeline.command("GET", keys.schema)
    if found not in (None, str(VERSION)):
        raise SchemaError(
            f"The data in Redis is of version {found!s:.20}, this fileproc knows {VERSION}: "
            "run the newer fileproc, or set another FILEPROC_REDIS_PREFIX."
        )


async def ensure_schema(pipeline: Pipeline, keys: Keys) -> None:
    """Write the version into an empty store; raises as `check_schema`."""
    await pipeline.command("SET", keys.schema, VERSION, "NX")
    await check_schema(pipeline, keys)
