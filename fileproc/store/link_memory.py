"""Share links as the journal knows them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fileproc.store.events import Event
from fileproc.store.links import KEPT_MS

Fields = dict[str, str]  # of the record `link:<code>`


class LinkMemory:
    """Folds the events of links, oldest first."""

    def __init__(self) -> None:
        self.known: dict[str, Fields] = {}

    def fold(self, event: Event, now: int) -> None:
        """Take one event in; one that is known already changes nothing."""
        known = self.known.get(event.job_id)
        if event.move in {"link_made", "link_snapshot"}:
            # Told again by another history, it keeps what is known of it since.
            self.known[event.job_id] = {**json.loads(event.data), **(known or {})}
        elif known is None:
            return
        elif event.move == "link_revoked":
            known.setdefault("revoked", str(now))
        elif event.move == "link_taken" and event.version > int(known["n"]):
            known.update(n=str(event.version), last=str(now))

    def forget_lapsed(self, now: int) -> None:
        """Drop those of which the store knows nothing any more (ms)."""
        self.known = {
            code: fields
            for code, fields in self.known.items()
            if int(fields["ends"]) + KEPT_MS > now
        }

    def snapshot(self, entry: str) -> Iterator[tuple[str, str]]:
        """Entries for `pack`."""
        for code, fields in self.known.items():
            data = json.dumps(fields, ensure_ascii=False)
            yield entry, f"{code} link_snapshot {fields['own']} 0 {data}"
