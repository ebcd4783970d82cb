"""What a job may take, from what such jobs took."""

from __future__ import annotations

import pytest

from fileproc.store.costs import Sums


def seen(*jobs: tuple[float, float]) -> Sums:
    """Sums over jobs of these (bytes, seconds), half of which was CPU time."""
    return Sums(
        n=len(jobs),
        x=sum(x for x, _ in jobs),
        y=sum(y for _, y in jobs),
        xx=sum(x * x for x, _ in jobs),
        xy=sum(x * y for x, y in jobs),
        cpu=sum(y / 2 for _, y in jobs),
    )


def test_it_grows_with_the_size_as_it_was_seen_to() -> None:
    sums = seen((100, 1), (300, 2), (500, 3))
    cost = sums.expect(700)
    assert [cost.wall_s, cost.cpu_s, cost.samples] == pytest.approx([4, 2, 3])


def test_of_one_size_only_nothing_is_known_of_others() -> None:
    sums = seen((100, 1), (100, 3))
    assert [sums.expect(size).wall_s for size in (0, 100, 10_000)] == [2, 2, 2]


def test_larger_files_never_take_less_and_nothing_takes_less_than_nothing() -> None:
    assert seen((100, 3), (300, 1)).expect(10_000).wall_s == 2
    assert seen((1000, 1), (1100, 100)).expect(0).wall_s == 0
    assert seen((100, 0), (300, 0)).expect(200).cpu_s == 0
