"""Which characters the fonts of this machine can draw.

For a character that no font has Pango draws a box with its number inside. A code point that stands
for no character, now or ever, gets that box for certain: what has the same frame is one as well.
"""

from __future__ import annotations

import html
import unicodedata
from functools import cache
from typing import Final

from fileproc.operations.work import BadInput

_NO_CHARACTERS: Final = ("\ufdd0", "\U0001fffe")  # numbers of four digits, and of more
_FONT: Final = "sans 32"  # with all others to fall back to, as any has
_DPI: Final = 72
_MOST_SHOWN: Final = 5

Frame = tuple[int, int, bytes, bytes, bytes, bytes]


def check(text: str) -> None:
    """Refuse a text that would be drawn with boxes in it.

    Raises:
        BadInput: `undrawable_text`.
    """
    unusual = [char for char in dict.fromkeys(unicodedata.normalize("NFC", text)) if char > "~"]
    if not unusual:
        return
    boxes = {_frame(char) for char in _NO_CHARACTERS} - {None}
    missing = [char for char in unusual if _frame(char) in boxes]
    if missing:
        shown = ", ".join(f"{char} (U+{ord(char):04X})" for char in missing[:_MOST_SHOWN])
        more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
        raise BadInput(
            f"The text cannot be drawn: no font of this server has {shown}{more}.",
            code="undrawable_text",
        )


@cache
def _frame(char: str) -> Frame | None:
    """Size and outermost pixels of a character's picture; None where it has no ink."""
    import pyvips

    try:
        image = pyvips.Image.text(html.escape(char), font=_FONT, dpi=_DPI)
        pixels = bytes(image.write_to_memory())
    except pyvips.Error:
        return None
    width = image.width
    sides = pixels[:width], pixels[-width:], pixels[::width], pixels[width - 1 :: width]
    return (width, image.height, *sides)
