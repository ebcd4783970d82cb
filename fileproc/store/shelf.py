"""Files that were uploaded on their own, as their events leave them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fileproc.store.events import Event


@dataclass(slots=True)
class ShelvedFile:
    """`record` is JSON in one line; times in ms since 1970. `over`: when it was given up."""

    id: str
    owner: str
    record: str
    created: int
    expires: int
    over: int | None = None


class Shelf:
    def __init__(self) -> None:
        self.files: dict[str, ShelvedFile] = {}

    def fold(self, event: Event, now: int) -> None:
        """Take one event in; one that is known already changes nothing."""
        if event.move == "file_put":
            if event.job_id not in self.files:
                told = json.loads(event.data)
                record = json.dumps(told["meta"], ensure_ascii=False, separators=(",", ":"))
                self.files[event.job_id] = ShelvedFile(
                    event.job_id, event.owner, record, told["ca"], told["ex"]
                )
        elif (file := self.files.get(event.job_id)) and file.over is None:
            file.over = now

    def snapshot(self) -> Iterator[tuple[str, str]]:
        """Entries of the journal that say the same."""
        for file in self.files.values():
            data = f'{{"ca":{file.created},"ex":{file.expires},"meta":{file.record}}}'
            yield f"{file.created}-0", f"{file.id} file_put {file.owner} 0 {data}"
            if file.over is not None:
                yield f"{file.over}-0", f"{file.id} file_over {file.owner} 0 "

    def forget_over_before(self, moment: int, needed: Collection[str]) -> None:
        """Drop what was given up before this (ms), but for what unfinished jobs need."""
        self.files = {
            name: file
            for name, file in self.files.items()
            if file.over is None or file.over >= moment or name in needed
        }
