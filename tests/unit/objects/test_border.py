from __future__ import annotations

import aiohttp
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from fileproc.errors import (
    FileprocError,
    InsufficientStorageError,
    ObjectMissingError,
    StorageUnavailableError,
)
from fileproc.objects.border import border, unreachable
from fileproc.telemetry import STORAGE_ERRORS


def answer(code: str, status: int, message: str = "at host-7.internal") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "PutObject",
    )


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (answer("NoSuchKey", 404), ObjectMissingError),
        (answer("404", 404), ObjectMissingError),
        (answer("XMinioStorageFull", 507), InsufficientStorageError),
        (answer("Whatever", 507), InsufficientStorageError),
        (answer("EntityTooLarge", 400), InsufficientStorageError),
        (
            answer("InternalError", 500, "write /x: no space left on device"),
            InsufficientStorageError,
        ),
        (answer("NoSuchBucket", 404), StorageUnavailableError),
        (answer("SlowDown", 503), StorageUnavailableError),
        (answer("AccessDenied", 403), StorageUnavailableError),
        (EndpointConnectionError(endpoint_url="http://host-7.internal"), StorageUnavailableError),
        (aiohttp.ClientPayloadError("host-7.internal"), StorageUnavailableError),
        (TimeoutError("host-7.internal"), StorageUnavailableError),
        (ConnectionResetError("host-7.internal"), StorageUnavailableError),
    ],
)
def test_a_foreign_error_becomes_ours_and_names_no_host(
    foreign: Exception, ours: type[FileprocError]
) -> None:
    with pytest.raises(ours) as caught, border("some_call"):
        raise foreign
    assert type(caught.value) is ours
    assert "host-7" not in caught.value.detail
    assert caught.value.__cause__ is foreign
    if ours is StorageUnavailableError:
        assert caught.value.retry_after_s == 5


def test_failures_are_counted_by_call_and_missing_objects_are_none() -> None:
    counter = STORAGE_ERRORS.labels(call="counted_call")
    before = counter._value.get()
    for foreign in (answer("NoSuchKey", 404), answer("SlowDown", 503), TimeoutError()):
        with pytest.raises(FileprocError), border("counted_call"):
            raise foreign
    assert counter._value.get() == before + 2


def test_what_is_ours_or_a_defect_passes_unchanged() -> None:
    with pytest.raises(KeyError), border("some_call"):
        raise KeyError


def test_only_an_address_where_nobody_listens_is_unreachable() -> None:
    with pytest.raises(StorageUnavailableError) as caught, border("some_call"):
        raise EndpointConnectionError(endpoint_url="x")
    assert unreachable(caught.value)
    with pytest.raises(StorageUnavailableError) as caught, border("some_call"):
        raise answer("SlowDown", 503)
    assert not unreachable(caught.value)
