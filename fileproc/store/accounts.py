"""What the journal remembers of owners: their settings, pauses, and what they have used."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fileproc.store.events import Event
from fileproc.store.usage import DAY_MS

StreamId = tuple[int, int]


class Accounts:
    """Folds events, oldest first.

    Attributes:
        owners: set when (ms), and what (JSON) or '' where it was taken back.
        pauses: whether it is paused, by lane and owner ('-': the whole lane).
        usage: amounts by name, by owner and day since 1970.
    """

    def __init__(self) -> None:
        self.owners: dict[str, tuple[int, str]] = {}
        self.pauses: dict[tuple[str, str], bool] = {}
        self.usage: dict[tuple[str, int], dict[str, int]] = {}
        self._counted: StreamId = (0, 0)  # what happened until then is in `usage`

    def fold_settings(self, event: Event, now: int) -> None:
        self.owners[event.owner] = now, event.data

    def fold_pause(self, event: Event, now: int) -> None:
        del now
        self.pauses[event.job_id, event.owner] = event.move == "pause"

    def fold_usage(self, event: Event, now: int) -> None:
        """The total of a day, in a snapshot."""
        del now
        self.usage[event.owner, int(event.job_id)] = json.loads(event.data)
        self._counted = _entry_of(event)

    def submitted(self, event: Event, entry: StreamId) -> None:
        """A job that was not known yet."""
        files = json.loads(event.data)["files"].values()
        self._count(event.owner, entry, jobs=1, bytes=sum(file.get("size", 0) for file in files))

    def uploaded(self, event: Event) -> None:
        """A file that was not known yet."""
        size = json.loads(event.data)["meta"].get("size", 0)
        self._count(event.owner, _entry_of(event), bytes=size)

    def completed(self, event: Event, entry: StreamId) -> None:
        """An attempt that was not known yet; others do not tell what they used."""
        usage = json.loads(event.data).get("usage", {})
        self._count(event.owner, entry, cpu=round(usage.get("cpu_s", 0) * 1000))

    def _count(self, owner: str, entry: StreamId, **used: int) -> None:
        if entry <= self._counted:
            return
        total = self.usage.setdefault((owner, entry[0] // DAY_MS), {})
        for name, amount in used.items():
            total[name] = total.get(name, 0) + amount

    def forget_usage_before(self, moment: int) -> None:
        """Drop days that ended before this (ms)."""
        oldest = moment // DAY_MS
        self.usage = {which: used for which, used in self.usage.items() if which[1] >= oldest}

    def snapshot(self, entry: str) -> Iterator[tuple[str, str]]:
        """Entries for `pack`; `entry` is the last that was folded."""
        for owner, (when, data) in self.owners.items():
            yield f"{when}-0", f"{owner} owner_set {owner} 0 {data}"
        for (lane, owner), paused in self.pauses.items():
            yield entry, f"{lane} {'pause' if paused else 'resume'} {owner} 0 "
        for (owner, day), used in self.usage.items():
            yield entry, f"{day} usage {owner} 0 {json.dumps(used)}"


def _entry_of(event: Event) -> StreamId:
    ms, _, number = event.id.rpartition(".")[0].partition("-")
    return int(ms), int(number)
