"""Scopes: what a key may start, where it may not start everything that its owner may.

`operation:image.resize`, `operation:image.*` and `template:thumbs`. A key without any is not bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from fileproc.errors import InvalidRequestError

MOST_SCOPES: Final = 100  # of one key
PATTERN: Final = r"(operation:[a-z0-9_]+\.(\*|[a-z0-9_]+)|template:[a-z][a-z0-9_-]{0,39})"
_SCOPE = re.compile(PATTERN)


def checked(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes in order, each once.

    Raises:
        InvalidRequestError: one of them is none, or there are too many.
    """
    given = list(scopes)
    wrong = [place for place, scope in enumerate(given) if not _SCOPE.fullmatch(scope)]
    if wrong:
        raise InvalidRequestError(
            f"{given[wrong[0]][:100]!r} is no scope: operation:image.resize, operation:image.* and "
            "template:thumbs are.",
            errors=[{"pointer": f"/scopes/{place}", "detail": "No scope."} for place in wrong],
        )
    if len(given) > MOST_SCOPES:
        raise InvalidRequestError(f"A key has at most {MOST_SCOPES} scopes.")
    return tuple(sorted(set(given)))


def allow(scopes: Sequence[str], operations: Iterable[str], template: str | None = None) -> bool:
    """Whether a job of these operations, made from this template (or none), may be started."""
    if not scopes or (template is not None and f"template:{template}" in scopes):
        return True
    return all(
        f"operation:{name}" in scopes or f"operation:{name.partition('.')[0]}.*" in scopes
        for name in operations
    )
