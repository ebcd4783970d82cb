"""Presigned uploads: the client sends the file to the storage itself, and then says that it has.

Key, length and type are signed: a URL is good for this one object. A file that is larger than a
part goes in parts, each with a URL of its own, in any order and side by side. URLs are made when
they are asked for, never stored: a client that is late asks for fresh ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api import problems
from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.examination import checked, give_up
from fileproc.api.file_models import UploadQuery, UploadRequest
from fileproc.api.files import retention_of
from fileproc.api.holds import Held, held
from fileproc.api.path_ids import path_id
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.crashpoints import crash_point
from fileproc.errors import (
    FileprocError,
    InvalidRequestError,
    NotFoundError,
    ObjectMissingError,
    StoreUnavailableError,
    UploadIncompleteError,
)
from fileproc.ids import new_id
from fileproc.objects import file_key
from fileproc.operations import clean_name
from fileproc.store import Upload, UploadDocument, file_of
from fileproc.views import file_path, file_view

if TYPE_CHECKING:
    from fileproc.objects import SignedRequest
    from fileproc.store import StoredFile

PART_BYTES: Final = 64 * 1024 * 1024  # unless it is said: 80 of them make 5 GiB
MOST_PARTS: Final = 10_000  # what S3 takes
SHOWN_PARTS: Final = 100  # in one answer; signing takes about half a millisecond each
_JSON = "application/json"


upload_id_of = partial(path_id, noun="upload")


def upload_path(upload_id: str) -> str:
    """The address of an upload."""
    return f"/v1/uploads/{upload_id}"


async def create_upload(request: web.Request) -> web.StreamResponse:
    """`POST /v1/uploads`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    document = _document(api, await read_payload(request, UploadRequest))
    upload_id = new_id("upload")
    multipart = ""
    direct, key = api.resources.objects.direct, file_key(file_of(upload_id))
    await api.ask_store(caller.owner, document.size or 0, jobs=0)  # before the storage is
    if document.part_bytes is not None:
        multipart = await direct.begin(key, content_type=document.type)
    try:
        upload = await api.resources.store.uploads.open(
            upload_id, caller.owner, document, multipart
        )
    except FileprocError as exc:
        # Where Redis may have acted the sweep finds the parts, if there is no record.
        if multipart and not isinstance(exc, StoreUnavailableError):
            await direct.abort(key, multipart)
        raise
    crash_point("upload-opened")
    headers = {"Location": upload_path(upload_id)}
    view = await view_of(api, upload)
    return web.Response(body=to_json(view), status=201, headers=headers, content_type=_JSON)


def _document(api: Api, asked: UploadRequest) -> UploadDocument:
    most = api.settings.max_upload_bytes
    if asked.size > most:
        raise problems.too_large("max_upload_bytes", most, f"A file may have at most {most} bytes.")
    part_bytes = asked.part_bytes or max(PART_BYTES, -(-asked.size // MOST_PARTS))
    if -(-asked.size // part_bytes) > MOST_PARTS:
        least = -(-asked.size // MOST_PARTS)
        detail = f"A file has at most {MOST_PARTS} parts: at least {least} bytes each, here."
        raise InvalidRequestError(detail, errors=[{"pointer": "/part_bytes", "detail": detail}])
    return UploadDocument(
        kind="direct",
        name=clean_name(asked.name, fallback="") if asked.name else "",
        size=asked.size,
        type=asked.type,
        retention_s=retention_of(api, asked.retention_s, "/retention_s"),
        sha256=asked.sha256,
        part_bytes=part_bytes if asked.size > part_bytes else None,
    )


async def get_upload(request: web.Request) -> web.StreamResponse:
    """`GET /v1/uploads/{upload}`: with fresh URLs."""
    api, caller = api_of(request), caller_of(request)
    upload_id = upload_id_of(request)
    first = read_query(UploadQuery, request.query).part
    upload = await api.resources.store.uploads.get(caller.owner, upload_id)
    view = await view_of(api, upload, first, signed=not caller.only_looks)
    return web.Response(body=to_json(view), content_type=_JSON)


async def complete_upload(request: web.Request) -> web.StreamResponse:
    """`POST /v1/uploads/{upload}/complete`: check it, and make it a file. Twice is once."""
    api, caller = api_of(request), caller_of(request)
    upload_id = upload_id_of(request)
    read_query(NoQuery, request.query)
    async with held(api, request, upload_id, "direct") as mine:
        if mine.upload.done:
            stored = await api.resources.store.files.look(caller.owner, mine.upload.file_id)
        else:
            await _assembled(api, mine)
            stored = await checked(api, mine)
    return _file_response(stored)


def _file_response(stored: StoredFile) -> web.Response:
    headers = {"Location": file_path(stored.info.file_id)}
    return web.Response(body=to_json(file_view(stored)), headers=headers, content_type=_JSON)


async def _assembled(api: Api, mine: Held) -> None:
    """Make the object of its parts, unless that is done.

    Raises:
        UploadIncompleteError: it names the parts that are missing, or not of their size.
    """
    upload = mine.upload
    if not upload.multipart:
        return
    direct, key = api.resources.objects.direct, file_key(upload.file_id)
    try:
        there = {part.number: part for part in await direct.parts(key, upload.multipart)}
    except ObjectMissingError:
        return  # it is an object since, or lost: the check tells
    missing = [
        number
        for number, _, size in _parts(upload)
        if number not in there or there[number].size != size
    ]
    if missing:
        some = ", ".join(map(str, missing[:20])) + (", ..." if missing[20:] else "")
        raise UploadIncompleteError(
            f"{len(missing)} parts have not arrived: {some}.", missing=missing[:SHOWN_PARTS]
        )
    await direct.complete(key, upload.multipart, [there[n].etag for n, _, _ in _parts(upload)])


async def delete_upload(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/uploads/{upload}`: what has arrived is deleted."""
    api = api_of(request)
    upload_id = upload_id_of(request)
    read_query(NoQuery, request.query)
    async with held(api, request, upload_id, "direct") as mine:
        if mine.upload.done:
            raise NotFoundError("The upload is a file by now: delete that.")
        await give_up(api, mine)
    return web.Response(status=204)


# --- what a client sees ------------------------------------------------------------------------


def _parts(upload: Upload) -> Sequence[tuple[int, int, int]]:
    """(number, offset, size) of every part."""
    size, step = upload.document.size or 0, upload.document.part_bytes or 0
    if not step:
        return []
    starts = enumerate(range(0, size, step), 1)
    return [(number, start, min(step, size - start)) for number, start in starts]


async def view_of(
    api: Api, upload: Upload, first: int = 1, *, signed: bool = True
) -> dict[str, Any]:
    """The members of `UploadView`, with parts from number `first` on; `signed`: and their URLs."""
    document = upload.document
    open_ = signed and document.kind == "direct" and not upload.done
    parts = _parts(upload) if open_ else []
    shown = parts[first - 1 :][:SHOWN_PARTS]
    put = None
    if open_ and not parts:
        put = await api.resources.objects.direct.presign_put(
            file_key(upload.file_id),
            size=document.size or 0,
            content_type=document.type,
            sha256=document.sha256,
            ttl_s=api.settings.url_ttl_s,
        )
    path = upload_path(upload.id) if document.kind == "direct" else f"/v1/tus/{upload.id}"
    return {
        "id": upload.id,
        "object": "upload",
        "state": "complete" if upload.done else "open",
        "name": document.name,
        "size": document.size,
        "type": document.type,
        "sha256": document.sha256,
        "offset": upload.offset if document.kind == "tus" and not upload.done else None,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "file_id": upload.file_id if upload.done else None,
        "put": _signed(put) if put is not None else None,
        "part_bytes": document.part_bytes if document.kind == "direct" else None,
        "parts": await _signed_parts(api, upload, shown),
        "next_part": shown[-1][0] + 1 if shown and shown[-1] != parts[-1] else None,
        "links": {
            "self": path,
            "complete": path + "/complete" if document.kind == "direct" else None,
        },
    }


async def _signed_parts(
    api: Api, upload: Upload, shown: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    if not shown:
        return []
    direct, key = api.resources.objects.direct, file_key(upload.file_id)
    try:
        there = {part.number: part.size for part in await direct.parts(key, upload.multipart)}
    except ObjectMissingError:
        there = {}
    views = []
    for number, offset, size in shown:
        signed = await direct.presign_part(
            key, upload.multipart, number, size=size, ttl_s=api.settings.url_ttl_s
        )
        arrived = there.get(number) == size
        views.append(
            {"number": number, "offset": offset, "size": size, "arrived": arrived} | _signed(signed)
        )
        await asyncio.sleep(0)  # signing many is work for the loop
    return views


def _signed(request: SignedRequest) -> dict[str, Any]:
    return {"method": "PUT", "url": request.url, "headers": request.headers}
