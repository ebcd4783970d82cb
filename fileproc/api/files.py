"""Files on their own: uploaded once, used by many jobs, kept as long as was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.body import Body, media_type_of
from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.file_models import FileQuery, FilesQuery
from fileproc.api.multipart import Form, boundary_of
from fileproc.api.pages import page_answer
from fileproc.api.path_ids import path_id
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.api.results import Chosen, hand_out, safe_type
from fileproc.api.submit import declared_type
from fileproc.api.uploads import Uploads, empty_file
from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError, InvalidRequestError, StoreUnavailableError
from fileproc.jobs import FileInfo, OutputInfo
from fileproc.objects import file_key
from fileproc.store import StoredFile
from fileproc.views import file_path, file_view

if TYPE_CHECKING:
    from fileproc.api.context import Caller

_JSON = "application/json"
_FORM_OVERHEAD = 64 * 1024  # boundaries and headers around one file, generously
_FILE = "file"


file_id_of = partial(path_id, noun="file")


def retention_of(api: Api, asked: int | None, pointer: str) -> int:
    """How long a file is kept, in seconds.

    Raises:
        InvalidRequestError: longer than this server keeps any.
    """
    most = api.settings.file_retention_s
    if asked is not None and asked > most:
        detail = f"At most {most} here."
        raise InvalidRequestError(
            detail, errors=[{"pointer": pointer, "detail": detail, "most": most}]
        )
    return asked or most


async def create_file(request: web.Request) -> web.StreamResponse:
    """`POST /v1/files`: the body is the file, or a form with one."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(FileQuery, request.query)
    retention_s = retention_of(api, query.retention_s, "retention_s")
    Body(request, api.settings).refuse_encoded()
    as_form = media_type_of(request) == "multipart/form-data"
    async with Uploads(api) as uploads:
        await api.resources.store.pipeline.command("PING")  # before its bytes are asked for
        take = _from_form if as_form else _from_body
        info = await take(api, request, uploads, query.filename)
        stored = await _kept(api, caller, uploads, info, retention_s)
    return web.Response(
        body=to_json(file_view(stored)),
        status=201,
        headers={"Location": file_path(info.file_id)},
        content_type=_JSON,
    )


async def _from_body(
    api: Api, request: web.Request, uploads: Uploads, filename: str | None
) -> FileInfo:
    most = api.settings.max_upload_bytes
    body = Body(request, api.settings)
    async with aclosing(body.chunks(most, "max_upload_bytes", "A file")) as chunks:
        return await _taken(uploads, chunks, filename, declared_type(request.headers), "body")


async def _from_form(
    api: Api, request: web.Request, uploads: Uploads, filename: str | None
) -> FileInfo:
    """The one file of a form.

    Raises:
        InvalidRequestError: there is another part, or none.
    """
    boundary = boundary_of(request.headers.get("Content-Type", ""))
    most = api.settings.max_upload_bytes + _FORM_OVERHEAD
    body = Body(request, api.settings)
    info: FileInfo | None = None
    async with aclosing(body.chunks(most, "max_upload_bytes", "The form")) as chunks:
        form = Form(chunks, boundary)
        while (head := await form.next_part()) is not None:
            if info is not None or (head.filename is None and head.name != _FILE):
                raise InvalidRequestError(
                    "The form has one part: the file.",
                    errors=[{"pointer": head.name, "detail": "One too many.", "allowed": [_FILE]}],
                )
            async with aclosing(form.chunks()) as part:
                name = filename or head.filename
                info = await _taken(uploads, part, name, head.content_type, head.name)
    if info is None:
        raise InvalidRequestError(
            "The form has no file.", errors=[{"pointer": _FILE, "detail": "The file."}]
        )
    return info


async def _taken(
    uploads: Uploads,
    chunks: AsyncIterator[bytes],
    filename: str | None,
    declared: str | None,
    pointer: str,
) -> FileInfo:
    info = await uploads.take(
        chunks, filename=filename, declared=declared, plan=None, pointer=pointer
    )
    if info is None:
        raise empty_file(pointer)
    return info


async def _kept(
    api: Api, caller: Caller, uploads: Uploads, info: FileInfo, retention_s: int
) -> StoredFile:
    """Write the file down; as with a job, an unknown answer keeps the bytes for the sweep."""
    try:
        stored = await api.resources.store.files.put(caller.owner, info, retention_s)
    except FileprocError as exc:
        if isinstance(exc, StoreUnavailableError):
            uploads.kept()
        raise
    except BaseException:
        uploads.kept()
        raise
    uploads.kept()
    crash_point("file-kept")
    return stored


async def list_files(request: web.Request) -> web.StreamResponse:
    """`GET /v1/files`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(FilesQuery, request.query)
    page = await api.resources.store.files.list(
        caller.owner, cursor=query.cursor, limit=query.limit
    )
    return page_answer(request, map(file_view, page.files), page.next_cursor)


async def get_file(request: web.Request) -> web.StreamResponse:
    """`GET /v1/files/{file}`."""
    return web.Response(body=to_json(file_view(await _stored(request))), content_type=_JSON)


async def get_content(request: web.Request) -> web.StreamResponse:
    """`GET /v1/files/{file}/content`: as the result of a job."""
    stored = await _stored(request)
    info = stored.info
    output = OutputInfo(name=info.name, size=info.size, sha256=info.sha256, type=info.type)
    chosen = Chosen(output, file_key(info.file_id), safe_type(info.type))
    return await hand_out(api_of(request), request, chosen, stored.expires_at)


async def _stored(request: web.Request) -> StoredFile:
    api, caller = api_of(request), caller_of(request)
    file_id = file_id_of(request)
    read_query(NoQuery, request.query)
    return await api.resources.store.files.look(caller.owner, file_id)


async def delete_file(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/files/{file}`."""
    api, caller = api_of(request), caller_of(request)
    file_id = file_id_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.files.delete(caller.owner, file_id)
    crash_point("file-deleted")
    return web.Response(status=204)
