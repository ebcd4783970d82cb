"""The shipper: events go to object storage in batches, about a second behind, and are compacted.

Any worker has one, under a lock; two at once store the same entries twice and move the mark once.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence

from fileproc.crashpoints import crash_point
from fileproc.errors import FileprocError
from fileproc.objects import ObjectStore, journal_key, journal_root
from fileproc.resources import Resources
from fileproc.store import (
    DAY_MS,
    JOURNAL_BATCH,
    KEY_LIFE_S,
    MOST_DAYS,
    TOMBSTONE_S,
    Event,
    Journal,
    Memory,
    Span,
    needed,
    pack,
    stream_id,
    unpack,
)
from fileproc.telemetry import JOURNAL_LAG, JOURNAL_SHIPPED, get_logger

ROUND_S = 0.5
LOCK_S = 5.0
READ_AT_ONCE = 16
SETTLED_S = 60.0  # batches younger than this are left to the next compaction

log = get_logger(__name__)


class Shipper:
    def __init__(self, resources: Resources, holder: str) -> None:
        self._journal: Journal = resources.store.journal
        self._upkeep = resources.store.upkeep
        self._objects = resources.objects
        self._settings = resources.settings
        self._keep_s = resources.settings.journal_keep_s
        self._holder = holder

    async def run(self) -> None:
        """Ship for ever; an engine that is away only makes the lag grow."""
        while True:
            try:
                if await self._upkeep.lock("shipper", self._holder, LOCK_S):
                    # A batch that is not full was all there was. Under load more has come by now:
                    # that waits its turn, else we would go on for ever, in ever smaller batches.
                    while await self.ship() == JOURNAL_BATCH:
                        await self._upkeep.lock("shipper", self._holder, LOCK_S)
                    # A store that has lost everything has lost the mark of the last compaction:
                    # but now somebody may be reading the journal.
                    every_s = self._settings.journal_compact_s
                    in_use = not await self._journal.empty()
                    if in_use and await self._journal.compaction_due(every_s):
                        await self._compact_in_time()
                JOURNAL_LAG.set(await self._journal.lag_s())
            except FileprocError as exc:
                log.warning("shipper: a round was cut short", reason=exc.detail)
            except Exception:
                log.exception("shipper: a round failed")
            await asyncio.sleep(ROUND_S)

    async def _compact_in_time(self) -> None:
        """Compact, and keep the lock meanwhile however long it takes."""
        work = asyncio.create_task(self.compact(least=self._settings.journal_compact_objects))
        try:
            while not (await asyncio.wait({work}, timeout=LOCK_S / 3))[0]:
                await self._upkeep.lock("shipper", self._holder, LOCK_S)
        finally:
            work.cancel()
            await asyncio.wait({work})
        work.result()

    async def ship(self) -> int:
        """Store one batch; returns how many entries. The mark moves after the object is there."""
        entries = await self._journal.unshipped()
        if not entries:
            return 0
        first, last = entries[0][0], entries[-1][0]
        span = Span(stream_id(first), stream_id(last))
        crash_point("ship-read")
        await self._put(span, await asyncio.to_thread(pack, entries))
        crash_point("ship-stored")
        await self._journal.shipped(last)
        JOURNAL_SHIPPED.inc(len(entries))
        return len(entries)

    async def compact(self, *, least: int) -> int:
        """Fold old batches into one snapshot, without deleted jobs and those long over.

        Returns how many objects it stands for. The snapshot is there before the batches go; what is
        read after a crash between the two leaves them out.
        """
        now = await self._upkeep.now_ms()  # not our own clock: it may be wrong
        settled = now - SETTLED_S * 1000
        spans = await read_spans(self._objects)
        kept = needed(spans)
        # By their ends: where histories overlap, the newest may begin before others. Whatever ends
        # below the snapshot's end must be in it, since it counts as read from then on.
        newest = max((span.last for span in kept), default=(0, 0))
        old = [s for s in kept if s.folded or (s.last[0] < settled and s.last < newest)]
        if len(old) < least or any(span.last == newest for span in old):
            return 0
        memory = Memory()
        await _fold(self._objects, old, memory, strict=True)
        memory.forget_keys_ended_before(now)
        memory.accounts.forget_usage_before(now - MOST_DAYS * DAY_MS)
        memory.forget_ended_before(int(now - self._keep_s * 1000))
        memory.forget_answers_before(now - KEY_LIFE_S * 1000)
        memory.links.forget_lapsed(now)
        memory.forget_deleted_before(now - TOMBSTONE_S * 1000)
        snapshot = Span(old[0].first, memory.last, folded=True)
        await self._put(snapshot, await asyncio.to_thread(pack, memory.snapshot()))
        crash_point("compact-stored")
        gone = [span for span in spans if span != snapshot and _within(span, snapshot)]
        for start in range(0, len(gone), 500):
            await self._objects.delete([journal_key(s.name) for s in gone[start : start + 500]])
            crash_point("compact-deleted")
        log.info("compacted the journal", objects=len(gone), jobs=len(memory.jobs))
        return len(gone)

    async def _put(self, span: Span, body: bytes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield body

        await self._objects.put_stream(
            journal_key(span.name), chunks(), content_type="application/gzip", shared=True
        )


def _within(span: Span, snapshot: Span) -> bool:
    return span.last <= snapshot.last


async def read_spans(objects: ObjectStore) -> list[Span]:
    """Every journal object there is."""
    names = [entry.key.removeprefix(journal_root()) async for entry in objects.list(journal_root())]
    return [span for span in map(Span.of, names) if span is not None]


async def read_all(objects: ObjectStore, memory: Memory) -> int:
    """Fold everything that the journal knows; returns how many objects were read."""
    spans = needed(await read_spans(objects))
    await _fold(objects, spans, memory, strict=False)
    return len(spans)


async def _fold(
    objects: ObjectStore, spans: Sequence[Span], memory: Memory, *, strict: bool
) -> None:
    """In the order of `spans`, many read at once.

    What somebody has broken costs a rebuild that object and no more; a compaction must not go on
    (`strict`), as it would delete what may yet be mended.
    """
    for start in range(0, len(spans), READ_AT_ONCE):
        batch = spans[start : start + READ_AT_ONCE]
        bodies = await asyncio.gather(*(_read(objects, span) for span in batch))
        for span, body in zip(batch, bodies, strict=True):
            try:
                events = await asyncio.to_thread(_events, body)
            except (OSError, EOFError, ValueError, zlib.error) as exc:
                log.error("a journal object cannot be read", name=span.name, error=str(exc)[:200])  # noqa: TRY400 - the trace tells no more
                if strict:
                    raise
                memory.broken += 1
            else:
                memory.take(span, events)
    memory.take_rest()


def _events(body: bytes) -> list[Event]:
    return list(unpack(body))


async def _read(objects: ObjectStore, span: Span) -> bytes:
    return b"".join([chunk async for chunk in objects.stream(journal_key(span.name))])
