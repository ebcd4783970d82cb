"""The worker's side of a child's pipe. Nothing that comes out of it is trusted."""

from __future__ import annotations

import os
from collections.abc import Callable

from pydantic import ValidationError

from fileproc.jobs import Progress
from fileproc.worker.zygote.protocol import (
    MAX_LINE_BYTES,
    MAX_SAID_BYTES,
    SAYINGS,
    Advance,
    Gave,
    Made,
    Probed,
    Succeeded,
)

_READ_BYTES = 16 * 1024  # at a time: a child that floods the pipe gets its turn, and no more


class Nonsense(Exception):  # noqa: N818 - what was heard
    """The child said something that no child of ours says."""


class Listener:
    """Collects what one child says.

    Attributes:
        made: outputs in the order they were named; the index is the place.
        end: the last word; None if there was none.
    """

    def __init__(
        self, descriptor: int, on_progress: Callable[[Progress], None], *, max_outputs: int
    ) -> None:
        self._descriptor = descriptor
        self._on_progress = on_progress
        self._max_outputs = max_outputs
        self._rest = b""
        self._said = 0
        self.made: list[Made] = []
        self.end: Succeeded | Gave | Probed | None = None

    def listen(self) -> bool:
        """Read once, without waiting; False when there is nothing more (now, or ever).

        Raises:
            Nonsense: a line is none of the protocol's, or it is too long, or there are too many.
        """
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        self._said += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._said > MAX_SAID_BYTES or len(self._rest) > MAX_LINE_BYTES:
            raise Nonsense
        for line in lines:
            self._understand(line)

    def _understand(self, line: bytes) -> None:
        try:
            saying = SAYINGS.validate_json(line)
        except ValidationError as exc:
            raise Nonsense from exc
        if self.end is not None:
            raise Nonsense
        if isinstance(saying, Advance):
            self._on_progress(_progress(saying))
        elif isinstance(saying, Made):
            if saying.index != len(self.made) or saying.index >= self._max_outputs:
                raise Nonsense
            self.made.append(saying)
        else:
            self.end = saying


def _progress(saying: Advance) -> Progress:
    percent = None
    if saying.total and saying.total > 0:
        percent = round(min(100.0, max(0.0, 100 * saying.done / saying.total)), 1)
    return Progress(
        phase=saying.phase,
        done=saying.done,
        total=saying.total,
        unit=saying.unit,
        percent=percent,
    )
