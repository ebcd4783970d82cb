"""Uploads that go wrong, byte by byte; and that nothing of them stays."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
from typing import Any

import pytest

from fileproc.api.context import API
from support.http import Hands, field, file_part, form, jpeg, noise, wire
from support.waiting import eventually

MIB = 1024 * 1024


def put(url: str, *headers: str) -> bytes:
    return "\r\n".join([f"PUT {url} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def no_trace(hands: Hands) -> bool:
    """No object, and no multipart upload under way."""
    return await hands.files() == [] and await hands.objects.abort_uploads(older_than_s=-60) == 0


async def idle(api: Any) -> bool:
    """Nothing runs in the background."""
    return not api.app[API]._tasks


async def test_a_dropped_upload_leaves_nothing(api: Any, hands: Hands) -> None:
    """At any byte: in the first 64 KiB, within a part, after several parts."""
    chance = random.Random(7)
    size = 20 * MIB
    content = noise(size)
    stops = [
        0,
        1,
        65_535,
        65_536,
        8 * MIB,
        8 * MIB + 1,
        *(chance.randrange(size) for _ in range(14)),
    ]
    for stop in stops:
        async with wire(api.server) as line:
            await line.send(put("/v1/jobs/file.probe", f"Content-Length: {size}"))
            await line.send(content[:stop])
            line.writer.transport.abort() if stop % 2 else line.writer.close()
    # The server sees the end of each connection in its own time.
    await eventually(lambda: not api.server.runner.server.connections)
    await eventually(lambda: idle(api))
    assert await no_trace(hands)
    page = await (await api.get("/v1/jobs")).json()
    assert page["data"] == []


async def test_a_dropped_form_leaves_nothing(api: Any, hands: Hands) -> None:
    headers, body = form(
        (file_part("a.bin"), noise(9 * MIB)),
        (file_part("b.bin"), noise(9 * MIB)),
        (field("job"), b'{"operation":"file.probe"}'),
    )
    for stop in (100, 5 * MIB, 10 * MIB, len(body) - 20):
        async with wire(api.server) as line:
            await line.send(
                f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: {headers['Content-Type']}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
            )
            await line.send(body[:stop])
    await eventually(lambda: not api.server.runner.server.connections)
    await eventually(lambda: idle(api))
    assert await no_trace(hands)


async def test_a_wrong_type_is_refused_while_the_rest_is_still_to_come(
    api: Any, hands: Hands
) -> None:
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/image.resize?width=9", "Content-Length: 100000000"))
        await line.send(b"just text " * 7000)
        status, headers, body = await line.answer()
        assert status == 415
        assert headers["connection"] == "close"
        assert json.loads(body)["detected"] == "text/plain"
        assert await line.ended()
    assert await no_trace(hands)


async def test_a_length_over_the_limit_is_refused_before_the_body(serve: Any) -> None:
    api = await serve(max_upload_bytes=1000)
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Content-Length: 1001", "Expect: 100-continue"))
        status, headers, body = await line.answer()
        assert status == 413
        assert headers["connection"] == "close"
        assert json.loads(body)["limit_value"] == 1000
        assert await line.ended()


async def test_a_chunked_body_is_cut_when_the_limit_is_reached(serve: Any, hands: Hands) -> None:
    api = await serve(max_upload_bytes=10 * MIB)
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Transfer-Encoding: chunked"))
        block = b"%x\r\n" % MIB + noise(MIB) + b"\r\n"
        for _ in range(11):
            await line.send(block)
        status, headers, _ = await line.answer()
        assert status == 413
        assert headers["connection"] == "close"
        assert await line.ended()
    assert await no_trace(hands)


async def test_who_sends_less_than_announced_gets_a_408(serve: Any, hands: Hands) -> None:
    api = await serve(upload_idle_s=0.3)
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Content-Length: 1000"))
        await line.send(b"only this")
        status, headers, body = await line.answer()
        assert status == 408
        assert headers["connection"] == "close"
        assert json.loads(body)["code"] == "request_timeout"
        assert await line.ended()
    assert await no_trace(hands)


async def test_who_sends_a_byte_now_and_then_gets_a_408(serve: Any) -> None:
    """Never idle for long, and still cut: 1 KiB a second is the least."""
    api = await serve(upload_idle_s=0.5)
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Content-Length: 100000"))

        async def drip() -> None:
            while True:
                await line.send(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        status, _, _ = await line.answer(within_s=10)
        dripping.cancel()
        assert status == 408


async def test_slow_json_gets_a_408_too(serve: Any) -> None:
    api = await serve(upload_idle_s=0.3)
    async with wire(api.server) as line:
        await line.send(
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"operation"'
        )
        status, _, _ = await line.answer()
        assert status == 408


async def test_slow_clients_do_not_keep_others_waiting(serve: Any) -> None:
    api = await serve(upload_idle_s=30)
    async with asyncio.TaskGroup() as group:
        done = asyncio.Event()

        async def hold() -> None:
            async with wire(api.server) as line:
                await line.send(put("/v1/jobs/file.probe", "Content-Length: 1000"))
                await line.send(b"x")
                await done.wait()

        for _ in range(200):
            group.create_task(hold())
        for _ in range(20):
            assert (await api.get("/healthz")).status == 200
        assert (await api.put("/v1/jobs/file.probe", data=b"x")).status == 202
        done.set()


async def test_bytes_after_the_announced_length_are_the_next_request(api: Any) -> None:
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Content-Length: 5") + b"hello")
        await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await line.answer())[0] == 202
        assert (await line.answer())[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PUT /v1 HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: \xd9\xa4\r\n\r\nabcd",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nabcd",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    ],
)
async def test_what_is_no_proper_http_is_a_400_and_the_end_of_the_connection(
    api: Any, request_bytes: bytes
) -> None:
    async with wire(api.server) as line:
        await line.send(request_bytes)
        status, _, body = await line.answer()
        assert status in {400, 431}
        assert b"Traceback" not in body
        assert await line.ended()


@pytest.mark.parametrize(
    "bad", [b"zz\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n", b"5 hello\r\n0\r\n\r\n"]
)
async def test_a_broken_chunk_is_a_400_and_leaves_nothing(
    api: Any, hands: Hands, bad: bytes
) -> None:
    async with wire(api.server) as line:
        await line.send(put("/v1/jobs/file.probe", "Transfer-Encoding: chunked"))
        await line.send(b"5\r\nhello\r\n" + bad)
        status, _, _ = await line.answer()
        assert status == 400
        assert await line.ended()
    assert await no_trace(hands)


async def test_a_large_upload_arrives_whole(api: Any, hands: Hands) -> None:
    content = noise(30 * MIB)
    answer = await api.put("/v1/jobs/file.probe", data=io.BytesIO(content))
    assert answer.status == 202
    [info] = (await answer.json())["inputs"]
    assert info["size"] == len(content)
    assert info["sha256"] == hashlib.sha256(content).hexdigest()
    stored = b"".join([chunk async for chunk in hands.objects.stream(f"files/{info['file_id']}")])
    assert stored == content


async def test_many_pictures_at_once(api: Any) -> None:
    answers = await asyncio.gather(
        *(api.put("/v1/jobs/image.resize?width=9", data=jpeg()) for _ in range(50))
    )
    assert [answer.status for answer in answers] == [202] * 50
    ids = {(await answer.json())["id"] for answer in answers}
    assert len(ids) == 50
