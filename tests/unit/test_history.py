"""The latest moves, and what one reader has not taken yet."""

from __future__ import annotations

import pytest

from fileproc.ids import new_id
from fileproc.store import Break, Moved, Position, Progressed, Subscription, Topic
from fileproc.store.events import parse
from fileproc.store.history import History
from fileproc.store.moved import moved_of
from fileproc.store.subscription import MOST_PROGRESS, MOST_WAITING

JOB = new_id("job")


def moved(number: int, job_id: str = JOB, version: int = 1) -> Moved:
    return Moved(Position(number, 0, 0), job_id, "acme", "claim", "running", version)


def told(move: str, data: str = "", job_id: str = JOB) -> Moved | None:
    (event,) = parse("5-1", f"{job_id} {move} acme 3 {data}")
    return moved_of(event, Position(5, 1, 0))


class TestPosition:
    def test_it_is_read_back(self) -> None:
        for place in (Position(0, 0, 0), Position(1795335330124, 3, 12)):
            assert Position.read(str(place)) == place
        assert Position(9, 0, 0) < Position(10, 0, 0) < Position(10, 0, 1) < Position(10, 1, 0)

    @pytest.mark.parametrize(
        "text", ["", "1", "1-2", "1-2.", "1-2.x", " 1-2.3", "1-2.3\n", "-1-2.3", "1" * 16 + "-2.3"]
    )
    def test_what_is_none_is_not_guessed(self, text: str) -> None:
        assert Position.read(text) is None


class TestMoved:
    def test_state_is_what_the_move_led_to(self) -> None:
        for move, state in (
            ("claim", "running"),
            ("complete", "succeeded"),
            ("retry", "delayed"),
            ("cancel_requested", "running"),
            ("delete", "deleted"),
        ):
            one = told(move)
            assert one is not None
            assert (one.state, one.owner, one.version) == (state, "acme", 3)
            assert one.last == (state in {"succeeded", "deleted"})

    def test_submission_says_in_which_state_the_job_begins(self) -> None:
        for state in ("queued", "delayed", "awaiting_upload"):
            one = told("submit", f'{{"st":"{state}","ln":"default"}}')
            assert one is not None
            assert one.state == state

    def test_code_of_a_failure_is_told_and_nothing_else_of_its_data(self) -> None:
        one = told("fail", '{"code":"bad_input","detail":"secret"}')
        assert one is not None
        assert one.code == "bad_input"
        assert "secret" not in repr(one)

    def test_batch_that_has_ended_is_told_as_its_own_batch(self) -> None:
        one = told("batch_completed", "", "batch_1")
        assert one is not None
        assert (one.job_id, one.batch, one.state, one.version) == (
            *("batch_1", "batch_1"),
            *("completed", 3),
        )
        assert one.of_batch
        assert not one.last

    def test_what_is_about_no_job_is_no_move(self) -> None:
        assert told("key_created", '{"hash":"x"}', "abcdefghjkmn") is None
        assert told("claim", "", "job_x") is None
        assert told("snapshot", "{}") is None

    def test_owner_called_like_a_job_does_not_follow_it(self) -> None:
        one = moved(1)
        assert Topic.job(JOB).has(one)
        assert not Topic.owner(JOB).has(one)
        assert Topic.owner("acme").has(one)
        assert not Topic.job("acme").has(one)


class TestHistory:
    def of(self, history: History, after: int) -> list[int] | None:
        found = history.since(Position(after, 0, 0), lambda _: True)
        return None if found is None else [one.position.ms for one in found]

    def test_what_came_after_a_place_is_told_in_order(self) -> None:
        history = History(10)
        for number in range(1, 6):
            history.add(moved(number))
        assert self.of(history, 0) == [1, 2, 3, 4, 5]
        assert self.of(history, 3) == [4, 5]
        assert self.of(history, 9) == []
        assert history.since(Position(0, 0, 0), Topic.job("job_x").has) == []

    def test_it_is_bounded_and_says_what_it_has_forgotten(self) -> None:
        history = History(10)
        for number in range(1, 1001):
            history.add(moved(number))
            assert len(history._moves) < 20
        floor = history.floor.ms
        assert 980 <= floor <= 990
        assert self.of(history, floor - 1) is None
        assert self.of(history, floor) == list(range(floor + 1, 1001))

    def test_it_begins_anew(self) -> None:
        history = History(10)
        history.add(moved(1))
        history.begin(Position(5, 0, -1), Position(7, 0, 0))
        assert self.of(history, 4) is None
        assert self.of(history, 5) == []


class TestSubscription:
    async def test_moves_are_taken_once_and_in_order(self) -> None:
        one = Subscription()
        for number in range(3):
            one.offer(moved(number))
        await one.wait()
        assert [each.position.ms for each in one.take()[0]] == [0, 1, 2]
        assert one.take() == ([], [])
        assert not one._news.is_set()

    async def test_only_the_latest_progress_of_each_job_waits(self) -> None:
        one, other = Subscription(), new_id("job")
        for version in range(1, 100):
            one.offer_progress(Progressed(JOB, "acme", version, "{}"))
        one.offer_progress(Progressed(other, "acme", 7, "{}"))
        assert [(each.job_id, each.version) for each in one.take()[1]] == [(JOB, 99), (other, 7)]

    async def test_progress_of_before_a_move_is_forgotten_with_it(self) -> None:
        one = Subscription()
        one.offer_progress(Progressed(JOB, "acme", 2, "{}"))
        one.offer(moved(1, version=3))
        assert len(one.take()[0]) == 1
        one.offer_progress(Progressed(JOB, "acme", 5, "{}"))
        one.offer(moved(2, version=4))
        assert [len(each) for each in one.take()] == [1, 1]

    async def test_slow_reader_costs_no_more_than_its_bound(self) -> None:
        one = Subscription()
        for number in range(MOST_WAITING):
            one.offer(moved(number))
        assert [one.broken] == [None]
        one.offer(moved(MOST_WAITING))
        assert one.broken is Break.SLOW
        one.offer(moved(MOST_WAITING + 1))
        one.offer_progress(Progressed(JOB, "acme", 1, "{}"))
        assert one.take() == ([], [])
        await one.wait()  # it is told, again and again
        many = Subscription()
        for _ in range(MOST_PROGRESS + 10):
            many.offer_progress(Progressed(new_id("job"), "acme", 1, "{}"))
        assert len(many.take()[1]) == MOST_PROGRESS
