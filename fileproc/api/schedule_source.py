"""What a firing of a schedule finds at its source: a job for each file that is to have one."""

from __future__ import annotations

import base64
import hashlib
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fileproc.api import problems
from fileproc.api.schedule_models import PrefixSource, ScheduleRequest
from fileproc.api.schedule_plan import job_over
from fileproc.connections import place_of
from fileproc.errors import UrlNotAllowedError
from fileproc.outbound import MAX_URL_CHARS

if TYPE_CHECKING:
    from fileproc.api.context import Api
    from fileproc.api.manifest import Asked
    from fileproc.objects import Found
    from fileproc.store import Claim

_DIGEST_BYTES: Final = 12  # two of a million alike: once in 10^17 such prefixes
_MAX_NAME: Final = 200


@dataclass(slots=True)
class Harvest:
    """What a firing is to do.

    Attributes:
        taken: digests of the objects that have their job then.
        left: objects beyond the most; the next firing gets them.
        skipped: objects whose keys no job could name.
    """

    jobs: list[Asked] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    left: int = 0
    skipped: int = 0


async def harvested(api: Api, claim: Claim, asked: ScheduleRequest) -> Harvest:
    """The jobs of this firing.

    Raises:
        UrlNotAllowedError: the connection is not the owner's any more.
        TooLargeError: there are too many objects below the prefix.
        GoneError: another has taken the firing over.
        ObjectMissingError, StorageUnavailableError, StoreUnavailableError.
    """
    if not isinstance(asked.source, PrefixSource):
        return Harvest([job_over(asked, asked.source.model_dump(exclude_none=True))])
    return await _of_prefix(api, claim, asked, asked.source)


async def _of_prefix(
    api: Api, claim: Claim, asked: ScheduleRequest, source: PrefixSource
) -> Harvest:
    schedules, harvest = api.resources.store.schedules, Harvest()
    changed = source.take == "changed"
    known = await schedules.taken(claim.schedule_id) if changed else set()
    most = min(source.max_objects or _most(api), _most(api))
    connection = source.prefix[: source.prefix.index("/", len("s3://")) + 1]
    there: set[str] = set()
    seen = 0
    async with aclosing(api.resources.connections.list(claim.owner, source.prefix)) as objects:
        async for found in objects:
            seen += 1
            _check_number(api, seen)
            if found.key.endswith("/") or not found.key.endswith(source.suffix):
                continue  # the former is how programs make folders
            if not _can_be_named(url := connection + found.key):
                harvest.skipped += 1
                continue
            there.add(digest := _digest(url, found))
            if digest in known:
                continue
            if len(harvest.jobs) >= most:
                harvest.left += 1
                continue
            name = found.key.rpartition("/")[2][-_MAX_NAME:]
            harvest.jobs.append(job_over(asked, {"url": url, "name": name}))
            harvest.taken += [digest] if changed else []
    await schedules.forget(claim, sorted(known - there))
    return harvest


def _most(api: Api) -> int:
    return min(api.settings.max_schedule_jobs, api.settings.max_batch_jobs)


def _check_number(api: Api, seen: int) -> None:
    most = api.settings.max_schedule_objects
    if seen > most:
        raise problems.too_large(
            "max_schedule_objects",
            most,
            f"There are more than {most} objects below the prefix: name a longer one, or move away "
            "what is done.",
        )


def _can_be_named(url: str) -> bool:
    try:
        place_of(url)
    except UrlNotAllowedError:
        return False
    return len(url) <= MAX_URL_CHARS


def _digest(url: str, found: Found) -> str:
    told = hashlib.blake2b(f"{url}\0{found.mark}".encode(), digest_size=_DIGEST_BYTES)
    return base64.urlsafe_b64encode(told.digest()).decode()
