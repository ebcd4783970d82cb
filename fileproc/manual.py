"""What operations there are, for a person at a shell: `python -m fileproc operations`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from fileproc.console import WIDTH, examples, refuse, table
from fileproc.errors import UnknownOperationError

# The catalogue is imported by the commands only: `--help` stays quick.
if TYPE_CHECKING:
    from fileproc.operations import Operation
    from fileproc.operations.reference import Parameter
    from fileproc.settings import Settings

_GIB: Final = 1024**3


@click.group(
    epilog=examples(
        "python -m fileproc operations list",
        "python -m fileproc operations show pdf.split",
        "python -m fileproc operations show pdf.split --json    with the JSON Schema",
    )
)
def operations() -> None:
    """Show what can be done to a file, and how it is asked for."""


@operations.command("list", short_help="List the operations.")
@click.option("--json", "as_json", is_flag=True, help="As `GET /v1/operations` gives them.")
def listed(as_json: bool) -> None:
    """List the operations that are offered here; NEEDS is what has to be there beside fileproc."""
    from fileproc.operations import catalogue, lacking, offered
    from fileproc.operations.reference import needs
    from fileproc.settings import load_settings, services
    from fileproc.views import operation_view

    settings = load_settings()
    found = [*offered(debug=settings.debug_operations, services=services(settings)).values()]
    if as_json:
        click.echo(json.dumps([operation_view(entry, settings) for entry in found], indent=2))
        return
    rows = [("OPERATION", "LANE", "NEEDS", "SUMMARY")]
    rows += [(item.name, item.lane, ", ".join(needs(item)), item.summary) for item in found]
    table(rows)
    for name, entry in catalogue().items():
        if entry not in found:
            click.echo(
                f"Not offered here: {name}, which needs {' and '.join(lacking(entry))}.", err=True
            )


@operations.command("show", short_help="Show all about one operation.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As `GET /v1/operations/NAME` gives it.")
def show(name: str, as_json: bool) -> None:
    """Show an operation: files, parameters, limits, errors, and a line that makes a job."""
    from fileproc.operations import find
    from fileproc.settings import load_settings
    from fileproc.views import operation_view

    settings = load_settings()
    try:
        entry = find(name, debug=settings.debug_operations)
    except UnknownOperationError as exc:
        refuse(f"{exc.detail} See `python -m fileproc operations list`.")
    if as_json:
        click.echo(json.dumps(operation_view(entry, settings), indent=2))
        return
    click.echo("\n".join(_page(entry, settings)))


def _page(entry: Operation, settings: Settings) -> Iterator[str]:
    from fileproc.api.job_codes import JOB_CODES
    from fileproc.operations import offered, reference
    from fileproc.operations.registry import lacking
    from fileproc.settings import services

    codes = [(code, JOB_CODES[code].says) for code in entry.error_codes]
    yield f"{entry.name}: {entry.summary}"
    for text in reference.paragraphs(entry)[: -1 if codes else None]:
        yield from ("", *textwrap.wrap(text, WIDTH))
    facts = reference.facts(entry, settings.max_inputs)
    told = [(name, ", ".join(values)) for name, values in facts]
    yield from ("", *_side_by_side([*told, *_limits(entry, settings)]))
    if entry.name not in offered(debug=True, services=services(settings)):
        yield from ("", f"Not offered here: it needs {' and '.join(lacking(entry))}.")
    for parameter in reference.parameters(entry):
        yield from ("", *_described(parameter))
    if codes:
        yield from ("", "A job can fail with", *_side_by_side(codes))
    yield from ("", "Example", *(f"  {line}" for line in reference.examples(entry)))


def _limits(entry: Operation, settings: Settings) -> Iterator[tuple[str, str]]:
    heavy = entry.lane == "heavy"
    seconds = settings.heavy_job_timeout_s if heavy else settings.job_timeout_s
    memory, scratch = _size(settings.max_memory_bytes), _size(settings.max_scratch_bytes)
    yield "Size", f"at most {_size(settings.max_upload_bytes)} a file"
    yield "Time", f"at most {seconds:g} s an attempt"
    yield "Space", f"at most {memory} of memory, {scratch} of files"


def _size(count: int) -> str:
    return f"{count / _GIB:.3g} GiB" if count >= _GIB else f"{count / _GIB * 1024:.3g} MiB"


def _described(parameter: Parameter) -> Iterator[str]:
    values = parameter.values
    said = values if isinstance(values, str) else " | ".join(values)
    default = parameter.default
    if default and default != "required":
        default = f"by default {default}"
    yield from _broken(", ".join(filter(None, (f"{parameter.name}: {said}", default))), 2)
    yield from _broken(parameter.meaning, 6)


def _side_by_side(pairs: list[tuple[str, str]]) -> Iterator[str]:
    width = 4 + max(len(name) for name, _ in pairs)
    for name, text in pairs:
        yield f"  {name}".ljust(width) + "\n".join(_broken(text, width)).lstrip()


def _broken(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text, WIDTH, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )
