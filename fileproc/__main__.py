"""The command line: `python -m fileproc`, or `fileproc` where it is installed.

Results go to standard output, all else to standard error. Exit status: 0 done, 1 it did not work,
2 the command or the settings are wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fileproc import __version__, absent
from fileproc.errors import (
    FileprocError,
    NoJournalError,
    SettingsError,
    StorageUnavailableError,
    StoreUnavailableError,
)

try:
    import click

    from fileproc.console import REDIS_AWAY, STORAGE_AWAY, WIDTH, examples, refuse, table
    from fileproc.keyring import keys
    from fileproc.manual import operations
    from fileproc.owners import lanes, owners
except ModuleNotFoundError as exc:
    sys.exit(f"fileproc: {absent.sentence(exc)}")

# The roles' modules are imported by their commands only: `--help` and `healthcheck` stay quick.
if TYPE_CHECKING:
    from fileproc.settings import Settings
    from fileproc.worker.rebuild import Rebuilt


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    epilog=examples(
        "python -m fileproc demo                    one real job, then all is gone again",
        "python -m fileproc dev --data ./data       everything on this machine",
        "python -m fileproc api                     the HTTP role, on your Redis and S3",
        "python -m fileproc worker --concurrency 4  the processing role",
        "python -m fileproc keys create --owner me --role admin",
        "python -m fileproc operations list         what can be done to a file",
        "python -m fileproc config                  what is set, and what is wrong with it",
        "python -m fileproc rebuild --dry-run       what a lost Redis could be built from",
    ),
)
@click.version_option(__version__, message="fileproc %(version)s")
def cli() -> None:
    """Asynchronous file processing: hand over a file, name an operation, download the result.

    Settings are environment variables (see `config`), also from a file `.env`; `NAME_FILE` reads
    the secret NAME from a file.
    """


cli.add_command(operations)
cli.add_command(keys)
cli.add_command(owners)
cli.add_command(lanes)


# --- the roles ---------------------------------------------------------------------------------


@cli.command(
    epilog=examples(
        "FILEPROC_REDIS_URL=redis://redis:6379/0 AWS_ENDPOINT_URL_S3=http://minio:9000 \\",
        "  python -m fileproc api --host 0.0.0.0",
    )
)
@click.option("--host", help="Address to listen on.  [FILEPROC_HOST]")
@click.option("--port", type=click.IntRange(0, 65_535), help="0 takes a free one.  [FILEPROC_PORT]")
def api(host: str | None, port: int | None) -> None:
    """Run the HTTP role.

    SIGTERM lets requests under way finish; a second one exits now.
    """
    settings = _settings(host=host, port=port)
    _logging(settings)
    from fileproc.api.app import run_api

    run_api(settings)


@cli.command(
    epilog=examples(
        "python -m fileproc worker",
        "python -m fileproc worker --lanes default --concurrency 8",
        "python -m fileproc worker --burst",
    )
)
@click.option("--lanes", metavar="NAMES", help="Lanes to serve: default,heavy.  [FILEPROC_LANES]")
@click.option(
    "--concurrency",
    metavar="N",
    help="Slots per lane: 4, or default=4,heavy=1.  [FILEPROC_CONCURRENCY]",
)
@click.option("--burst", is_flag=True, help="Work until the queue is empty, then exit.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Of its health server.  [FILEPROC_WORKER_PORT]",
)
def worker(lanes: str | None, concurrency: str | None, burst: bool, port: int | None) -> None:
    """Run the processing role.

    SIGTERM drains: running jobs get FILEPROC_GRACE_S to end and are handed back then, without
    losing an attempt. A second one exits now.
    """
    settings = _settings(lanes=lanes, concurrency=concurrency, worker_port=port)
    _logging(settings)
    from fileproc.worker.app import run_worker

    sys.exit(run_worker(settings, burst=burst))


@cli.command(
    epilog=examples(
        "python -m fileproc dev",
        "python -m fileproc dev --port 8090 --data ./data",
        "FILEPROC_DEBUG_OPERATIONS=1 python -m fileproc dev",
        "python -m fileproc keys create --owner me --role admin --data ./data",
        "python -m fileproc dev --host 0.0.0.0 --data ./data",
    )
)
@click.option("--host", help="Address of the api; other than this machine demands keys.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Of the api; 0 takes a free one.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that keeps everything; the same folder has the same jobs again.",
)
def dev(host: str | None, port: int | None, data: Path) -> None:
    """Run everything on this machine.

    Starts Valkey, an S3 server, the api and a worker, and keeps them running. Ctrl-C stops it all,
    in order. As long as the folder has no keys, only this machine can use it, without any; once
    `keys create --data` has made one, every request needs a key.
    """
    settings = _settings(host=host, port=port)
    _logging(settings)
    from fileproc.dev.supervisor import run_dev

    sys.exit(run_dev(settings, data))


@cli.command(
    epilog=examples(
        "python -m fileproc demo",
        "python -m fileproc demo holiday.jpg --out /tmp",
    )
)
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder for the result.",
)
def demo(file: Path | None, out: Path) -> None:
    """Run one real job from end to end.

    A photo becomes a thumbnail: starts what `dev` starts, on free ports and in a temporary folder,
    submits FILE (by default a photo that the repository carries), downloads the result, checks it,
    and stops everything.
    """
    settings = _settings()
    _logging(settings)
    from fileproc.client import Client
    from fileproc.dev.demo import run_demo

    sys.exit(run_demo(settings, file, out, Client))


# --- the journal -------------------------------------------------------------------------------


@cli.command(
    short_help="Build a lost Redis again from the journal.",
    epilog=examples(
        "python -m fileproc rebuild --dry-run     what would come back, and up to which moment",
        "python -m fileproc rebuild",
    ),
)
@click.option("--dry-run", is_flag=True, help="Only say what would be written back.")
@click.option("--json", "as_json", is_flag=True, help="The figures as a JSON object.")
def rebuild(dry_run: bool, as_json: bool) -> None:
    """Build a lost Redis again from the journal in object storage.

    Unfinished jobs wait again, finished ones can be downloaded again, keys are valid again. What
    is in Redis is left alone, unless the journal knows of it what came later, so running it twice
    does no harm. The journal is about a second behind: what was accepted after the moment that is
    printed is not restored. Objects that cannot be read are passed over, and the rest is put into
    use; the exit status is 1 then, so look with --dry-run before. Where there is no journal at all,
    nothing is done.
    """
    from dataclasses import asdict

    from fileproc.resources import open_resources
    from fileproc.telemetry import configure_logging
    from fileproc.worker.rebuild import rebuild as restore

    configure_logging("warning", "console")  # why an engine refuses us is told there
    settings = _settings()

    async def run() -> Rebuilt:
        async with open_resources(settings) as resources:
            return await restore(resources, dry_run=dry_run)

    again = "Once that is mended, run it again: what it has restored stays."
    try:
        done = asyncio.run(run())
    except StoreUnavailableError:
        refuse(f"{REDIS_AWAY} {again}")
    except StorageUnavailableError:
        refuse(f"{STORAGE_AWAY} {again}")
    except NoJournalError as exc:
        refuse(exc.detail)
    if as_json:
        click.echo(json.dumps({**asdict(done), "up_to": _time(done.up_to), "dry_run": dry_run}))
    else:
        _tell_of_rebuild(done, dry_run=dry_run)
    if done.broken:
        refuse(f"{done.broken} objects of the journal cannot be read; the log names them.")


def _tell_of_rebuild(done: Rebuilt, *, dry_run: bool) -> None:
    verb = "would be" if dry_run else "are"
    click.echo(f"{done.queued} unfinished jobs {verb} queued again")
    click.echo(f"{done.finished} finished jobs {verb} back, with their results")
    click.echo(f"{done.present} jobs are there already, {done.lapsed} are past their retention")
    if done.withdrawn:
        click.echo(f"{done.withdrawn} jobs are of batches that were not whole: they {verb} dropped")
    if done.deleted:
        click.echo(f"{done.deleted} jobs had been deleted and {verb} deleted again")
    click.echo(
        f"{done.keys} keys, {done.batches} batches, {done.schedules} schedules, {done.templates} "
        f"templates, {done.links} share links, {done.files} files of their own and the settings of "
        f"{done.owners} owners are in the journal"
    )
    click.echo(f"{done.webhooks} webhooks, and {done.deliveries} deliveries that are not over")
    moment = f"the last event is of {_time(done.up_to)}" if done.up_to else "and it is empty"
    click.echo(f"The journal has {done.objects} objects, {moment}.")


def _time(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z") if when else None


# --- settings and health -----------------------------------------------------------------------


@cli.command(
    short_help="Show the settings, or what is wrong with them.",
    epilog=examples(
        "python -m fileproc config",
        "FILEPROC_LEASE_S=2 python -m fileproc config        complains, exit status 2",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def config(as_json: bool) -> None:
    """Show the settings as they take effect, secrets masked; or every complaint at once."""
    from fileproc.settings import effective, unknown_variables

    for sentence in unknown_variables():
        click.echo(sentence, err=True)
    rows = effective(_settings())
    if as_json:
        click.echo(json.dumps({name: value for name, value, _ in rows}, indent=2))
        return
    table([("SETTING", "VALUE", "MEANING"), *rows])


@cli.command(short_help="Ask a role whether it is well.")
@click.option("--role", type=click.Choice(["api", "worker"]), default="api", show_default=True)
@click.option("--timeout", type=float, default=3.0, show_default=True, help="Seconds.")
def healthcheck(role: str, timeout: float) -> None:
    """Ask the role on this machine whether it is well: exit status 0, or 1 and why not.

    Made for HEALTHCHECK in a container, which then needs no curl.
    """
    from http.client import HTTPConnection, HTTPException

    settings = _settings()
    host, port = settings.host, settings.port
    if role == "worker":
        host, port = settings.worker_host, settings.worker_port
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where to ask, not where to listen
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as exc:
        refuse(f"The {role} at {host}:{port} does not answer: {exc}")
    finally:
        connection.close()
    if status != 200:  # noqa: PLR2004 - HTTP
        refuse(f"The {role} at {host}:{port} answers {status}.")


# --- common ------------------------------------------------------------------------------------


def _settings(**overrides: Any) -> Settings:
    from fileproc.settings import load_settings

    return load_settings(**overrides)


def _logging(settings: Settings) -> None:
    from fileproc.telemetry import configure_logging

    configure_logging(settings.log_level, settings.log_format)


def main() -> None:
    """Run the command line; an error that we foresaw is a sentence, not a traceback."""
    try:
        cli(prog_name="python -m fileproc")
    except FileprocError as exc:
        refuse(exc.detail, 2 if isinstance(exc, SettingsError) else 1)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "fileproc":
            raise
        refuse(absent.sentence(exc))


if __name__ == "__main__":
    main()
