"""How many event streams may be open: on this process, and of one owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fileproc.errors import TooManyStreamsError
from fileproc.telemetry import LIMITS_HIT, STREAMS_OPEN

_COME_BACK_S = 15  # a reader that is gone is noticed at the next beat


class Places:
    """Counts the open streams."""

    def __init__(self, most: int, most_per_owner: int) -> None:
        self._most = most
        self._most_per_owner = most_per_owner
        self._open: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """One place for the life of the context.

        Raises:
            TooManyStreamsError: there is none left.
        """
        if self._all >= self._most:
            raise _full("max_streams", self._most, "on this server")
        if self._open[owner] >= self._most_per_owner:
            raise _full("max_streams_per_owner", self._most_per_owner, "of yours")
        self._open[owner] += 1
        self._all += 1
        STREAMS_OPEN.inc()
        try:
            yield
        finally:
            STREAMS_OPEN.dec()
            self._all -= 1
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


def _full(limit: str, most: int, whose: str) -> TooManyStreamsError:
    LIMITS_HIT.labels(limit).inc()
    return TooManyStreamsError(
        f"{most} event streams {whose} are open, and no more may be: close some, follow all jobs "
        "by one stream (`GET /v1/events`), or ask again later.",
        retry_after_s=_COME_BACK_S,
        limit=limit,
        allowed=most,
    )
