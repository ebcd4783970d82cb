"""The latest moves, kept by each api process for readers who lost their connection.

It is bounded, and in memory: a thousand readers who come back at once cost Redis nothing. Who has
been away for longer is told to look for himself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from fileproc.store.moved import START, Moved, Position


class History:
    """Moves in their order, the newest `most` of them.

    Attributes:
        floor: what came after this is known.
        position: up to here the stream has been read.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._moves: list[Moved] = []
        self.floor = self.position = START

    def begin(self, floor: Position, position: Position) -> None:
        """Forget everything; from now on what comes after `floor` is known."""
        self._moves.clear()
        self.floor, self.position = floor, position

    def add(self, moved: Moved) -> None:
        """Take the next move; of two times as many as may be kept, half go at once."""
        self._moves.append(moved)
        if len(self._moves) >= 2 * self._most:
            gone = len(self._moves) - self._most
            self.floor = self._moves[gone - 1].position
            del self._moves[:gone]

    def since(self, position: Position, wanted: Callable[[Moved], bool]) -> list[Moved] | None:
        """The moves after `position`, oldest first; None where not all of them are known."""
        if position < self.floor:
            return None
        first = bisect_right(self._moves, position, key=lambda moved: moved.position)
        return [moved for moved in self._moves[first:] if wanted(moved)]
