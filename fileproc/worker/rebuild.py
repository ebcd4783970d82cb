"""Builds a lost store again from the journal."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from fileproc.errors import GoneError, NoJournalError, NotFoundError, ObjectMissingError
from fileproc.jobs import FINAL, JobDocument, JobState
from fileproc.resources import Resources, in_use
from fileproc.store import BatchDocument, Memory, NewDelivery, Remembered, Restored
from fileproc.store.owners import grant_of
from fileproc.telemetry import get_logger
from fileproc.views import test_body
from fileproc.worker.shipper import read_all
from fileproc.worker.webhooks import Bodies

AT_ONCE = 200
READINGS = 3  # a journal that is compacted meanwhile is read once more

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did, or would do.

    Attributes:
        queued: unfinished jobs that wait again.
        finished: jobs that are over, with their results.
        present: jobs that were there already and were left alone; one that is there as it was
            before its last events (a replica was promoted) counts as written back instead.
        deleted: jobs that were there, but had been deleted.
        lapsed: jobs whose retention is over.
        withdrawn: jobs of batches that were not whole by then: nobody was told of them.
        keys: api keys.
        batches: batches that jobs were sent in.
        owners: owners with settings of their own.
        links: share links.
        schedules: recurring jobs.
        templates: templates, each with its versions.
        webhooks: endpoints of webhooks.
        deliveries: of these, what was not yet delivered and is queued again.
        files: files that were uploaded on their own.
        objects: journal objects that there are.
        broken: of these, such as could not be read; the log names them.
        up_to: the moment of the last event in the journal; what came later is not restored.
        last_number: of that event, among those of its millisecond.
    """

    queued: int
    finished: int
    present: int
    deleted: int
    lapsed: int
    withdrawn: int
    keys: int
    batches: int
    owners: int
    links: int
    schedules: int
    templates: int
    webhooks: int
    deliveries: int
    files: int
    objects: int
    broken: int
    up_to: datetime | None
    last_number: int


async def rebuild(resources: Resources, *, dry_run: bool = False) -> Rebuilt:
    """Read the journal and write back what the store does not have.

    Raises:
        SchemaError: the store is of a version that we do not know.
        NoJournalError: the store is empty, and so is the journal.
        StoreUnavailableError, StorageUnavailableError: run it again, what is there is left alone.
    """
    await resources.store.check_schema()
    memory, objects = await _read(resources)
    if not objects and await resources.store.journal.empty():
        # To mark it as in use would make all that was there look as if it had never been.
        raise NoJournalError(
            f"There is no journal in the bucket {resources.settings.s3_bucket}: nothing is known "
            "of what Redis held, and nothing was done. Is it the bucket of this deployment "
            "(FILEPROC_S3_BUCKET, FILEPROC_S3_ENDPOINT)? A new deployment needs no rebuild."
        )
    memory.honour_cancels()
    now = await resources.store.upkeep.now_ms()
    lapsed = memory.forget_lapsed(now)
    counts = {"queued": 0, "finished": 0, "present": 0, "withdrawn": 0, "lapsed": lapsed}
    if not dry_run:
        for batch in memory.batches.known.values():
            await resources.store.batches.restore(batch, memory.batches.forgotten(batch.id))
    # Oldest first: a file is brought by the first job that uses it. Calls that are made together
    # travel in one pipeline, in this order.
    jobs = sorted(memory.jobs.values(), key=lambda job: (job.created, job.id))
    if not dry_run:
        await _pause_again(resources, memory)  # before anything could run
        await _restore_uploads(resources, memory)
    for start in range(0, len(jobs), AT_ONCE):
        some = jobs[start : start + AT_ONCE]
        restore = _look if dry_run else _restore
        outcomes = await asyncio.gather(*(restore(resources, memory, job) for job in some))
        for job, outcome in zip(some, outcomes, strict=True):
            counts[_word(job, outcome)] += 1
    counts["deleted"] = 0
    for job_id, (owner, _) in memory.deleted.items():
        counts["deleted"] += await _delete_again(resources, owner, job_id, dry_run=dry_run)
    if not dry_run:
        await _restore_others(resources, memory)
    up_to = datetime.fromtimestamp(memory.last[0] / 1000, UTC) if objects else None
    return Rebuilt(
        keys=len(memory.keys),
        batches=len(memory.batches.known),
        owners=sum(bool(data) for _, data in memory.accounts.owners.values()),
        links=len(memory.links.known),
        schedules=len(memory.schedules.known),
        templates=len(memory.templates),
        webhooks=len(memory.hooks.webhooks),
        deliveries=len(memory.hooks.deliveries),
        files=len(memory.uploads.files) - len(_given_up(memory)),
        objects=objects,
        broken=memory.broken,
        up_to=up_to,
        last_number=memory.last[1],
        **counts,
    )


async def _read(resources: Resources) -> tuple[Memory, int]:
    """The journal, folded, and how many objects it has."""
    for left in reversed(range(READINGS)):
        memory = Memory()
        try:
            return memory, await read_all(resources.objects, memory)
        except ObjectMissingError:  # a snapshot stands for it since
            if not left:
                raise
    raise AssertionError


async def _restore_others(resources: Resources, memory: Memory) -> None:
    """What is no job; then the mark that the store is in use."""
    for key_id, fields in memory.keys.items():
        await resources.store.journal.restore_key(key_id, fields)
    # Before those are written that were kept under the same name later.
    for (owner, name), when in memory.deleted_templates.items():
        await resources.store.journal.delete_template_again(owner, name, when)
    for (owner, name), versions in memory.templates.items():
        await resources.store.journal.restore_template(owner, name, versions)
    for code, fields in memory.links.known.items():
        await resources.store.links.restore(code, fields)
    await _restore_schedules(resources, memory)
    for (owner, key_hash), (since, answer) in memory.answers.items():
        await resources.store.journal.restore_answer(owner, key_hash, since, answer)
    await _restore_owners(resources, memory)
    await _restore_webhooks(resources, memory)
    await _settle_uploads(resources, memory)
    await resources.store.journal.go_on_after(memory.last)
    await resources.store.ensure_schema()


async def _restore_schedules(resources: Resources, memory: Memory) -> None:
    for schedule_id, (owner, _) in memory.schedules.deleted.items():
        await resources.store.schedules.delete_again(owner, schedule_id)
    for schedule_id, known in memory.schedules.known.items():
        await resources.store.schedules.restore(
            *(schedule_id, known.owner, known.version, known.fields),
            runs=known.runs,
            taken=known.taken,
        )


async def _pause_again(resources: Resources, memory: Memory) -> None:
    for (lane, owner), paused in memory.accounts.pauses.items():
        if paused:
            await resources.store.upkeep.pause(lane, "" if owner == "-" else owner)


async def _restore_owners(resources: Resources, memory: Memory) -> None:
    """After the jobs: settings reach the accounts that are there."""
    for owner, (when, data) in memory.accounts.owners.items():
        grant = grant_of(json.loads(data) if data else {})
        await resources.store.owners.restore(owner, grant, when)
    for (owner, day), used in memory.accounts.usage.items():
        await resources.store.usage.restore(owner, day, used)


async def _restore_webhooks(resources: Resources, memory: Memory) -> None:
    """Endpoints first, then what waits for them: its bodies are made anew from the jobs."""
    store = resources.store
    for owner, webhook_id in memory.hooks.deleted:
        await store.webhooks.delete_again(owner, webhook_id)
    for (owner, webhook_id), fields in memory.hooks.webhooks.items():
        await store.webhooks.restore(owner, webhook_id, fields)
    hooks = {}
    for job in memory.jobs.values():
        if not job.over and (hook := JobDocument.model_validate_json(job.document).webhook):
            hooks[job.id] = hook.model_dump_json()
    for known in memory.batches.known.values():
        if not known.completed and (
            hook := BatchDocument.model_validate_json(known.document).webhook
        ):
            hooks[known.id] = hook.model_dump_json()
    bodies = Bodies(resources)
    deliveries = []
    for delivery_id, told in memory.hooks.deliveries.items():
        at = datetime.fromtimestamp(int(told.ca) / 1000, UTC)
        body = (
            await bodies.of(told.ty, at, told.owner, told.job)
            if told.job
            else test_body(at, told.ep)
        )
        deliveries.append(
            NewDelivery(delivery_id, told.owner, told.ep, told.url, told.ty, told.job, body)
        )
    for start in range(0, max(len(deliveries), 1), AT_ONCE):
        batch = deliveries[start : start + AT_ONCE]
        await store.deliveries.queue(None, batch, hooks if start == 0 else None)


async def _restore_uploads(resources: Resources, memory: Memory) -> None:
    """Before the jobs, which are counted where they use one."""
    files = list(memory.uploads.files.values())
    for start in range(0, len(files), AT_ONCE):
        batch = files[start : start + AT_ONCE]
        await asyncio.gather(*(resources.store.files.restore(file) for file in batch))


async def _settle_uploads(resources: Resources, memory: Memory) -> None:
    """After the jobs: what was given up goes, unless an unfinished job uses it."""
    for file_id in _given_up(memory):
        await resources.store.files.settle(file_id)


def _given_up(memory: Memory) -> list[str]:
    return [file.id for file in memory.uploads.files.values() if file.over is not None]


async def _restore(resources: Resources, memory: Memory, job: Remembered) -> Restored:
    # What could not be read may have told that its batch is whole.
    return await resources.store.journal.restore_job(job, all_read=not memory.broken)


async def _look(resources: Resources, memory: Memory, job: Remembered) -> Restored:
    """What `_restore` would do."""
    state, version = await resources.store.upkeep.known(job.id)  # as restore.lua has it
    ended = job.over and job.state != JobState.CANCELED
    if state in {*FINAL, "deleted"} or (state and version >= job.version and not ended):
        return Restored.PRESENT
    if job.batch and job.batch not in memory.batches.known and not memory.broken:
        return Restored.WITHDRAWN
    return Restored.WRITTEN


def _word(job: Remembered, outcome: Restored) -> str:
    if outcome is Restored.WRITTEN:
        return "finished" if job.over else "queued"
    return outcome.name.lower()


async def _delete_again(resources: Resources, owner: str, job_id: str, *, dry_run: bool) -> bool:
    """A promoted replica may still have what was deleted, without its objects."""
    if (await resources.store.upkeep.known(job_id))[0] in {None, "deleted"}:
        return False
    if not dry_run:
        try:
            await resources.store.jobs.delete(owner, job_id)
        except (GoneError, NotFoundError):
            return False
    return True


async def found_empty(resources: Resources) -> None:
    """Mark a new store as in use; a lost one is rebuilt, or named as such.

    A lost store is left without its mark until somebody runs the rebuild: without it nothing is
    accepted, no worker takes a job, and no sweep deletes the objects of jobs that Redis has
    forgotten.
    """
    if await in_use(resources):
        return
    if resources.settings.rebuild_empty:
        done = await rebuild(resources)
        told = {**asdict(done), "up_to": done.up_to and done.up_to.isoformat()}
        log.warning("redis was empty and is built again from the journal", **told)
    else:
        log.error(
            "redis is empty, but the journal knows jobs: run `python -m fileproc rebuild`",
            setting="FILEPROC_REBUILD_EMPTY=1 does so at start",
        )
