"""`?dry_run=true`: what would come of a request that is not carried out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field, RootModel
from pydantic_core import to_json

from fileproc.api.answers import JobView
from fileproc.store import NewJob
from fileproc.views import shown_params

if TYPE_CHECKING:
    from fileproc.api.context import Api


class Estimate(BaseModel):
    """Learned from the jobs that were done here; the wait in the queue comes on top."""

    run_s: float = Field(description="Wall time of the attempt.")
    cpu_s: float = Field(description="Processor time: what a quota counts.")
    samples: int = Field(description="Jobs that say so, of the step of which there are fewest.")


class DryRunView(BaseModel):
    """The request is valid. Nothing was accepted, and no file was kept."""

    object: Literal["dry_run"]
    operation: str
    params: dict[str, Any] = Field(description="Complete with defaults.")
    lane: str
    bytes: int = Field(description="Size of the files, but for those at URLs.")
    cached: bool = Field(description="An earlier job answers it: it takes no time.")
    estimate: Estimate | None = Field(description="null where nothing like it was done yet.")


class JobOrDryRun(RootModel[JobView | DryRunView]):
    """A job; with `dry_run` what would come of it."""


async def answer_dry(api: Api, new: NewJob) -> web.Response:
    """200, for a request that could be accepted."""
    document = new.document
    size = sum(info.size for info in document.inputs)
    names = [step.operation for step in document.steps] or [document.operation]
    costs = await asyncio.gather(*(api.resources.store.costs.expect(name, size) for name in names))
    known = [cost for cost in costs if cost is not None]
    estimate = None
    if new.answered_by:
        estimate = Estimate(run_s=0, cpu_s=0, samples=1)
    elif len(known) == len(names):
        estimate = Estimate(
            run_s=round(sum(cost.wall_s for cost in known), 3),
            cpu_s=round(sum(cost.cpu_s for cost in known), 3),
            samples=min(cost.samples for cost in known),
        )
    view = DryRunView(
        object="dry_run",
        operation=document.operation,
        params=shown_params(document.operation, document.params),
        lane=new.lane,
        bytes=size,
        cached=bool(new.answered_by),
        estimate=estimate,
    )
    return web.Response(body=to_json(view), content_type="application/json")
