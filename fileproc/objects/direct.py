"""What clients send to the storage themselves, by presigned URLs, and uploads in several calls.

The signature covers the key, the exact length and the type, and the number of a part: a URL is good
for one object of this size, and for nothing else.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fileproc.errors import ObjectMissingError
from fileproc.objects.border import border, code_of
from fileproc.objects.keys import checked_key
from fileproc.objects.port import Part, SignedRequest

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_LISTED_AT_ONCE = 1000


@contextmanager
def _forgotten(call: str) -> Iterator[None]:
    """As `border`; an upload that the storage does not know (any more) is missing."""
    with border(call):
        try:
            yield
        except ClientError as exc:
            if code_of(exc) != "NoSuchUpload":
                raise
            raise ObjectMissingError("The storage does not know this upload any more.") from exc


class S3DirectUploads:
    """`DirectUploads` over the client for work and the one that signs for the public endpoint."""

    def __init__(
        self, client: S3Client, signer: S3Client, bucket: str, encryption: dict[str, str]
    ) -> None:
        self._client = client
        self._signer = signer
        self._bucket = bucket
        self._encryption = encryption

    async def presign_put(
        self, key: str, *, size: int, content_type: str, sha256: str | None, ttl_s: int
    ) -> SignedRequest:
        headers = {"Content-Length": str(size), "Content-Type": content_type}
        params: dict[str, Any] = {
            **self._target(key),
            **self._encryption,
            "ContentLength": size,
            "ContentType": content_type,
        }
        if self._encryption:
            headers["x-amz-server-side-encryption"] = self._encryption["ServerSideEncryption"]
        if sha256 is not None:
            checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
            params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = checksum
        return SignedRequest(await self._sign("put_object", params, ttl_s), headers)

    async def presign_part(
        self, key: str, upload_id: str, number: int, *, size: int, ttl_s: int
    ) -> SignedRequest:
        params = {
            **self._target(key),
            "UploadId": upload_id,
            "PartNumber": number,
            "ContentLength": size,
        }
        url = await self._sign("upload_part", params, ttl_s)
        return SignedRequest(url, {"Content-Length": str(size)})

    async def _sign(self, call: str, params: dict[str, Any], ttl_s: int) -> str:
        with border("presign"):
            return await self._signer.generate_presigned_url(call, Params=params, ExpiresIn=ttl_s)

    async def begin(self, key: str, *, content_type: str) -> str:
        request: Any = {**self._target(key), **self._encryption, "ContentType": content_type}
        with border("create_multipart_upload"):
            reply = await self._client.create_multipart_upload(**request)
        return reply["UploadId"]

    async def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        with _forgotten("upload_part"):
            reply = await self._client.upload_part(
                **self._target(key),
                UploadId=upload_id,
                PartNumber=number,
                Body=io.BytesIO(body),
            )
        return reply["ETag"]

    async def parts(self, key: str, upload_id: str) -> list[Part]:
        found: list[Part] = []
        marker = 0
        while True:
            with _forgotten("list_parts"):
                reply = await self._client.list_parts(
                    **self._target(key),
                    UploadId=upload_id,
                    PartNumberMarker=marker,
                    MaxParts=_LISTED_AT_ONCE,
                )
            listed = reply.get("Parts", [])
            found += [Part(part["PartNumber"], part["Size"], part["ETag"]) for part in listed]
            if not reply.get("IsTruncated") or not listed:
                return found
            marker = listed[-1]["PartNumber"]

    async def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        parts: Any = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
        with _forgotten("complete_multipart_upload"):
            await self._client.complete_multipart_upload(
                **self._target(key), UploadId=upload_id, MultipartUpload={"Parts": parts}
            )

    async def abort(self, key: str, upload_id: str) -> None:
        try:
            with _forgotten("abort_multipart_upload"):
                await self._client.abort_multipart_upload(**self._target(key), UploadId=upload_id)
        except ObjectMissingError:
            return

    async def size_of(self, key: str) -> int:
        with border("head_object"):
            reply = await self._client.head_object(**self._target(key))
        return reply["ContentLength"]

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": checked_key(key)}
