"""Jobs that were read lately: most reads are polls of what has not changed.

Redis is asked each time. What is saved is to understand, and to write as JSON, the same record once
more. The whole record is compared, not its version: a replica that took over may have given the
same version to another truth.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from fileproc.jobs import Job
from fileproc.store.records import job_from

MOST_JOBS: Final = 4_000
MOST_CHARACTERS: Final = 4_000  # of the text; longer ones are not kept

Write = Callable[[Job], bytes]
_Entry = tuple[Mapping[str, str], Job, bytes]


class Seen:
    """At most 4,000 jobs of some kilobytes; the one not asked for the longest goes first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def read(
        self, job_id: str, owner: str, fields: Mapping[str, str], write: Write
    ) -> tuple[Job, bytes]:
        """The job of a record and its text, as `write` makes it.

        Raises:
            NotFoundError, GoneError, CorruptRecordError: as `job_from`.
        """
        known = self._entries.get(job_id)
        if known is not None and known[0] == fields and known[1].owner == owner:
            self._entries.move_to_end(job_id)
            return known[1], known[2]
        job = job_from(job_id, owner, fields)
        text = write(job)
        if len(text) <= MOST_CHARACTERS:
            self._entries[job_id] = (fields, job, text)
            self._entries.move_to_end(job_id)
            if len(self._entries) > MOST_JOBS:
                self._entries.popitem(last=False)
        return job, text
