"""The document and the page."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.docs_page import ADDRESS, render

# The page has no script, and nothing of it comes from anywhere else.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """Bytes to send; the page but for the address it is asked at."""

    document: bytes
    page: bytes
    style: bytes


class Docs:
    """The document and the page, made in a thread when they are first asked for.

    Making them takes a third of a second of CPU, and most processes are never asked.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._rendering: asyncio.Task[Rendered] | None = None

    async def rendered(self) -> Rendered:
        """What is sent."""
        if self._rendering is None:
            self._rendering = asyncio.create_task(asyncio.to_thread(self._render))
        return await asyncio.shield(self._rendering)  # others wait for it, too

    def _render(self) -> Rendered:
        document = self._describe()
        style = files("fileproc.api").joinpath("static", "docs.css").read_bytes()
        return Rendered(to_json(document), render(document).encode(), style)


DOCS: Final = web.AppKey("docs", Docs)


async def openapi_json(request: web.Request) -> web.StreamResponse:
    """`GET /openapi.json`."""
    return _send(request, (await request.app[DOCS].rendered()).document, "application/json")


async def docs_page(request: web.Request) -> web.StreamResponse:
    """`GET /docs`."""
    address = escape(shlex.quote(_address(request))).encode()
    page = (await request.app[DOCS].rendered()).page.replace(ADDRESS.encode(), address)
    return _send(request, page, "text/html")


def _address(request: web.Request) -> str:
    """Where the reader found us, to be pasted into a shell."""
    host = request.headers.get("Host", "")
    return f"{request.scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


async def style(request: web.Request) -> web.StreamResponse:
    """`GET /docs/style.css`."""
    return _send(request, (await request.app[DOCS].rendered()).style, "text/css")


async def home(request: web.Request) -> web.StreamResponse:
    """`GET /`."""
    del request
    return web.Response(status=302, headers={"Location": "/docs"})


def _send(request: web.Request, body: bytes, content_type: str) -> web.Response:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": PAGE_POLICY,
    }
    given = request.if_none_match
    if given and any(etag.value in {"*", tag} for etag in given):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers, content_type=content_type, charset="utf-8")
