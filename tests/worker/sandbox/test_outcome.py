"""From wait status, last word and verdict to an error: a table."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from fileproc.errors import BadInput, Crashed, ErrorClass, JobError, OutOfResources
from fileproc.operations import Limits
from fileproc.worker.sandbox import outcome
from fileproc.worker.zygote import rlimits
from fileproc.worker.zygote.explain import explain, is_out_of_memory
from fileproc.worker.zygote.protocol import Gave, Made, Succeeded

DONE = Succeeded()
BAD = Gave(code="x", error_class=ErrorClass.PERMANENT, detail="Wrong.")
LIMITS = Limits()
TIMEOUT = OutOfResources("Too long.", code="timeout")


def test_success_needs_both_the_word_and_the_exit() -> None:
    assert outcome.judge(0, DONE, None, LIMITS) is None
    for status, end in ((0, None), (1 << 8, DONE), (1 << 8, None)):
        error = outcome.judge(status, end, None, LIMITS)
        assert isinstance(error, Crashed)
        assert error.job_code == "ended_early"


def test_what_the_operation_raised_is_kept() -> None:
    error = outcome.judge(0, BAD, None, LIMITS)
    assert isinstance(error, BadInput)
    assert (error.job_code, error.job_class, error.detail) == ("x", ErrorClass.PERMANENT, "Wrong.")


def test_a_kill_of_ours_is_named_by_its_reason() -> None:
    assert outcome.judge(signal.SIGKILL, None, TIMEOUT, LIMITS) is TIMEOUT
    assert outcome.judge(signal.SIGKILL, DONE, TIMEOUT, LIMITS) is TIMEOUT


def test_who_ended_before_the_kill_arrived_has_ended() -> None:
    assert outcome.judge(0, DONE, TIMEOUT, LIMITS) is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGKILL, OutOfResources),
        (signal.SIGXCPU, OutOfResources),
        (signal.SIGSEGV, Crashed),
        (signal.SIGABRT, Crashed),
        (60, Crashed),
    ],
)
def test_signals(number: int, kind: type[JobError]) -> None:
    assert isinstance(outcome.judge(number, None, None, LIMITS), kind)
    assert isinstance(outcome.judge(number | 0x80, None, None, LIMITS), kind)  # with a core dumped


def test_a_symlink_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0").symlink_to("/etc/passwd")
    made = [Made(index=0, name="x", type="text/plain")]
    with pytest.raises(Crashed):
        outcome.published(made, tmp_path, Limits())


def test_a_linked_folder_has_no_outputs(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0").touch()
    (tmp_path / "out").symlink_to("elsewhere")
    made = [Made(index=0, name="x", type="text/plain")]
    with pytest.raises(Crashed):
        outcome.published(made, tmp_path, Limits())


def test_engines_say_out_of_memory_in_many_ways() -> None:
    class OutOfMemoryException(Exception):  # noqa: N818 - duckdb's name for it
        pass

    for error in (
        MemoryError(),
        OutOfMemoryException("could not allocate"),
        RuntimeError("unable to call: out of memory"),
        OSError(12, "Cannot allocate memory"),
    ):
        assert is_out_of_memory(error)
    for other in (RuntimeError("bad header"), BadInput("A page says: out of memory.")):
        assert not is_out_of_memory(other)


def test_a_detail_of_any_length_and_any_characters_can_be_said() -> None:
    gave = explain(BadInput("\udc80\n" + "é" * 5000))
    assert len(gave.detail) == 2000
    assert b"\n" not in gave.line()[:-1]


def test_the_soft_limit_of_processor_time_comes_a_second_before_the_hard_one() -> None:
    limits = rlimits.limits_of(Limits(timeout_s=10, threads=2, memory_bytes=1000))
    assert limits[resource.RLIMIT_CPU] == (21, 22)
    assert limits[resource.RLIMIT_DATA] == (1000, 1000)
    assert limits[resource.RLIMIT_AS] == (4000, 4000)
