"""When a cron expression is due: on clocks that are set forward and back, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fileproc.cron import Cron, zone_of

YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def all_due(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    """As firings come to it: each asks from the one before."""
    found: list[datetime] = []
    while (due := cron.after(found[-1] if found else start)) is not None and due < end:
        found.append(due)
    return found


def shown(moments: list[datetime], zone: str) -> list[str]:
    return [f"{moment.astimezone(zone_of(zone)):%d %H:%M%z}" for moment in moments]


def test_the_clock_is_that_of_the_zone() -> None:
    cron = Cron("30 4 * * MON-FRI", "Europe/Berlin")
    assert cron.after(YEAR) == datetime(2026, 1, 1, 3, 30, tzinfo=UTC)
    assert cron.after(datetime(2026, 7, 3, 12, tzinfo=UTC)) == datetime(
        2026, 7, 6, 2, 30, tzinfo=UTC
    )
    kathmandu = Cron("0 0 * * *", "Asia/Kathmandu")
    assert kathmandu.after(YEAR) == datetime(2026, 1, 1, 18, 15, tzinfo=UTC)


def test_what_is_at_a_fixed_hour_happens_once_on_the_days_of_the_change() -> None:
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC)
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 26, 12, tzinfo=UTC)
    cases = [
        ("30 2 * * *", spring, ["29 03:00+0200", "30 02:30+0200"]),  # there is no 2:30 that night
        ("30 2 * * *", autumn, ["25 02:30+0200", "26 02:30+0100"]),  # there are two
        ("0,30 2 * * *", spring, ["29 03:00+0200", "30 02:00+0200", "30 02:30+0200"]),
        (
            "15 2,3 * * *",
            spring,
            ["29 03:00+0200", "29 03:15+0200", "30 02:15+0200", "30 03:15+0200"],
        ),
    ]
    for expression, (start, end), expected in cases:
        found = all_due(Cron(expression, "Europe/Berlin"), start, end)
        assert shown(found, "Europe/Berlin") == expected, expression


def test_what_is_every_hour_goes_by_elapsed_time() -> None:
    for day in (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)):
        found = all_due(Cron("30 * * * *", "Europe/Berlin"), day, day + timedelta(hours=8))
        assert len(found) == 8
        assert {second - first for first, second in pairwise(found)} == {timedelta(hours=1)}


def test_from_within_the_hour_that_comes_again_nothing_is_due_in_the_past() -> None:
    cron = Cron("1-59 2 * * *", "Europe/Berlin")
    for minute in range(60):
        moment = datetime(2026, 10, 25, 1, minute, tzinfo=UTC)  # 2:xx, the second time
        assert cron.after(moment) == datetime(2026, 10, 26, 1, 1, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(
    minute=st.sampled_from(["*", "*/7", "0", "30", "59", "0,30", "5-50/9"]),
    hour=st.sampled_from(["*", "*/5", "0", "1", "2", "3", "23", "1-3"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    start=st.integers(0, 366 * 86_400),
)
def test_each_that_is_due_is_later_than_the_one_before(
    minute: str, hour: str, zone: str, start: int
) -> None:
    moment = YEAR + timedelta(seconds=start)
    for _ in range(20):
        due = Cron(f"{minute} {hour} * * *", zone).after(moment)
        assert due is not None
        assert moment < due < moment + timedelta(hours=50)
        moment = due


@pytest.mark.parametrize(
    ("expression", "zone", "says"),
    [
        ("", "UTC", "five fields"),
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("@daily", "UTC", "five fields"),
        ("61 * * * *", "UTC", "minute"),
        ("* 24 * * *", "UTC", "hour"),
        ("٣ * * * *", "UTC", "minute"),
        ("*/0 * * * *", "UTC", "minute"),
        ("5-1 * * * *", "UTC", "minute"),
        ("1/2/3 * * * *", "UTC", "minute"),
        ("* * 30 2 *", "UTC", "day-of-month"),
        ("* * */20 * 1L", "UTC", "no day"),
        ("* * * * ²L", "UTC", "day-of-week"),
        ("1," * 60 + "1 * * * *", "UTC", "at most 100"),
        ("* * * * *", "", "no such time zone"),
        ("* * * * *", "Mars/Olympus", "no such time zone"),
        ("* * * * *", "../../etc/passwd", "no such time zone"),
        ("* * * * *", "/etc/localtime", "no such time zone"),
        ("* * * * *", "localtime", "no such time zone"),
        ("* * * * *", "America", "no such time zone"),
        ("* * * * *", "UTC\n", "no such time zone"),
    ],
)
def test_what_is_no_cron_expression_is_told_so(expression: str, zone: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cron(expression, zone)


def test_the_least_gap_is_between_two_of_a_day_or_over_midnight() -> None:
    cases = {"* * * * *": 60, "*/7 * * * *": 240, "0 0 * * MON": 86_400, "0,59 0,23 * * *": 60}
    for expression, seconds in {**cases, "10 */6 * * *": 6 * 3600}.items():
        assert Cron(expression).least_gap_s() == seconds, expression
