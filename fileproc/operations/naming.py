"""Names out of a file, of columns and sheets, as a complaint shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 100  # characters of one name
_MOST: Final = 50  # names
_MOST_TOGETHER: Final = 1_000  # characters


def quoted(name: str) -> str:
    """One name, in quotes; half a surrogate pair, which nobody can send, becomes a mark."""
    return repr(name[:_LONGEST].encode("utf-8", "replace").decode())


def listed(names: Sequence[str]) -> str:
    """`'a', 'b' and 3 more`: as many as a person looks through."""
    shown: list[str] = []
    for name in map(quoted, names[:_MOST]):
        if shown and sum(map(len, shown)) + len(name) > _MOST_TOGETHER:
            break
        shown.append(name)
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
