"""The rules of a job that need no store."""

from __future__ import annotations

import random
from typing import cast

import pytest

from fileproc.errors import ErrorClass
from fileproc.jobs import (
    ATTEMPTS,
    FINAL,
    LANES,
    MOVES,
    UNSTARTED,
    FileInfo,
    JobDocument,
    JobState,
    Move,
    Problem,
    backoff_s,
    may_retry,
)


def test_state_is_final_where_no_move_leaves_it() -> None:
    left = {source for transition in MOVES.values() for source in transition.sources}
    assert {state for state in JobState if state.final} == set(JobState) - left == FINAL
    assert not UNSTARTED & FINAL
    assert JobState.RUNNING not in UNSTARTED


@pytest.mark.parametrize(
    ("move", "sources", "targets"),
    [
        ("submit", "", "queued awaiting_upload delayed"),
        ("uploaded", "awaiting_upload", "queued"),
        ("claim", "queued", "running"),
        ("complete", "running", "succeeded"),
        ("fail", "running", "failed"),
        ("retry", "running", "delayed"),
        ("release", "running", "queued"),
        ("recover", "running", "queued"),
        ("promote", "delayed", "queued"),
        ("cancel", "awaiting_upload queued delayed running", "canceled"),
        ("expire", "awaiting_upload queued delayed", "expired"),
        ("reuse", "queued", "succeeded"),
    ],
)
def test_each_move_leads_from_and_to_these_states(move: str, sources: str, targets: str) -> None:
    transition = MOVES[Move(move)]
    assert transition.sources == set(sources.split())
    assert transition.targets == set(targets.split())


def test_table_of_moves_is_whole() -> None:
    assert set(MOVES) == set(Move)
    assert LANES == ("default", "heavy")


@pytest.mark.parametrize(
    ("error_class", "attempts"),
    [("permanent", 1), ("transient", 3), ("resource", 2), ("crash", 2), ("worker_lost", 3)],
)
def test_class_of_an_error_bounds_the_attempts(error_class: str, attempts: int) -> None:
    kind = ErrorClass(error_class)
    assert [may_retry(kind, n, 9) for n in range(1, 5)] == [n < attempts for n in range(1, 5)]
    assert not may_retry(kind, 1, 1)  # the job's own limit is the lower one
    assert set(ATTEMPTS) == set(ErrorClass)


class Uniform:
    """Answers with the bounds that it was asked for."""

    def uniform(self, low: float, high: float) -> float:
        assert low == 0
        return high


def test_backoff_doubles_up_to_a_minute() -> None:
    ceilings = [backoff_s(n, cast("random.Random", Uniform())) for n in range(1, 9)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len({backoff_s(5) for _ in range(20)}) > 1
    assert all(0 <= backoff_s(3) <= 4 for _ in range(50))


def test_records_cannot_be_changed_and_leave_out_what_a_newer_version_added() -> None:
    document = JobDocument.model_validate({"operation": "file.probe", "shape": "new"})
    assert not hasattr(document, "shape")
    with pytest.raises(ValueError, match="frozen"):
        document.operation = "other"  # type: ignore[misc]  # what is to be refused
    with pytest.raises(ValueError, match="frozen"):
        FileInfo(file_id="f", name="n", size=1, sha256="", type="t").size = 2  # type: ignore[misc]


def test_problem_says_class_and_is_read_back() -> None:
    given = {
        "type": "/docs#error-x",
        "title": "x",
        "status": 500,
        "detail": "No.",
        "code": "x",
        "retryable": False,
        "attempt": 1,
        "newer": 1,
    }
    by_alias = Problem.model_validate({**given, "class": "crash"})
    by_name = Problem.model_validate({**given, "error_class": "crash"})
    assert by_alias == by_name
    assert by_alias.model_dump(by_alias=True)["class"] == "crash"
    assert Problem.model_validate_json(by_alias.model_dump_json(by_alias=True)) == by_alias
    with pytest.raises(ValueError, match="frozen"):
        by_alias.attempt = 2  # type: ignore[misc]  # what is to be refused
