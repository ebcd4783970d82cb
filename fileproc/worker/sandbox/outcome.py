"""How the end of a process becomes the end of an attempt.

A signal alone cannot tell a lack of memory from a crash; both are tried again once at most, so a
wrong guess costs nothing.
"""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from fileproc.errors import BadInput, Crashed, ErrorClass, JobError, OutOfResources
from fileproc.operations import Limits, Output, clean_name
from fileproc.operations.programs import cpu_exceeded
from fileproc.worker.zygote.explain import MEMORY_SENTENCE, SCRATCH_SENTENCE
from fileproc.worker.zygote.protocol import Gave, Made, Probed, Succeeded

_KINDS: dict[ErrorClass, type[JobError]] = {
    ErrorClass.PERMANENT: BadInput,
    ErrorClass.RESOURCE: OutOfResources,
    ErrorClass.CRASH: Crashed,
}


def timed_out(limits: Limits) -> OutOfResources:
    return OutOfResources(
        f"The job took longer than the {limits.timeout_s:g} seconds it may take.", code="timeout"
    )


def memory_exceeded() -> OutOfResources:
    return OutOfResources(MEMORY_SENTENCE, code="out_of_memory")


def scratch_exceeded() -> OutOfResources:
    return OutOfResources(SCRATCH_SENTENCE, code="scratch_full")


def too_many_threads() -> OutOfResources:
    return OutOfResources("The job started more threads than it may.", code="too_many_threads")


def spoke_nonsense() -> Crashed:
    return Crashed("The operation broke the rules it runs under.", code="protocol_broken")


def judge(
    status: int, end: Succeeded | Gave | Probed | None, verdict: JobError | None, limits: Limits
) -> JobError | None:
    """Why the attempt failed; None if it did not.

    Args:
        status: as from wait(2).
        end: the child's last word.
        verdict: why the worker killed it, if it did.
        limits: those that it had.
    """
    if os.WIFSIGNALED(status):
        return verdict or _by_signal(os.WTERMSIG(status), limits)
    if isinstance(end, Gave):
        return _as_given(end)
    if verdict is not None and verdict.job_code == "protocol_broken":
        return verdict  # it ended before the kill reached it
    if os.WEXITSTATUS(status) == 0 and end is not None:
        return None
    return Crashed("The operation ended without a result.", code="ended_early")


def _as_given(end: Gave) -> JobError:
    if end.error_class is ErrorClass.WORKER_LOST:
        return spoke_nonsense()  # only the store says that
    kind = _KINDS.get(end.error_class, JobError)
    return kind(end.detail, code=end.code, error_class=end.error_class)


def _by_signal(number: int, limits: Limits) -> JobError:
    if number == signal.SIGXCPU:
        return cpu_exceeded(limits.cpu_s)
    if number == signal.SIGKILL:  # not ours: the kernel does that when memory is out
        return OutOfResources(
            "The job was killed from outside, most likely because the memory was out.",
            code="killed",
        )
    name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
    return Crashed(f"The operation crashed ({name}).")


def published(made: list[Made], folder: Path, limits: Limits) -> list[Output]:
    """The outputs as files: `out/<index>` must be a regular file, whatever the child said.

    Called when the child is gone, so that nobody can exchange a file behind our back.

    Raises:
        Crashed: an output is missing, or no regular file that can be read.
        OutOfResources: together they are larger than the scratch space.
    """
    out = folder / "out"
    if made and not (out.is_dir() and not out.is_symlink()):
        raise _missing()
    outputs = [Output(out / str(entry.index), clean_name(entry.name), entry.type) for entry in made]
    if sum(_size(output.path) for output in outputs) > limits.scratch_bytes:
        raise scratch_exceeded()
    return outputs


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError as exc:
        raise _missing() from exc
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & stat.S_IRUSR:
        raise _missing()
    return status.st_size


def _missing() -> Crashed:
    return Crashed("The operation did not write what it said it wrote.", code="output_missing")
