"""The border: past it nobody sees an error of botocore's or aiohttp's."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from fileproc.errors import (
    FileprocError,
    InsufficientStorageError,
    ObjectMissingError,
    StorageUnavailableError,
)
from fileproc.telemetry import STORAGE_ERRORS, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

log = get_logger(__name__)

_RETRY_AFTER_S = 5
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_FULL = frozenset(
    {
        "EntityTooLarge",
        "InsufficientCapacity",
        "InsufficientStorage",
        "QuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
_NO_SPACE = "no space left on device"  # rclone passes on what its disk says, as InternalError


@contextlib.contextmanager
def border(call: str) -> Iterator[None]:
    """Around calls to the storage, and nothing else: a caller's own OSError is none of ours.

    Args:
        call: name of the S3 operation, a label of the counter.

    Raises:
        ObjectMissingError: the storage says there is no such object.
        InsufficientStorageError: it says there is no room.
        StorageUnavailableError: anything else; the log has the truth.
    """
    try:
        yield
    except ClientError as exc:
        raise _answered(call, exc) from exc
    except (BotoCoreError, aiohttp.ClientError, OSError) as exc:  # TimeoutError is an OSError
        STORAGE_ERRORS.labels(call=call).inc()
        log.warning("storage call failed", call=call, error=f"{type(exc).__name__}: {exc}")
        raise unavailable() from exc


def unavailable() -> StorageUnavailableError:
    return StorageUnavailableError(
        "The object storage does not answer as it should; nothing was changed. Try again shortly.",
        retry_after_s=_RETRY_AFTER_S,
    )


def unreachable(error: BaseException) -> bool:
    """Whether nobody listened: then there is nothing to clean up, and nobody to ask for it."""
    return isinstance(error.__cause__, EndpointConnectionError | ConnectTimeoutError)


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(call: str, exc: ClientError) -> FileprocError:
    code = code_of(exc)
    if code in _MISSING:
        return ObjectMissingError("The object is not in the storage: deleted, or expired.")
    STORAGE_ERRORS.labels(call=call).inc()
    log.warning("storage call refused", call=call, code=code, error=str(exc))
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE or _NO_SPACE in str(exc).lower():
        return InsufficientStorageError("The object storage has no room for this file.")
    return unavailable()
