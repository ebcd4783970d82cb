"""What every storage behind the port must do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from fileproc.errors import JobError, ObjectMissingError
from fileproc.objects import ObjectInfo, ObjectStore, Stored, attempt_prefix, file_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1024 * 1024
SIZES = [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 50 * MIB]


async def stream_of(data: bytes, step: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def put(objects: ObjectStore, key: str, data: bytes = b"x") -> Stored:
    return await objects.put_stream(key, stream_of(data), content_type="text/plain")


async def listed(chunks: AsyncIterator[ObjectInfo]) -> list[ObjectInfo]:
    return [info async for info in chunks]


@pytest.mark.parametrize("size", SIZES)
async def test_a_stream_comes_back_as_it_went_in(
    objects: ObjectStore, key: str, tmp_path: Path, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    stored = await put(objects, key, data)
    assert stored == Stored(size, hashlib.sha256(data).hexdigest())
    path = tmp_path / "back"
    await objects.get_file(key, path, size=stored.size, sha256=stored.sha256)
    assert path.read_bytes() == data
    [info] = await listed(objects.list("files/"))
    assert (info.key, info.size) == (key, size)
    assert info.modified.tzinfo is not None


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_comes_back_as_it_went_in(
    objects: ObjectStore, key: str, tmp_path: Path, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / "there"
    path.write_bytes(data)
    stored = await objects.put_file(key, path, content_type="image/png")
    assert stored == Stored(size, hashlib.sha256(data).hexdigest())
    assert await joined(objects.stream(key)) == data


async def test_a_range_is_cut_out_of_the_object(objects: ObjectStore, key: str) -> None:
    data = random.Random(1).randbytes(3 * MIB)
    await put(objects, key, data)
    assert await joined(objects.stream(key, start=5)) == data[5:]
    assert await joined(objects.stream(key, end=7)) == data[:7]
    assert await joined(objects.stream(key, start=MIB, end=2 * MIB + 1)) == data[MIB : 2 * MIB + 1]
    assert await joined(objects.stream(key, start=len(data) - 1)) == data[-1:]


async def test_a_stream_left_early_leaves_the_storage_usable(
    objects: ObjectStore, key: str
) -> None:
    data = bytes(10 * MIB)
    await put(objects, key, data)
    for _ in range(3):
        chunks = objects.stream(key)
        assert await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]  # an async generator, as it happens
    assert len(await joined(objects.stream(key))) == len(data)


async def test_many_uploads_at_once_do_not_mix(objects: ObjectStore) -> None:
    bodies = {file_key(f"f{n}"): random.Random(n).randbytes(9 * MIB + n) for n in range(8)}
    await asyncio.gather(*(put(objects, key, data) for key, data in bodies.items()))
    for key, data in bodies.items():
        assert await joined(objects.stream(key)) == data


async def test_what_is_missing_says_so(objects: ObjectStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(ObjectMissingError):
        await objects.get_file(key, path, size=1, sha256="0" * 64)
    with pytest.raises(ObjectMissingError):
        await joined(objects.stream(key))
    assert not path.exists()


async def test_only_regular_files_are_stored(
    objects: ObjectStore, key: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    link, pipe, folder = tmp_path / "link", tmp_path / "pipe", tmp_path / "folder"
    link.symlink_to(secret)
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (link, pipe, folder, tmp_path / "absent"):
        with pytest.raises(JobError) as caught:
            await objects.put_file(key, path, content_type="text/plain")
        assert caught.value.job_code == "bad_output"
    assert await listed(objects.list("files/")) == []


async def test_keys_of_a_client_are_refused(objects: ObjectStore, tmp_path: Path) -> None:
    for key in ("../etc/passwd", "files/../../x", "files/a b", "files/ü", "", "/files/a"):
        with pytest.raises(ValueError, match="not a key"):
            await put(objects, key)
        with pytest.raises(ValueError, match="not a key"):
            await objects.get_file(key, tmp_path / "x", size=0, sha256="")
        with pytest.raises(ValueError, match="not a key"):
            await objects.delete([key])
        with pytest.raises(ValueError, match="not a key"):
            await objects.presign_get(key, name="x", content_type="x/y", ttl_s=1)
    with pytest.raises(ValueError, match="not a prefix"):
        await objects.delete_prefix("")


async def test_deleting_again_is_fine(objects: ObjectStore, key: str) -> None:
    await put(objects, key)
    await objects.delete([key, file_key("never_there")])
    await objects.delete([key])
    await objects.delete([])
    assert await listed(objects.list("files/")) == []
    with pytest.raises(ValueError, match="at most 1000"):
        await objects.delete([key] * 1001)


async def test_lists_and_deletes_go_beyond_a_page(objects: ObjectStore) -> None:
    prefix = attempt_prefix("job_a", 1)
    keys = [f"{prefix}{n}" for n in range(1010)]
    neighbours = [file_key("stays"), f"{attempt_prefix('job_b', 1)}0"]
    gate = asyncio.Semaphore(32)

    async def put_gated(key: str) -> None:
        async with gate:
            await put(objects, key)

    await asyncio.gather(*(put_gated(key) for key in keys + neighbours))
    found = [info.key for info in await listed(objects.list(prefix))]
    assert found == sorted(keys)
    later = [info.key for info in await listed(objects.list(prefix, start_after=found[999]))]
    assert later == found[1000:]
    assert await objects.delete_prefix(prefix) == len(keys)
    assert await objects.delete_prefix(prefix) == 0
    assert [info.key for info in await listed(objects.list("files/"))] == neighbours[:1]
    assert [info.key for info in await listed(objects.list("attempts/"))] == neighbours[1:]
