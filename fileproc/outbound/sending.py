"""Files to URLs of clients: one PUT, no redirect, the length known beforehand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import ClientError

from fileproc.errors import BadInput, JobError, UrlNotAllowedError
from fileproc.outbound.download import PASSING
from fileproc.outbound.guard import Outbound
from fileproc.outbound.urls import check_url
from fileproc.telemetry import get_logger

log = get_logger(__name__)

_GOOD: Final = range(200, 300)

Chunks = Callable[[], AsyncGenerator[bytes]]


async def put_file(
    outbound: Outbound, url: str, chunks: Chunks, *, size: int, headers: Mapping[str, str]
) -> None:
    """PUT this content; when it returns, the other end has said that it has it.

    Raises:
        BadInput: `url_not_allowed`, `delivery_refused`: for good.
        JobError: `delivery_failed`: another try may mend that.
    """
    given = {**headers, "Content-Length": str(size)}  # signed URLs take no chunked bodies
    with _translated():
        target = check_url(url, outbound.settings)
        async with (
            aclosing(chunks()) as body,
            outbound.session.put(target, data=body, headers=given, allow_redirects=False) as answer,
        ):
            _check_status(answer.status)
            answer.close()  # what it has to say about it does not matter


def _check_status(status: int) -> None:
    if status in _GOOD:
        return
    detail = f"The place that an output is sent to answered {status}."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
        raise JobError(detail, code="delivery_failed")
    raise BadInput(detail, code="delivery_refused")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except UrlNotAllowedError as exc:
        raise BadInput(exc.detail, code="url_not_allowed") from exc
    except (ClientError, OSError, ValueError) as exc:  # TimeoutError is an OSError
        # Without its words: they may quote the URL, and what is secret in it.
        log.info("an output could not be sent", error=type(exc).__name__)
        raise JobError(
            "An output could not be sent: no connection, it broke off, or took too long.",
            code="delivery_failed",
        ) from exc
