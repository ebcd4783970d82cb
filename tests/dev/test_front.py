"""The S3 server as clients see it: rclone behind the front. Signatures are the real ones."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from multidict import CIMultiDict

from fileproc.dev.engines import S3Server
from fileproc.dev.front import unsupported

MIB = 1024 * 1024
CONFIG = AioConfig(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    retries={"max_attempts": 1},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def connect(server: S3Server) -> Any:
    return aioboto3.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=CONFIG,
    )


@pytest.fixture
async def s3(s3_server: S3Server) -> AsyncIterator[Any]:
    async with connect(s3_server) as client:
        yield client


@pytest.fixture
async def bucket(s3: Any) -> str:
    name = "front-" + secrets.token_hex(6)
    await s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def body_of(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    answer = await s3.get_object(Bucket=bucket, Key=key, **options)
    async with answer["Body"] as stream:
        data: bytes = await stream.read()
    return data


@pytest.mark.parametrize("key", ["files/a", "files/ä ö+%2e&=?#.txt", "attempts/job/tok-1/0"])
async def test_what_was_put_comes_back(s3: Any, bucket: str, key: str) -> None:
    await s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789")
    assert await body_of(s3, bucket, key) == b"0123456789"
    head = await s3.head_object(Bucket=bucket, Key=key)
    assert head["ContentLength"] == 10
    await s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(ClientError, match="404"):
        await s3.head_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize(
    ("range_", "expected"),
    [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=0-0", b"0")],
)
async def test_a_range_is_answered_with_206(
    s3: Any, bucket: str, range_: str, expected: bytes
) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    answer = await s3.get_object(Bucket=bucket, Key="k", Range=range_)
    async with answer["Body"] as stream:
        assert await stream.read() == expected
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentRange"].endswith("/10")


async def test_a_range_beyond_the_end_is_416_and_several_ranges_give_the_whole(
    s3: Any, bucket: str, http: aiohttp.ClientSession
) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    url = await s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    async with http.get(url, headers={"Range": "bytes=50-60"}) as answer:
        assert answer.status == 416
    async with http.get(url, headers={"Range": "bytes=0-1,4-5"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"0123456789")


async def test_multipart_upload_is_whole_and_an_aborted_one_leaves_nothing(
    s3: Any, bucket: str, s3_server: S3Server
) -> None:
    data = os.urandom(17 * MIB)
    begun = await s3.create_multipart_upload(Bucket=bucket, Key="big")
    upload = {"Bucket": bucket, "Key": "big", "UploadId": begun["UploadId"]}

    async def send(number: int) -> dict[str, Any]:
        part = data[(number - 1) * 8 * MIB : number * 8 * MIB]
        sent = await s3.upload_part(**upload, PartNumber=number, Body=io.BytesIO(part))
        return {"PartNumber": number, "ETag": sent["ETag"]}

    parts = await asyncio.gather(*(send(number) for number in (1, 2, 3)))
    await s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    stored = hashlib.sha256(await body_of(s3, bucket, "big")).hexdigest()
    assert stored == hashlib.sha256(data).hexdigest()

    begun = await s3.create_multipart_upload(Bucket=bucket, Key="never")
    upload = {"Bucket": bucket, "Key": "never", "UploadId": begun["UploadId"]}
    await send(1)
    await s3.abort_multipart_upload(**upload)
    assert [item["Key"] for item in (await s3.list_objects_v2(Bucket=bucket))["Contents"]] == [
        "big"
    ]
    assert [path.name for path in (s3_server.folder / "objects" / bucket).iterdir()] == ["big"]


async def test_listing_pages_are_sorted_and_complete(s3: Any, bucket: str) -> None:
    keys = [f"files/file_{number:02}" for number in range(12)]
    await asyncio.gather(*(s3.put_object(Bucket=bucket, Key=key, Body=b"x") for key in keys))
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = await s3.list_objects_v2(Bucket=bucket, Prefix="files/", MaxKeys=5, **more)
        found += [item["Key"] for item in page["Contents"]]
        if not page["IsTruncated"]:
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == keys
    await s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert "Contents" not in await s3.list_objects_v2(Bucket=bucket)


async def test_presigned_get_carries_the_headers_it_was_signed_with(
    s3: Any, bucket: str, http: aiohttp.ClientSession
) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"picture")
    disposition = "attachment; filename*=UTF-8''" + "%C3%A4" * 100 + ".jpg"
    url = await s3.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": "k",
            "ResponseContentType": "image/jpeg",
            "ResponseContentDisposition": disposition,
        },
    )
    async with http.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"picture")
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Content-Disposition"] == disposition
        etag = answer.headers["ETag"]
    async with http.get(url, headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_presigned_get_is_refused_when_tampered_with_or_expired(
    s3: Any, bucket: str, http: aiohttp.ClientSession
) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"secret")
    params = {"Bucket": bucket, "Key": "k"}
    url = await s3.generate_presigned_url("get_object", Params=params)
    for other in (url[:-4] + "0000", url.replace("/k?", "/other?"), url.partition("?")[0]):
        async with http.get(other) as answer:
            assert answer.status in {400, 403}
            assert b"secret" not in await answer.read()
    short = await s3.generate_presigned_url("get_object", Params=params, ExpiresIn=1)
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:  # the clock of the server decides
        async with http.get(short) as answer:
            if answer.status in {400, 403}:
                return
        await asyncio.sleep(0.1)
    pytest.fail("an expired URL still works after 10 s")


async def test_presigned_put_takes_exactly_what_was_signed(
    s3: Any, bucket: str, http: aiohttp.ClientSession
) -> None:
    params = {"Bucket": bucket, "Key": "up", "ContentLength": 5}
    url = await s3.generate_presigned_url("put_object", Params=params)
    async with http.put(url, data=b"more than that") as answer:
        assert answer.status == 403
    async with http.put(url, data=b"12345") as answer:
        assert answer.status == 200
    assert await body_of(s3, bucket, "up") == b"12345"


@pytest.mark.parametrize("sub", ["tagging", "acl", "legal-hold", "retention", "versionId=1"])
@pytest.mark.parametrize("method", ["put", "delete"])
async def test_sub_resources_are_refused_and_the_object_stays(
    s3: Any, bucket: str, http: aiohttp.ClientSession, method: str, sub: str
) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"intact")
    url = await s3.generate_presigned_url(f"{method}_object", Params={"Bucket": bucket, "Key": "k"})
    async with http.request(method, f"{url}&{sub}", data=b"<Tagging/>") as answer:
        assert answer.status == 501
        assert "<Code>NotImplemented</Code>" in await answer.text()
    assert await body_of(s3, bucket, "k") == b"intact"


async def test_tagging_by_the_sdk_and_conditional_writes_are_refused(s3: Any, bucket: str) -> None:
    await s3.put_object(Bucket=bucket, Key="k", Body=b"intact")
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    with pytest.raises(ClientError, match="NotImplemented"):
        await s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tags)
    with pytest.raises(ClientError, match="NotImplemented"):
        await s3.put_object(Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
    assert await body_of(s3, bucket, "k") == b"intact"


async def test_a_wrong_key_is_refused_without_waiting_for_the_body(
    s3_server: S3Server, bucket: str, http: aiohttp.ClientSession
) -> None:
    """`Expect: 100-continue` with an early refusal: rclone alone would leave the client hanging."""
    async with http.put(
        f"{s3_server.endpoint}/{bucket}/k?X-Amz-Signature=no",
        data=b"x" * MIB,
        expect100=True,
        timeout=aiohttp.ClientTimeout(total=10),
    ) as answer:
        assert answer.status in {400, 403}


async def test_compressed_objects_pass_as_they_are(
    s3: Any, bucket: str, http: aiohttp.ClientSession
) -> None:
    import gzip

    data = gzip.compress(b"x" * 10_000)
    await s3.put_object(Bucket=bucket, Key="k", Body=data, ContentEncoding="gzip")
    url = await s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    async with http.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
        assert await answer.read() == data


async def test_an_upload_that_breaks_off_leaves_no_object(
    s3: Any, bucket: str, s3_server: S3Server
) -> None:
    url = await s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "cut"})
    path = url.removeprefix(s3_server.endpoint)
    _, writer = await asyncio.open_connection("127.0.0.1", s3_server.port)
    head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{s3_server.port}\r\nContent-Length: 9999999\r\n"
    writer.write(head.encode() + b"\r\n" + b"x" * MIB)
    await writer.drain()
    writer.transport.abort()
    folder = s3_server.folder / "objects" / bucket
    deadline = asyncio.get_running_loop().time() + 10
    while any(folder.iterdir()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - another process's folder
        await asyncio.sleep(0.02)
    assert list(folder.iterdir()) == []
    with pytest.raises(ClientError, match="404"):
        await s3.head_object(Bucket=bucket, Key="cut")


async def test_a_download_that_breaks_off_leaves_the_server_well(
    s3: Any, bucket: str, s3_server: S3Server
) -> None:
    await s3.put_object(Bucket=bucket, Key="big", Body=io.BytesIO(bytes(32 * MIB)))
    url = await s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "big"})
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", s3_server.port)
        path = url.removeprefix(s3_server.endpoint)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{s3_server.port}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
    assert len(await body_of(s3, bucket, "big")) == 32 * MIB


async def test_objects_survive_a_restart_and_a_kill(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    server.start()
    try:
        async with connect(server) as client:
            await client.create_bucket(Bucket="kept")
            await client.put_object(Bucket="kept", Key="files/a", Body=b"kept")
        endpoint = server.endpoint
        server.restart()
        assert server.endpoint == endpoint
        server.kill()
        server.start()
        async with connect(server) as client:
            assert await body_of(client, "kept", "files/a") == b"kept"
    finally:
        server.kill()


async def test_bodies_stream_through_in_little_memory(
    s3: Any, bucket: str, s3_server: S3Server, http: aiohttp.ClientSession
) -> None:
    """192 MiB up and down; the front's peak must not know it."""
    size = 192 * MIB

    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(192):
            yield bytes(MIB)

    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    url = await s3.generate_presigned_url(
        "put_object",
        Params={"Bucket": bucket, "Key": "big", "ContentType": headers["Content-Type"]},
    )
    before = peak_bytes(s3_server.pid)
    async with http.put(url, data=zeros(), headers=headers) as answer:
        assert answer.status == 200
    url = await s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "big"})
    received = 0
    async with http.get(url) as answer:
        async for chunk in answer.content.iter_any():
            received += len(chunk)
    assert received == size
    assert peak_bytes(s3_server.pid) - before < 24 * MIB


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def test_an_empty_object_is_an_object(s3: Any, bucket: str) -> None:
    await s3.put_object(Bucket=bucket, Key="nothing", Body=b"")
    assert await body_of(s3, bucket, "nothing") == b""


async def test_without_rclone_the_front_answers_503(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    server.start()
    try:
        server._rclone.kill()
        async with (
            aiohttp.ClientSession() as http,
            http.get(server.endpoint) as answer,
        ):
            assert answer.status == 503
            assert "<Code>ServiceUnavailable</Code>" in await answer.text()
        assert not server.running
    finally:
        server.kill()


def test_what_the_server_behind_knows_passes() -> None:
    none: CIMultiDict[str] = CIMultiDict()
    assert unsupported("GET", {"list-type", "prefix", "X-Amz-Date"}, none) is None
    assert unsupported("PUT", {"partNumber", "uploadId", "x-id"}, none) is None
    assert unsupported("POST", {"delete"}, none) is None
    assert unsupported("GET", {"response-content-type"}, none) is None
    assert unsupported("GET", {"acl"}, none) == "GET ?acl"
    assert unsupported("POST", {"restore"}, none) == "POST ?restore"
    conditional = CIMultiDict({"If-Match": "x"})
    assert unsupported("PUT", set(), conditional) == "PUT with If-Match"
    assert unsupported("GET", set(), conditional) is None
