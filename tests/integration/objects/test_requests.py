"""What goes over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.objects import S3ObjectStore, open_object_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fileproc.settings import Settings

MIB = 1024 * 1024


async def source(mebibytes: int) -> AsyncIterator[bytes]:
    for _ in range(mebibytes):
        yield bytes(MIB)


def watched(objects: S3ObjectStore) -> list[Any]:
    """Every request that `objects` sends from now on."""
    sent: list[Any] = []

    def see(request: Any, **_: Any) -> None:
        sent.append(request)

    objects._client.meta.events.register("before-send.s3", see)
    return sent


@pytest.mark.parametrize("mebibytes", [1, 17])
async def test_bodies_are_neither_hashed_again_nor_announced(
    objects: S3ObjectStore, key: str, mebibytes: int
) -> None:
    sent = watched(objects)
    await objects.put_stream(key, source(mebibytes), content_type="image/png")
    bodies = [request for request in sent if request.method == "PUT"]
    assert len(bodies) == -(-mebibytes // 8)
    for request in bodies:
        assert request.headers["X-Amz-Content-SHA256"] in {"UNSIGNED-PAYLOAD", b"UNSIGNED-PAYLOAD"}
        assert "Expect" not in request.headers
        assert not [name for name in request.headers if "checksum" in name.lower()]


@pytest.mark.parametrize("mebibytes", [1, 17])
@pytest.mark.parametrize("encryption", [None, "AES256"])
async def test_type_and_encryption_are_asked_for(
    settings: Settings, key: str, mebibytes: int, encryption: str | None
) -> None:
    encrypted = settings.model_copy(update={"s3_sse": encryption})
    async with open_object_store(encrypted) as objects:
        await objects.ensure_bucket()
        sent = watched(objects)
        await objects.put_stream(key, source(mebibytes), content_type="image/png")
    first = sent[0].headers
    assert first["Content-Type"] in {"image/png", b"image/png"}
    wanted = encryption.encode() if encryption else None
    assert first.get("x-amz-server-side-encryption") in {encryption, wanted}


async def test_no_request_needs_what_some_servers_lack(objects: S3ObjectStore, key: str) -> None:
    sent = watched(objects)
    await objects.put_stream(key, source(17), content_type="image/png")
    await objects.abort_uploads(older_than_s=3600)
    await objects.delete_prefix("files/")
    await objects.check()
    for request in sent:
        names = {name.lower() for name in request.headers}
        assert not names & {"if-none-match", "if-match", "x-amz-tagging", "x-amz-acl"}
        assert not {"?tagging", "?acl", "?lifecycle"} & {request.url[request.url.find("?") :]}
