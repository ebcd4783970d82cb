"""The body of a request as it arrives: bounded, timed, and not asked for before it is wanted.

aiohttp's own limits cover `request.read()` and `post()` only, and no time at all. Everything that
reads a body here goes through `Body`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from aiohttp import web

from fileproc.api import problems
from fileproc.errors import BadRequestError, RequestTimeoutError, UnsupportedMediaTypeError
from fileproc.settings import Settings


class Digest(Protocol):
    """Of hashlib, whose own types have no name to be used at run time."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


# Slower than this on average, an upload only holds a connection: a phone on a bad line is faster.
MIN_BYTES_PER_S: Final = 1024
MAX_CONTENT_TYPE: Final = 512
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)
# Where somebody wants to know, in the end, what the body was.
BODY_DIGEST: Final = web.RequestKey("body_digest", Digest)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


async def not_yet(request: web.Request) -> None:
    """Hook for `Expect: 100-continue` that sends nothing: `Body` does when it begins to read.

    Until then a refusal reaches a client that has not sent a byte of its file.
    """
    del request


class Body:
    """Reads one body once, either by `chunks` or by `read`."""

    def __init__(self, request: web.Request, settings: Settings) -> None:
        self._request = request
        self._idle_s = settings.upload_idle_s
        self._seen = 0
        self._digest = request.get(BODY_DIGEST)

    def refuse_encoded(self) -> None:
        """Refuse a compressed body: its size when unpacked is anybody's guess.

        Raises:
            UnsupportedMediaTypeError: there is a Content-Encoding.
        """
        given = ",".join(self._request.headers.getall("Content-Encoding", ()))
        if {coding.strip().lower() for coding in given.split(",")} - {"", "identity"}:
            raise UnsupportedMediaTypeError(
                "Send the body as it is: a Content-Encoding is not taken.", accepted=["identity"]
            )

    def refuse_longer_than(self, most: int, limit: str, what: str) -> None:
        """Refuse by Content-Length, before a byte is read.

        Raises:
            TooLargeError: it says more than `most` bytes; `limit` is the setting's name.
        """
        said = self._request.content_length
        if said is not None and said > most:
            raise problems.too_large(
                limit, most, f"{what} may have at most {most} bytes; this one has {said}."
            )

    async def chunks(self, most: int, limit: str, what: str) -> AsyncGenerator[bytes]:
        """What arrives, as it arrives: at most `most` bytes, the setting `limit` of `what`.

        Raises:
            TooLargeError: by Content-Length at once, else as soon as one byte too many came.
            RequestTimeoutError: nothing came for too long, or far too little.
            BadRequestError: the framing is broken.
            ConnectionError: the client went away.
        """
        self.refuse_longer_than(most, limit, what)
        await self._begin()
        content = self._request.content
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            patience = started + self._idle_s + self._seen / MIN_BYTES_PER_S - loop.time()
            try:
                async with asyncio.timeout(min(self._idle_s, patience)):
                    chunk = await content.readany()
            except TimeoutError as exc:
                raise RequestTimeoutError(
                    f"The body stalled: {self._seen} bytes came, then too little for too long."
                ) from exc
            if not chunk:
                return
            self._seen += len(chunk)
            if self._seen > most:
                raise problems.too_large(limit, most, f"{what} may have at most {most} bytes.")
            self._digested(chunk)
            yield chunk

    async def read(self, most: int, limit: str, what: str) -> bytes:
        """The whole body; raises as `chunks`."""
        self.refuse_longer_than(most, limit, what)
        content = self._request.content
        if content.is_eof() and content.exception() is None:  # it came with the headers
            whole = content.read_nowait()
            if len(whole) <= most:
                self._digested(whole)
                return whole
            raise problems.too_large(limit, most, f"{what} may have at most {most} bytes.")
        return b"".join([chunk async for chunk in self.chunks(most, limit, what)])

    def _digested(self, data: bytes) -> None:
        if self._digest is not None:
            self._digest.update(data)

    async def _begin(self) -> None:
        if self._request.headers.get("Expect", "").strip().lower() == "100-continue":
            await self._request.writer.write(_CONTINUE)
            self._request.writer.output_size = 0  # as aiohttp's own hook does


def media_type_of(request: web.Request) -> str:
    """The media type that the request names, in lower case, or ''.

    Not `request.content_type`: that goes through the standard library's e-mail parser, which takes
    quadratic time on, and raises at, what a hostile client can write there.

    Raises:
        BadRequestError: the header is longer than any honest one.
    """
    given = request.headers.get("Content-Type", "")
    if len(given) > MAX_CONTENT_TYPE:
        raise BadRequestError(f"A Content-Type has at most {MAX_CONTENT_TYPE} characters.")
    return given.partition(";")[0].strip().lower()


def refuse_other_charsets(request: web.Request) -> None:
    """JSON is UTF-8.

    Raises:
        UnsupportedMediaTypeError: another charset is declared.
    """
    declared = _CHARSET.search(request.headers.get("Content-Type", ""))
    if declared and declared[1].lower().replace("_", "-") not in {"utf-8", "utf8"}:
        raise UnsupportedMediaTypeError("JSON is taken as UTF-8 only.")
