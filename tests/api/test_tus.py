"""tus 1.0: what HEAD says is safe, whatever happens to connections and processes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api.context import API
from fileproc.api.resumable import PART_BYTES, Writer
from fileproc.errors import StorageUnavailableError
from fileproc.ids import new_id
from fileproc.settings import Auth
from fileproc.store import Role, file_of
from fileproc.worker.janitor import Janitor
from support.clock import step_clock
from support.http import jpeg, noise, wire
from support.jobs import due_trash
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.objects import ObjectStore
    from fileproc.resources import Resources
    from fileproc.store import Store
    from support.books import Books
    from support.http import Hands

MIB = 1024 * 1024
DAY_MS = 86_400_000
VERSION = {"Tus-Resumable": "1.0.0"}
PIECE = {**VERSION, "Content-Type": "application/offset+octet-stream"}


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


async def begin(api: Any, size: int | None, content: bytes = b"", **headers: Any) -> str:
    """Address of a new upload."""
    given = {**(PIECE if content else VERSION), **headers}
    if size is None:
        given["Upload-Defer-Length"] = "1"
    else:
        given["Upload-Length"] = str(size)
    answer = await api.post("/v1/tus", data=io.BytesIO(content) if content else None, headers=given)
    assert answer.status == 201, await answer.text()
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Upload-Offset"] == str(len(content))
    address: str = answer.headers["Location"]
    return address


async def patch(api: Any, address: str, offset: int, content: bytes, **headers: str) -> Any:
    return await api.patch(
        address,
        data=io.BytesIO(content),
        headers={**PIECE, "Upload-Offset": str(offset), **headers},
    )


async def offset_of(api: Any, address: str) -> int:
    answer = await api.head(address, headers=VERSION)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


async def refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status == status, await answer.text()
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    document: dict[str, Any] = await answer.json()
    assert document["code"] == code
    return document


async def file_at(api: Any, address: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/files/{file_of(address.rpartition('/')[2])}")
    assert answer.status == 200, await answer.text()
    file: dict[str, Any] = await answer.json()
    return file


async def content_of(objects: ObjectStore, file: dict[str, Any]) -> bytes:
    return b"".join([chunk async for chunk in objects.stream(f"files/{file['id']}")])


async def gone_to(api: Any, count: int) -> None:
    """Wait until the server sees no more connections than that."""
    await eventually(lambda: len(api.server.runner.server.connections) <= count)


async def test_what_is_offered_is_told(api: Any) -> None:
    answer = await api.options("/v1/tus")
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Checksum-Algorithm"] == "md5,sha1,sha256"
    extensions = answer.headers["Tus-Extension"].split(",")
    assert {"creation", "termination", "expiration", "checksum"} <= set(extensions)
    assert "concatenation" not in extensions
    assert int(answer.headers["Tus-Max-Size"]) > 0


@pytest.mark.parametrize(
    "cuts",
    [
        [],
        [1],
        [PART_BYTES],
        [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1],
        [3, 5 * MIB, 5 * MIB, 2 * PART_BYTES, 2 * PART_BYTES + 7],
    ],
)
async def test_pieces_of_any_size_become_the_file(
    api: Any, hands: Hands, objects: ObjectStore, books: Books, cuts: list[int]
) -> None:
    content = noise(2 * PART_BYTES + 99)
    address = await begin(api, len(content))
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        assert await offset_of(api, address) == start
        answer = await patch(api, address, start, content[start:end])
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(end))
    assert await offset_of(api, address) == len(content)
    file = await file_at(api, address)
    assert answer.headers["Content-Location"] == f"/v1/files/{file['id']}"
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert await content_of(objects, file) == content
    assert await hands.files() == [f"files/{file['id']}"]
    assert await objects.abort_uploads(older_than_s=-60) == 0
    assert books.look().zset("uploads") == {}


@pytest.mark.parametrize("size", [1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES])
async def test_one_request_is_enough(api: Any, objects: ObjectStore, size: int) -> None:
    content = noise(size)
    metadata = f"filename {encoded('../ä b.txt')},filetype {encoded('text/plain')},mine"
    address = await begin(api, size, content, **{"Upload-Metadata": metadata})
    answer = await api.head(address, headers=VERSION)
    assert answer.headers["Upload-Metadata"] == metadata
    assert answer.headers["Upload-Length"] == answer.headers["Upload-Offset"] == str(size)
    file = await file_at(api, address)
    assert "/" not in file["name"]
    assert (file["name"][-7:], file["declared_type"]) == ("ä b.txt", "text/plain")
    assert await content_of(objects, file) == content


async def test_the_length_may_be_told_later(api: Any) -> None:
    address = await begin(api, None)
    answer = await patch(api, address, 0, b"hello")
    assert answer.status == 204
    answer = await api.head(address, headers=VERSION)
    assert answer.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in answer.headers
    await refusal(await patch(api, address, 5, b"", **{"Upload-Length": "4"}), 400, "bad_request")
    answer = await patch(api, address, 5, b" you", **{"Upload-Length": "12"})
    assert answer.status == 204
    await refusal(await patch(api, address, 9, b"!", **{"Upload-Length": "10"}), 400, "bad_request")
    assert (await patch(api, address, 9, b"!!!")).status == 204
    assert (await file_at(api, address))["size"] == 12
    empty = await begin(api, None, b"all of it")
    answer = await patch(api, empty, 9, b"", **{"Upload-Length": "9"})
    assert answer.status == 204
    assert (await file_at(api, empty))["size"] == 9


async def test_a_cut_keeps_what_came_before_it(api: Any, objects: ObjectStore) -> None:
    content = noise(PART_BYTES + 5 * MIB)
    address = await begin(api, len(content))
    head = (
        "PATCH {} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {}\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n"
    )
    offset = 0
    for sent in (0, 1, 65_537, MIB, PART_BYTES):
        before = len(api.server.runner.server.connections)
        async with wire(api.server) as line:
            rest = len(content) - offset
            await line.send(head.format(address, offset, rest).encode())
            await line.send(content[offset : offset + sent])
            line.writer.transport.abort() if sent % 2 else line.writer.close()
        await gone_to(api, before)
        await eventually(lambda: not api.app[API]._tasks)
        now = await offset_of(api, address)
        assert offset <= now <= offset + sent
        offset = now
    assert offset > MIB
    assert (await patch(api, address, offset, content[offset:])).status == 204
    assert await content_of(objects, await file_at(api, address)) == content


async def test_who_comes_back_takes_over_from_a_connection_that_hangs(api: Any) -> None:
    """The old one is still open, as far as the server knows, and has brought some bytes."""
    address = await begin(api, 2000)
    async with wire(api.server) as line:
        await line.send(
            f"PATCH {address} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 2000\r\n\r\n".encode()
        )
        await line.send(b"x" * 700)
        await eventually(lambda: api.app[API].open > 0)
        offset = await offset_of(api, address)
        assert await line.ended()
    assert offset in {0, 700}
    assert (await patch(api, address, offset, b"x" * (2000 - offset))).status == 204
    assert (await file_at(api, address))["size"] == 2000


async def test_a_checksum_counts_for_all_of_a_piece_or_nothing(
    api: Any, objects: ObjectStore
) -> None:
    content = noise(2 * PART_BYTES + 9)
    address = await begin(api, len(content))
    for algorithm in ("md5", "sha1", "sha256"):
        wrong = encoded(hashlib.new(algorithm, b"other").digest())
        answer = await patch(
            api, address, 0, content[:-9], **{"Upload-Checksum": f"{algorithm} {wrong}"}
        )
        assert answer.status == 460
        assert (await answer.json())["code"] == "checksum_mismatch"
        assert await offset_of(api, address) == 0
    right = encoded(hashlib.sha1(content[:-9]).digest())
    answer = await patch(api, address, 0, content[:-9], **{"Upload-Checksum": f"sha1 {right}"})
    assert answer.status == 204
    last = encoded(hashlib.sha256(content[-9:]).digest())
    at = len(content) - 9
    for bad in ("sha512 " + last, "sha256", "sha256 !", "sha256 AAAA", "sha256 é"):
        answer = await patch(api, address, at, content[-9:], **{"Upload-Checksum": bad})
        assert answer.status in {400, 460}
    answer = await patch(api, address, at, content[-9:], **{"Upload-Checksum": f"sha256 {last}"})
    assert answer.status == 204
    assert await content_of(objects, await file_at(api, address)) == content


async def test_what_is_no_proper_tus_is_refused(serve: Any) -> None:
    api = await serve(max_upload_bytes=1000, file_retention_s=3600, max_uploads_per_owner=3)

    async def create(status: int, code: str, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await refusal(await api.post("/v1/tus", headers={**VERSION, **named}), status, code)

    await create(412, "tus_version", Tus_Resumable="0.2.2", Upload_Length="5")
    answer = await api.post("/v1/tus", headers={"Upload-Length": "5"})
    assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
    await create(400, "bad_request")
    await create(413, "too_large", Upload_Length="1001")
    await create(422, "empty_file", Upload_Length="0")
    for length in ("-1", "x", "1e3", "9" * 19, "5, 6", "٤"):
        await create(400, "bad_request", Upload_Length=length)
    for metadata in ("a b c", "a !", "a YQ==,a YQ==", "ä YQ==", "a /w==", "a " + "A" * 5000, ","):
        await create(400, "bad_request", Upload_Length="5", Upload_Metadata=metadata)
    await create(400, "bad_request", Upload_Length="5", Upload_Concat="partial")
    address = await begin(api, 10)
    await refusal(await patch(api, address, 1, b"x"), 409, "offset_mismatch")
    await refusal(await patch(api, address, 0, b"x" * 11), 413, "too_large")
    answer = await api.patch(address, data=b"x", headers={**VERSION, "Upload-Offset": "0"})
    await refusal(answer, 415, "unsupported_media_type")
    await refusal(await api.patch(address, data=b"x", headers=PIECE), 400, "bad_request")
    answer = await patch(api, address, 0, b"x", **{"Content-Encoding": "gzip"})
    await refusal(answer, 415, "unsupported_media_type")
    await refusal(await api.post(address, headers=VERSION), 405, "method_not_allowed")
    await begin(api, 10)
    await begin(api, None)
    await create(429, "quota_exceeded", Upload_Length="5")
    assert await offset_of(api, address) == 0


async def test_methods_may_be_named_in_a_header(api: Any) -> None:
    address = await begin(api, 5)

    async def post(method: str, **others: Any) -> Any:
        headers = {**others.pop("headers", VERSION), "X-HTTP-Method-Override": method}
        return await api.post(address, headers=headers, **others)

    answer = await post("PATCH", data=b"hel", headers={**PIECE, "Upload-Offset": "0"})
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "3")
    assert (await post("HEAD")).headers["Upload-Offset"] == "3"
    for name in ("Upload-Offset", "Upload-Length"):
        for method in ("HEAD", "DELETE"):
            answer = await post(method, headers={**VERSION, name: "/d"})
            await refusal(answer, 400, "bad_request")
    assert (await post("DELETE")).status == 204
    assert (await api.head(address, headers=VERSION)).status == 410


async def test_an_upload_that_is_given_up_leaves_nothing(
    api: Any, hands: Hands, resources: Resources, books: Books
) -> None:
    janitor = Janitor(resources, "test")
    await resources.store.ensure_schema()
    deleted = await begin(api, 3 * PART_BYTES, noise(PART_BYTES + 5))
    late = await begin(api, 3 * PART_BYTES, noise(PART_BYTES + 5))
    whole = await begin(api, 5, b"hello")
    for address in (deleted, whole):
        assert (await api.delete(address, headers=VERSION)).status == 204
    await refusal(await api.delete(deleted, headers=VERSION), 410, "gone")
    await refusal(await patch(api, deleted, PART_BYTES + 5, b"x"), 410, "gone")
    answer = await api.head(late, headers=VERSION)
    expires = parsedate_to_datetime(answer.headers["Upload-Expires"])
    assert expires.tzinfo is not None
    step_clock(books.redis, books.prefix, DAY_MS + 1)
    assert await janitor.end_uploads() == 1
    assert (await api.head(late, headers=VERSION)).status == 410
    await due_trash(resources.store)
    await janitor.collect()
    assert await hands.files() == []
    assert [entry.key async for entry in resources.objects.list("uploads/")] == []
    assert await resources.objects.abort_uploads(older_than_s=-60) == 0


async def test_another_owners_upload_is_as_one_that_never_was(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    mine, theirs = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("mine", "theirs")
    ]
    address = await begin(api, 5, b"", **mine)
    direct = await (await api.post("/v1/uploads", json={"size": 5}, headers=theirs)).json()
    for wanted in (address, f"/v1/tus/{new_id('upload')}", "/v1/tus/x", f"/v1/tus/{direct['id']}"):
        head = await api.head(wanted, headers={**VERSION, **theirs})
        assert head.status == 404
        await refusal(await patch(api, wanted, 0, b"x", **theirs), 404, "not_found")
        answer = await api.delete(wanted, headers={**VERSION, **theirs})
        await refusal(answer, 404, "not_found")
    await refusal(await api.post("/v1/tus", headers=VERSION), 401, "unauthorized")
    assert (await patch(api, address, 0, b"hello", **mine)).status == 204


@pytest.mark.parametrize("step", ["begin", "put_part", "complete"])
async def test_a_storage_that_is_away_for_a_moment_costs_nothing_that_was_safe(
    api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    content = noise(2 * PART_BYTES + 5)
    address = await begin(api, len(content), content[: PART_BYTES - 5])
    real = getattr(objects.direct, step)
    failed: list[str] = []

    async def broken(*given: Any, **named: Any) -> Any:
        if not failed:
            failed.append(step)
            raise StorageUnavailableError("503 Slow Down", retry_after_s=1)
        return await real(*given, **named)

    monkeypatch.setattr(objects.direct, step, broken)
    answer = await patch(api, address, PART_BYTES - 5, content[PART_BYTES - 5 :])
    await refusal(answer, 503, "storage_unavailable")
    offset = await offset_of(api, address)
    assert offset >= PART_BYTES - 5
    if offset < len(content):
        assert (await patch(api, address, offset, content[offset:])).status == 204
    assert await content_of(objects, await file_at(api, address)) == content


async def test_death_between_the_last_byte_and_the_file_is_made_good_by_the_next_look(
    api: Any, objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `kill -9`: joined, or even that is not written down, and nobody was told."""
    content = noise(PART_BYTES + 5)

    class DeathError(Exception):
        pass

    async def dead(*_: Any) -> Any:
        raise DeathError

    for where in ("fileproc.api.resumable.became_file", "joined"):
        address = await begin(api, len(content))
        with monkeypatch.context() as patched:
            if where == "joined":
                patched.setattr(objects.direct, "complete", dead)
            else:
                patched.setattr(where, dead)
            assert (await patch(api, address, 0, content)).status == 500
        assert await offset_of(api, address) == len(content)
        assert await content_of(objects, await file_at(api, address)) == content


async def test_what_the_storage_has_lost_is_begun_anew(
    api: Any, objects: ObjectStore, books: Books
) -> None:
    content = noise(2 * PART_BYTES)
    address = await begin(api, len(content), content[: PART_BYTES + 5])
    await objects.abort_uploads(older_than_s=-60)
    answer = await patch(api, address, PART_BYTES + 5, content[PART_BYTES + 5 :])
    await refusal(answer, 410, "gone")
    address = await begin(api, 100, b"x")
    await objects.delete([entry.key async for entry in objects.list("uploads/")])
    await refusal(await patch(api, address, 1, b"x"), 410, "gone")
    assert (await api.head(address, headers=VERSION)).status == 410
    assert books.look().zset("uploads") == {}


async def test_a_writer_that_lost_its_hold_changes_nothing(
    api: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stalled for longer than a hold lasts, and another has gone on since."""
    address = await begin(api, 3000)
    upload_id = address.rpartition("/")[2]
    real = Writer.save

    async def late(self: Writer) -> None:
        await store.pipeline.command(
            "HSET", store.names.upload(upload_id), "holder", "other", "until", 2**45
        )
        await real(self)

    monkeypatch.setattr(Writer, "save", late)
    await refusal(await patch(api, address, 0, b"x" * 1000), 423, "upload_locked")
    assert (await store.uploads.get("local", upload_id)).offset == 0
    monkeypatch.undo()
    await store.uploads.release(upload_id, "other")
    assert (await patch(api, address, 0, jpeg())).status == 204
    assert await offset_of(api, address) == len(jpeg())


async def test_put_that_fails_late_leaves_the_file_that_another_request_has_made(
    api: Any, objects: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage was slow for the first, whose client came back and was let in."""
    content = jpeg()
    address = await begin(api, len(content))
    real, hanging, go_on = objects._put, asyncio.Event(), asyncio.Event()

    async def slow(**request: Any) -> None:
        if hanging.is_set():
            await real(**request)
            return
        hanging.set()
        await go_on.wait()
        raise StorageUnavailableError("503 Slow Down", retry_after_s=1)

    monkeypatch.setattr(objects, "_put", slow)
    first = asyncio.create_task(patch(api, address, 0, content))
    await hanging.wait()
    name = store.names.upload(address.rpartition("/")[2])
    await store.pipeline.command("HDEL", name, "holder", "until")
    assert (await patch(api, address, 0, content)).status == 204
    go_on.set()
    assert (await first).status in {423, 503}
    assert await content_of(objects, await file_at(api, address)) == content


@pytest.mark.parametrize(
    "told",
    [
        "text/plain\r\nx-amz-acl: public-read",
        "text/plain\n",
        "text/pl\u00e4in",
        "text/\U0001f600",
        "text/pl\x00ain",
        " ",
        "x" * 3000,
        "text/plain; charset=utf-8",
    ],
)
async def test_no_type_of_a_client_breaks_the_request_to_the_storage(
    api: Any, objects: ObjectStore, told: str
) -> None:
    """What stands in Upload-Metadata becomes a header there; small, in parts, and with a rest."""
    metadata = {"Upload-Metadata": f"filename {encoded('a.txt')},filetype {encoded(told)}"}
    address = await begin(api, 10, b"hello", **metadata)
    assert (await patch(api, address, 5, b"world")).status == 204
    file = await file_at(api, address)
    assert await content_of(objects, file) == b"helloworld"
    assert file["type"] == "text/plain"


async def test_no_type_of_a_client_breaks_an_upload_in_parts(api: Any) -> None:
    size = PART_BYTES + 5
    told = encoded("video/mp4\r\nx-amz-acl: public-read")
    address = await begin(api, size, noise(size), **{"Upload-Metadata": f"filetype {told}"})
    assert (await file_at(api, address))["size"] == size
