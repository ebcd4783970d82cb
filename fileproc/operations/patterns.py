"""Patterns as shells have them, for the paths in an archive."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

MOST = 50


def _listed(value: object) -> object:
    """One text is a list of one: so a query can hold it."""
    return [value] if isinstance(value, str) else value


def _few(patterns: list[str]) -> list[str]:
    if len(patterns) > MOST:
        raise ValueError(f"give at most {MOST} patterns")
    return patterns


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Patterns = Annotated[list[Pattern], BeforeValidator(_listed), AfterValidator(_few)]


class Choice:
    """What is chosen by patterns to include (none: all) and to exclude.

    `*` stands for any text, also across folders, `?` for one character, `[abc]` for one of some. A
    pattern without a slash also chooses by the last part of a path, one with a slash at its end
    all that is in that folder.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_Glob(pattern) for pattern in include]
        self._exclude = [_Glob(pattern) for pattern in exclude]

    def takes(self, parts: Sequence[str]) -> bool:
        """Whether the path of these parts is chosen."""
        path, name = "/".join(parts), parts[-1] if parts else ""
        wanted = not self._include or any(glob.fits(path, name) for glob in self._include)
        return wanted and not any(glob.fits(path, name) for glob in self._exclude)


class _Glob:
    def __init__(self, pattern: str) -> None:
        if pattern.endswith("/"):
            pattern += "*"
        self._regex = re.compile(fnmatch.translate(pattern.removeprefix("./")))
        self._by_name = "/" not in pattern

    def fits(self, path: str, name: str) -> bool:
        return bool(self._regex.match(path) or (self._by_name and self._regex.match(name)))
