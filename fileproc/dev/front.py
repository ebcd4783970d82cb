"""A thin reverse proxy in front of `rclone serve s3` that mends its quirks.

    python -m fileproc.dev.front --port 9000 --upstream http://127.0.0.1:36365

The Host header passes unchanged, so signatures (also of presigned URLs) stay valid; bodies
stream both ways, chunk by chunk. What it mends, each seen with rclone 1.75.2:

- a ranged GET is answered with 200 and Content-Range: becomes 206;
- several ranges are answered with 501: the header is dropped, which gives the whole object;
- PUT ?tagging, ?acl, ... would overwrite the object with the XML body, DELETE ?tagging would
  delete it, conditional writes are ignored: all refused with 501. Only what rclone knows passes;
- `Expect: 100-continue` and an early refusal leave the client waiting: we answer it here.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, istr
from yarl import URL

UPSTREAM: Final = web.AppKey("upstream", str)
SESSION: Final = web.AppKey("session", aiohttp.ClientSession)

_BUFFER = 256 * 1024  # per direction of a request
_LINE = 32 * 1024  # longest header and longest request line: presigned URLs are long

# Headers that belong to one connection, not to the message (RFC 9110, 7.6.1); and Expect.
_HOP_BY_HOP: Final = frozenset(
    istr(name)
    for name in (
        *("connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

_ANY: Final = frozenset({"x-id"})
_READS: Final = _ANY | {
    *("delimiter", "encoding-type", "fetch-owner", "list-type", "location", "marker"),
    *("continuation-token", "max-keys", "prefix", "start-after"),
    *("uploads", "uploadid", "key-marker", "upload-id-marker", "max-uploads", "max-parts"),
    "part-number-marker",
}
_KNOWN_QUERIES: Final = {
    "GET": _READS,
    "HEAD": _READS,
    "PUT": _ANY | {"partnumber", "uploadid"},
    "POST": _ANY | {"delete", "uploads", "uploadid"},
    "DELETE": _ANY | {"uploadid"},
}
_UNKNOWN_HEADERS: Final = ("If-Match", "If-None-Match", "x-amz-copy-source-range")


def unsupported(method: str, query: set[str], headers: CIMultiDict[str]) -> str | None:
    """What of this request the server behind would misunderstand; None if nothing.

    `query` has the names only; names that belong to a signature or override a response's header
    are always known.
    """
    known = _KNOWN_QUERIES.get(method, _ANY)
    for name in sorted(query):
        lower = name.lower()
        if lower not in known and not lower.startswith(("x-amz-", "response-")):
            return f"{method} ?{name}"
    if method in {"PUT", "POST", "DELETE"}:
        for header in _UNKNOWN_HEADERS:
            if header in headers:
                return f"{method} with {header}"
    return None


def error(status: int, code: str, message: str) -> web.Response:
    """An error as S3 clients read it."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return web.Response(status=status, text=text, content_type="application/xml")


async def forward(request: web.Request) -> web.StreamResponse:
    """Pass one request on and its answer back."""
    path = request.raw_path
    if not path.startswith("/"):
        return error(400, "InvalidURI", "Send the path only.")
    headers = CIMultiDict(
        (name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP
    )
    if what := unsupported(request.method, set(request.query), headers):
        return error(501, "NotImplemented", f"This server does not implement {what}.")
    if "," in headers.get("Range", ""):
        del headers["Range"]
    response = web.StreamResponse()
    try:
        async with request.app[SESSION].request(
            request.method,
            URL(request.app[UPSTREAM] + path, encoded=True),
            headers=headers,
            data=_body(request) if request.body_exists else None,
            allow_redirects=False,
            skip_auto_headers=_AUTOMATIC,
        ) as answer:
            return await _pass_back(request, answer, response)
    except aiohttp.ClientError as exc:
        if not response.prepared:
            return error(503, "ServiceUnavailable", f"The server behind: {type(exc).__name__}.")
        if request.transport:  # too late for an answer: a cut body must not look whole
            request.transport.abort()
        return response


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


async def _pass_back(
    request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse
) -> web.StreamResponse:
    partial = answer.status == HTTPStatus.OK and "Content-Range" in answer.headers
    response.set_status(HTTPStatus.PARTIAL_CONTENT if partial else answer.status)
    for name, value in answer.headers.items():
        if name not in _HOP_BY_HOP:
            response.headers.add(name, value)
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        auto_decompress=False,
        read_bufsize=_BUFFER,
        max_line_size=_LINE,
        max_field_size=_LINE,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        app[SESSION] = session
        yield


def make_app(upstream: str) -> web.Application:
    """The proxy as an application; `upstream` is `http://host:port`."""
    app = web.Application()
    app[UPSTREAM] = upstream.rstrip("/")
    app.cleanup_ctx.append(_session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def serve(upstream: str, host: str, port: int) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        make_app(upstream),
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,  # a client that is gone ends the request behind, too
        max_line_size=_LINE,
        max_field_size=_LINE,
        read_bufsize=_BUFFER,
        shutdown_timeout=2,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        print(f"listening on http://{host}:{site.port}", flush=True)  # noqa: T201 - read by S3Server
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m fileproc.dev.front", description=__doc__)
    parser.add_argument("--upstream", required=True, help="http://host:port of rclone serve s3")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    uvloop.run(serve(options.upstream, options.host, options.port))


if __name__ == "__main__":
    main()
