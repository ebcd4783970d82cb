"""The S3 adapter: MinIO and its kin, AWS, and what `fileproc dev` brings along."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header
from botocore.loaders import Loader, create_loader

from fileproc.errors import (
    ErrorClass,
    FileprocError,
    JobError,
    ObjectMissingError,
    StorageUnavailableError,
)
from fileproc.objects.border import border, code_of, unavailable, unreachable
from fileproc.objects.direct import S3DirectUploads
from fileproc.objects.files import file_chunks, removed_on_error, save
from fileproc.objects.keys import checked_key, checked_prefix
from fileproc.objects.names import content_disposition, may_show
from fileproc.objects.patience import see_through
from fileproc.objects.port import ObjectInfo, Stored
from fileproc.objects.signing import GetSigner
from fileproc.objects.upload import Multipart, Parts
from fileproc.telemetry import STORAGE_ERRORS, get_logger

if TYPE_CHECKING:
    import builtins
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Sequence,
    )
    from pathlib import Path

    from pydantic import SecretStr
    from types_aiobotocore_s3 import S3Client

    from fileproc.settings import Settings

log = get_logger(__name__)

_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 30
_CHECK_TIMEOUT_S = 3
_UNDO_S = 5
_MAX_CONNECTIONS = 200  # a proxied download holds one for as long as its client reads
_FLIGHTS = 16  # parts of all uploads in flight: 128 MiB, and 8 more for each that waits its turn
_DELETE_AT_ONCE = 1000  # what S3 takes
_READ_BYTES = 256 * 1024


@asynccontextmanager
async def open_object_store(settings: Settings) -> AsyncIterator[S3ObjectStore]:
    """Open the storage of these settings. Nothing is asked of it yet, so this does not fail."""
    async with open_clients(settings) as clients:
        yield S3ObjectStore(clients, settings)


class Clients(NamedTuple):
    """`work` for work, `signer` for the public endpoint; the credentials of both, if any."""

    work: S3Client
    signer: S3Client
    credentials: Any


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """One for work, and one that signs for the public endpoint."""
    core = AioSession()
    core.register_component("data_loader", _models())
    session = aioboto3.Session(
        botocore_session=core,
        aws_access_key_id=_reveal(settings.s3_access_key_id),
        aws_secret_access_key=_reveal(settings.s3_secret_access_key),
        region_name=settings.s3_region,
    )
    config = _client_config(settings)

    def client_of(endpoint: str | None) -> Any:
        return session.client("s3", endpoint_url=endpoint, config=config)

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(settings.s3_endpoint))
        signer = client
        if settings.s3_public_endpoint:
            signer = await stack.enter_async_context(client_of(settings.s3_public_endpoint))
        # aiohttp waits for the 100 for as long as it takes, and some servers never send one.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        credentials: Any = await session.get_credentials()  # those that the clients have
        yield Clients(client, signer, credentials)


@cache
def _models() -> Loader:
    """Reads what botocore knows of S3: a megabyte of JSON, 0.1 s and 10 MB, once a process."""
    return create_loader()


def _client_config(settings: Settings) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=_MAX_CONNECTIONS,
        # What is not required only costs, and rclone's ranged answers fail the check.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Our own digest, kept in Redis, is checked end to end; hashing twice would halve the speed.
        s3={"addressing_style": settings.s3_addressing, "payload_signing_enabled": False},
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


class S3ObjectStore:
    """`ObjectStore` over one client for work and one that only signs, for the public endpoint."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._client = client = clients.work
        self._bucket = settings.s3_bucket
        self._signer = GetSigner(clients.signer, clients.credentials, self._bucket)
        self._region = settings.s3_region
        self._encryption = {"ServerSideEncryption": settings.s3_sse} if settings.s3_sse else {}
        self._flights = asyncio.Semaphore(_FLIGHTS)
        self.direct = S3DirectUploads(client, clients.signer, self._bucket, self._encryption)

    # --- in ------------------------------------------------------------------------------------

    async def put_stream(
        self, key: str, chunks: AsyncIterable[bytes], *, content_type: str, shared: bool = False
    ) -> Stored:
        target = self._target(key)
        headers = {"ContentType": content_type, **self._encryption}
        parts = Parts(chunks)
        body = await parts.take()
        upload = Multipart(self._client, target, self._flights)
        try:
            if parts.ended:
                # Seen through: cut off in the middle it might win against the delete below.
                await see_through(self._put(Body=body, **target, **headers))
            else:
                await upload.begin(headers)
                await upload.send(body)
                async for later in parts:
                    await upload.send(later)
                await upload.complete()
        except BaseException as exc:
            undo = self._undo(upload, key, asked=not unreachable(exc), shared=shared)
            await see_through(undo)
            raise
        return parts.stored

    async def _put(self, **request: Any) -> None:
        async with self._flights:
            with border("put_object"):
                await self._client.put_object(**request)

    async def _undo(self, upload: Multipart, key: str, *, asked: bool, shared: bool) -> None:
        """Leave nothing behind. Never raises; what fails, the sweep of orphans finds.

        If the storage cannot be `asked`, only our own end is put in order.
        """
        await upload.halt()
        if not asked:
            return
        # Both: a complete or a put whose answer got lost may have been done. Under a shared key it
        # may be another's, who has counted on it since.
        for step in (upload.abort, *(() if shared else (partial(self.delete, [key]),))):
            try:
                async with asyncio.timeout(_UNDO_S):
                    await step()
            except (FileprocError, TimeoutError) as exc:
                log.warning("left something to the sweep", key=key, error=str(exc))

    async def put_file(
        self, key: str, path: Path, *, content_type: str, shared: bool = False
    ) -> Stored:
        async with aclosing(file_chunks(path)) as chunks:
            return await self.put_stream(key, chunks, content_type=content_type, shared=shared)

    # --- out -----------------------------------------------------------------------------------

    async def get_file(self, key: str, path: Path, *, size: int, sha256: str) -> None:
        wanted = Stored(size, sha256)
        async with removed_on_error(path):
            found = await self._fetch(key, path)
            if found != wanted:
                log.warning("fetching again", key=key, wanted=wanted, found=found)
                found = await self._fetch(key, path)
            if found is None:
                raise unavailable()
            if found != wanted:
                log.error("an object is not what was stored", key=key, wanted=wanted, found=found)
                raise JobError(
                    "An input has changed, or lost a part, since it was stored; upload it again.",
                    code="input_changed",
                    error_class=ErrorClass.PERMANENT,
                )

    async def _fetch(self, key: str, path: Path) -> Stored | None:
        """What came, now at `path`; None if the transfer broke off."""
        try:
            async with aclosing(self.stream(key)) as chunks:
                return await save(chunks, path)
        except StorageUnavailableError as exc:
            if unreachable(exc):
                raise
            return None

    async def stream(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes]:
        request = self._target(key)
        ranged = start > 0 or end is not None
        if ranged:
            request["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with border("get_object"):
            reply = await self._client.get_object(**request)
        body = reply["Body"]
        try:
            if ranged and "content-range" not in reply["ResponseMetadata"]["HTTPHeaders"]:
                log.warning("the storage ignored a Range", key=key)
                raise unavailable()
            while True:
                with border("read_object"):
                    chunk = await body.read(_READ_BYTES)
                if not chunk:
                    return
                yield chunk
        finally:
            body.close()  # the connection too, unless the body was read to its end

    async def presign_get(
        self, key: str, *, name: str, content_type: str, ttl_s: int, inline: bool = False
    ) -> str:
        shown = inline and may_show(content_type)
        answers = {
            "response-content-type": content_type,
            "response-content-disposition": content_disposition(name, inline=shown),
        }
        with border("presign"):
            return await self._signer.url(self._target(key)["Key"], answers, ttl_s)

    # --- away ----------------------------------------------------------------------------------

    async def delete(self, keys: Sequence[str]) -> None:
        if len(keys) > _DELETE_AT_ONCE:
            raise ValueError(f"at most {_DELETE_AT_ONCE} keys at once, not {len(keys)}")
        if not keys:
            return
        objects: Any = [{"Key": checked_key(key)} for key in keys]
        with border("delete_objects"):
            reply = await self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
            )
        failed = [error for error in reply.get("Errors", []) if error.get("Code") != "NoSuchKey"]
        if failed:
            STORAGE_ERRORS.labels(call="delete_objects").inc()
            log.warning("objects were not deleted", count=len(failed), first=failed[0])
            raise unavailable()

    async def delete_prefix(self, prefix: str) -> int:
        count = 0
        batch: builtins.list[str] = []
        async for found in self.list(prefix):
            batch.append(found.key)
            if len(batch) == _DELETE_AT_ONCE:
                await self.delete(batch)
                count, batch = count + len(batch), []
        await self.delete(batch)
        return count + len(batch)

    async def list(self, prefix: str, *, start_after: str = "") -> AsyncGenerator[ObjectInfo]:
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": checked_prefix(prefix)}
        if start_after:
            request["StartAfter"] = start_after
        pages = self._client.get_paginator("list_objects_v2").paginate(**request)
        async for page in bordered(pages, "list_objects_v2"):
            now = _date_of(page)
            for found in page.get("Contents", []):
                modified = found["LastModified"].astimezone(UTC)
                age_s = (now - modified).total_seconds()
                yield ObjectInfo(found["Key"], found["Size"], modified, age_s)

    async def abort_uploads(
        self, *, older_than_s: float, wanted: Callable[[str], Awaitable[bool]] | None = None
    ) -> int:
        count = 0
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket)
        async for page in bordered(pages, "list_multipart_uploads"):
            before = _date_of(page) - timedelta(seconds=older_than_s)
            for upload in page.get("Uploads", []):
                if upload["Initiated"] > before or (wanted and await wanted(upload["Key"])):
                    continue
                count += await self._abort(upload["Key"], upload["UploadId"])
        return count

    async def _abort(self, key: str, upload_id: str) -> bool:
        with border("abort_multipart_upload"):
            try:
                await self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload_id
                )
            except ClientError as exc:
                if code_of(exc) != "NoSuchUpload":
                    raise
                return False  # completed, or aborted by another, since it was listed
        return True

    # --- the bucket ----------------------------------------------------------------------------

    async def check(self) -> None:
        if not await self._bucket_exists():
            log.warning("there is no such bucket", bucket=self._bucket)
            raise unavailable()

    async def _bucket_exists(self) -> bool:
        try:
            with border("head_bucket"):
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await self._client.head_bucket(Bucket=self._bucket)
        except ObjectMissingError:
            return False
        return True

    async def ensure_bucket(self) -> None:
        if await self._bucket_exists():
            return
        request: dict[str, Any] = {"Bucket": self._bucket}
        if self._region != "us-east-1":  # which AWS takes only by not being named
            request["CreateBucketConfiguration"] = {"LocationConstraint": self._region}
        with border("create_bucket"):
            try:
                await self._client.create_bucket(**request)
            except ClientError as exc:
                # Another process was faster. If it is a stranger's, the check says so.
                if code_of(exc) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise
        await self.check()

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": checked_key(key)}


def _date_of(page: Any) -> datetime:
    """When the storage answered, by its clock: ours may be an hour off, and the young is kept."""
    said = page["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        return parsedate_to_datetime(said).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


async def bordered(pages: AsyncIterable[Any], call: str) -> AsyncIterator[Any]:
    """The same pages, with our errors."""
    steps = aiter(pages)
    while True:
        with border(call):
            try:
                page = await anext(steps)
            except StopAsyncIteration:
                return
            except ClientError as exc:
                # rclone's way to say that a bucket has no uploads
                if code_of(exc) != "NoSuchUpload":
                    raise
                return
        yield page
