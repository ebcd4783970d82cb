"""Both ways to submit: `POST /v1/jobs` and `PUT /v1/jobs/{operation}`.

What can be refused without the body is refused before a byte of it is asked for.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from fileproc.api.accepting import Accepted, accept, answer, wish_of
from fileproc.api.access import check_scopes
from fileproc.api.body import Body, media_type_of, refuse_other_charsets
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.drafts import (
    Draft,
    check_count,
    check_fit,
    draft_from_query,
    operation_of,
)
from fileproc.api.forms import JobForm
from fileproc.api.idempotency import Claim, claimed, key_of
from fileproc.api.job_models import job_of_body
from fileproc.api.queries import PutQuery, SubmitQuery
from fileproc.api.reading import (
    gathered,
    parse_json,
    query_params,
    read_body,
    read_gathered,
    read_query,
)
from fileproc.api.templates import draft_over
from fileproc.api.uploads import Uploads, empty_file
from fileproc.errors import InvalidRequestError, UnsupportedMediaTypeError
from fileproc.jobs import FileInfo
from fileproc.operations import Operation
from fileproc.store import Replay

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNKNOWN: Final = 1  # bytes of a body that does not say, or has more in it than files
_OURS = frozenset(PutQuery.model_fields)


async def create_job(request: web.Request) -> web.StreamResponse:
    """`POST /v1/jobs`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(SubmitQuery, request.query)
    wish = wish_of(request, query.wait)
    key = key_of(request)
    if query.dry_run:
        key = None  # what does nothing uses up no key
    Body(request, api.settings).refuse_encoded()
    media_type = media_type_of(request)
    if media_type == "application/json":
        refuse_other_charsets(request)
        accepted = await _from_json(api, caller, request, key, query)
    elif media_type == "multipart/form-data":
        accepted = await _from_form(api, caller, request, key, query)
    else:
        accepted_types = ["application/json", "multipart/form-data"]
        raise UnsupportedMediaTypeError(
            f"Send {' or '.join(accepted_types)}; to send just a file, "
            "use PUT /v1/jobs/{operation}.",
            accepted=accepted_types,
        )
    return await answer(api, request, caller, accepted, wish)


async def _from_json(
    api: Api, caller: Caller, request: web.Request, key: str | None, query: SubmitQuery
) -> Accepted:
    limit = api.settings.max_json_bytes
    body = await Body(request, api.settings).read(limit, "max_json_bytes", "A JSON body")
    value = parse_json(body)
    asked = read_body(job_of_body(value), value)
    async with claimed(api, caller, key) as claim:
        draft, files = await draft_over(api, caller, asked, claim)
        return await accept(
            *(api, caller, draft),
            inputs=files,
            brought=[],
            claim=claim,
            force=query.force,
            dry_run=query.dry_run,
        )


async def _from_form(
    api: Api, caller: Caller, request: web.Request, key: str | None, query: SubmitQuery
) -> Accepted:
    async with claimed(api, caller, key) as claim, _uploads(api, claim, query) as uploads:
        if not isinstance(claim, Replay):
            await api.ask_store(caller.owner, _UNKNOWN)
        draft, inputs, brought = await JobForm(api, caller, uploads, claim).read(request)
        return await accept(
            *(api, caller, draft),
            inputs=inputs,
            brought=brought,
            claim=claim,
            uploads=uploads,
            force=query.force,
            dry_run=query.dry_run,
        )


def _uploads(api: Api, claim: Claim, query: SubmitQuery | PutQuery) -> Uploads:
    return Uploads(api, store=not (query.dry_run or isinstance(claim, Replay)))


async def put_job(request: web.Request) -> web.StreamResponse:
    """`PUT /v1/jobs/{operation}`: the body is the file, the query the parameters."""
    api, caller = api_of(request), caller_of(request)
    name = request.match_info["name"]
    operation = operation_of(api, name)
    draft, query = _read_address(api, operation, request)
    wish = wish_of(request, query.wait)
    key = key_of(request)
    if query.dry_run:
        key = None  # what does nothing uses up no key
    _check_body(api, operation, request)
    check_scopes(caller, draft)
    check_fit(draft, 1)
    async with claimed(api, caller, key) as claim, _uploads(api, claim, query) as uploads:
        if not isinstance(claim, Replay):
            size = (request.content_length or _UNKNOWN) if request.can_read_body else 0
            await api.ask_store(caller.owner, size)
        brought = await _take_body(api, operation, request, uploads, query.filename)
        check_count(api, operation, len(brought))
        accepted = await accept(
            *(api, caller, draft),
            inputs=brought,
            brought=brought,
            claim=claim,
            uploads=uploads,
            force=query.force,
            dry_run=query.dry_run,
        )
    return await answer(api, request, caller, accepted, wish)


def _read_address(api: Api, operation: Operation, request: web.Request) -> tuple[Draft, PutQuery]:
    params = gathered(request.query)
    ours = {name: params.pop(name) for name in list(params) if name in _OURS}
    query = read_gathered(PutQuery, ours)
    return draft_from_query(api, operation, query_params(operation, params), query), query


def _check_body(api: Api, operation: Operation, request: web.Request) -> None:
    """What the headers tell about the body."""
    if operation.min_inputs > 1:
        detail = f"{operation.name} needs {operation.min_inputs} files: POST a form to /v1/jobs."
        raise InvalidRequestError(detail)
    if media_type_of(request).startswith("multipart/"):
        raise UnsupportedMediaTypeError(
            "The body of a PUT is the file itself; POST forms to /v1/jobs."
        )
    body = Body(request, api.settings)
    body.refuse_encoded()
    body.refuse_longer_than(api.settings.max_upload_bytes, "max_upload_bytes", "A file")
    if request.content_length:
        check_count(api, operation, 1)
    elif request.content_length == 0 and operation.min_inputs:
        raise empty_file("body")


async def _take_body(
    api: Api, operation: Operation, request: web.Request, uploads: Uploads, filename: str | None
) -> list[FileInfo]:
    info = None
    if request.can_read_body:
        most = api.settings.max_upload_bytes
        body = Body(request, api.settings)
        async with aclosing(body.chunks(most, "max_upload_bytes", "A file")) as chunks:
            info = await uploads.take(
                chunks,
                filename=filename,
                declared=declared_type(request.headers),
                plan=operation,
                pointer="body",
            )
    if info is None and operation.min_inputs:
        raise empty_file("body")
    return [info] if info is not None else []


def declared_type(headers: Mapping[str, Any]) -> str | None:
    """The Content-Type, unless it is what a tool says when it was told nothing."""
    given = headers.get("Content-Type")
    if given is None or given.startswith(("application/x-www-form-urlencoded", "*/*")):
        return None
    # Bytes that are no UTF-8 come as lone surrogates; nothing of ours could write those down.
    return str(given).encode("utf-8", "replace").decode()
