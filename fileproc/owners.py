"""Owners and lanes for an operator at a shell: `python -m fileproc owners`, and `lanes`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fileproc.console import REDIS_AWAY, examples, refuse, table
from fileproc.errors import StoreUnavailableError

# The store is imported by the commands only: `--help` stays quick.
if TYPE_CHECKING:
    from fileproc.store import Owner, Store

_T = TypeVar("_T")


def _data_option(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Those of `dev` with this data folder, instead of those in FILEPROC_REDIS_URL.",
    )
    return option(command)


def _on_store(work: Callable[[Store], Awaitable[_T]], data: Path | None) -> _T:
    """Run `work` on the store in Redis, or on that of a data folder of `dev`."""
    from fileproc.dev.folder import DataFolder
    from fileproc.settings import load_settings
    from fileproc.store import open_store
    from fileproc.telemetry import configure_logging

    configure_logging("error", "console")  # a failure becomes our one sentence

    async def run(url: str | None) -> _T:
        async with open_store(load_settings(redis_url=url)) as store:
            return await work(store)

    with DataFolder(data).redis_url() if data is not None else nullcontext() as url:
        try:
            return asyncio.run(run(url))
        except StoreUnavailableError:
            refuse(f"{REDIS_AWAY} What `dev` has is reached by --data ./data.")


# --- owners ------------------------------------------------------------------------------------


@click.group(
    epilog=examples(
        "python -m fileproc owners set acme --weight 3 --jobs-per-day 5000",
        "python -m fileproc owners ls",
        "python -m fileproc owners show acme",
        "python -m fileproc owners pause acme",
        "python -m fileproc owners reset acme",
    )
)
def owners() -> None:
    """Set shares, caps and quotas of owners, and pause them."""


@owners.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@_data_option
def owners_ls(as_json: bool, data: Path | None) -> None:
    """List the owners that have settings of their own; all others are as everybody."""

    async def listed(store: Store) -> list[Owner]:
        return await store.owners.list()

    found = _on_store(listed, data)
    if as_json:
        click.echo(json.dumps([_facts(owner) for owner in found], indent=2))
        return
    rows = [("OWNER", "WEIGHT", "RUNNING", "QUEUED", "JOBS/DAY", "BYTES/DAY", "CPU S/DAY")]
    for owner in found:
        cells = ("-" if value is None else str(value) for value in asdict(owner.grant).values())
        rows.append((owner.name, *cells))  # type: ignore[arg-type] # there are six of them
    table(rows)


@owners.command("show")
@click.argument("owner")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@_data_option
def owners_show(owner: str, as_json: bool, data: Path | None) -> None:
    """Show what holds for an owner, and what it has used today."""

    async def looked(store: Store) -> dict[str, Any]:
        found = await store.owners.get(owner)
        used = await store.usage.of(owner, 1)
        today = used.days[0]
        return {
            **_facts(found),
            "limits": asdict(store.owners.everybody.with_grant(found.grant)),
            "used_today": {"jobs": today.jobs, "bytes": today.bytes, "cpu_s": today.cpu_s},
            "unfinished": {str(state): count for state, count in used.jobs.items()},
            "paused_lanes": used.paused_lanes,
        }

    facts = _on_store(looked, data)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    own = facts["settings"]
    for name, value in facts["limits"].items():
        told = f"{value:,}" if value else "any"
        click.echo(f"{name:15} {told}{'' if own[name] is None else '  (its own)'}")
    for part in ("used_today", "unfinished"):
        told = ", ".join(f"{name} {value:,}" for name, value in facts[part].items())
        click.echo(f"{part.replace('_', ' '):15} {told}")
    if facts["paused_lanes"]:
        click.echo(f"{'paused in':15} {', '.join(facts['paused_lanes'])}")


_COUNT = click.IntRange(1, 10**15)


@owners.command("set", short_help="Set what an owner is granted.")
@click.argument("owner")
@click.option("--weight", type=click.IntRange(1, 100), help="Share of the turns; others have 1.")
@click.option("--max-running", type=_COUNT, help="Jobs that may run at once in one lane.")
@click.option("--max-queued", type=_COUNT, help="Jobs that may wait at once.")
@click.option("--jobs-per-day", type=_COUNT, help="Jobs that may be submitted in a day (UTC).")
@click.option("--bytes-per-day", type=_COUNT, help="Bytes that may be uploaded in a day.")
@click.option("--cpu-s-per-day", type=_COUNT, help="CPU seconds after which jobs are refused.")
@_data_option
def owners_set(owner: str, data: Path | None, **given: int | None) -> None:
    """Set what an owner is granted. What is not named stays as it is.

    It holds at once in every process, also for jobs that wait already.
    """
    from fileproc.store import Grant
    from fileproc.store.owners import OWNER

    if not OWNER.fullmatch(owner):
        refuse(
            f"The owner {owner[:80]!r} is not valid: letters, digits and _ . @ - only, 64 at most, "
            "beginning with a letter or digit.",
            2,
        )
    chosen = {name: value for name, value in given.items() if value is not None}
    if not chosen:
        refuse("Say what to set, such as --weight 3; see `owners set --help`.", 2)

    async def change(store: Store) -> None:
        before = (await store.owners.get(owner)).grant
        await store.owners.set(owner, Grant(**{**before.given(), **chosen}))

    _on_store(change, data)
    click.echo(f"{owner}: {', '.join(f'{name} {value:,}' for name, value in chosen.items())}.")


@owners.command("reset")
@click.argument("owner")
@_data_option
def owners_reset(owner: str, data: Path | None) -> None:
    """Take an owner's settings back: it is as everybody."""
    from fileproc.store import Grant

    async def change(store: Store) -> None:
        await store.owners.set(owner, Grant())

    _on_store(change, data)
    click.echo(f"{owner} is as everybody.", err=True)


@owners.command("pause")
@click.argument("owner")
@_data_option
def owners_pause(owner: str, data: Path | None) -> None:
    """Start no more jobs of an owner; what runs goes on."""
    from fileproc.jobs import LANES

    async def change(store: Store) -> None:
        for lane in LANES:
            await store.upkeep.pause(lane, owner)

    _on_store(change, data)
    click.echo(f"Jobs of {owner} wait until `owners resume {owner}`.", err=True)


@owners.command("resume")
@click.argument("owner")
@_data_option
def owners_resume(owner: str, data: Path | None) -> None:
    """Start jobs of an owner again."""
    from fileproc.jobs import LANES

    async def change(store: Store) -> None:
        for lane in LANES:
            await store.upkeep.resume(lane, owner)

    _on_store(change, data)
    click.echo(f"Jobs of {owner} go on.", err=True)


def _facts(owner: Owner) -> dict[str, Any]:
    changed = owner.changed_at.isoformat() if owner.changed_at else None
    return {"owner": owner.name, "settings": asdict(owner.grant), "changed_at": changed}


def _known(lane: str) -> None:
    from fileproc.jobs import LANES

    if lane not in LANES:
        refuse(f"There is no lane {lane!r}; there are {' and '.join(LANES)}.", 2)


# --- lanes -------------------------------------------------------------------------------------


@click.group(
    epilog=examples(
        "python -m fileproc lanes ls",
        "python -m fileproc lanes pause heavy     nothing more is started in it",
        "python -m fileproc lanes resume heavy",
    )
)
def lanes() -> None:
    """Show the lanes, and stop taking jobs from one of them."""


@lanes.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@_data_option
def lanes_ls(as_json: bool, data: Path | None) -> None:
    """List the lanes."""
    from fileproc.jobs import LANES

    async def looked(store: Store) -> list[dict[str, Any]]:
        return [{"lane": lane, **asdict(await store.upkeep.lane(lane))} for lane in LANES]

    found = _on_store(looked, data)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [("LANE", "STATE", "READY", "WAITING", "OWNERS")]
    for lane in found:
        state = "paused" if lane["paused"] else "open"
        figures = (str(lane[name]) for name in ("ready", "waiting", "owners_waiting"))
        rows.append((lane["lane"], state, *figures))
    table(rows)


@lanes.command("pause")
@click.argument("lane")
@_data_option
def lanes_pause(lane: str, data: Path | None) -> None:
    """Take nothing more from a lane; what runs goes on, and jobs are still accepted."""
    _known(lane)

    async def change(store: Store) -> None:
        await store.upkeep.pause(lane)

    _on_store(change, data)
    click.echo(f"The lane {lane} is paused until `lanes resume {lane}`.", err=True)


@lanes.command("resume")
@click.argument("lane")
@_data_option
def lanes_resume(lane: str, data: Path | None) -> None:
    """Take jobs from a lane again."""
    _known(lane)

    async def change(store: Store) -> None:
        await store.upkeep.resume(lane)

    _on_store(change, data)
    click.echo(f"The lane {lane} is open.", err=True)
