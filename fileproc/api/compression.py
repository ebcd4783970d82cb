"""Answers of text travel compressed, to those who take that."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import hdrs, web
from isal import igzip

from fileproc.api.cors import vary

# Below, it fits into two packets anyway, and a single job is to be answered at once.
LEAST_BYTES: Final = 2048
_INLINE_BYTES: Final = 256 * 1024  # above, a thread does it: this loop has others to serve
_LEVEL: Final = 1
_TYPES: Final = frozenset(
    {"application/json", "application/problem+json", "text/html", "text/css", "text/plain"}
)
_CODING = re.compile(r"\s*([A-Za-z0-9*._-]+)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def takes_gzip(request: web.Request) -> bool:
    """From Accept-Encoding (RFC 9110, section 12.5.3): gzip by name, else by `*`."""
    given = ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))[:1000]
    weights: dict[str, float] = {}
    for item in given.split(","):
        found = _CODING.fullmatch(item)
        if found:
            weights[found[1].lower()] = float(found[2] or 1)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def is_long(response: web.StreamResponse) -> bool:
    """Whether there may be something to compress; most answers are short."""
    return (
        isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) >= LEAST_BYTES
    )


async def compress(request: web.Request, response: web.StreamResponse) -> None:
    """Compress the body in place, where that is worth it and asked for.

    The ETag becomes a weak one: these are no longer the very bytes that it names.
    """
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return
    headers, body = response.headers, response.body
    if (
        len(body) < LEAST_BYTES
        or response.content_type not in _TYPES
        or hdrs.CONTENT_ENCODING in headers
        or hdrs.CONTENT_RANGE in headers
    ):
        return
    vary(response, hdrs.ACCEPT_ENCODING)
    if not takes_gzip(request):
        return
    if len(body) > _INLINE_BYTES:
        response.body = await asyncio.to_thread(_packed, body)
    else:
        response.body = _packed(body)
    headers[hdrs.CONTENT_ENCODING] = "gzip"
    tag = headers.get(hdrs.ETAG)
    if tag is not None and not tag.startswith("W/"):
        headers[hdrs.ETAG] = f"W/{tag}"


def _packed(body: bytes) -> bytes:
    packed: bytes = igzip.compress(body, compresslevel=_LEVEL, mtime=0)
    return packed
