"""Text and tables as the picture of a page, for previews."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

MAX_LINES: Final = 40
MAX_CELLS: Final = 30
_MAX_LINE = 72  # characters
_MAX_CELL = 24
_MARGIN = 24  # pixels, before the page is scaled
_PAGE = (560, 400)  # the least size of the page
_FONT = "monospace 10"
_DPI = 96
_INK, _PAPER = 40, 255


def page(lines: Sequence[str]) -> Any:
    """Black lines on white, as many as fit; an image of libvips, grey."""
    import pyvips

    shown = [_clean(line)[:_MAX_LINE] for line in lines[:MAX_LINES]]
    across, down = _PAGE
    letters = None
    # Characters that have no ink, of which there are more than Python calls space, are an error.
    with contextlib.suppress(pyvips.Error):
        letters = pyvips.Image.text(_escaped("\n".join(shown)), font=_FONT, dpi=_DPI)
    if letters is not None:
        across = max(across, letters.width + 2 * _MARGIN)
        down = max(down, letters.height + 2 * _MARGIN)
    paper = pyvips.Image.black(across, down) + _PAPER
    if letters is not None:
        mask = letters.embed(_MARGIN, _MARGIN, across, down)
        paper = mask.ifthenelse(_INK, paper, blend=True)
    return paper.cast("uchar").copy(interpretation="b-w")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines, the first as its heads."""
    shown = [[_cell(cell) for cell in row[:MAX_CELLS]] for row in rows[:MAX_LINES]]
    count = max((len(row) for row in shown), default=0)
    widths = [max((len(row[i]) for row in shown if i < len(row)), default=0) for i in range(count)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        for row in shown
    ]
    if lines:
        lines.insert(1, "  ".join("\u2500" * width for width in widths))
    return lines


def _cell(text: str) -> str:
    text = " ".join(text[: 4 * _MAX_CELL].split())
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "\u2026"


def _clean(line: str) -> str:
    """Without control and direction characters, of which Pango would make something."""
    line = line[: 4 * _MAX_LINE].expandtabs(4)
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


def _escaped(text: str) -> str:
    """Pango reads markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
