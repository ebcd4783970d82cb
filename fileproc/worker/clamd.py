"""ClamAV's daemon: a file is streamed to it, and it says what it found.

Sandboxed children have no network, so it is the worker that asks. Every question is a connection of
its own, with the command INSTREAM or VERSION and an answer that ends in NUL. Source: clamd(8),
"COMMANDS".
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fileproc.errors import BadInput, JobError
from fileproc.jobs import Progress, Usage
from fileproc.operations import catalogue
from fileproc.settings import Settings, clamd_address
from fileproc.telemetry import get_logger
from fileproc.worker.sandbox import Assignment, Ending, outcome

SERVICE: Final = "clamd"
_CONNECT_S = 5.0
_CHUNK_BYTES = 256 * 1024
_MOST_SHOWN = 200  # characters of a signature's name
_END = b"\0"

RunChild = Callable[[Assignment, Callable[[Progress], None]], Awaitable[Ending]]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Clamd:
    """A daemon that was configured.

    Attributes:
        address: host and port, or the path of a Unix socket.
        max_bytes: what is larger is not sent: the daemon calls clean what it did not look at.
    """

    address: tuple[str, int] | Path
    max_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Clamd | None:
        """The one that the settings name, if they do."""
        if settings.clamd is None:
            return None
        return cls(clamd_address(settings.clamd), settings.clamd_max_bytes)

    async def scan(self, path: Path) -> str | None:
        """The name of what was found in a file; None: it is clean.

        Raises:
            BadInput: `scan_too_large`.
            JobError: `scanner_unavailable`.
        """
        if path.stat().st_size > self.max_bytes:  # noqa: ASYNC240 - of a local file
            raise self._too_large()
        async with self._asked(b"zINSTREAM\0") as (reader, writer):
            # It may answer, and go away, before it has read all: what it said then is kept.
            answer = asyncio.create_task(reader.readuntil(_END))
            try:
                await _send(path, writer, answer)
                said = await answer
            finally:
                answer.cancel()
        return self._finding(said.rstrip(_END + b"\n").decode("utf-8", "replace"))

    async def version(self) -> str:
        """Name and version, with that of its signatures.

        Raises:
            JobError: `scanner_unavailable`.
        """
        async with self._asked(b"zVERSION\0") as (reader, _):
            said = (await reader.readuntil(_END)).rstrip(_END + b"\n").decode("ascii", "replace")
        name, _, rest = said.partition("/")
        signatures = rest.partition("/")[0]
        shown = f"{name} (signatures {signatures})" if signatures else name
        return re.sub(r"[^\w .()-]", "", shown)[:_MOST_SHOWN]

    def _finding(self, said: str) -> str | None:
        if said == "stream: OK":
            return None
        if found := re.fullmatch(r"stream: (.+) FOUND", said):
            name = "".join(char for char in found[1] if char.isprintable())
            return name[:_MOST_SHOWN] or "unnamed"
        if "size limit exceeded" in said:
            raise self._too_large()
        log.warning("clamd answered with an error", said=said[:500])
        raise _unavailable()

    def _too_large(self) -> BadInput:
        return BadInput(
            f"The file is larger than the virus scanner takes, at most {self.max_bytes:,} bytes.",
            code="scan_too_large",
        )

    @contextlib.asynccontextmanager
    async def _asked(
        self, command: bytes
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            reader, writer = await self._connected()
            try:
                writer.write(command)
                yield reader, writer
            finally:
                writer.transport.abort()  # the answer is there, or nobody wants it
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError) as exc:
            log.warning("clamd does not answer", error=repr(exc))
            raise _unavailable() from exc

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(_CONNECT_S):
            if isinstance(self.address, Path):
                return await asyncio.open_unix_connection(self.address)
            return await asyncio.open_connection(*self.address)


async def _send(path: Path, writer: asyncio.StreamWriter, answer: asyncio.Future[bytes]) -> None:
    """The file in chunks, each after its length, until the daemon has an answer."""
    with path.open("rb") as file, contextlib.suppress(ConnectionError):
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            if answer.done():
                return
            writer.write(struct.pack(">I", len(chunk)) + chunk)
            await writer.drain()
        writer.write(struct.pack(">I", 0))
        await writer.drain()


def _unavailable() -> JobError:
    return JobError("The virus scanner does not answer.", code="scanner_unavailable")


# --- before the child --------------------------------------------------------------------------


def scanning(settings: Settings, run: RunChild) -> RunChild:
    """`run`, for operations that need the scanner after it has been asked about their input."""
    clamd = Clamd.of(settings)

    async def scanned(assignment: Assignment, report: Callable[[Progress], None]) -> Ending:
        operation = catalogue(debug=True).get(assignment.operation)
        if operation is None or operation.service != SERVICE:
            return await run(assignment, report)
        report(Progress(phase="scan", done=0, total=1, unit="files"))
        try:
            findings = await _findings(clamd, assignment)
        except JobError as error:
            return Ending([], None, Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0), error)
        return await run(replace(assignment, findings=findings), report)

    return scanned


async def _findings(clamd: Clamd | None, assignment: Assignment) -> dict[str, str | None]:
    if clamd is None:
        raise JobError("The worker has no virus scanner.", code="scanner_unavailable")
    try:
        async with asyncio.timeout(assignment.limits.timeout_s):
            engine = await clamd.version()
            return {"engine": engine, "signature": await clamd.scan(assignment.inputs[0].path)}
    except TimeoutError as exc:
        raise outcome.timed_out(assignment.limits) from exc
