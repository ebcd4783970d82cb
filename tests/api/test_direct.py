"""Presigned uploads: what is signed is what can be sent, and what was sent is checked."""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import pytest

from fileproc.api import examples
from fileproc.api.direct import PART_BYTES, SHOWN_PARTS
from fileproc.api.file_models import UploadView
from fileproc.errors import JobError
from fileproc.ids import new_id
from fileproc.objects import file_key
from fileproc.settings import Auth
from fileproc.store import Role, file_of
from fileproc.worker.janitor import Janitor
from support.clock import step_clock
from support.http import jpeg, noise, problem
from support.surface import Someone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fileproc.objects import ObjectStore
    from fileproc.resources import Resources
    from fileproc.store import Store
    from support.books import Books
    from support.http import Hands

MIB = 1024 * 1024
DAY_MS = 86_400_000


@pytest.fixture
async def net() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that knows nothing of us but the URLs."""
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
        yield session


async def announce(api: Any, **asked: Any) -> dict[str, Any]:
    answer = await api.post("/v1/uploads", json=asked)
    assert answer.status == 201, await answer.text()
    upload: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == upload["links"]["self"]
    UploadView.model_validate(upload)
    return upload


async def send(net: Any, signed: dict[str, Any], content: bytes, **headers: str) -> int:
    """PUT as the signature says, or with other headers."""
    given = {**signed["headers"], **headers}
    given.pop("Content-Length")  # the client says how much it sends
    async with net.put(signed["url"], data=io.BytesIO(content), headers=given) as answer:
        await answer.read()
        return int(answer.status)


async def complete(api: Any, upload: dict[str, Any]) -> Any:
    return await api.post(upload["links"]["complete"])


async def nothing_left(hands: Hands, books: Books) -> bool:
    """No object, no record, no multipart upload."""
    aborted = await hands.objects.abort_uploads(older_than_s=-60)
    kept = [name for name in books.look().hashes if name.startswith("file:")]
    return await hands.files() == [] and not aborted and not kept


def test_the_example_is_what_the_model_says() -> None:
    UploadView.model_validate(examples.UPLOAD)


async def test_a_file_goes_to_the_storage_and_is_used_by_a_job(
    api: Any, net: Any, hands: Hands
) -> None:
    content = jpeg()
    digest = hashlib.sha256(content).hexdigest()
    upload = await announce(
        api, name="../a b.jpg", size=len(content), type="image/jpeg", sha256=digest
    )
    assert await send(net, upload["put"], content) == 200
    answer = await complete(api, upload)
    assert answer.status == 200, await answer.text()
    file = await answer.json()
    assert file["id"] == file_of(upload["id"])
    assert (file["size"], file["sha256"], file["type"]) == (len(content), digest, "image/jpeg")
    assert "/" not in file["name"]
    again = await complete(api, upload)
    assert await again.json() == file
    shown = await (await api.get(upload["links"]["self"])).json()
    assert (shown["state"], shown["file_id"], shown["put"]) == ("complete", file["id"], None)
    body = {"operation": "image.info", "inputs": [{"file_id": file["id"]}]}
    assert (await api.post("/v1/jobs", json=body)).status == 202
    assert (await hands.take()).document.inputs[0].sha256 == digest
    await problem(await api.delete(upload["links"]["self"]), 404, "not_found")


async def test_no_parameter_of_the_url_can_be_changed(api: Any, net: Any, hands: Hands) -> None:
    content = noise(1000)
    upload = await announce(api, size=1000, type="image/png", name="a.png")
    other = await announce(api, size=1000, type="image/png")
    put = upload["put"]
    parts = urlsplit(put["url"])
    query = dict(parse_qsl(parts.query))
    assert {"X-Amz-Signature", "X-Amz-Expires"} <= query.keys()
    assert "content-length" in query["X-Amz-SignedHeaders"]
    assert "content-type" in query["X-Amz-SignedHeaders"]

    def url(path: str = parts.path, **changed: str) -> dict[str, Any]:
        changed_query = urlencode({**query, **changed})
        return {**put, "url": urlunsplit(parts._replace(path=path, query=changed_query))}

    key = parts.path.rpartition("/")[2]
    tampered = [
        url(parts.path.replace(key, new_id("file"))),
        url(parts.path.replace("files/" + key, "journal/1-1_1-1")),
        url(parts.path.replace(key, file_of(other["id"]))),
        url(**{"X-Amz-Expires": "604800"}),
        url(**{"X-Amz-Date": "20360101T000000Z"}),
        url(**{"X-Amz-SignedHeaders": "host"}),
        url(**{"X-Amz-Signature": "0" * 64}),
        url(**{"X-Amz-Credential": query["X-Amz-Credential"].replace("s3", "sts")}),
    ]
    for signed in tampered:
        assert 400 <= await send(net, signed, content) < 500
    for wrong in (content + b"x", content[:-1], b""):
        assert await send(net, put, wrong) == 403
    assert await send(net, put, content, **{"Content-Type": "text/html"}) == 403
    async with net.get(put["url"]) as answer:
        assert answer.status == 403
    async with net.delete(put["url"]) as answer:
        assert answer.status == 403
    assert await hands.files() == []
    await problem(await complete(api, upload), 409, "upload_incomplete")


async def test_what_is_not_as_announced_is_deleted(
    api: Any, net: Any, hands: Hands, resources: Resources, books: Books
) -> None:
    janitor = Janitor(resources, "test")
    for asked, content, status, code in (
        ({"type": "image/png"}, jpeg(), 415, "type_mismatch"),
        ({"type": "image/png"}, noise(500), 415, "type_mismatch"),
        ({"type": "model/x-mine"}, jpeg(), 415, "type_mismatch"),
        ({"type": "text/csv"}, b"\x00\x01binary" * 9, 415, "type_mismatch"),
        ({"sha256": "0" * 64}, b"hello", 422, "upload_mismatch"),
    ):
        upload = await announce(api, size=len(content), **asked)
        # A storage that compares the digest in the header refuses the last one itself.
        if await send(net, upload["put"], content) != 200:
            assert "sha256" in asked
            assert (await api.delete(upload["links"]["self"])).status == 204
            continue
        await problem(await complete(api, upload), status, code)
        await problem(await complete(api, upload), 410, "gone")
        await problem(await api.get(upload["links"]["self"]), 410, "gone")
        await janitor.collect()
        assert await nothing_left(hands, books)


@pytest.mark.parametrize(
    ("declared", "content", "found"),
    [
        ("application/octet-stream", jpeg(), "image/jpeg"),
        ("image/jpg", jpeg(), "image/jpeg"),
        ("text/csv", b"a\n1\n", "text/csv"),
        ("text/x-python", b"print(1)\n", "text/plain"),
        ("model/x-mine", noise(500), "application/octet-stream"),
    ],
)
async def test_types_that_agree_are_taken_and_the_detected_one_counts(
    api: Any, net: Any, declared: str, content: bytes, found: str
) -> None:
    upload = await announce(api, size=len(content), type=declared)
    assert await send(net, upload["put"], content) == 200
    file = await (await complete(api, upload)).json()
    assert (file["type"], file["declared_type"]) == (found, declared)


async def test_a_large_file_goes_in_parts_in_any_order(api: Any, net: Any, hands: Hands) -> None:
    content = noise(12 * MIB + 5)
    upload = await announce(api, size=len(content), part_bytes=5 * MIB, name="a.bin")
    assert (upload["put"], upload["next_part"]) == (None, None)
    assert [part["size"] for part in upload["parts"]] == [5 * MIB, 5 * MIB, 2 * MIB + 5]

    async def put(part: dict[str, Any], extra: bytes = b"") -> int:
        piece = content[part["offset"] : part["offset"] + part["size"]]
        return await send(net, part, piece + extra)

    first, second, third = upload["parts"]
    assert await put(third) == 200
    assert await put(second, b"x") == 403
    assert await send(net, {**first, "url": second["url"]}, content[: 2 * MIB + 5]) == 403
    document = await problem(await complete(api, upload), 409, "upload_incomplete")
    assert document["missing"] == [1, 2]
    shown = await (await api.get(upload["links"]["self"], params={"part": 2})).json()
    assert [(part["number"], part["arrived"]) for part in shown["parts"]] == [(2, False), (3, True)]
    assert await put(first) == await put(shown["parts"][0]) == 200
    answers = await asyncio.gather(*(complete(api, upload) for _ in range(3)))
    assert [answer.status for answer in answers] == [200] * 3
    file = await answers[0].json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert await put(first) >= 400  # once it is complete its parts are closed
    assert await hands.files() == [f"files/{file['id']}"]


async def test_many_parts_are_shown_in_pages(api: Any) -> None:
    size = 5 * MIB * (SHOWN_PARTS + 7)
    upload = await announce(api, size=size, part_bytes=5 * MIB)
    assert (len(upload["parts"]), upload["next_part"]) == (SHOWN_PARTS, SHOWN_PARTS + 1)
    rest = await (await api.get(upload["links"]["self"], params={"part": SHOWN_PARTS + 1})).json()
    assert (len(rest["parts"]), rest["next_part"]) == (7, None)
    beyond = await (await api.get(upload["links"]["self"], params={"part": 9999})).json()
    assert beyond["parts"] == []
    assert (await api.delete(upload["links"]["self"])).status == 204


async def test_what_cannot_be_is_refused(serve: Any, hands: Hands) -> None:
    api = await serve(max_upload_bytes=200 * 1024 * MIB, max_uploads_per_owner=2)
    for asked, pointer in (
        ({}, "/size"),
        ({"size": 0}, "/size"),
        ({"size": "5"}, "/size"),
        ({"size": 5, "type": "image/png\r\nx: y"}, "/type"),
        ({"size": 5, "type": "image"}, "/type"),
        ({"size": 5, "sha256": "ABC"}, "/sha256"),
        ({"size": 5, "part_bytes": MIB}, "/part_bytes"),
        ({"size": 100 * 1024 * MIB, "part_bytes": 5 * MIB}, "/part_bytes"),
        ({"size": 5, "retention_s": 10**9}, "/retention_s"),
        ({"size": 5, "key": "files/x"}, "/key"),
    ):
        document = await problem(await api.post("/v1/uploads", json=asked), 422, "invalid_request")
        assert [error["pointer"] for error in document["errors"]] == [pointer], asked
    too_large = await api.post("/v1/uploads", json={"size": 201 * 1024 * MIB})
    await problem(too_large, 413, "too_large")
    broken = await api.post("/v1/uploads", data=b"{", headers={"Content-Type": "application/json"})
    await problem(broken, 400, "bad_request")
    await problem(await api.post("/v1/uploads", data=b"{}"), 415, "unsupported_media_type")
    for _ in range(2):
        await announce(api, size=100 * 1024 * MIB)  # 64 MiB each would be too small for none
    full = await api.post("/v1/uploads", json={"size": PART_BYTES + 1})
    assert (await problem(full, 429, "quota_exceeded"))["limit"] == "max_uploads_per_owner"
    assert await hands.objects.abort_uploads(older_than_s=-60) == 2


async def test_another_owners_upload_is_as_one_that_never_was(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    mine, theirs = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("mine", "theirs")
    ]
    upload = await (await api.post("/v1/uploads", json={"size": 5}, headers=mine)).json()
    for wanted in (upload["id"], new_id("upload"), "upload_x", "%00", "x" * 300):
        path = f"/v1/uploads/{wanted}"
        for answer in (
            await api.get(path, headers=theirs),
            await api.post(path + "/complete", headers=theirs),
            await api.delete(path, headers=theirs),
        ):
            await problem(answer, 404, "not_found")
    await problem(await api.post("/v1/uploads", json={"size": 5}), 401, "unauthorized")
    assert (await api.delete(upload["links"]["self"], headers=mine)).status == 204


async def test_a_swap_after_the_check_is_found_when_the_job_runs(
    api: Any, net: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    """The URL is good for some minutes more, and the same length can be other bytes."""
    upload = await announce(api, size=5)
    assert await send(net, upload["put"], b"hello") == 200
    file = await (await complete(api, upload)).json()
    assert await send(net, upload["put"], b"jello") == 200
    with pytest.raises(JobError) as changed:
        await objects.get_file(
            file_key(file["id"]), tmp_path / "in", size=file["size"], sha256=file["sha256"]
        )
    assert changed.value.job_code == "input_changed"


async def test_a_swap_before_the_end_of_the_check_is_what_was_checked(
    api: Any, net: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was read is what is written down."""
    upload = await announce(api, size=5, sha256=hashlib.sha256(b"hello").hexdigest())
    await send(net, upload["put"], b"hello")
    real = store.uploads.__class__.complete

    async def swapped(self: Any, *given: Any) -> Any:
        await send(net, upload["put"], b"jello")
        return await real(self, *given)

    monkeypatch.setattr(store.uploads.__class__, "complete", swapped)
    file = await (await complete(api, upload)).json()
    assert file["sha256"] == hashlib.sha256(b"hello").hexdigest()


async def test_uploads_end_and_nothing_of_them_stays(
    api: Any, net: Any, hands: Hands, resources: Resources, books: Books
) -> None:
    one = await announce(api, size=5)
    many = await announce(api, size=11 * MIB, part_bytes=5 * MIB)
    held = await announce(api, size=5)
    await send(net, one["put"], b"hello")
    await send(net, many["parts"][0], noise(5 * MIB))
    janitor = Janitor(resources, "test")
    await resources.store.ensure_schema()
    assert await janitor.end_uploads() == 0
    step_clock(books.redis, books.prefix, DAY_MS + 1)
    assert await resources.store.uploads.hold("local", held["id"], "somebody")
    assert await janitor.end_uploads() == 2
    await problem(await complete(api, one), 410, "gone")
    await problem(await api.get(many["links"]["self"]), 410, "gone")
    await resources.store.uploads.release(held["id"], "somebody")
    assert await janitor.end_uploads() == 1
    await janitor.collect()
    assert await nothing_left(hands, books)


async def test_the_sweep_spares_what_is_under_way(
    api: Any, net: Any, hands: Hands, resources: Resources
) -> None:
    one = await announce(api, size=5)
    many = await announce(api, size=11 * MIB, part_bytes=5 * MIB)
    await send(net, one["put"], b"hello")
    await resources.store.ensure_schema()
    settings = resources.settings.model_copy(update={"stale_upload_s": 0})
    janitor = Janitor(replace(resources, settings=settings), "test")
    assert await janitor.sweep(timedelta(seconds=-60)) == 0
    assert await hands.files() == [file_key(file_of(one["id"]))]
    shown = await (await api.get(many["links"]["self"])).json()
    assert await send(net, shown["parts"][0], noise(5 * MIB)) == 200
    assert (await api.delete(many["links"]["self"])).status == 204
    assert await send(net, shown["parts"][1], noise(5 * MIB)) >= 400


async def test_who_may_only_look_gets_no_url_to_send_to(
    serve: Any, store: Store, hands: Hands
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    keys = {
        name: await Someone.of("acme", role, api, store, hands, scopes=scopes)
        for name, role, scopes in (
            ("user", Role.USER, ()),
            ("viewer", Role.VIEWER, ()),
            ("bound", Role.USER, ("operation:file.hash",)),
        )
    }
    for asked in ({"size": 5}, {"size": 11 * MIB, "part_bytes": 5 * MIB}):
        answer = await api.post("/v1/uploads", json=asked, headers=keys["user"].headers)
        upload = await answer.json()
        for name, someone in keys.items():
            answer = await api.get(upload["links"]["self"], headers=someone.headers)
            seen = await answer.json()
            UploadView.model_validate(seen)
            assert (seen["id"], seen["size"]) == (upload["id"], asked["size"])
            assert bool(seen["put"] or seen["parts"]) is (name == "user")
            assert ("X-Amz-Signature" in await answer.text()) is (name == "user")
        await api.delete(upload["links"]["self"], headers=keys["user"].headers)
