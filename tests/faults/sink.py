"""Where results are delivered to: a server that takes a PUT and often fails, and a bucket."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from fileproc.dev.engines import S3Server
from fileproc.objects import open_object_store
from fileproc.settings import Settings

CONNECTION: Final = "out"
BUCKET: Final = "delivered"
REFUSING, DYING = 0.1, 0.1  # shares of the answers; those that die have kept what came


class Sink:
    """What has arrived, by the name under which it was to be sent."""

    def __init__(self, bucket: Path, rng: random.Random) -> None:
        self.url = ""
        self._bucket = bucket
        self._rng = rng
        self._got: defaultdict[str, set[str]] = defaultdict(set)

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Keep it, and say so; or not."""
        body = await request.read()
        dice = self._rng.random()
        if dice < REFUSING:
            return web.Response(status=503)
        self._got[request.match_info["key"]].add(hashlib.sha256(body).hexdigest())
        if dice < REFUSING + DYING and request.transport is not None:
            request.transport.abort()
        return web.Response()

    def without(self, key: str, name: str, sha256: str) -> str:
        """Where this has not arrived; '' if it has everywhere."""
        if self._got[key] != {sha256}:
            return f"the server, which has {self._got[key]}"
        path = self._bucket / key / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            return "the bucket"
        return ""


def connections(s3: S3Server, endpoint: str) -> str:
    """The setting that connects the bucket."""
    connection = {
        "endpoint": endpoint,
        "bucket": BUCKET,
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "owners": ["*"],
        "write": True,
    }
    return json.dumps({CONNECTION: connection})


@asynccontextmanager
async def receiving_files(
    settings: Settings, s3: S3Server, rng: random.Random
) -> AsyncIterator[Sink]:
    """The server, and the bucket, for as long as the context lasts."""
    async with open_object_store(settings.model_copy(update={"s3_bucket": BUCKET})) as bucket:
        await bucket.ensure_bucket()
    sink = Sink(s3.folder / "objects" / BUCKET, rng)
    app = web.Application(client_max_size=2**26)
    app.router.add_put("/{key}", sink.put)
    server = TestServer(app)
    await server.start_server()
    sink.url = str(server.make_url("")).rstrip("/")
    try:
        yield sink
    finally:
        await server.close()
