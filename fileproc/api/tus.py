"""Resumable uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload).

The core protocol with creation, creation-with-upload, creation-defer-length, termination,
expiration and checksum. Concatenation is not offered: to join objects, the storages that we work
with would have to copy parts, which not all of them do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api import problems
from fileproc.api.body import Body, media_type_of
from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.direct import upload_id_of, view_of
from fileproc.api.examination import give_up
from fileproc.api.fields import MEDIA_TYPE
from fileproc.api.file_models import TusQuery
from fileproc.api.files import retention_of
from fileproc.api.holds import Held, held
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.api.resumable import Writer
from fileproc.errors import (
    BadRequestError,
    ChecksumMismatchError,
    EmptyFileError,
    FileprocError,
    MethodNotAllowedError,
    OffsetMismatchError,
    TusVersionError,
    UnsupportedMediaTypeError,
)
from fileproc.ids import new_id
from fileproc.operations import clean_name
from fileproc.store import Upload, UploadDocument
from fileproc.telemetry import get_logger
from fileproc.views import file_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = get_logger(__name__)

VERSION: Final = "1.0.0"
ROOT: Final = "/v1/tus"
OFFSET_TYPE: Final = "application/offset+octet-stream"
EXTENSIONS: Final = (
    "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
)
ALGORITHMS: Final = ("md5", "sha1", "sha256")
MAX_METADATA: Final = 4096
MAX_TYPE: Final = 100
_NUMBER = re.compile(r"[0-9]{1,18}")
_TYPE = re.compile(MEDIA_TYPE)
_PAIR = re.compile(r"([!#-+.-~-]{1,100})(?: ([A-Za-z0-9+/]*={0,2}))?")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal before any response is sent: tus wants its version on each, errors too."""
    if request.path.startswith(ROOT):
        response.headers["Tus-Resumable"] = VERSION
        if response.status == TusVersionError.status:
            response.headers["Tus-Version"] = VERSION


async def tus_options(request: web.Request) -> web.StreamResponse:
    """`OPTIONS /v1/tus`: what is offered."""
    read_query(NoQuery, request.query)
    return web.Response(
        status=204,
        headers={
            "Allow": "OPTIONS, POST",
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(api_of(request).settings.max_upload_bytes),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        },
    )


# --- creation ----------------------------------------------------------------------------------


async def create_tus(request: web.Request) -> web.StreamResponse:
    """`POST /v1/tus`: with a body, its bytes are the first of the upload."""
    api, caller = api_of(request), caller_of(request)
    _check_version(request)
    query = read_query(TusQuery, request.query)
    retention_s = retention_of(api, query.retention_s, "retention_s")
    size = _size_of(api, request)
    if size is None and request.headers.get("Upload-Defer-Length") != "1":
        raise BadRequestError("Send Upload-Length, or `Upload-Defer-Length: 1`.")
    if "Upload-Concat" in request.headers:
        raise BadRequestError("Concatenation is not offered: send the file as one upload.")
    document = _document(request, size, retention_s)
    brings = request.can_read_body and request.content_length != 0
    checksum = _checksum_of(request) if brings else None
    if brings:
        _check_type(request)
        Body(request, api.settings).refuse_encoded()
    if size:
        await api.ask_store(caller.owner, size, jobs=0)
    upload_id = new_id("upload")
    upload = await api.resources.store.uploads.open(upload_id, caller.owner, document, "")
    offset = 0
    if brings:
        async with held(api, request, upload_id, "tus", yields=True) as mine:
            offset = await _receive(api, request, mine, checksum)
    headers = {"Location": f"{ROOT}/{upload_id}", **_progress(upload, offset)}
    return web.Response(status=201, headers=headers)


def _document(request: web.Request, size: int | None, retention_s: int) -> UploadDocument:
    raw = ",".join(request.headers.getall("Upload-Metadata", ()))
    told = _metadata(raw)
    name = told.get("filename") or told.get("name") or ""
    return UploadDocument(
        kind="tus",
        name=clean_name(name, fallback="") if name else "",
        size=size,
        type=_media_type(told.get("filetype") or told.get("type") or ""),
        retention_s=retention_s,
        metadata=raw or None,
    )


def _media_type(told: str) -> str:
    """What a client says the file is, as far as it is a media type: it goes into a header."""
    media_type = told.partition(";")[0].strip()
    return media_type if len(media_type) <= MAX_TYPE and _TYPE.fullmatch(media_type) else ""


def _metadata(raw: str) -> dict[str, str]:
    """The pairs of Upload-Metadata.

    Raises:
        BadRequestError: it is too long, or not pairs of a key and base64.
    """
    if len(raw) > MAX_METADATA:
        raise BadRequestError(f"Upload-Metadata has at most {MAX_METADATA} characters.")
    told: dict[str, str] = {}
    for item in raw.split(",") if raw.strip() else ():
        pair = _PAIR.fullmatch(item.strip())
        value = _decoded(pair[2] or "") if pair is not None else None
        if pair is None or value is None or pair[1] in told:
            raise BadRequestError(
                "Upload-Metadata is pairs of a key and a value of UTF-8 in base64, each key once."
            )
        told[pair[1]] = value
    return told


def _decoded(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return None


def _size_of(api: Api, request: web.Request) -> int | None:
    """Upload-Length, if it is there.

    Raises:
        BadRequestError: it is no number.
        EmptyFileError, TooLargeError: such a file is not taken.
    """
    size = _number(request, "Upload-Length")
    if size is None:
        return None
    most = api.settings.max_upload_bytes
    if size > most:
        detail = f"A file may have at most {most} bytes."
        raise problems.too_large("max_upload_bytes", most, detail)
    if size == 0:
        raise EmptyFileError("The file is empty.")
    return size


def _number(request: web.Request, name: str) -> int | None:
    given = request.headers.getall(name, [])
    if not given:
        return None
    if len(given) > 1 or not _NUMBER.fullmatch(given[0]):
        raise BadRequestError(f"{name} is one number, of bytes.")
    return int(given[0])


def _check_version(request: web.Request) -> None:
    given = request.headers.get("Tus-Resumable")
    if given != VERSION:
        raise TusVersionError(f"Send `Tus-Resumable: {VERSION}`: no other version is spoken here.")


def _check_type(request: web.Request) -> None:
    if media_type_of(request) != OFFSET_TYPE:
        raise UnsupportedMediaTypeError(
            f"The bytes of an upload are sent as {OFFSET_TYPE}.", accepted=[OFFSET_TYPE]
        )


# --- the bytes ---------------------------------------------------------------------------------


class _Checksum:
    """The digest that a request's bytes must have."""

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = expected

    def update(self, chunk: bytes) -> None:
        self._digest.update(chunk)

    def verify(self) -> None:
        """Raise ChecksumMismatchError if the bytes were others."""
        if not hmac.compare_digest(self._digest.digest(), self._expected):
            raise ChecksumMismatchError("The bytes were damaged on their way: send them again.")


def _checksum_of(request: web.Request) -> _Checksum | None:
    given = request.headers.get("Upload-Checksum")
    if given is None:
        return None
    algorithm, _, encoded = given.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise BadRequestError(f"Upload-Checksum knows {', '.join(ALGORITHMS)}.")
    try:
        expected = base64.b64decode(encoded, validate=True)
    except ValueError as exc:
        raise BadRequestError("Upload-Checksum is an algorithm and base64.") from exc
    return _Checksum(algorithm, expected)


async def patch_tus(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/tus/{upload}`: more bytes, from an offset on."""
    api = api_of(request)
    _check_version(request)
    upload_id = upload_id_of(request)
    read_query(NoQuery, request.query)
    _check_type(request)
    Body(request, api.settings).refuse_encoded()
    offset = _number(request, "Upload-Offset")
    if offset is None:
        raise BadRequestError("Send Upload-Offset.")
    checksum = _checksum_of(request)
    size = _size_of(api, request)
    async with held(api, request, upload_id, "tus", yields=True) as mine:
        if offset != _offset_of(mine.upload):
            raise OffsetMismatchError(
                f"The upload goes on at {_offset_of(mine.upload)}, not at {offset}.",
                offset=_offset_of(mine.upload),
            )
        sized = mine if size is None else await _with_size(api, mine, size)
        if not mine.upload.done:
            offset = await _receive(api, request, sized, checksum)
    return web.Response(status=204, headers=_progress(sized.upload, offset))


async def _with_size(api: Api, mine: Held, size: int) -> Held:
    """The length that was deferred is told now.

    Raises:
        BadRequestError: it was told before, and was another; or so much is there already.
    """
    upload = mine.upload
    known = upload.document.size
    if size == known:
        return mine
    if known is not None or size < upload.offset:
        raise BadRequestError("The length of an upload does not change.")
    await api.ask_store(upload.owner, size, jobs=0)
    await api.resources.store.uploads.note(upload.id, mine.holder, size=size)
    return mine.of_size(size)


async def _receive(api: Api, request: web.Request, mine: Held, checksum: _Checksum | None) -> int:
    """Take the body; returns the offset afterwards. What came before a cut is safe, too.

    With a checksum all of it counts or nothing.
    """
    upload = mine.upload
    size = upload.document.size
    writer = Writer(api, mine, at_once=checksum is not None)
    most = (api.settings.max_upload_bytes if size is None else size) - upload.offset
    body = Body(request, api.settings)
    try:
        async with aclosing(body.chunks(most, "upload_length", "What is left")) as chunks:
            async for chunk in chunks:
                if checksum is not None:
                    checksum.update(chunk)
                await writer.take(chunk)
    except BaseException:
        if checksum is None:
            # To its end: a shutdown must not lose what the client believes to have sent.
            await asyncio.shield(api.in_background(_saved(writer), name="save-upload"))
        raise
    if checksum is not None:
        checksum.verify()
    work = writer.finish() if writer.offset == size else writer.save()
    await asyncio.shield(api.in_background(work, name="end-upload"))
    return writer.offset


async def _saved(writer: Writer) -> None:
    try:
        await writer.save()
    except FileprocError as exc:
        log.warning("the last bytes of a request are lost", reason=exc.detail)


# --- the rest ----------------------------------------------------------------------------------


async def get_tus(request: web.Request) -> web.StreamResponse:
    """`GET` and `HEAD /v1/tus/{upload}`: where to go on.

    Whoever died between the last byte and the file has left the rest to us.
    """
    api = api_of(request)
    _check_version(request)
    upload_id = upload_id_of(request)
    read_query(NoQuery, request.query)
    async with held(api, request, upload_id, "tus") as mine:
        upload: Upload = mine.upload
        if not upload.done and upload.offset == upload.document.size:
            await asyncio.shield(
                api.in_background(Writer(api, mine).finish(), name="finish-upload")
            )
            upload = await api.resources.store.uploads.get(upload.owner, upload.id)
    document = upload.document
    headers = _progress(upload, _offset_of(upload))
    if document.size is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(document.size)
    if document.metadata:
        headers["Upload-Metadata"] = document.metadata
    body = to_json(await view_of(api, upload))
    return web.Response(body=body, headers=headers, content_type="application/json")


async def delete_tus(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/tus/{upload}`: what has come is deleted; of a whole upload, the file."""
    api, caller = api_of(request), caller_of(request)
    _check_version(request)
    upload_id = upload_id_of(request)
    read_query(NoQuery, request.query)
    async with held(api, request, upload_id, "tus") as mine:
        if mine.upload.done:
            await api.resources.store.files.delete(caller.owner, mine.upload.file_id)
        else:
            await give_up(api, mine)
    return web.Response(status=204)


async def post_tus(request: web.Request) -> web.StreamResponse:
    """`POST /v1/tus/{upload}`: for clients whose proxies know neither PATCH nor DELETE."""
    method = request.headers.get("X-HTTP-Method-Override", "").upper()
    if method not in _OVERRIDES:
        raise MethodNotAllowedError(
            "A POST here says by X-HTTP-Method-Override what it is.", allowed=["POST", *_OVERRIDES]
        )
    for name in ("Upload-Offset", "Upload-Length"):
        _number(request, name)  # nonsense is refused, also where the method has no use for it
    return await _OVERRIDES[method](request)


_OVERRIDES: Final[dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = {
    "PATCH": patch_tus,
    "HEAD": get_tus,
    "DELETE": delete_tus,
}


def _offset_of(upload: Upload) -> int:
    return (upload.document.size or 0) if upload.done else upload.offset


def _progress(upload: Upload, offset: int) -> dict[str, str]:
    """What every answer says of an upload."""
    headers = {"Upload-Offset": str(offset)}
    if upload.expires_at is not None:
        headers["Upload-Expires"] = format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)
    if upload.done or offset == upload.document.size:
        headers["Content-Location"] = file_path(upload.file_id)
    return headers
