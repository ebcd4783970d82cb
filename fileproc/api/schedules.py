"""Recurring jobs, as their owners see them. What fires them is in `firing.py`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import api_of, caller_of
from fileproc.api.firing import next_due
from fileproc.api.pages import page_answer
from fileproc.api.path_ids import path_id
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery, PageQuery
from fileproc.api.reading import read_query
from fileproc.api.schedule_models import SchedulePatch, ScheduleRequest
from fileproc.api.schedule_plan import judged, planned
from fileproc.errors import StoreUnavailableError
from fileproc.ids import new_id
from fileproc.store import MOST_RUNS, RunOutcome, StoredSchedule
from fileproc.views import MASK, batch_path, masked_url, shown_params

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fileproc.api.schedule_models import Source

_JSON = "application/json"
_PLACES: Final = ("inputs", "deliver")  # members of a job that name URLs
_REMOVABLE: Final = frozenset({"name", "webhook"})
_TRIES: Final = 10  # to change what others, or its firings, change at the same time


_id_of = partial(path_id, noun="schedule", kind="sched")


async def create_schedule(request: web.Request) -> web.StreamResponse:
    """`POST /v1/schedules`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, ScheduleRequest)
    definition = await judged(api, caller, asked)
    schedules, schedule_id = api.resources.store.schedules, new_id("sched")
    next_at = None if asked.paused else next_due(definition, await schedules.now(), None)
    await schedules.create(caller.owner, schedule_id, definition, next_at=next_at)
    made = await schedules.get(caller.owner, schedule_id)
    return _answer(_view(made), status=201, headers={"Location": _path(schedule_id)})


async def list_schedules(request: web.Request) -> web.StreamResponse:
    """`GET /v1/schedules`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(PageQuery, request.query)
    page = await api.resources.store.schedules.list(
        caller.owner, cursor=query.cursor, limit=query.limit
    )
    return page_answer(request, map(_view, page.schedules), page.next_cursor)


async def get_schedule(request: web.Request) -> web.StreamResponse:
    """`GET /v1/schedules/{schedule}`."""
    return _answer(_view(await _read(request)))


async def list_runs(request: web.Request) -> web.StreamResponse:
    """`GET /v1/schedules/{schedule}/runs`."""
    found = await _read(request, runs=MOST_RUNS)
    return _answer({"data": [run.model_dump() for run in found.runs]})


async def change_schedule(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/schedules/{schedule}`."""
    api, caller = api_of(request), caller_of(request)
    schedule_id = _id_of(request)
    read_query(NoQuery, request.query)
    patch = await read_payload(request, SchedulePatch)
    given = {
        name: value
        for name, value in patch
        if value is not None or name in _REMOVABLE & patch.model_fields_set
    }

    async def change(known: StoredSchedule) -> bool:
        before = planned(known.definition)
        asked = before.model_copy(update=given)
        definition = await judged(api, caller, asked)
        next_at = known.next_at
        if known.active and (asked.cron, asked.timezone) != (before.cron, before.timezone):
            next_at = next_due(definition, await schedules.now(), known.last_due)
        return await schedules.change(known, definition, next_at=next_at)

    schedules = api.resources.store.schedules
    return await _changed(request, schedule_id, change)


async def pause_schedule(request: web.Request) -> web.StreamResponse:
    """`POST /v1/schedules/{schedule}/pause`."""
    schedules = api_of(request).resources.store.schedules

    async def pause(known: StoredSchedule) -> bool:
        return not known.active or await schedules.change(known, known.definition, next_at=None)

    read_query(NoQuery, request.query)
    return await _changed(request, _id_of(request), pause)


async def resume_schedule(request: web.Request) -> web.StreamResponse:
    """`POST /v1/schedules/{schedule}/resume`: what was missed meanwhile is not made up for."""
    schedules = api_of(request).resources.store.schedules

    async def resume(known: StoredSchedule) -> bool:
        if known.active:
            return True
        next_at = next_due(known.definition, await schedules.now(), known.last_due)
        return await schedules.change(known, known.definition, next_at=next_at)

    read_query(NoQuery, request.query)
    return await _changed(request, _id_of(request), resume)


async def _changed(
    request: web.Request, schedule_id: str, change: Callable[[StoredSchedule], Awaitable[bool]]
) -> web.Response:
    """Read and write it, again if it has changed in between."""
    schedules, owner = api_of(request).resources.store.schedules, caller_of(request).owner
    for _ in range(_TRIES):
        if await change(await schedules.get(owner, schedule_id)):
            return _answer(_view(await schedules.get(owner, schedule_id)))
    raise StoreUnavailableError("Too many change the schedule at once.", retry_after_s=1)


async def run_schedule(request: web.Request) -> web.StreamResponse:
    """`POST /v1/schedules/{schedule}/run`: soon, whatever the clock says."""
    api, caller = api_of(request), caller_of(request)
    schedule_id = _id_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.schedules.ask(caller.owner, schedule_id)
    return _answer(_view(await _read(request)), status=202)


async def delete_schedule(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/schedules/{schedule}`: what it has made stays."""
    api, caller = api_of(request), caller_of(request)
    schedule_id = _id_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.schedules.delete(caller.owner, schedule_id)
    return web.Response(status=204)


async def _read(request: web.Request, *, runs: int = 1) -> StoredSchedule:
    api, caller = api_of(request), caller_of(request)
    schedule_id = _id_of(request)
    read_query(NoQuery, request.query)
    return await api.resources.store.schedules.get(caller.owner, schedule_id, runs=runs)


def _answer(
    body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(body=to_json(body), status=status, headers=headers, content_type=_JSON)


def _path(schedule_id: str) -> str:
    return f"/v1/schedules/{schedule_id}"


def _view(known: StoredSchedule) -> dict[str, Any]:
    """The members of `ScheduleView`."""
    asked, path = planned(known.definition), _path(known.id)
    last = known.runs[0] if known.runs else None
    links = {"self": path, "runs": f"{path}/runs"}
    if last and last.batch_id:
        links["last_batch"] = batch_path(last.batch_id)
    return {
        "id": known.id,
        "object": "schedule",
        "version": known.version,
        "state": "active" if known.active else "paused",
        "name": asked.name,
        "cron": asked.cron,
        "timezone": asked.timezone,
        "source": _shown_source(asked.source),
        "job": _shown_job(asked.job),
        "webhook": asked.webhook,
        "next_run_at": known.next_at,
        "running": known.asked or known.firing,
        "last_run": last,
        "last_error": last.error if last and last.outcome is RunOutcome.REFUSED else None,
        "failures": known.failures,
        "created_at": known.created_at,
        "updated_at": known.updated_at,
        "links": links,
    }


def _shown_source(source: Source) -> dict[str, Any]:
    told = source.model_dump()
    return {**told, "url": masked_url(told["url"])} if "url" in told else told


def _shown_job(job: dict[str, Any]) -> dict[str, Any]:
    """As it was asked for, without what is secret; it has been judged, so its parts are there."""
    shown = dict(job)
    if "variables" in job:  # which of them becomes a secret, the version of the template says
        shown["variables"] = dict.fromkeys(job["variables"], MASK)
    if "operation" in job:
        shown |= {"params": shown_params(job["operation"], job.get("params", {}))}
    if "steps" in job:
        shown["steps"] = {
            name: {**step, "params": shown_params(step["operation"], step.get("params", {}))}
            for name, step in job["steps"].items()
        }
    shown |= {name: list(map(_shown_place, job[name])) for name in _PLACES if name in job}
    return shown


def _shown_place(place: dict[str, Any]) -> dict[str, Any]:
    shown = {**place, "url": masked_url(place["url"])} if "url" in place else dict(place)
    if headers := place.get("headers"):
        shown["headers"] = dict.fromkeys(headers, MASK)
    return shown
