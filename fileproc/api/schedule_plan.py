"""What a schedule is to do, judged: its clock, its source, its job."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fileproc.api import problems
from fileproc.api.drafts import check_permitted
from fileproc.api.manifest import Asked, Drafted, batch_hook, draft_one, placed
from fileproc.api.schedule_models import PrefixSource, ScheduleRequest
from fileproc.cron import Cron
from fileproc.errors import InvalidRequestError, UrlNotAllowedError
from fileproc.store import BatchDocument
from fileproc.telemetry import LIMITS_HIT

if TYPE_CHECKING:
    from fileproc.api.context import Api, Caller

MAX_BYTES: Final = 64 * 1024  # of a definition


def planned(definition: str) -> ScheduleRequest:
    """A schedule as the store has it."""
    return ScheduleRequest.model_validate_json(definition)


async def judged(api: Api, caller: Caller, asked: ScheduleRequest) -> str:
    """The definition to be kept, of what can be done as far as that can be told now.

    Raises:
        InvalidRequestError, TooLargeError: its clock, source or job does not hold.
        FileprocError: as `draft_one`, of the job.
    """
    definition = asked.model_dump_json(exclude_defaults=True, exclude={"paused"})
    if len(definition.encode()) > MAX_BYTES:
        raise problems.too_large("max_schedule_bytes", MAX_BYTES, "The schedule is too large.")
    _check_clock(api, asked)
    if "run_at" in asked.job:
        raise _invalid("/job/run_at", "The schedule says when it is done.")
    if not isinstance(asked.job.get("inputs", []), list):
        raise _invalid("/job/inputs", "It must be a list.")
    if isinstance(asked.source, PrefixSource):
        _check_prefix(api, caller, asked.source)
    batch_of(api, asked, "")
    drafted = await _drafted(api, caller, asked)
    if isinstance(asked.source, PrefixSource):
        _check_loop(asked.source, drafted)
    return definition


def _check_clock(api: Api, asked: ScheduleRequest) -> None:
    try:
        cron = Cron(asked.cron, asked.timezone)
    except ValueError as exc:
        pointer = "/timezone" if "time zone" in str(exc) else "/cron"
        raise _invalid(pointer, f"{exc}.") from exc
    least, gap = api.settings.min_schedule_interval_s, cron.least_gap_s()
    if gap < least:
        LIMITS_HIT.labels("min_schedule_interval_s").inc()
        detail = f"It would be due twice within {gap} s; at least {least} s must lie between."
        raise _invalid("/cron", detail, least=least)


def _check_prefix(api: Api, caller: Caller, source: PrefixSource) -> None:
    try:
        api.resources.connections.check(caller.owner, source.prefix, write=False)
    except UrlNotAllowedError as exc:
        exc.errors = [{"pointer": "/source/prefix", "detail": exc.detail}]
        raise


async def _drafted(api: Api, caller: Caller, asked: ScheduleRequest) -> Drafted:
    """The job, over a file as there may be."""
    if isinstance(asked.source, PrefixSource):
        file: dict[str, Any] = {"url": asked.source.prefix.rstrip("/") + "/file"}
    else:
        file = asked.source.model_dump(exclude_none=True)
    drafted = await draft_one(api, caller, job_over(asked, file), None)
    try:
        check_permitted(api, caller.owner, drafted.draft)
    except UrlNotAllowedError as exc:
        raise placed(exc, "/job") from exc
    return drafted


def _check_loop(source: PrefixSource, drafted: Drafted) -> None:
    """Outputs below the prefix would be the inputs of the next time, and so on for ever."""
    for place, target in enumerate(drafted.draft.deliver):
        below = target.url.startswith(source.prefix)
        # Names of outputs have no slash: of what lies deeper none can begin like the prefix.
        beside = (
            source.prefix.startswith(target.url) and "/" not in source.prefix[len(target.url) :]
        )
        if below or beside:
            detail = "The outputs would be the inputs of the next time: deliver them elsewhere."
            raise _invalid(f"/job/deliver/{place}/url", detail)


def _invalid(pointer: str, detail: str, **more: Any) -> InvalidRequestError:
    return InvalidRequestError(detail, errors=[{"pointer": pointer, "detail": detail, **more}])


def job_over(asked: ScheduleRequest, file: dict[str, Any]) -> Asked:
    """The job of a schedule, over this file."""
    return Asked("/job", partial(_over, asked.job, file), alike=True)


def _over(job: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    return {**job, "inputs": [file, *job.get("inputs", [])]}


def batch_of(api: Api, asked: ScheduleRequest, schedule_id: str) -> BatchDocument:
    """What the batch of a firing says of itself.

    Raises:
        UrlNotAllowedError: its webhook must not be called.
    """
    hook = batch_hook(api, asked.webhook.url if asked.webhook else None, "/webhook/url")
    return BatchDocument(name=asked.name, webhook=hook, schedule=schedule_id)
