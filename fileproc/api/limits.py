"""What an owner may use and has used; what the operator grants and holds back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import LOCAL, Api, api_of, caller_of
from fileproc.api.fields import MAX_WAIT_S
from fileproc.api.limit_models import OwnerRequest, UsageQuery
from fileproc.api.pages import list_answer
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.errors import NotFoundError
from fileproc.jobs import LANES
from fileproc.store import Grant, Limits, Owner, Usage
from fileproc.store.owners import OWNER
from fileproc.telemetry import get_logger

log = get_logger(__name__)

_JSON: Final = "application/json"
_NULL_IS_ANY: Final = ("max_running", "jobs_per_day", "bytes_per_day", "cpu_s_per_day")
_QUOTAS: Final = (
    ("jobs", "jobs_per_day"),
    ("bytes", "bytes_per_day"),
    ("cpu_s", "cpu_s_per_day"),
)


# --- for everybody -----------------------------------------------------------------------------


async def get_limits(request: web.Request) -> web.StreamResponse:
    """`GET /v1/limits`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    settings = api.settings
    body = {
        "object": "limits",
        "owner": caller.owner,
        "rates": _rates_view(api, counted=caller is not LOCAL),
        "limits": _limits_view(await _limits_of(api, caller.owner)),
        "files": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_json_bytes": settings.max_json_bytes,
            "max_job_bytes": settings.max_job_bytes,
            "max_batch_bytes": settings.max_batch_bytes,
            "max_inputs": settings.max_inputs,
            "max_output_files": settings.max_output_files,
            "upload_idle_s": settings.upload_idle_s,
        },
        "jobs": {
            "max_attempts": settings.max_attempts,
            "timeout_s": settings.job_timeout_s,
            "heavy_timeout_s": settings.heavy_job_timeout_s,
            "retention_s": settings.retention_s,
            "max_memory_bytes": settings.max_memory_bytes,
            "max_scratch_bytes": settings.max_scratch_bytes,
            "max_kept_bytes": settings.max_kept_bytes,
            "max_pixels": settings.max_pixels,
            "max_wait_s": MAX_WAIT_S,
        },
    }
    return web.Response(body=to_json(body), content_type=_JSON)


async def get_usage(request: web.Request) -> web.StreamResponse:
    """`GET /v1/usage`."""
    return await _usage(request, caller_of(request).owner)


async def _usage(request: web.Request, owner: str) -> web.Response:
    api = api_of(request)
    query = read_query(UsageQuery, request.query)
    used = await api.resources.store.usage.of(owner, query.days)
    limits = await _limits_of(api, owner)
    return web.Response(body=to_json(_usage_view(owner, used, limits)), content_type=_JSON)


async def _limits_of(api: Api, owner: str) -> Limits:
    owners = api.resources.store.owners
    return owners.everybody.with_grant((await owners.get(owner)).grant)


def _rates_view(api: Api, *, counted: bool) -> dict[str, Any]:
    return {
        str(kind): asdict(rate) if rate is not None and counted else None
        for kind, rate in api.rates.table.items()
        if kind in {"read", "write", "submit"}
    }


def _limits_view(limits: Limits) -> dict[str, int | None]:
    told: dict[str, int | None] = asdict(limits)
    return {name: None if name in _NULL_IS_ANY and not told[name] else told[name] for name in told}


def _usage_view(owner: str, used: Usage, limits: Limits) -> dict[str, Any]:
    today = used.days[0]
    quotas = {}
    for name, limit in _QUOTAS:
        spent, allowed = getattr(today, name), getattr(limits, limit)
        left = max(0, allowed - spent) if allowed else None
        quotas[name] = {"used": spent, "allowed": allowed or None, "left": left}
    return {
        "object": "usage",
        "owner": owner,
        "jobs": used.jobs,
        "paused_lanes": used.paused_lanes,
        "quotas": quotas,
        "resets_at": used.resets_at,
        "days": [asdict(day) for day in used.days],
    }


# --- for the operator --------------------------------------------------------------------------


def _owner_of(request: web.Request) -> str:
    """The owner in the address.

    Raises:
        NotFoundError: no owner can have this name.
    """
    owner = request.match_info["owner"]
    if not OWNER.fullmatch(owner):
        raise NotFoundError(
            f"There is no owner {owner[:100]!r}: names are letters, digits and _ . @ - only, "
            "64 at most, beginning with a letter or digit."
        )
    return owner


async def get_owner(request: web.Request) -> web.StreamResponse:
    """`GET /v1/admin/owners/{owner}`."""
    owner = _owner_of(request)
    read_query(NoQuery, request.query)
    found = await api_of(request).resources.store.owners.get(owner)
    return await _owner_answer(request, found)


async def list_owners(request: web.Request) -> web.StreamResponse:
    """`GET /v1/admin/owners`."""
    read_query(NoQuery, request.query)
    api = api_of(request)
    found = await api.resources.store.owners.list()
    return list_answer(request, [await _owner_view(api, owner) for owner in found])


async def put_owner(request: web.Request) -> web.StreamResponse:
    """`PUT /v1/admin/owners/{owner}`: all settings at once."""
    owner = _owner_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, OwnerRequest)
    grant = Grant(**asked.model_dump())
    found = await api_of(request).resources.store.owners.set(owner, grant)
    log.info("an owner is set", owner=owner, by=caller_of(request).owner, **grant.given())
    return await _owner_answer(request, found)


async def reset_owner(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/admin/owners/{owner}`: as everybody from now on."""
    owner = _owner_of(request)
    read_query(NoQuery, request.query)
    await api_of(request).resources.store.owners.set(owner, Grant())
    log.info("an owner is reset", owner=owner, by=caller_of(request).owner)
    return web.Response(status=204)


async def get_owner_usage(request: web.Request) -> web.StreamResponse:
    """`GET /v1/admin/owners/{owner}/usage`."""
    return await _usage(request, _owner_of(request))


async def pause_owner(request: web.Request) -> web.StreamResponse:
    """`POST /v1/admin/owners/{owner}/pause`: in every lane."""
    owner = _owner_of(request)
    read_query(NoQuery, request.query)
    store = api_of(request).resources.store
    for lane in LANES:
        await store.upkeep.pause(lane, owner)
    log.info("an owner is paused", owner=owner, by=caller_of(request).owner)
    return await _owner_answer(request, await store.owners.get(owner))


async def resume_owner(request: web.Request) -> web.StreamResponse:
    """`POST /v1/admin/owners/{owner}/resume`: in every lane."""
    owner = _owner_of(request)
    read_query(NoQuery, request.query)
    store = api_of(request).resources.store
    for lane in LANES:
        await store.upkeep.resume(lane, owner)
    log.info("an owner is resumed", owner=owner, by=caller_of(request).owner)
    return await _owner_answer(request, await store.owners.get(owner))


async def _owner_answer(request: web.Request, owner: Owner) -> web.Response:
    body = to_json(await _owner_view(api_of(request), owner))
    return web.Response(body=body, content_type=_JSON)


async def _owner_view(api: Api, owner: Owner) -> dict[str, Any]:
    store = api.resources.store
    return {
        "owner": owner.name,
        "object": "owner",
        "settings": asdict(owner.grant),
        "limits": _limits_view(store.owners.everybody.with_grant(owner.grant)),
        "paused_lanes": await store.usage.paused_lanes(owner.name),
        "changed_at": owner.changed_at,
    }


# --- lanes -------------------------------------------------------------------------------------


def _lane_of(request: web.Request) -> str:
    lane = request.match_info["lane"]
    if lane not in LANES:
        raise NotFoundError(f"There is no lane {lane[:100]!r}; there are {' and '.join(LANES)}.")
    return lane


async def list_lanes(request: web.Request) -> web.StreamResponse:
    """`GET /v1/admin/lanes`."""
    read_query(NoQuery, request.query)
    api = api_of(request)
    data = [await _lane_view(api, lane) for lane in LANES]
    return web.Response(body=to_json({"data": data}), content_type=_JSON)


async def pause_lane(request: web.Request) -> web.StreamResponse:
    """`POST /v1/admin/lanes/{lane}/pause`: nothing more is taken; what runs goes on."""
    lane = _lane_of(request)
    read_query(NoQuery, request.query)
    api = api_of(request)
    await api.resources.store.upkeep.pause(lane)
    log.info("a lane is paused", lane=lane, by=caller_of(request).owner)
    return web.Response(body=to_json(await _lane_view(api, lane)), content_type=_JSON)


async def resume_lane(request: web.Request) -> web.StreamResponse:
    """`POST /v1/admin/lanes/{lane}/resume`."""
    lane = _lane_of(request)
    read_query(NoQuery, request.query)
    api = api_of(request)
    await api.resources.store.upkeep.resume(lane)
    log.info("a lane is resumed", lane=lane, by=caller_of(request).owner)
    return web.Response(body=to_json(await _lane_view(api, lane)), content_type=_JSON)


async def _lane_view(api: Api, lane: str) -> dict[str, Any]:
    state = await api.resources.store.upkeep.lane(lane)
    return {"lane": lane, "object": "lane", **asdict(state)}
