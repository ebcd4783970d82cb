"""The load stops when it is told to: what comes after a wipe must not have come before it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, cast

import pytest

from faults.history import History
from faults.load import Load

if TYPE_CHECKING:
    from pathlib import Path


class _Held(Load):
    """Its clients submit nothing: they are counted, and keep their slots until they are let go."""

    def __init__(self, history: History, outstanding: int) -> None:
        no_sink = cast("Any", None)
        super().__init__(list, history, random.Random(7), no_sink, outstanding=outstanding)
        self.begun = 0
        self.let_go = asyncio.Event()

    async def _client(self, name: str) -> None:  # noqa: ARG002 - the kind does not matter
        self.begun += 1
        await self.let_go.wait()
        self._slots.release()


@pytest.mark.parametrize("outstanding", [1, 3])
async def test_a_load_that_is_paused_while_all_slots_are_taken_begins_nothing_more(
    tmp_path: Path, outstanding: int
) -> None:
    history = History(tmp_path / "history.jsonl")
    load = _Held(history, outstanding)
    await load.start()
    try:
        await _ticks()
        assert load.begun == outstanding
        load.pause()
        load.let_go.set()
        await _ticks()
        assert load.begun == outstanding
        load.resume()
        await _ticks()
        assert load.begun > outstanding
    finally:
        await load.stop()
        history.close()


async def _ticks() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
