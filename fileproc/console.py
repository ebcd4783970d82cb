"""What the commands have in common at a shell: examples, tables, complaints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

WIDTH: Final = 100  # columns of a text
REDIS_AWAY: Final = (
    "Redis does not answer, or refuses us: see FILEPROC_REDIS_URL in `python -m fileproc config`."
)
STORAGE_AWAY: Final = (
    "The object storage does not answer, or refuses us: see what begins with "
    "FILEPROC_S3 in `python -m fileproc config`."
)


def examples(*lines: str) -> str:
    """The end of a command's help; the control character keeps the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns side by side: fitted to a terminal, in full lines for other programs."""
    if sys.stdout.isatty():
        _fitted(rows)
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _fitted(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*rows[0], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def refuse(sentence: str, status: int = 1) -> NoReturn:
    """To standard error, each line named; an indented one is to be copied, and stands alone."""
    for line in sentence.splitlines():
        click.echo(line if line.startswith(" ") else f"fileproc: {line}", err=True)
    sys.exit(status)
