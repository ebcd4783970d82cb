"""Every crash point in turn: a role is started armed for it, and what makes it pass is done."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import aiohttp
import redis

from faults.cluster import START_S, Role
from faults.faults import Stage
from fileproc.crashpoints import API, WORKER, of_role
from fileproc.errors import FileprocError
from fileproc.ids import new_id
from fileproc.jobs import JobDocument
from fileproc.objects import file_key
from fileproc.store import UploadDocument, file_of

REACH_S = 20.0  # from the moment when it is up
DRAIN_S = 6.0
BUSY_S = 3.0
TRIES = 4
HELPING = 4  # jobs at once that lead to a point
_LOCKS = {  # whoever holds it passes these points
    "janitor": ("janitor-ticked", "recovered", "adopted", "purged"),
    "collector": ("trash-deleted", "upload-ended", "sweep-found", "sweep-deleted"),
    "webhooks": ("events-judged", "deliveries-queued"),
    "shipper": ("ship-read", "ship-stored", "compact-stored", "compact-deleted"),
}
_LOCK_OF = {point: lock for lock, points in _LOCKS.items() for point in points}
_STOPPING = {"stopping", "handing-back", "api-stopping"}
_COMPACT = {"FILEPROC_JOURNAL_COMPACT_S": "1", "FILEPROC_JOURNAL_COMPACT_OBJECTS": "2"}
_SWEEP = {"FILEPROC_SWEEP_S": "1", "FILEPROC_ORPHAN_S": "15"}
_SETTINGS = {
    "download": {"FILEPROC_DOWNLOADS": "proxy"},
    "stopping": {"FILEPROC_GRACE_S": "3"},  # a lane comes back from its pop after a second
    "handing-back": {"FILEPROC_GRACE_S": "0.2"},
    "sweep-found": _SWEEP,
    "sweep-deleted": _SWEEP,
    "compact-stored": _COMPACT,
    "compact-deleted": _COMPACT,
}
_NEEDS = {  # the kind of job that passes it, where it is rare in the load
    "upload-begun": "big",
    "upload-part": "big",
    "upload-parts": "big",
    "file-kept": "shared",
    "file-deleted": "dropped",
    "upload-opened": "parts",
    "upload-checked": "direct",
    "upload-kept": "direct",
    "upload-closed": "abandoned",
    "tus-begun": "resumed",
    "tus-part": "resumed",
    "tus-tail": "tus",
    "tus-noted": "tus",
    "batch-open": "batch",
    "delivering": "delivered",
    "delivered": "delivered",
    "cancel-noted": "cancel",
    "delete-noted": "delete",
    "download": "table",
    "progress": "long",
    "canceling": "interrupt",
    "trash-deleted": "transient",
    "input-fetched": "table",
}
# Need something that is there only after a while: a batch that has settled, an orphan that is old.
_LATE = ("sweep-found", "sweep-deleted", "compact-stored", "compact-deleted")


async def crash_points(stage: Stage, rounds: int) -> None:
    """Each point once a round; the roles share them out."""
    for _ in range(rounds):
        await _plant_orphans(stage)
        chains = []
        for kind, roles in ((API, stage.cluster.apis), (WORKER, stage.cluster.workers)):
            points = [point for point in of_role(kind) if point not in _LATE]
            stage.rng.shuffle(points)
            points += [point for point in _LATE if kind == WORKER]
            for i, role in enumerate(roles):
                chains.append(_chain(stage, role, points[i :: len(roles)]))
        await asyncio.gather(*chains)


async def _chain(stage: Stage, role: Role, points: list[str]) -> None:
    """One role through its points, the last of which is followed by an unarmed start."""
    for point in points:
        for _ in range(TRIES):
            if await _die_at(stage, role, point):
                stage.counts["crash points"] += 1
                stage.counts["kills"] += 1
                break
        else:
            stage.history.complain(f"{role.name} never crashed at {point}")
    if role.child.running:  # it is armed still: it never got there
        stage.cluster.kill(role)
    role.held = False
    while not role.ready.is_set():
        await asyncio.sleep(0.05)


async def _die_at(stage: Stage, role: Role, point: str) -> bool:
    """Start it armed; whether it died there within the time."""
    while not role.deaths.empty():
        role.deaths.get_nowait()
    role.held = True
    if role.child.running:
        stage.cluster.kill(role)
        await role.deaths.get()
    role.extra = {"FILEPROC_CRASH_AT": point, **_SETTINGS.get(point, {})}
    role.held = False
    while not role.alive:
        await asyncio.sleep(0.01)
    role.held = True  # what comes after its death is decided here
    died = asyncio.create_task(role.deaths.get())
    began = time.monotonic()
    while not (role.ready.is_set() or died.done()) and time.monotonic() - began < START_S:
        await asyncio.sleep(0.05)
    provoking = asyncio.create_task(_provoke(stage, role, point))
    await asyncio.wait({died}, timeout=REACH_S)
    provoking.cancel()
    await asyncio.gather(provoking, return_exceptions=True)
    stage.load.resume()
    stage.history.mark("crash point", point=point, took=round(time.monotonic() - began, 2))
    if not died.done():
        died.cancel()
        return False
    return died.result() == point


async def _provoke(stage: Stage, role: Role, point: str) -> None:
    """Do what leads to the point, where the load alone does not."""
    await role.ready.wait()
    helping: set[asyncio.Task[str | None]] = set()
    while True:
        if lock := _LOCK_OF.get(point):
            with contextlib.suppress(redis.RedisError):
                stage.redis.set(stage.key(f"lock:{lock}"), role.worker_id, px=3000)
            if point == "upload-ended":
                with contextlib.suppress(redis.RedisError, FileprocError):
                    await _plant_upload(stage)
            await asyncio.sleep(0.5)
        elif point in _STOPPING:
            for _ in range(6):
                _help(stage, "lasting")
            if role.kind == WORKER and not await _busy(stage, role):
                continue
            role.child.signal(signal.SIGTERM)
            await asyncio.sleep(REACH_S)
        elif point == "upload-refused":
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await _refused_upload(role.url)
            await asyncio.sleep(0.2)
        else:
            await asyncio.sleep(0.5)
        if point == "popped":  # only an idle worker pops: one with much to do claims
            stage.load.pause()
            await stage.load.drained(DRAIN_S)
            stage.load.resume()
            await asyncio.sleep(1)
        # A few at once: what waits behind them would keep the other roles from their points.
        if (kind := _NEEDS.get(point)) and len(helping) < HELPING:
            helped = _help(stage, kind, role.url if role.kind == API else None)
            helping.add(helped)
            helped.add_done_callback(helping.discard)


def _help(stage: Stage, kind: str, url: str | None = None) -> asyncio.Task[str | None]:
    """One job of this kind, all of it at this api, which may well die of it."""

    async def one() -> str | None:
        with contextlib.suppress(TimeoutError):
            return await stage.load.one(kind, url)
        return None

    helped = asyncio.create_task(one())
    stage.helpers.add(helped)
    helped.add_done_callback(stage.helpers.discard)
    return helped


async def _busy(stage: Stage, role: Role) -> bool:
    """Wait until this worker runs a job that lasts; false if the others have had them all."""
    store = stage.redis
    end = time.monotonic() + BUSY_S
    while time.monotonic() < end:
        await asyncio.sleep(0.1)
        with contextlib.suppress(redis.RedisError):
            for job_id in store.zrange(stage.key("leases"), 0, -1):
                worker, document = store.hmget(stage.key(f"job:{job_id}"), "w", "doc")
                if worker == role.worker_id and _lasts(document):
                    return True
    return False


def _lasts(document: str) -> bool:
    """Not one that may be over before a signal arrives."""
    params = JobDocument.model_validate_json(document).params
    return float(params.get("seconds", 0)) >= BUSY_S


async def _refused_upload(url: str) -> None:
    """A form whose file is taken before it turns out that no job comes with it."""
    form = aiohttp.FormData()
    form.add_field("file", b"id,value\n1,2\n" * 100, filename="a.csv")
    form.add_field("job", '{"operation": "table.convert", "params": {"to": "nothing"}}')
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{url}/v1/jobs", data=form) as answer,
    ):
        await answer.read()


async def _plant_upload(stage: Stage) -> None:
    """An upload whose time is over at once, with parts in the storage."""
    upload_id = new_id("upload")
    direct, store = stage.resources.objects.direct, stage.resources.store
    multipart = await direct.begin(file_key(file_of(upload_id)), content_type="text/plain")
    document = UploadDocument(kind="direct", name="", type="text/plain", retention_s=60, size=1)
    await store.pipeline.script(
        *("upload", "open", upload_id, "local", document.model_dump_json(), multipart, 1, 10**6)
    )


async def _plant_orphans(stage: Stage) -> None:
    """Outputs of a job that never was, in two folders of attempts."""

    async def body() -> object:
        yield b"orphan"

    for i in range(3):
        key = f"attempts/job_0000000000000000000000000{i}/1-0000000{i}/0"
        await stage.resources.objects.put_stream(key, body(), content_type="text/plain")  # type: ignore[arg-type] # a generator of bytes
