"""Upload tokens: somebody without a key sends one file, for the job that the key's holder chose.

A token is a key that is not listed, lives for minutes, and has a grant. That it takes one file is
kept by what keeps an Idempotency-Key: the token's id is one, so the same file sent again (a browser
that lost the answer) gets the same job, and another file none.
"""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.accepting import accept, answer, wish_of
from fileproc.api.body import Body, media_type_of
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.drafts import check_count, check_fit
from fileproc.api.grant_models import Grant, UploadQuery, UploadTokenRequest
from fileproc.api.idempotency import claimed
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.api.submit import declared_type
from fileproc.api.templates import draft_for
from fileproc.api.uploads import Uploads, empty_file
from fileproc.errors import (
    ForbiddenError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    TokenUsedError,
    UnsupportedMediaTypeError,
)
from fileproc.store import Replay

if TYPE_CHECKING:
    from fileproc.api.drafts import Draft
    from fileproc.jobs import FileInfo

_LIMIT = "max_bytes"


async def create_upload_token(request: web.Request) -> web.StreamResponse:
    """`POST /v1/upload-tokens`: the job is judged now, as far as it can be without its file."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, UploadTokenRequest)
    most = api.settings.max_upload_bytes
    if asked.max_bytes is not None and asked.max_bytes > most:
        detail = f"At most {most} here."
        raise InvalidRequestError(detail, errors=[{"pointer": "/max_bytes", "detail": detail}])
    draft = await draft_for(api, caller, asked)
    check_count(api, draft.plan, 1)
    check_fit(draft, 1)
    # The version that was judged is the one that runs.
    chosen = {**asked.model_dump(exclude={"life_s"}), "template": draft.template}
    if asked.reuse is None:  # the token stands for the key that makes it
        chosen["reuse"] = caller.reuse
    grant = Grant.model_construct(**{**chosen, "max_bytes": asked.max_bytes or most})
    expires_at = datetime.now(UTC) + timedelta(seconds=asked.life_s)
    if caller.valid_until is not None:
        expires_at = min(expires_at, caller.valid_until)
    token = await api.resources.store.keys.grant(
        caller.owner,
        grant.model_dump_json(exclude_defaults=True),
        expires_at=expires_at,
        by=caller.key_id,
    )
    view = {
        "object": "upload_token",
        "token": token,
        "template": draft.template,
        "max_bytes": grant.max_bytes,
        "expires_at": expires_at,
    }
    return web.Response(body=to_json(view), status=201, content_type="application/json")


async def put_upload(request: web.Request) -> web.StreamResponse:
    """`PUT /v1/jobs`: the body is the file, the token says what becomes of it."""
    api, caller = api_of(request), caller_of(request)
    grant = grant_of(caller)
    query = read_query(UploadQuery, request.query)
    wish = wish_of(request, query.wait)
    most = _check_body(api, grant, request)
    async with (
        claimed(api, caller, _single_use(caller)) as claim,
        Uploads(api, store=not isinstance(claim, Replay)) as uploads,
    ):
        draft = await draft_for(api, caller, grant, claim)
        if not isinstance(claim, Replay):
            await api.ask_store(caller.owner, request.content_length or most)
        info = await _take(api, request, draft, uploads, filename=query.filename, most=most)
        try:
            accepted = await accept(
                api, caller, draft, inputs=[info], brought=[info], claim=claim, uploads=uploads
            )
        except IdempotencyMismatchError as exc:
            raise TokenUsedError(
                "The upload token has taken its file: another file takes another token."
            ) from exc
    return await answer(api, request, caller, accepted, wish)


async def _take(
    api: Api,
    request: web.Request,
    draft: Draft,
    uploads: Uploads,
    *,
    filename: str | None,
    most: int,
) -> FileInfo:
    body = Body(request, api.settings)
    async with aclosing(body.chunks(most, _LIMIT, "The file of this token")) as chunks:
        info = await uploads.take(
            chunks,
            filename=filename,
            declared=declared_type(request.headers),
            plan=draft.plan,
            pointer="body",
        )
    if info is None:
        raise empty_file("body")
    return info


def _check_body(api: Api, grant: Grant, request: web.Request) -> int:
    """Refuse what its headers give away; returns how many bytes it may have."""
    most = min(grant.max_bytes or api.settings.max_upload_bytes, api.settings.max_upload_bytes)
    if media_type_of(request).startswith("multipart/"):
        raise UnsupportedMediaTypeError("The body is the file itself, not a form.")
    body = Body(request, api.settings)
    body.refuse_encoded()
    body.refuse_longer_than(most, _LIMIT, "The file of this token")
    return most


def grant_of(caller: Caller) -> Grant:
    """What an upload token is for.

    Raises:
        ForbiddenError: the caller has a key, which is not bound to a single file.
    """
    if not caller.grant:
        raise ForbiddenError(
            "This takes an upload token; with a key use PUT /v1/jobs/{operation}, or a template."
        )
    return Grant.model_validate_json(caller.grant)


async def check_grant(api: Api, caller: Caller, request: web.Request) -> None:
    """Let the holder of an upload token see the one job that its file became.

    Raises:
        NotFoundError: it is another's, exactly as one that does not exist.
    """
    job_id = request.match_info.get("name")
    if not caller.grant or job_id is None:
        return
    made = await api.resources.store.idempotency.job_of(caller.owner, _single_use(caller))
    if made != job_id:
        raise NotFoundError(f"There is no job {job_id[:100]}.")


def _single_use(caller: Caller) -> str:
    """No client can send this as its Idempotency-Key."""
    return f"\x00upload-token {caller.key_id}"
