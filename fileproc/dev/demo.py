"""`python -m fileproc demo`: one real job from end to end, then everything is gone again.

The client is given to us: the demo is a caller as any other, and knows it only by what it calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape

from fileproc.dev.folder import DataFolder
from fileproc.dev.pictures import Picture, read_picture
from fileproc.dev.processes import free_port
from fileproc.dev.stack import Plan, Stack
from fileproc.dev.supervisor import until_signal
from fileproc.errors import EngineError
from fileproc.settings import Auth, Settings

OPERATION = "image.resize"
WIDTH = 800
PARAMS = {"width": WIDTH, "format": "webp"}

_SAMPLE = Path(__file__).parents[2] / "docs" / "samples" / "photo.jpg"

Job = dict[str, Any]


class Caller(Protocol):
    """What the demo asks of a client of the API."""

    async def submit(self, file: Path, operation: str, params: Mapping[str, Any], /) -> Job: ...
    def follow(self, job_id: str, /) -> AsyncIterator[Job]: ...
    async def download(self, job: Job, target: Path, /) -> Path: ...


Connect = Callable[[str], AbstractAsyncContextManager[Caller]]


def run_demo(settings: Settings, file: Path | None, out: Path, connect: Connect) -> int:
    """Run it; the exit status is 0 only if the picture that came out is right.

    Raises:
        EngineError: there is no file to work on, or something cannot be started.
    """
    photo = file or _SAMPLE
    if not photo.is_file():
        raise EngineError(f"There is no file {photo}. Name one: python -m fileproc demo FILE")
    with (
        tempfile.TemporaryDirectory(prefix="fileproc-demo-") as temporary,
        DataFolder(Path(temporary)) as folder,
    ):
        stack = Stack(folder)
        demo = Demo(settings, stack, photo, out)
        return asyncio.run(until_signal(demo.run(connect), stack))


@dataclass
class Demo:
    settings: Settings
    stack: Stack
    photo: Path
    out: Path
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))

    async def run(self, connect: Connect) -> int:
        """Start, work, check, stop; each step says how long it took."""
        began = time.monotonic()
        before = read_picture(self.photo)
        self.console.print(
            f"fileproc demo: {_short(self.photo)} ({_described(self.photo, before)})"
        )
        async with AsyncExitStack() as opened:
            with self._step("starting Valkey and an S3 server", "Valkey and an S3 server are up"):
                await opened.enter_async_context(self.stack.engines())
            plan = self._plan()
            with self._step("starting the api and a worker", f"both roles are ready at {plan.url}"):
                await opened.enter_async_context(self.stack.running(plan))
            client = await opened.enter_async_context(connect(plan.url))
            complaint = await self._work(client, before)
            stopping = time.monotonic()
        self._done("stopped what was started", time.monotonic() - stopping)
        if complaint:
            self.console.print(f"[red]It went wrong:[/red] {escape(complaint)}")
            return 1
        self.console.print(f"All is right, after {time.monotonic() - began:.1f} s.")
        return 0

    def _plan(self) -> Plan:
        return Plan(
            host="127.0.0.1",
            port=free_port(),
            worker_port=free_port(),
            auth=Auth.OFF,
            settings=self.settings,
            lenient=True,
            logs=self.stack.folder.path,
        )

    async def _work(self, client: Caller, before: Picture | None) -> str | None:
        """Run the job; what is wrong with its end, or None."""
        with self._step("submitting", f"submitted to {OPERATION}, answered 202"):
            job = await client.submit(self.photo, OPERATION, PARAMS)
        job = await self._follow(client, job)
        if job["state"] != "succeeded":
            reason = (job["error"] or {}).get("detail", "no reason given")
            return f"the job {job['state']}: {reason}"
        self.out.mkdir(parents=True, exist_ok=True)
        output = job["outputs"][0]
        target = self.out / output["name"]
        done = f"downloaded by its presigned URL, {output['size']:,} bytes"
        with self._step("downloading", done):
            await client.download(job, target)
        complaint = wrong_with(target, output, before)
        if complaint is None:
            found = _described(target, read_picture(target))
            self.console.print(f"  {self._mark} checked: {found}, sha256 as the job says")
            self.console.print(f"  The picture is [bold]{escape(str(target))}[/bold]")
        return complaint

    async def _follow(self, client: Caller, job: Job) -> Job:
        """Show the job's way on one line; without a terminal, a line for each state."""
        began = time.monotonic()
        seen = ""
        with self.console.status(f"{job['id']} {job['state']}") as status:
            async for job in client.follow(job["id"]):  # noqa: B020, PLR1704 - the newest is the job
                percent = (job["progress"] or {}).get("percent")
                share = f" {percent:.0f} %" if percent is not None else ""
                status.update(f"{job['id']} {job['state']}{share}")
                if job["state"] != seen and not self.console.is_terminal:
                    self.console.print(f"    {job['id']} {job['state']}{share}")
                seen = job["state"]
        ending = f"{job['id']} {job['state']}, attempt {job['attempt']}"
        self._done(ending, time.monotonic() - began, well=job["state"] == "succeeded")
        return job

    @contextmanager
    def _step(self, doing: str, done: str) -> Iterator[None]:
        began = time.monotonic()
        with self.console.status(doing):
            yield
        self._done(done, time.monotonic() - began)

    def _done(self, what: str, seconds: float, *, well: bool = True) -> None:
        mark = self._mark if well else "[red]✗[/red]"
        self.console.print(f"  {mark} {escape(what)} [dim]{seconds:.2f} s[/dim]")

    @property
    def _mark(self) -> str:
        return "[green]✓[/green]" if self.console.encoding.startswith("utf") else "ok"


def wrong_with(result: Path, output: Mapping[str, Any], before: Picture | None) -> str | None:
    """What is wrong with the downloaded file, judged by its own bytes; None: nothing."""
    digest = hashlib.sha256(result.read_bytes()).hexdigest()
    if digest != output["sha256"]:
        return f"{result} has the digest {digest}, the job says {output['sha256']}."
    picture = read_picture(result)
    if picture is None or picture.format != "webp":
        return f"{result} is no WebP picture."
    if before is None:
        return None
    width, height = before.upright
    wanted = WIDTH * height / width if width > WIDTH else height
    if picture.width != min(WIDTH, width) or abs(picture.height - wanted) > 1:
        return f"{result} is {picture.width} x {picture.height}, not {WIDTH} x {wanted:.0f}."
    return None


def _short(path: Path) -> Path:
    """As a person here would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _described(path: Path, picture: Picture | None) -> str:
    size = f"{path.stat().st_size:,} bytes"
    if picture is None:
        return size
    width, height = picture.upright
    turned = f", EXIF orientation {picture.orientation}" if picture.orientation > 1 else ""
    return f"{picture.format.upper()}, {width} x {height}{turned}, {size}"
