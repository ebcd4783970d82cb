"""Everything kept in Redis. `open_store` is the way in; nothing else speaks Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from fileproc.ids import new_id
from fileproc.settings import Settings
from fileproc.store.apikeys import ApiKeys, KeyInfo, NewKey, Role
from fileproc.store.batches import Batch, BatchDocument, Batches, BatchPage, NewBatch
from fileproc.store.connection import Pipeline, connect, lost
from fileproc.store.costs import Cost, Costs
from fileproc.store.deliveries import (
    Deliveries,
    Delivery,
    DeliveryState,
    Lot,
    NewDelivery,
    Outcome,
    Posting,
    message_id,
)
from fileproc.store.events import Event, EventFeed, Topic, Watch
from fileproc.store.files import FilePage, Files, StoredFile
from fileproc.store.health import LOOK_S, Health, StoreHealth
from fileproc.store.heartbeat import Heartbeat, Pulse
from fileproc.store.idempotency import LIFE_S as KEY_LIFE_S
from fileproc.store.idempotency import Idempotency, Kept, Replay, Reservation
from fileproc.store.jobs import TOMBSTONE_S, JobFilter, JobPage, Jobs, NewJob
from fileproc.store.journal import AT_ONCE as JOURNAL_BATCH
from fileproc.store.journal import (
    Journal,
    Memory,
    Restored,
    Span,
    needed,
    pack,
    stream_id,
    unpack,
)
from fileproc.store.keys import Keys
from fileproc.store.links import Link, Links, NewLink
from fileproc.store.moved import Moved, Position
from fileproc.store.outlook import Outlook, Outlooks
from fileproc.store.owners import Grant, Limits, Owner, Owners
from fileproc.store.queue import POP_BLOCK_S, Lease, Queue, Settlement, Verdict
from fileproc.store.remembered import Remembered
from fileproc.store.reserve import Reserve
from fileproc.store.schedules import (
    MOST_RUNS,
    Claim,
    Fired,
    Run,
    RunError,
    RunOutcome,
    SchedulePage,
    Schedules,
    StoredSchedule,
    Trigger,
)
from fileproc.store.schema import check_schema, ensure_schema
from fileproc.store.subscription import Break, Progressed, Subscription
from fileproc.store.templates import StoredTemplate, Templates
from fileproc.store.upkeep import Upkeep
from fileproc.store.uploads import KEEP_S, Upload, UploadDocument, Uploads, file_of, upload_of
from fileproc.store.usage import DAY_MS, MOST_DAYS, DayUsage, Usage, Usages
from fileproc.store.webhooks import Webhook, Webhooks

__all__ = [
    "DAY_MS",
    "JOURNAL_BATCH",
    "KEEP_S",
    "KEY_LIFE_S",
    "LOOK_S",
    "MOST_DAYS",
    "MOST_RUNS",
    "TOMBSTONE_S",
    "ApiKeys",
    "Batch",
    "BatchDocument",
    "BatchPage",
    "Batches",
    "Break",
    "Claim",
    "Cost",
    "Costs",
    "DayUsage",
    "Deliveries",
    "Delivery",
    "DeliveryState",
    "Event",
    "EventFeed",
    "FilePage",
    "Fired",
    "Grant",
    "Heartbeat",
    "JobFilter",
    "JobPage",
    "Journal",
    "Kept",
    "KeyInfo",
    "Lease",
    "Limits",
    "Link",
    "Links",
    "Lot",
    "Memory",
    "Moved",
    "NewBatch",
    "NewDelivery",
    "NewJob",
    "NewKey",
    "NewLink",
    "Outcome",
    "Outlook",
    "Outlooks",
    "Owner",
    "Owners",
    "Position",
    "Posting",
    "Progressed",
    "Pulse",
    "Remembered",
    "Replay",
    "Reservation",
    "Restored",
    "Role",
    "Run",
    "RunError",
    "RunOutcome",
    "SchedulePage",
    "Schedules",
    "Settlement",
    "Span",
    "Store",
    "StoreHealth",
    "StoredFile",
    "StoredSchedule",
    "StoredTemplate",
    "Subscription",
    "Templates",
    "Topic",
    "Trigger",
    "Upload",
    "UploadDocument",
    "Uploads",
    "Usage",
    "Usages",
    "Verdict",
    "Watch",
    "Webhook",
    "Webhooks",
    "file_of",
    "lost",
    "message_id",
    "needed",
    "open_store",
    "pack",
    "stream_id",
    "unpack",
    "upload_of",
]


@dataclass(frozen=True, slots=True)
class Store:
    """One noun each; they share one pipeline."""

    jobs: Jobs
    batches: Batches
    costs: Costs
    files: Files
    uploads: Uploads
    idempotency: Idempotency
    keys: ApiKeys
    templates: Templates
    owners: Owners
    usage: Usages
    webhooks: Webhooks
    deliveries: Deliveries
    links: Links
    schedules: Schedules
    outlooks: Outlooks
    queue: Queue
    upkeep: Upkeep
    feed: EventFeed
    journal: Journal
    reserve: Reserve
    status: Health
    pipeline: Pipeline
    names: Keys

    async def health(self) -> StoreHealth:
        """Whether Redis is there and durable; never raises."""
        return await self.status.check()

    async def check_schema(self) -> None:
        """Once at start: raises SchemaError where the data is of a version we do not know."""
        await check_schema(self.pipeline, self.names)

    async def ensure_schema(self) -> None:
        """Mark the store as in use; raises as `check_schema`."""
        await ensure_schema(self.pipeline, self.names)

    async def queue_stats(self) -> dict[str, dict[str, int]]:
        """How many jobs stand where, per lane."""
        return await self.status.queue_stats()


@asynccontextmanager
async def open_store(settings: Settings, *, worker: str | None = None) -> AsyncIterator[Store]:
    """Connect lazily: Redis may be away when a role starts.

    Args:
        settings: where Redis is, and the limits the store keeps.
        worker: the id under which the queue takes jobs; a fresh one if not given.
    """
    url = settings.redis_url.get_secret_value()
    pipeline = Pipeline(connect(url, timeout_s=None), settings.redis_prefix)
    # The socket's patience must exceed the block time, else a quiet queue looks like a dead server.
    popping = connect(url, timeout_s=POP_BLOCK_S + 3, retries=0)
    tailing = connect(url, timeout_s=10, retries=0)
    try:
        yield _store(settings, pipeline, popping, tailing, worker or new_id("wrk"))
    finally:
        await pipeline.close()
        await popping.aclose()
        await tailing.aclose()


def _store(
    settings: Settings, pipeline: Pipeline, popping: Redis, tailing: Redis, worker: str
) -> Store:
    names = Keys(settings.redis_prefix)
    journal = Journal(pipeline, names)
    everybody = Limits.of_everybody(settings)
    reserve = Reserve(pipeline, settings.redis_reserve)
    costs = Costs(pipeline, names)
    feed = EventFeed(tailing, names, remembered=settings.moves_remembered)
    backlog = settings.max_event_backlog
    jobs = Jobs(pipeline, names, everybody=everybody, max_event_backlog=backlog, reserve=reserve)
    files = Files(
        pipeline,
        names,
        most=settings.max_files_per_owner,
        everybody=everybody,
        max_event_backlog=backlog,
        reserve=reserve,
    )
    return Store(
        jobs=jobs,
        costs=costs,
        outlooks=Outlooks(pipeline, names, costs, feed.history),
        batches=Batches(pipeline, names, jobs, everybody),
        files=files,
        uploads=Uploads(
            pipeline,
            names,
            files,
            life_s=settings.upload_life_s,
            most=settings.max_uploads_per_owner,
        ),
        idempotency=Idempotency(pipeline, names),
        keys=ApiKeys(pipeline, names, most_grants=settings.max_upload_tokens_per_owner),
        templates=Templates(pipeline, names),
        owners=Owners(pipeline, names, everybody),
        usage=Usages(pipeline, names),
        webhooks=Webhooks(pipeline, names, settings),
        deliveries=Deliveries(pipeline, names, settings),
        links=Links(pipeline, names, most=settings.max_links_per_owner),
        schedules=Schedules(pipeline, names, most=settings.max_schedules_per_owner),
        queue=Queue(pipeline, popping, names, worker=worker, lease_s=settings.lease_s),
        upkeep=Upkeep(pipeline, names, journal),
        feed=feed,
        journal=journal,
        reserve=reserve,
        status=Health(pipeline, names),
        pipeline=pipeline,
        names=names,
    )
