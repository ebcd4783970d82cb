"""What a delivery says of its job."""

from __future__ import annotations

from datetime import datetime

from fileproc.errors import CorruptRecordError, GoneError, NotFoundError
from fileproc.resources import Resources
from fileproc.views import event_body, lost_event_body


class Bodies:
    """Reads jobs as they are now, which may be further on than the event."""

    def __init__(self, resources: Resources) -> None:
        self._jobs = resources.store.jobs
        self._most_bytes = resources.settings.max_webhook_bytes

    async def of(self, kind: str, at: datetime, job_id: str) -> str:
        """The JSON to send; of a job that is gone only what the event itself tells.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        try:
            job = await self._jobs.get(None, job_id)
        except (NotFoundError, GoneError, CorruptRecordError):
            return lost_event_body(kind, at, job_id).decode()
        return event_body(kind, at, job, self._most_bytes).decode()
