"""What a delivery says of its job or batch."""

from __future__ import annotations

from datetime import datetime

from fileproc.errors import CorruptRecordError, GoneError, NotFoundError
from fileproc.ids import is_id
from fileproc.resources import Resources
from fileproc.views import batch_event_body, event_body, lost_event_body


class Bodies:
    """Reads jobs and batches as they are now, which may be further on than the event."""

    def __init__(self, resources: Resources) -> None:
        self._jobs = resources.store.jobs
        self._batches = resources.store.batches
        self._most_bytes = resources.settings.max_webhook_bytes

    async def of(self, kind: str, at: datetime, owner: str, about: str) -> str:
        """The JSON to send, of a job or batch; of one that is gone what the event itself tells.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        try:
            if is_id(about, "batch"):
                batch = await self._batches.get(owner, about)
                return batch_event_body(kind, at, batch).decode()
            job = await self._jobs.get(owner, about)
        except (NotFoundError, GoneError, CorruptRecordError):
            return lost_event_body(kind, at, about).decode()
        return event_body(kind, at, job, self._most_bytes).decode()
