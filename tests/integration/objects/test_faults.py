"""Cancels, errors and outages: nothing half-stored is left, and nothing needs a restart."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from fileproc.errors import JobError, ObjectMissingError, StorageUnavailableError
from fileproc.objects import S3ObjectStore, file_key, open_object_store, s3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fileproc.dev.engines import S3Server
    from fileproc.settings import Settings

MIB = 1024 * 1024


class LostError(Exception):
    """The client went away."""


async def source(mebibytes: int, *, then: Callable[[], Any] | None = None) -> AsyncIterator[bytes]:
    for _ in range(mebibytes):
        yield bytes(MIB)
    if then is not None:
        await then()


async def put(objects: S3ObjectStore, key: str, chunks: AsyncIterator[bytes]) -> Any:
    return await objects.put_stream(key, chunks, content_type="text/plain")


def settings_of(settings: Settings, server: S3Server) -> Settings:
    return settings.model_copy(
        update={
            "s3_endpoint": server.endpoint,
            "s3_access_key_id": SecretStr(server.access_key),
            "s3_secret_access_key": SecretStr(server.secret_key),
        }
    )


@pytest.mark.parametrize("mebibytes", [0, 1, 8, 9, 20, 50])
async def test_a_source_that_fails_leaves_nothing(
    objects: S3ObjectStore, books: Any, key: str, mebibytes: int
) -> None:
    async def fail() -> None:
        raise LostError

    with pytest.raises(LostError):
        await put(objects, key, source(mebibytes, then=fail))
    assert await books.keys() == []
    assert await books.uploads() == []


@pytest.mark.parametrize("mebibytes", [0, 1, 8, 9, 20, 50])
async def test_a_cancel_in_the_middle_of_the_stream_leaves_nothing(
    objects: S3ObjectStore, books: Any, key: str, mebibytes: int
) -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(put(objects, key, source(mebibytes, then=hang)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await books.keys() == []
    assert await books.uploads() == []


@pytest.mark.parametrize(
    ("call", "mebibytes"),
    [
        ("put_object", 1),
        ("create_multipart_upload", 20),
        ("upload_part", 20),
        ("complete_multipart_upload", 20),
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_cancel_around_any_call_leaves_nothing(  # noqa: PLR0917 - pytest passes by name
    objects: S3ObjectStore,
    books: Any,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    mebibytes: int,
    moment: str,
) -> None:
    """Slow motion: the cancel comes just before the call, or when only its answer is missing."""
    original = getattr(objects._client, call)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(**request: Any) -> Any:
        if moment == "before":
            reached.set()
            await go_on.wait()
        reply = await original(**request)
        if moment == "after":
            reached.set()
            await go_on.wait()
        return reply

    monkeypatch.setattr(objects._client, call, slow)
    task = asyncio.create_task(put(objects, key, source(mebibytes)))
    await reached.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await books.keys() == []
    assert await books.uploads() == []


@pytest.mark.parametrize("call", ["put_object", "upload_part", "complete_multipart_upload"])
async def test_an_answer_that_got_lost_leaves_nothing(
    objects: S3ObjectStore, books: Any, key: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    original = getattr(objects._client, call)

    async def lossy(**request: Any) -> Any:
        await original(**request)
        raise ConnectionResetError

    monkeypatch.setattr(objects._client, call, lossy)
    with pytest.raises(StorageUnavailableError):
        await put(objects, key, source(1 if call == "put_object" else 40))
    assert await books.keys() == []
    assert await books.uploads() == []


async def test_three_parts_fly_at_once_and_none_is_overtaken_by_more(
    objects: S3ObjectStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rclone serve s3` answers a part late as long as others follow: part 4 waits for part 1."""
    original = objects._client.upload_part
    flying, most = set(), 0

    async def watched(**request: Any) -> Any:
        nonlocal most
        number = request["PartNumber"]
        flying.add(number)
        most = max(most, len(flying))
        assert min(flying) > number - 3
        reply = await original(**request)
        flying.remove(number)
        return reply

    monkeypatch.setattr(objects._client, "upload_part", watched)
    await put(objects, key, source(100))
    assert (flying, most) == (set(), 3)


async def test_dropped_uploads_hand_back_their_turns(
    objects: S3ObjectStore, books: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_flights", asyncio.Semaphore(2))

    async def fail() -> None:
        raise LostError

    doomed = (put(objects, file_key(f"doomed{n}"), source(40, then=fail)) for n in range(4))
    for failure in await asyncio.gather(*doomed, return_exceptions=True):
        assert isinstance(failure, LostError)
    await asyncio.gather(*(put(objects, file_key(f"f{n}"), source(20)) for n in range(4)))
    assert objects._flights._value == 2
    assert await books.uploads() == []
    assert len(await books.keys()) == 4


async def test_an_outage_is_named_and_ends_by_itself(
    settings: Settings, own_server: S3Server, key: str, tmp_path: Path
) -> None:
    own = settings_of(settings, own_server)
    path = tmp_path / "back"
    async with open_object_store(own) as objects:
        await objects.ensure_bucket()
        stored = await put(objects, key, source(20))
        own_server.kill()
        began = time.monotonic()
        failures = await asyncio.gather(
            objects.check(),
            put(objects, file_key("other"), source(1)),
            put(objects, file_key("large"), source(30)),
            objects.get_file(key, path, size=stored.size, sha256=stored.sha256),
            objects.delete([key]),
            objects.delete_prefix("files/"),
            objects.abort_uploads(older_than_s=0),
            objects.ensure_bucket(),
            return_exceptions=True,
        )
        assert time.monotonic() - began < 7  # the connect timeout, and pauses between three tries
        for failure in failures:
            assert isinstance(failure, StorageUnavailableError)
            assert failure.retry_after_s
            assert "127.0.0.1" not in failure.detail
        own_server.start()
        await objects.check()
        await objects.get_file(key, path, size=stored.size, sha256=stored.sha256)
        await put(objects, file_key("other"), source(1))


async def test_an_outage_in_the_middle_of_an_upload_leaves_no_task_behind(
    settings: Settings, own_server: S3Server, key: str
) -> None:
    own = settings_of(settings, own_server)
    async with open_object_store(own) as objects:
        await objects.ensure_bucket()
        tasks = len(asyncio.all_tasks())

        async def chunks() -> AsyncIterator[bytes]:
            for number in range(60):
                if number == 30:
                    own_server.kill()
                yield bytes(MIB)

        with pytest.raises(StorageUnavailableError):
            await put(objects, key, chunks())
        assert len(asyncio.all_tasks()) == tasks
        own_server.start()
        await put(objects, key, source(20))
        assert [info.key async for info in objects.list("files/")] == [key]


async def test_a_storage_that_does_not_answer_is_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_CHECK_TIMEOUT_S", 0.2)
    silent = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mute = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{port}"})
    async with server, open_object_store(mute) as objects:
        with pytest.raises(StorageUnavailableError):
            await objects.check()
        silent.set()


async def test_a_wrong_secret_is_an_outage(settings: Settings, objects: S3ObjectStore) -> None:
    del objects  # made the bucket
    wrong = settings.model_copy(update={"s3_secret_access_key": SecretStr("guess")})
    async with open_object_store(wrong) as stranger:
        with pytest.raises(StorageUnavailableError):
            await stranger.check()


async def test_the_bucket_is_made_once(settings: Settings) -> None:
    async with open_object_store(settings) as objects:
        with pytest.raises(StorageUnavailableError):
            await objects.check()
        await asyncio.gather(*(objects.ensure_bucket() for _ in range(4)))
        await put(objects, file_key("stays"), source(1))
        await objects.ensure_bucket()
        await objects.check()
        assert [info.key async for info in objects.list("files/")] == [file_key("stays")]


async def test_old_uploads_are_aborted_and_young_ones_are_not(
    objects: S3ObjectStore, books: Any
) -> None:
    for name in ("a", "b"):
        await books.begin_upload(file_key(name))
    assert await objects.abort_uploads(older_than_s=3600) == 0
    assert await books.uploads() == [file_key("a"), file_key("b")]
    assert await objects.abort_uploads(older_than_s=-1) == 2
    assert await books.uploads() == []


@pytest.mark.parametrize("change", [b"", b"shorter", b"X" * (2 * MIB), b"X" * (3 * MIB)])
async def test_an_object_that_changed_is_a_permanent_error(
    objects: S3ObjectStore, books: Any, key: str, tmp_path: Path, change: bytes
) -> None:
    stored = await put(objects, key, source(2))
    await books.overwrite(key, change)
    path = tmp_path / "back"
    with pytest.raises(JobError) as caught:
        await objects.get_file(key, path, size=stored.size, sha256=stored.sha256)
    assert caught.value.job_code == "input_changed"
    assert caught.value.job_class == "permanent"
    assert not path.exists()


async def test_a_transfer_that_broke_off_once_is_repeated(
    far_objects: S3ObjectStore, cable: Any, key: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 4096 * 20

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    stored = await put(far_objects, key, chunks())
    path = tmp_path / "back"
    cable.cuts = 1
    await far_objects.get_file(key, path, size=stored.size, sha256=stored.sha256)
    assert cable.cuts == 0
    assert hashlib.sha256(path.read_bytes()).hexdigest() == stored.sha256


async def test_a_transfer_that_breaks_off_again_is_an_outage(
    far_objects: S3ObjectStore, cable: Any, key: str, tmp_path: Path
) -> None:
    stored = await put(far_objects, key, source(20))
    path = tmp_path / "back"
    cable.cuts = 2
    with pytest.raises(StorageUnavailableError):
        await far_objects.get_file(key, path, size=stored.size, sha256=stored.sha256)
    assert not path.exists()
    cable.cuts = 1
    with pytest.raises(StorageUnavailableError):
        async for _ in far_objects.stream(key):
            pass


async def test_a_fetch_that_is_cancelled_leaves_no_file(
    objects: S3ObjectStore, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await put(objects, key, source(20))
    path = tmp_path / "back"
    reached = asyncio.Event()
    stream = objects.stream

    async def halting(key: str) -> AsyncIterator[bytes]:
        async for chunk in stream(key):
            yield chunk
            if path.exists():
                reached.set()
                await asyncio.Event().wait()

    monkeypatch.setattr(objects, "stream", halting)
    task = asyncio.create_task(objects.get_file(key, path, size=stored.size, sha256=stored.sha256))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not path.exists()


async def test_a_deleted_object_is_missing_at_once(
    objects: S3ObjectStore, key: str, tmp_path: Path
) -> None:
    stored = await put(objects, key, source(1))
    await objects.delete([key])
    with pytest.raises(ObjectMissingError):
        await objects.get_file(key, tmp_path / "x", size=stored.size, sha256=stored.sha256)
