"""A rate as operators write it: `6000/minute`, `50/10s`, or `off`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_RATE = re.compile(r"([1-9][0-9]{0,6})/(?:(second|minute|hour)|([1-9][0-9]{0,4})s)")
_WINDOWS_S: Final = {"second": 1, "minute": 60, "hour": 3600}
MOST: Final = (
    100_000  # what Redis counts one by one; each costs some 20 bytes until it is forgotten
)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many requests in any window of so many seconds."""

    requests: int
    window_s: int


def parse_rate(text: str) -> Rate | None:
    """The rate, or None for `off`.

    Raises:
        ValueError: it is neither.
    """
    if text.strip().lower() == "off":
        return None
    found = _RATE.fullmatch(text.strip().lower())
    if found is None or int(found[1]) > MOST:
        raise ValueError(
            f"must be off, or a number up to {MOST} and a window, such as 100/second, 6000/minute "
            "or 50/10s"
        )
    return Rate(int(found[1]), _WINDOWS_S[found[2]] if found[2] else int(found[3]))
