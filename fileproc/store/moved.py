"""A move as it is told to those who follow jobs: an event of a job without its data."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from fileproc.ids import is_id
from fileproc.jobs import FINAL, MOVES, JobState, Move

if TYPE_CHECKING:
    from fileproc.store.events import Event

DELETED: Final = "deleted"
BATCH_ENDED: Final = "batch_completed"
_POSITION = re.compile(r"([0-9]{1,15})-([0-9]{1,15})\.([0-9]{1,9})")
_SUBMITTED_AS = re.compile(r'\{"st":"([a-z_]+)"')
# What is told of a job and is no move of the table: name -> the state to show.
_ASIDE: Final = {"cancel_requested": JobState.RUNNING, "delete": DELETED}
# Their data is a problem; that of the others may be as large as a job.
_WITH_CODE: Final = frozenset({Move.FAIL, Move.RETRY})
_TARGETS: Final = {
    **{str(move): next(iter(rule.targets)) for move, rule in MOVES.items()},
    **_ASIDE,
}


class Position(NamedTuple):
    """A place in the stream: an entry (two numbers) and a line of it. On the wire `ms-seq.line`."""

    ms: int
    seq: int
    line: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}.{self.line}"

    @classmethod
    def read(cls, text: str) -> Position | None:
        """None where the text is no position."""
        found = _POSITION.fullmatch(text)
        return cls(int(found[1]), int(found[2]), int(found[3])) if found else None


START: Final = Position(0, 0, 0)


@dataclass(slots=True)
class Moved:
    """One move of one job.

    Attributes:
        state: the job's state afterwards; `deleted` once it is deleted.
        batch: of the job; '' if it is of none.
        code: of the error, where the attempt failed.
        frame: as it is sent; made by the first who sends it, for all of them.
    """

    position: Position
    job_id: str
    owner: str
    move: str
    state: str
    version: int
    code: str | None = None
    batch: str = ""
    frame: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def last(self) -> bool:
        """Whether nothing more happens to the job, as far as its owner is concerned."""
        return self.state in FINAL or self.state == DELETED

    @property
    def of_batch(self) -> bool:
        """Whether it is no job that moved, but a batch that ended: then `job_id` is the batch's."""
        return self.move == BATCH_ENDED


def moved_of(event: Event, position: Position) -> Moved | None:
    """The move that a line of the stream tells of; None where it is about something else."""
    where, owner, version = position, event.owner, event.version
    if event.move == BATCH_ENDED:
        batch = event.job_id
        return Moved(where, batch, owner, BATCH_ENDED, "completed", version, batch=batch)
    state = _TARGETS.get(event.move)
    if state is None or not is_id(event.job_id, "job"):
        return None
    if event.move == Move.SUBMIT and (told := _SUBMITTED_AS.match(event.data)):
        state = told[1]
    code = None
    if event.move in _WITH_CODE and event.data:
        code = json.loads(event.data).get("code")
    batch = sys.intern(event.batch)  # many are remembered of one
    return Moved(where, event.job_id, owner, event.move, str(state), version, code, batch)
