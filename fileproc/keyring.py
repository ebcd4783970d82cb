"""The keys that requests are made with, for a person at a shell: `python -m fileproc keys`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fileproc.console import REDIS_AWAY, examples, refuse, table
from fileproc.errors import StoreUnavailableError

# The store is imported by the commands only: `--help` stays quick.
if TYPE_CHECKING:
    from fileproc.settings import Settings
    from fileproc.store import ApiKeys, KeyInfo

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.group(
    epilog=examples(
        "python -m fileproc keys create --owner me --role admin",
        'python -m fileproc keys create --owner shop --label "order service" --expires 90d',
        "python -m fileproc keys create --owner shop --scope 'operation:image.*'",
        "python -m fileproc keys ls --owner shop",
        "python -m fileproc keys rotate 7k2m9q4x0c1v --overlap 24h",
        "python -m fileproc keys revoke 7k2m9q4x0c1v",
    )
)
def keys() -> None:
    """Make, list, rotate and revoke the keys of the api."""


def _data_option(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="The keys of `dev` with this data folder, instead of those in FILEPROC_REDIS_URL.",
    )
    return option(command)


def _duration(
    context: click.Context, option: click.Parameter, text: str | None
) -> timedelta | None:
    del context
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    none_is_fine = option.name == "overlap" and text == "0"
    if none_is_fine:
        return timedelta(0)
    if not number.isdecimal() or unit not in _SECONDS or int(number) == 0 or len(number) > 6:  # noqa: PLR2004 - digits
        raise click.BadParameter("must be a number and one of s, m, h, d, w, such as 90d")
    return timedelta(seconds=int(number) * _SECONDS[unit])


_EXPIRES = click.option(
    "--expires", metavar="TIME", callback=_duration, help="From now, such as 90d or 12h."
)


@keys.command("create", short_help="Make a key; it is printed once.")
@click.option("--owner", required=True, help="Whose jobs and files it opens.")
@click.option(
    "--role", type=click.Choice(["viewer", "user", "admin"]), default="user", show_default=True
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="What it may start jobs of: operation:image.resize, operation:image.*, template:thumbs."
    " Repeat for several; without any: everything.",
)
@click.option(
    "--reuse",
    is_flag=True,
    help="Its jobs are answered by earlier ones that asked the same, where they do not say.",
)
@click.option("--label", default="", help="What it is for; shown in the list.")
@_EXPIRES
@click.option("--json", "as_json", is_flag=True, help="The key with its facts, as JSON.")
@_data_option
def keys_create(
    *,
    owner: str,
    role: str,
    scopes: tuple[str, ...],
    reuse: bool,
    label: str,
    expires: timedelta | None,
    as_json: bool,
    data: Path | None,
) -> None:
    """Make a key. It is printed once; only a hash of it is kept."""
    from fileproc.store import Role

    until = datetime.now(UTC) + expires if expires else None

    async def create(store: ApiKeys) -> Any:
        return await store.create(
            owner, Role(role), expires_at=until, label=label, scopes=scopes, reuse=reuse
        )

    _print_new(_with_keys(create, data), as_json=as_json)
    if data is not None and not as_json:
        click.echo(
            "From its next start, `dev` with this folder demands a key. Jobs that were made "
            "without one belong to the owner `local`: only a key of that owner shows them.",
            err=True,
        )


def _print_new(new: Any, *, as_json: bool) -> None:
    info: KeyInfo = new.info
    if as_json:
        click.echo(json.dumps({**_facts(info), "token": new.token}))
        return
    click.echo(new.token)
    until = info.expires_at
    ending = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "until it is revoked"
    bound = f", for {', '.join(info.scopes)}" if info.scopes else ""
    click.echo(
        f"Key {info.id} of {info.owner} ({info.role}{bound}), {ending}. It is not shown again.",
        err=True,
    )
    if info.old_until:
        click.echo(
            f"The secret before is valid until {info.old_until:%Y-%m-%d %H:%M} UTC.", err=True
        )


@keys.command("ls")
@click.option("--owner", help="Only the keys of this owner.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@_data_option
def keys_ls(owner: str | None, as_json: bool, data: Path | None) -> None:
    """List the keys, oldest first; never their secrets."""

    async def listed(store: ApiKeys) -> list[KeyInfo]:
        return [info for info in await store.list() if owner in {None, info.owner}]

    infos = _with_keys(listed, data)
    if as_json:
        click.echo(json.dumps([_facts(info) for info in infos], indent=2))
        return
    rows = [("ID", "OWNER", "ROLE", "STATE", "CREATED", "EXPIRES", "SCOPES", "LABEL")]
    for info in infos:
        days = _day(info.created_at), _day(info.expires_at)
        bound = " ".join(info.scopes) or "-"
        rows.append((info.id, info.owner, str(info.role), info.state, *days, bound, info.label))
    table(rows)


@keys.command("rotate", short_help="Give a key a new secret; it is printed once.")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    metavar="TIME",
    callback=_duration,
    default="24h",
    show_default=True,
    help="The old secret lives on so long; 0 ends every old one.",
)
@_EXPIRES
@click.option("--json", "as_json", is_flag=True, help="The key with its facts, as JSON.")
@_data_option
def keys_rotate(
    *,
    key_id: str,
    overlap: timedelta,
    expires: timedelta | None,
    as_json: bool,
    data: Path | None,
) -> None:
    """Give a key a new secret. ID is what `keys ls` shows; --expires moves its end."""
    until = datetime.now(UTC) + expires if expires else None

    async def rotate(store: ApiKeys) -> Any:
        return await store.rotate(key_id, overlap_s=int(overlap.total_seconds()), expires_at=until)

    new = _with_keys(rotate, data)
    if new is None:
        refuse(_unknown(key_id))
    _print_new(new, as_json=as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@_data_option
def keys_revoke(key_id: str, data: Path | None) -> None:
    """Revoke a key, at once. ID is what `keys ls` shows."""

    async def revoke(store: ApiKeys) -> bool:
        return await store.revoke(key_id)

    if not _with_keys(revoke, data):
        refuse(_unknown(key_id))
    click.echo(f"Key {key_id} is revoked.", err=True)


def _unknown(key_id: str) -> str:
    return f"There is no key {key_id}; see `python -m fileproc keys ls`."


def _with_keys(work: Callable[[ApiKeys], Any], data: Path | None) -> Any:
    """Run `work` on the keys in Redis, or on those of a data folder of `dev`."""
    from fileproc.settings import load_settings
    from fileproc.store import open_store
    from fileproc.telemetry import configure_logging

    configure_logging("error", "console")  # a failure becomes our one sentence

    async def run(settings: Settings) -> Any:
        async with open_store(settings) as store:
            return await work(store.keys)

    with _redis_of(data) as url:
        try:
            return asyncio.run(run(load_settings(redis_url=url)))
        except StoreUnavailableError:
            refuse(f"{REDIS_AWAY} The keys of `dev` are reached by --data ./data.")


@contextmanager
def _redis_of(data: Path | None) -> Iterator[str | None]:
    if data is None:
        yield None
        return
    from fileproc.dev.folder import DataFolder

    with DataFolder(data).redis_url() as url:
        yield url


def _facts(info: KeyInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "owner": info.owner,
        "role": str(info.role),
        "scopes": list(info.scopes),
        "reuse": info.reuse,
        "label": info.label,
        "state": info.state,
        "created_at": _time(info.created_at),
        "expires_at": _time(info.expires_at),
        "revoked_at": _time(info.revoked_at),
        "rotated_at": _time(info.rotated_at),
        "old_secrets_until": _time(info.old_until),
    }


def _time(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z") if when else None


def _day(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d}" if when else "-"
