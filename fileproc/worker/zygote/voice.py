"""The child's side of the pipe to the worker: progress, outputs, the end."""

from __future__ import annotations

import os
import time

from pydantic import ValidationError

from fileproc.operations import Output
from fileproc.worker.zygote.protocol import Advance, Made, Message

_EVERY_S = 0.2


class Voice:
    """Lines into a pipe; progress is thinned to five lines a second."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._next = 0.0
        self._held: Advance | None = None

    def say(self, message: Message) -> None:
        self.write(message.line())

    def write(self, line: bytes) -> None:
        """One line, whole; up to 4 KiB (PIPE_BUF) threads do not mix theirs."""
        while line:
            line = line[os.write(self._descriptor, line) :]

    def report(self, phase: str, done: float, total: float | None, unit: str | None) -> None:
        """`Work.report`: says it now, or keeps it until the next turn."""
        try:
            self._held = Advance(
                phase=phase[:64], done=done, total=total, unit=unit[:32] if unit else None
            )
        except ValidationError:
            return  # progress that is no number is not worth an attempt
        if time.monotonic() >= self._next:
            self.catch_up()

    def catch_up(self) -> None:
        """Say the progress that was held back."""
        if self._held is not None:
            self.say(self._held)
            self._held = None
            self._next = time.monotonic() + _EVERY_S

    def made(self, outputs: list[Output]) -> None:
        """Name the outputs, one line each; their paths follow from their order."""
        for index, output in enumerate(outputs):
            self.say(Made(index=index, name=output.name, type=output.type))
