"""Keys by the api itself: `/v1/keys`, for admins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import api_of, caller_of
from fileproc.api.key_models import KeyListQuery, KeyRequest, RotateRequest
from fileproc.api.pages import page_answer
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.errors import NotFoundError
from fileproc.store import KeyInfo, NewKey, Role
from fileproc.telemetry import get_logger

log = get_logger(__name__)

_JSON = "application/json"


async def create_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/keys`: the token is in this answer and nowhere else."""
    read_query(NoQuery, request.query)
    asked = await read_payload(request, KeyRequest)
    new = await api_of(request).resources.store.keys.create(
        asked.owner,
        Role(asked.role),
        label=asked.label,
        scopes=asked.scopes,
        reuse=asked.reuse,
        expires_at=_from_now(asked.expires_in_s),
    )
    _note(request, "a key is made", new.info)
    return web.Response(
        body=to_json(_new_view(new)),
        status=201,
        headers={"Location": f"/v1/keys/{new.info.id}"},
        content_type=_JSON,
    )


async def list_keys(request: web.Request) -> web.StreamResponse:
    """`GET /v1/keys`."""
    query = read_query(KeyListQuery, request.query)
    page = await api_of(request).resources.store.keys.page(
        owner=query.owner, cursor=query.cursor, limit=query.limit
    )
    return page_answer(request, map(_view, page.keys), page.next_cursor)


async def get_key(request: web.Request) -> web.StreamResponse:
    """`GET /v1/keys/{key}`."""
    key_id = request.match_info["key"]
    read_query(NoQuery, request.query)
    info = await api_of(request).resources.store.keys.get(key_id)
    if info is None:
        raise _absent(key_id)
    return web.Response(body=to_json(_view(info)), content_type=_JSON)


async def rotate_key(request: web.Request) -> web.StreamResponse:
    """`POST /v1/keys/{key}/rotate`: another secret for the same key."""
    key_id = request.match_info["key"]
    read_query(NoQuery, request.query)
    asked = await read_payload(request, RotateRequest, optional=True)
    new = await api_of(request).resources.store.keys.rotate(
        key_id, overlap_s=asked.overlap_s, expires_at=_from_now(asked.expires_in_s)
    )
    if new is None:
        raise _absent(key_id)
    _note(request, "a key has a new secret", new.info)
    return web.Response(body=to_json(_new_view(new)), content_type=_JSON)


async def revoke_key(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/keys/{key}`: at once, with every secret; the list shows it for 90 days."""
    key_id = request.match_info["key"]
    read_query(NoQuery, request.query)
    keys = api_of(request).resources.store.keys
    if not await keys.revoke(key_id):
        raise _absent(key_id)
    info = await keys.get(key_id)
    if info is not None:
        _note(request, "a key is revoked", info)
    return web.Response(status=204)


def _absent(key_id: str) -> NotFoundError:
    return NotFoundError(f"There is no key {key_id[:100]}.")


def _from_now(seconds: int | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds is not None else None


def _note(request: web.Request, what: str, info: KeyInfo) -> None:
    """Who gives power to whom belongs in the log."""
    caller = caller_of(request)
    log.info(
        what, key=info.id, owner=info.owner, role=str(info.role), by=caller.key_id or caller.owner
    )


def _new_view(new: NewKey) -> dict[str, Any]:
    return {**_view(new.info), "token": new.token}


def _view(info: KeyInfo) -> dict[str, Any]:
    """The members of `KeyView`."""
    return {
        "id": info.id,
        "object": "key",
        "owner": info.owner,
        "role": info.role,
        "label": info.label,
        "scopes": info.scopes,
        "reuse": info.reuse,
        "state": info.state,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "revoked_at": info.revoked_at,
        "rotated_at": info.rotated_at,
        "old_secrets_until": info.old_until,
    }
