"""A checker that misses what it is for proves nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.checker import check_moves, check_seen, recoveries
from faults.history import Ack, Download, History, Seen
from faults.tail import Line

JOB = "job_1"


def line(move: str, version: int, at: float = 0.0, **facts: object) -> Line:
    return Line(at, JOB, move, version, json.dumps(facts) if facts else "")


def claim(version: int, token: int, attempt: int, at: float = 0.0, worker: str = "wrk_a") -> Line:
    return line("claim", version, at, token=token, attempt=attempt, worker=worker)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path / "history.jsonl")
    yield opened
    opened.close()


def seen(version: int, state: str, attempt: int = 1, *outputs: str) -> Seen:
    return Seen(float(version), JOB, version, state, attempt, list(outputs))


def test_an_ordinary_life_is_in_order() -> None:
    lines = [
        line("submit", 1),
        claim(2, 1, 1),
        line("release", 3),
        claim(4, 2, 1),
        line("recover", 5),
        claim(6, 3, 2),
        line("complete", 7),
        line("delete", 8),
    ]
    assert check_moves(lines).all() == []


def test_two_ends_are_found() -> None:
    lines = [line("submit", 1), claim(2, 1, 1), line("complete", 3), line("fail", 4)]
    assert len(check_moves(lines).doubled) == 1


def test_a_claim_after_the_end_is_found() -> None:
    lines = [claim(2, 1, 1), line("complete", 3), claim(4, 2, 2)]
    assert check_moves(lines).doubled


@pytest.mark.parametrize(("token", "attempt"), [(1, 2), (2, 1), (2, 3)])
def test_tokens_and_attempts_that_do_not_count_are_found(token: int, attempt: int) -> None:
    lines = [claim(2, 1, 1), line("recover", 3), claim(4, token, attempt)]
    assert check_moves(lines).others


def test_a_version_that_falls_is_found() -> None:
    assert check_moves([claim(4, 1, 1), line("complete", 3)]).others


def test_a_final_state_that_changes_is_found(history: History) -> None:
    for view in (seen(3, "succeeded"), seen(4, "failed")):
        history.saw(view)
    assert check_seen(history, []).doubled


def test_attempts_that_fall_without_a_hand_back_are_found(history: History) -> None:
    for view in (seen(2, "running", 2), seen(3, "queued", 1)):
        history.saw(view)
    assert check_seen(history, []).others
    assert check_seen(history, [line("release", 3)]).others == []


def test_two_downloads_that_differ_are_found(history: History) -> None:
    for digest in ("a", "b"):
        history.downloaded(Download(0.0, JOB, 0, digest))
    assert check_seen(history, []).doubled


def test_one_job_for_two_requests_is_found(history: History) -> None:
    for key in ("x", "y"):
        history.ack(Ack(0.0, JOB, "table", key))
    assert check_seen(history, []).others


def test_recovery_is_the_time_from_the_kill_to_the_next_claim(history: History) -> None:
    history.mark("death", worker="wrk_a", killed_at=100.0, measured="calm")
    history.mark("death", worker="wrk_b", killed_at=100.0, measured="storm")
    lines = [claim(2, 1, 1, at=99), line("recover", 3, at=109), claim(4, 2, 2, 110, "wrk_b")]
    assert recoveries(history, lines, "calm") == [10.0]
