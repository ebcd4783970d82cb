"""`python -m fileproc dev`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from fileproc.dev.folder import DataFolder
from fileproc.dev.processes import free_port
from fileproc.dev.stack import Plan, Stack, check_port, is_loopback, pick_worker_port
from fileproc.errors import SettingsError
from fileproc.settings import Auth, Settings
from fileproc.store import Role, open_store

INTERRUPTED = 130

_BANNER = """
fileproc is running. Ctrl-C stops it.

  API      {url}      docs: {url}/docs
  Worker   {worker}/metrics
  Data     {data}
  Keys     {keys}

Try it:
  curl -sS -T photo.jpg -H 'Prefer: wait=30'{header} \\
    '{url}/v1/jobs/image.resize?width=800&format=webp'
"""


def run_dev(settings: Settings, data: Path) -> int:
    """Run until a signal comes; returns the exit status.

    Raises:
        EngineError: something cannot be started; nothing is left running then.
    """
    if not data.exists():
        _ports(settings)  # no folder is made for nothing
    with DataFolder(data) as folder:
        stack = Stack(folder)
        status = asyncio.run(until_signal(_run(settings, stack), stack))
        return 0 if status == INTERRUPTED else status  # that is how it is meant to be stopped


async def until_signal(work: Coroutine[Any, Any, int], stack: Stack) -> int:
    """Cancel the work at the first SIGINT or SIGTERM, and wait for it; kill at the second.

    Returns what the work returns, or INTERRUPTED.
    """
    task = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            say("Stopping; once more to kill.")
            task.cancel()
        else:
            stack.kill()
            stack.folder.environment_file.unlink(missing_ok=True)
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        say("Everything is stopped.")
        return INTERRUPTED


async def _run(settings: Settings, stack: Stack) -> int:
    data = stack.folder.path
    port, worker_port = _ports(settings)
    async with stack.engines():
        auth = await choose_auth(settings, stack)
        plan = Plan(settings.host, port, worker_port, auth, settings)
        async with stack.running(plan):
            click.echo(banner(plan, data), nl=False)
            sys.stdout.flush()
            await stack.keep(say)
    return 0


def _ports(settings: Settings) -> tuple[int, int]:
    """Of the api, and of the worker's health server.

    Raises:
        EngineError: nobody can listen there now.
    """
    port = settings.port or free_port()
    worker_port = pick_worker_port(settings, port, chosen=bool(settings.port))
    check_port(settings.host, port, "--port N, or make dev PORT=N")
    check_port("127.0.0.1", worker_port, "FILEPROC_WORKER_PORT=N")
    return port, worker_port


async def choose_auth(settings: Settings, stack: Stack) -> Auth:
    """Off where only this machine can ask and nobody made a key; any other address demands keys.

    Raises:
        SettingsError: the address can be reached by others and nobody has a key, or Redis has lost
            its data and nobody said that it is to be built again.
    """
    local = is_loopback(settings.host)
    asked = settings.auth if "auth" in settings.model_fields_set else None
    if not local and asked is Auth.OFF:
        raise SettingsError(
            f"FILEPROC_AUTH: off is for this machine alone, and {settings.host} can be reached "
            "by others. Unset it, or use --host 127.0.0.1."
        )
    if asked is Auth.OFF:
        return Auth.OFF
    own = settings.model_copy(update={"redis_url": SecretStr(stack.valkey.url)})
    async with open_store(own) as store:
        live = [info for info in await store.keys.list() if info.live]
        lost = await store.journal.empty() and stack.has_journal(settings.s3_bucket)
    if lost and not settings.rebuild_empty:
        raise SettingsError(
            f"Redis below {stack.folder.path} has lost its data, and the journal knows of it. "
            "Start once with FILEPROC_REBUILD_EMPTY=1 to build it again."
        )
    if lost:  # whose keys there are is in the journal: until then nobody comes in without one
        return Auth.REQUIRED
    if local and asked is None and not live and settings.admin_key_file is None:
        return Auth.OFF
    enough = live if local else [info for info in live if info.role is Role.ADMIN]
    if not enough and settings.admin_key_file is None:
        raise SettingsError(_first_key(settings.host, local=local, data=stack.folder.path))
    return Auth.REQUIRED


def _first_key(host: str, *, local: bool, data: Path) -> str:
    why = "FILEPROC_AUTH is required" if local else f"{host} can be reached by others"
    who = "a key" if local else "an admin key"
    return (
        f"{why}, so every request needs a key, and nobody has {who} yet. Make the first one:\n"
        f"  python -m fileproc keys create --owner me --role admin --data {shlex.quote(str(data))}"
    )


def banner(plan: Plan, data: Path) -> str:
    """What a person wants to know first."""
    needed = plan.auth is Auth.REQUIRED
    keys = "needed: -H 'Authorization: Bearer fp_...'" if needed else "not needed on this machine"
    return _BANNER.format(
        url=plan.url,
        worker=plan.worker_url,
        data=data,
        keys=keys,
        header=' -H "Authorization: Bearer $FILEPROC_KEY"' if needed else "",
    )


def say(line: str) -> None:
    """To the person at the terminal, between the roles' logs."""
    click.echo(f"fileproc: {line}", err=True)
