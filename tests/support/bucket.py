"""A bucket that lists whatever a test says: keys that no honest server on a disk could hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

PAGE = 1000


@dataclass
class Bucket:
    """Keys and their ETags; `status` other than 200 is how it answers instead."""

    objects: dict[str, str] = field(default_factory=dict)
    status: int = 200
    port: int = 0
    listed: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.Response:
        """ListObjectsV2, in pages."""
        self.listed += 1
        if self.status != 200:
            return web.Response(status=self.status)
        prefix = request.query.get("prefix", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        start = int(request.query.get("continuation-token", 0))
        page, rest = keys[start : start + PAGE], keys[start + PAGE :]
        entries = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><ETag>&quot;{self.objects[key]}&quot;</ETag>"
            "<LastModified>2026-11-22T08:00:00.000Z</LastModified><Size>1</Size></Contents>"
            for key in page
        )
        more = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if rest else ""
        return web.Response(
            text=f"<ListBucketResult><EncodingType>url</EncodingType><KeyCount>{len(page)}"
            f"</KeyCount><IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}{entries}"
            "</ListBucketResult>",
            content_type="application/xml",
        )


@asynccontextmanager
async def listing_bucket() -> AsyncIterator[Bucket]:
    bucket = Bucket()
    app = web.Application()
    app.router.add_get("/{bucket:.*}", bucket.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    bucket.port = runner.addresses[0][1]
    try:
        yield bucket
    finally:
        await runner.cleanup()
