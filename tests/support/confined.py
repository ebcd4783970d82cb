"""Operations on given bytes, inside every layer that this kernel has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fileproc.operations import Input, Limits, find
from fileproc.worker.sandbox import Assignment, Ending, Sandbox

MIB = 1024 * 1024

RunOperation = Callable[..., Awaitable[Ending]]


@dataclass(frozen=True, slots=True)
class Confined:
    """A sandbox, and what an attempt in it may use."""

    sandbox: Sandbox
    memory_bytes: int = 512 * MIB
    timeout_s: float = 60

    def within(self, memory_bytes: int) -> Confined:
        return replace(self, memory_bytes=memory_bytes)

    async def run(
        self, folder: Path, operation: str, *files: tuple[bytes, str], **params: Any
    ) -> Ending:
        """One attempt in `folder`; `files` are (content, type)."""
        (folder / "in").mkdir(parents=True)
        given = []
        for index, (data, media_type) in enumerate(files):
            path = folder / "in" / str(index)
            path.write_bytes(data)
            given.append(Input(path, "given", len(data), "0" * 64, media_type))
        limits = replace(Limits(), timeout_s=self.timeout_s, memory_bytes=self.memory_bytes)
        read = find(operation).parse(params)
        assignment = Assignment("job", operation, read, 1, folder, given, limits)
        return await self.sandbox.run(assignment, lambda _: None)
