"""The life of a child: confined first, then the task is read, then the operation runs."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fileproc.errors import ErrorClass, JobError
from fileproc.operations import Limits, Operation, Work, find, programs
from fileproc.worker.zygote import explain, selftest
from fileproc.worker.zygote.confinement import Confinement
from fileproc.worker.zygote.protocol import Gave, Probed, Start, Succeeded, Task
from fileproc.worker.zygote.voice import Voice

EXIT_ENDED, EXIT_UNCONFINED, EXIT_SPEECHLESS = 0, 70, 71


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What the child is given: its task (a file), the pipe to the worker, a pipe for stderr."""

    task: int
    voice: int
    stderr: int


def live(start: Start, given: Descriptors, confinement: Confinement, parent: int) -> int:
    """The whole life after the fork; returns the exit code."""
    _forget_the_zygote(given)
    voice = Voice(given.voice)
    try:
        confinement.enter(
            start.folder,
            start.limits,
            programs=start.programs,
            parent=parent,
            keep={given.task, given.voice},
        )
    except (OSError, ValueError):
        voice.say(_unconfined())
        return EXIT_UNCONFINED
    _live_in(start.folder, start.limits)
    return _perform(_read(given.task), start, confinement.programs, voice)


def _forget_the_zygote(given: Descriptors) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(given.stderr, 2)


def _live_in(folder: Path, limits: Limits) -> None:
    """Temporary files go to the scratch folder; libraries start no more threads than allowed."""
    tempfile.tempdir = None
    os.environ.update(
        HOME=str(folder),
        TMPDIR=str(folder),
        VIPS_CONCURRENCY=str(limits.threads),
        OMP_NUM_THREADS=str(limits.threads),
    )


def _read(descriptor: int) -> Task:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return Task.model_validate_json(file.read())


def _perform(task: Task, start: Start, there: Mapping[str, programs.Program], voice: Voice) -> int:
    try:
        if task.operation == selftest.NAME:
            voice.say(Probed(open=selftest.probe(task.params)))
            return EXIT_ENDED
        work = Work(
            inputs=task.inputs,
            folder=start.folder,
            limits=start.limits,
            attempt=task.attempt,
            report=voice.report,
            programs=there,
            findings=task.findings,
        )
        _run(task, work, voice)
    except BaseException as error:  # noqa: BLE001 - Rust's panics are no Exceptions
        _give(error, voice)
    return EXIT_ENDED


def _run(task: Task, work: Work, voice: Voice) -> None:
    operation = find(task.operation, debug=task.debug)
    try:
        params = operation.params.model_validate(task.params)
    except ValidationError as error:
        voice.say(explain.explain_params(error))
        return
    _check_programs(operation, work)
    operation.run(work, params)
    voice.catch_up()
    voice.made(work.outputs)
    voice.say(Succeeded(engine=work.engine[:200] if work.engine else None))


def _check_programs(operation: Operation, work: Work) -> None:
    """Raise where the worker lacks what the api has, or thinks the workers have."""
    if absent := programs.missing(operation.programs, work.programs):
        raise JobError(
            f"The worker does not have {' and '.join(absent)}, which the operation needs.",
            code="program_missing",
        )


def _give(error: BaseException, voice: Voice) -> None:
    if explain.is_out_of_memory(error):
        traceback.clear_frames(error.__traceback__)  # what the operation held is free now
        voice.write(explain.OUT_OF_MEMORY)
    else:
        voice.say(explain.explain(error))


def _unconfined() -> Gave:
    return Gave(
        code="sandbox_failed",
        error_class=ErrorClass.TRANSIENT,
        detail="The worker could not confine the job; it was not started.",
        trace=traceback.format_exc()[-5000:],
    )
