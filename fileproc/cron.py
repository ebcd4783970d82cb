"""When a cron expression is due: five fields, by the clock of a time zone, as Debian's cron has it.

What is to happen at a fixed hour happens once a day: at the end of the gap where the hour is left
out, and in the first of two where it comes twice. What has a `*` in its minutes or hours goes by
elapsed time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

MAX_CHARS: Final = 100
FIELDS: Final = 5
_DAY_MINUTES: Final = 24 * 60
# Of the machine's own files some, such as `localtime`, mean something else on each machine.
_ZONE = re.compile(r"UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]*){1,2}")


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression in a time zone of the IANA's; both are judged when it is made.

    Raises:
        ValueError: one of them is none, or there is no such day; the message is a sentence.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if self.after(datetime.now(UTC)) is None:
            raise ValueError("There is no day on which this is due")

    def after(self, moment: datetime) -> datetime | None:
        """The first time it is due after this moment, in UTC; None: never again, for 50 years."""
        for due in _parsed(self.expression, moment.astimezone(zone_of(self.zone))):
            # In UTC: two times of one zone are compared by what its clocks show, and in an hour
            # that comes twice what the first of them shows may be over.
            if (found := due.astimezone(UTC)) > moment:
                return found
        return None

    def least_gap_s(self) -> int:
        """The shortest time between two that are due on one day, or on two in a row; seconds."""
        parsed = _parsed(self.expression, datetime.now(UTC))
        marks = sorted(hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes)
        ends = [*marks[1:], marks[0] + _DAY_MINUTES]
        return 60 * min(end - start for start, end in zip(marks, ends, strict=True))


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name.

    Raises:
        ValueError: there is none.
    """
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):  # the latter of a name that is a folder
        pass
    raise ValueError("There is no such time zone: name one such as UTC or Europe/Berlin")


def _parsed(expression: str, since: datetime) -> CronSim:
    if len(expression) > MAX_CHARS:
        raise ValueError(f"A cron expression has at most {MAX_CHARS} characters")
    if len(expression.split()) != FIELDS:  # the library would take seconds as well
        raise ValueError("A cron expression has five fields: minute, hour, day, month, day of week")
    try:
        return CronSim(expression, since)
    except (CronSimError, AssertionError) as exc:
        what = str(exc).removeprefix("Bad ") or "field"
        raise ValueError(f"The {what} of the cron expression cannot be understood") from exc
