from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fileproc.jobs import Progress
from fileproc.operations import Input, Limits
from fileproc.settings import SandboxMode, Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from support.confined import Confined

HERE = Path(__file__).parent
PRELOAD = (str(HERE / "hostile.py"), str(HERE / "escapes.py"))
MIB = 1024 * 1024

Run = Callable[..., Awaitable[Ending]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sandbox=SandboxMode.REQUIRED, scratch_dir=tmp_path / "scratch")


@pytest.fixture
async def sandbox(settings: Settings) -> AsyncIterator[Sandbox]:
    async with Sandbox.open(settings, preload=PRELOAD) as sandbox:
        yield sandbox


@pytest.fixture
def assign(tmp_path: Path) -> Callable[..., Assignment]:
    """Makes an assignment with a scratch folder of its own; `inputs` are (name, bytes)."""

    def make(
        how: str,
        *,
        operation: str = "debug.hostile",
        inputs: tuple[tuple[str, bytes], ...] = (),
        limits: dict[str, Any] | None = None,
        programs: tuple[str, ...] = (),
        **params: Any,
    ) -> Assignment:
        folder = tmp_path / f"attempt-{os.urandom(4).hex()}"
        folder.mkdir(mode=0o700)
        given = []
        for index, (name, data) in enumerate(inputs):
            path = folder / f"in-{index}"
            path.write_bytes(data)
            given.append(Input(path, name, len(data), "0" * 64, "text/plain"))
        return Assignment(
            id="job_test",
            operation=operation,
            params={"how": how, **params} if operation == "debug.hostile" else params,
            attempt=1,
            folder=folder,
            inputs=given,
            limits=replace(Limits(timeout_s=30), **(limits or {})),
            debug=True,
            programs=programs,
        )

    return make


@pytest.fixture
def run(sandbox: Sandbox, assign: Callable[..., Assignment]) -> Run:
    """Runs the hostile operation once, in a sandbox of the test's own."""

    async def run(how: str, **details: Any) -> Ending:
        return await sandbox.run(assign(how, **details), ignore)

    return run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def confined(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Confined]:
    """Operations in a sandbox that the tests of a module share."""
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings, preload=PRELOAD) as sandbox:
        yield Confined(sandbox)


def ignore(progress: Progress) -> None:
    del progress
