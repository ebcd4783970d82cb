"""Files from URLs of clients: redirects followed hop by hop, bytes and time bounded, no surprises.

What the other end says of itself is not believed: lengths are counted, types are detected later.
No compression is asked for; what comes compressed all the same is unpacked within a limit.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import ClientError, ClientResponse
from yarl import URL

from fileproc.errors import BadInput, ErrorClass, JobError, UrlNotAllowedError
from fileproc.outbound.guard import Outbound
from fileproc.outbound.urls import check_url
from fileproc.telemetry import LIMITS_HIT, get_logger

log = get_logger(__name__)

_READ_BYTES: Final = 64 * 1024
_UNPACKED_BYTES: Final = 256 * 1024  # at a time
_ANY_WRAPPING: Final = 47  # zlib: gzip or zlib, whichever it is
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 421, 425, 429})  # what another try may mend
_MAX_TYPE_CHARS: Final = 100


class Room:
    """Bytes that the files of one attempt may still have, together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def take(self, count: int) -> None:
        """Raises BadInput (`fetch_too_large`) if there is no room for so many."""
        self._left -= count
        if self._left < 0:
            LIMITS_HIT.labels("max_upload_bytes").inc()
            raise BadInput(
                f"The files from URLs have more than {self._most:,} bytes together.",
                code="fetch_too_large",
            )


@dataclass(frozen=True, slots=True)
class Download:
    """An answer whose body is still to come.

    Attributes:
        declared_type: media type as the other end names it.
    """

    declared_type: str | None
    _response: ClientResponse
    _most_unpacked: int

    async def chunks(self, room: Room) -> AsyncGenerator[bytes]:
        """The content.

        Raises:
            BadInput: it is too large, or packed in a way that nobody asked for.
            JobError: it breaks off, or stalls (`fetch_failed`, `fetch_timeout`).
        """
        with translated():
            async with aclosing(self._content(room)) as content:
                async for chunk in content:
                    yield chunk

    async def _content(self, room: Room) -> AsyncGenerator[bytes]:
        packing = self._response.headers.get("Content-Encoding", "identity").strip().lower()
        raw = self._response.content.iter_chunked(_READ_BYTES)
        if packing in {"", "identity"}:
            async for chunk in raw:
                room.take(len(chunk))
                yield chunk
            return
        if packing not in {"gzip", "x-gzip", "deflate"}:
            raise _badly_packed()
        unpacked = 0
        async for chunk in _unpacked(raw):
            unpacked += len(chunk)
            if unpacked > self._most_unpacked:
                LIMITS_HIT.labels("import_unpacked_bytes").inc()
                raise BadInput(
                    f"The answer of the URL unpacks to more than {self._most_unpacked:,} bytes.",
                    code="fetch_too_large",
                )
            room.take(len(chunk))
            yield chunk


async def _unpacked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is inside gzip or zlib, in pieces of a bounded size."""
    stream = zlib.decompressobj(_ANY_WRAPPING)
    async for chunk in chunks:
        rest = chunk
        while rest:
            if stream.eof:  # gzip may be several, one after the other
                stream = zlib.decompressobj(_ANY_WRAPPING)
            try:
                piece = stream.decompress(rest, _UNPACKED_BYTES)
            except zlib.error:
                raise _badly_packed() from None
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
            if piece:
                yield piece
            await asyncio.sleep(0)  # one chunk may be worth a thousand pieces
    if not stream.eof:
        raise JobError("The answer of the URL broke off.", code="fetch_failed")


def _badly_packed() -> BadInput:
    return BadInput(
        "The answer of the URL is compressed, or not as it says: nobody asked for that.",
        code="fetch_encoded",
    )


@asynccontextmanager
async def open_download(outbound: Outbound, url: str) -> AsyncIterator[Download]:
    """GET this URL, or where it redirects to.

    Raises:
        BadInput: `url_not_allowed`, `fetch_refused`, `too_many_redirects`: for good.
        JobError: `fetch_failed`, `fetch_timeout`: another try may mend that.
    """
    with translated():
        response = await _followed(outbound, check_url(url, outbound.settings))
    try:
        _check_status(response.status)
        most = outbound.settings.import_unpacked_bytes
        yield Download(_type_of(response), response, most)
    finally:
        response.close()  # with its connection: what still comes is not wanted


async def _followed(outbound: Outbound, target: URL) -> ClientResponse:
    """The first answer that is no redirect."""
    most = outbound.settings.import_redirects
    for _ in range(most + 1):
        response = await outbound.session.get(target, headers=_HEADERS, allow_redirects=False)
        if response.status not in _REDIRECTS:
            return response
        response.close()
        target = _next(target, response, outbound)
    LIMITS_HIT.labels("import_redirects").inc()
    raise BadInput(f"The URL redirects more than {most} times.", code="too_many_redirects")


def _next(current: URL, response: ClientResponse, outbound: Outbound) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise BadInput("The URL redirects to nowhere.", code="fetch_refused")
    try:
        target = current.join(URL(location))
    except ValueError:
        raise UrlNotAllowedError("The URL redirects to something that is no URL.") from None
    return check_url(target, outbound.settings)


def _check_status(status: int) -> None:
    if status in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
        return
    detail = f"The URL answered {status} instead of a file."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
        raise JobError(detail, code="fetch_failed")
    raise BadInput(detail, code="fetch_refused")


def _type_of(response: ClientResponse) -> str | None:
    said = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return said[:_MAX_TYPE_CHARS] if said.isascii() and said.isprintable() and said else None


@contextmanager
def translated() -> Iterator[None]:
    """Around what goes out: past it nobody sees an error of the network's.

    What exactly failed goes to the log; to a client it would tell about the network we stand in.
    """
    try:
        yield
    except UrlNotAllowedError as exc:
        raise BadInput(exc.detail, code="url_not_allowed") from exc
    except TimeoutError as exc:  # before ClientError: aiohttp's timeouts are both
        raise timed_out() from exc
    except (ClientError, OSError, ValueError) as exc:
        # Without its words: they may quote the URL, and what is secret in it.
        log.info("a URL could not be fetched", error=type(exc).__name__)
        raise JobError(
            "The URL could not be fetched: no connection, or it broke off.", code="fetch_failed"
        ) from exc


def timed_out() -> JobError:
    """The other end takes too long."""
    return JobError(
        "The URL took too long to answer.",
        code="fetch_timeout",
        error_class=ErrorClass.TRANSIENT,
    )
