"""What has come of an upload: the object is read once, in flat memory, and compared."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fileproc.crashpoints import crash_point
from fileproc.errors import (
    FileprocError,
    ObjectMissingError,
    TypeMismatchError,
    UploadIncompleteError,
    UploadMismatchError,
)
from fileproc.jobs import FileInfo
from fileproc.objects import file_key
from fileproc.operations import clean_name
from fileproc.operations.types import HEAD_BYTES, agrees, detect, extension_for_type
from fileproc.telemetry import UPLOADED, get_logger

if TYPE_CHECKING:
    from fileproc.api.context import Api
    from fileproc.api.holds import Held
    from fileproc.store import StoredFile, Upload

log = get_logger(__name__)

_MAX_DECLARED = 100


@dataclass(frozen=True, slots=True)
class Content:
    """What an object holds; `head` are its first 64 KiB."""

    size: int
    sha256: str
    head: bytes


async def read_content(api: Api, key: str) -> Content:
    """Read all of an object.

    Raises:
        ObjectMissingError: there is none.
        StorageUnavailableError: the storage.
    """
    digest = hashlib.sha256()
    size = 0
    head = bytearray()
    async with aclosing(api.resources.objects.stream(key)) as chunks:  # type: ignore[type-var] # a generator in truth
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if len(head) < HEAD_BYTES:
                head += chunk[: HEAD_BYTES - len(head)]
            await asyncio.sleep(0)  # hashing keeps the loop, and the storage may be very near
    return Content(size, digest.hexdigest(), bytes(head))


async def became_file(api: Api, held: Held, content: Content) -> StoredFile:
    """The upload, which holds this, becomes a file.

    Raises:
        UploadLockedError, QuotaError, BacklogError: as `Uploads.complete`.
    """
    info = file_info(held.upload, content)
    crash_point("upload-checked")
    stored = await api.resources.store.uploads.complete(held.upload, held.holder, info)
    crash_point("upload-kept")
    UPLOADED.inc(content.size)
    return stored


def file_info(upload: Upload, content: Content) -> FileInfo:
    """The file that an upload with this content becomes."""
    document = upload.document
    declared = document.type or None
    found = detect(
        content.head,
        name=document.name or None,
        declared=declared,
        whole=content.size == len(content.head),
    )
    return FileInfo(
        file_id=upload.file_id,
        name=clean_name(document.name, fallback="file" + extension_for_type(found)),
        size=content.size,
        sha256=content.sha256,
        type=found,
        declared_type=declared[:_MAX_DECLARED] if declared else None,
    )


async def checked(api: Api, held: Held) -> StoredFile:
    """Compare what was sent to the storage with what was announced; what differs is deleted.

    Raises:
        UploadIncompleteError: nothing is there.
        UploadMismatchError: its size or digest is another; the upload is over.
        TypeMismatchError: it is of another type; the upload is over.
    """
    try:
        content = await read_content(api, file_key(held.upload.file_id))
    except ObjectMissingError as exc:
        raise UploadIncompleteError("Nothing has arrived yet: PUT the file, then this.") from exc
    try:
        _compare(held.upload, content)
    except FileprocError:
        await give_up(api, held)
        raise
    return await became_file(api, held, content)


def _compare(upload: Upload, content: Content) -> None:
    document = upload.document
    wrong = []
    if content.size != document.size:
        wrong.append(_off("size", document.size, content.size))
    if document.sha256 is not None and content.sha256 != document.sha256:
        wrong.append(_off("sha256", document.sha256, content.sha256))
    if wrong:
        raise UploadMismatchError("The file is not the one announced: begin anew.", errors=wrong)
    found = file_info(upload, content).type
    if not agrees(document.type, found):
        raise TypeMismatchError(
            f"The file is {found}, not {document.type}: begin anew with its own type.",
            errors=[{"pointer": "/type", "detail": f"It is {found}."}],
            detected=found,
            accepted=[document.type],
        )


def _off(name: str, announced: object, found: object) -> dict[str, object]:
    return {"pointer": f"/{name}", "detail": f"{announced} was announced, {found} arrived."}


async def give_up(api: Api, held: Held) -> None:
    """End an upload: its objects go to the trash, its parts are forgotten."""
    multipart = await api.resources.store.uploads.close(held.upload.id, held.holder)
    crash_point("upload-closed")
    if multipart:
        try:
            await api.resources.objects.direct.abort(file_key(held.upload.file_id), multipart)
        except FileprocError:
            log.warning("parts of an upload stay until the sweep", upload=held.upload.id)
