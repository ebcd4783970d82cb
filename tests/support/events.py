"""A reader of server-sent events, as the HTML standard has them parsed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Told:
    """One event; `id` is the last one that was given, its own or an earlier one's."""

    name: str
    data: Any
    id: str


class EventReader:
    """Takes events off a response, one by one."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.last_id = ""
        self.beats = 0

    async def next(self, within_s: float = 20) -> Told | None:
        """The next event; None when the stream has ended."""
        name = "message"
        data: list[str] = []
        async with asyncio.timeout(within_s):
            while line := (await self.answer.content.readline()).decode():
                field, _, value = line.rstrip("\n").partition(":")
                value = value.removeprefix(" ")
                if line == "\n":
                    if data:
                        return Told(name, json.loads("\n".join(data)), self.last_id)
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif field == "id":
                    self.last_id = value
                elif field == "":
                    self.beats += 1
        return None

    async def until(self, name: str) -> list[Told]:
        """All events up to, and with, the first of this name."""
        told: list[Told] = []
        while (event := await self.next()) is not None:
            told.append(event)
            if event.name == name:
                return told
        raise AssertionError(f"the stream ended without {name}: {told}")

    async def rest(self) -> list[Told]:
        """All events to the end of the stream."""
        told = []
        while (event := await self.next()) is not None:
            told.append(event)
        return told


@asynccontextmanager
async def following(
    api: Any, path: str, *, after: str | None = None, **more: Any
) -> AsyncIterator[EventReader]:
    """Opens a stream, after the event of this id."""
    headers = {**more.pop("headers", {}), **({"Last-Event-ID": after} if after else {})}
    async with api.get(path, headers=headers, **more) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "text/event-stream"
        yield EventReader(answer)


def moves(told: list[Told]) -> list[str]:
    """The moves among these, in their order."""
    return [event.data["move"] for event in told if event.name == "move"]
