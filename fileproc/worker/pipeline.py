"""A job of several steps: one attempt, one child after the other.

What a step makes stays in the scratch folder of the attempt until no later step needs it, and
never leaves the machine unless it is an output of the job. Every run has a folder of its own, with
hard links to its inputs; its child sees nothing else. The limits are the job's: later runs get
what earlier ones have left of the time, the space and the number of files.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from fileproc.errors import BadInput, ErrorClass, JobError
from fileproc.jobs import (
    JOB_INPUTS,
    PipelineProgress,
    Progress,
    Step,
    StepError,
    StepState,
    StepStatus,
    Usage,
)
from fileproc.operations import Input, Limits, Output, catalogue, programs_of
from fileproc.operations.archives import Unlike
from fileproc.operations.types import HEAD_BYTES, UNKNOWN, detect
from fileproc.pipelines import output_steps
from fileproc.worker.sandbox import Assignment, Ending, outcome, remove_scratch

Report = Callable[[Progress], None]
RunChild = Callable[[Assignment, Report], Awaitable[Ending]]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Made:
    """What the runs of one step have come to so far."""

    files: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    skipped: int = 0
    error: StepError | None = None
    engine: str | None = None
    usage: Usage = Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0)  # noqa: RUF009 - immutable

    @property
    def state(self) -> StepState:
        """At the end, unless the job fails with it."""
        return StepState.SKIPPED if self.error and not self.files else StepState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Finished:
    """A step that need not run again: how it went, and those of its files that are still needed."""

    status: StepStatus
    outputs: list[Output]


_FINISHED = frozenset({StepState.SUCCEEDED, StepState.SKIPPED, StepState.REUSED})


class PipelineRun:
    """Runs once.

    Attributes:
        statuses: how far each step has come; replaced in place as the run goes on.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        assignment: Assignment,
        run_child: RunChild,
        report: Report,
        finished: Iterable[Finished] = (),
    ) -> None:
        """Prepare.

        Args:
            steps: in an order in which each comes after those it needs.
            assignment: the job's: its folder, inputs and limits; each run gets its part of it.
            run_child: the sandbox.
            report: gets the progress of the job, with the statuses.
            finished: steps that an earlier job has done; their files are in the folder.
        """
        names = {step.name for step in steps}
        self._reused = {one.status.name: one for one in finished if one.status.name in names}
        self.statuses = [self._first_status(step) for step in steps]
        self._steps = list(steps)
        self._assignment = assignment
        self._run_child = run_child
        self._report = report
        self._deadline = asyncio.get_running_loop().time() + assignment.limits.timeout_s
        self._files: dict[str, list[Input]] = {JOB_INPUTS: assignment.inputs}
        self._outputs: dict[str, list[Output]] = {}  # the same files as they were declared
        self._kept_bytes = sum(file.size for file in assignment.inputs)
        self._output_names = output_steps(steps)

    async def run(self) -> Ending:
        """Until the last step is done, or one has failed that may not.

        Raises:
            ZygoteLost, asyncio.CancelledError: as `Sandbox.run`.
        """
        await _in_thread(self._take_over)
        for place, step in enumerate(self._steps):
            made = _Made()
            error = None if step.name in self._reused else await self._step(place, step, made)
            error = error or self._too_many_outputs()
            if error is not None:
                return Ending([], None, self._usage(), error)
            await _in_thread(self._drop_unneeded, self._steps[place + 1 :])
        unlike = Unlike()
        named = [replace(output, name=unlike.name(output.name)) for output in self._of_job()]
        return Ending(named, None, self._usage(), None)

    def finished(self) -> list[Finished]:
        """The steps that are done by now; of their files those that others, or the job, need."""
        done = {status.name for status in self.statuses if status.state in _FINISHED}
        waiting = [step for step in self._steps if step.name not in done]
        needed = {need for step in waiting for need in step.needs} | self._output_names
        return [
            Finished(status, self._outputs.get(status.name, []) if status.name in needed else [])
            for status in self.statuses
            if status.name in done
        ]

    def _first_status(self, step: Step) -> StepStatus:
        earlier = self._reused.get(step.name)
        if earlier is None:
            return StepStatus(name=step.name)
        changes = {"state": StepState.REUSED, "usage": None}  # it took nothing of this job's
        return earlier.status.model_copy(update=changes)

    def _take_over(self) -> None:
        """What an earlier job has made stands where this one would have made it."""
        for name, earlier in self._reused.items():
            self._outputs[name] = earlier.outputs
            self._files[name] = [_as_input(output) for output in earlier.outputs]
            self._kept_bytes += sum(file.size for file in self._files[name])

    def _of_job(self) -> list[Output]:
        """The outputs of the job so far, in the order of the steps."""
        return [
            output
            for step in self._steps
            if step.name in self._output_names
            for output in self._outputs.get(step.name, ())
        ]

    # --- one step ------------------------------------------------------------------------------

    async def _step(self, place: int, step: Step, made: _Made) -> JobError | None:
        self._update(place, state=StepState.RUNNING)
        taken = [file for need in step.needs for file in self._files[need]]
        error = self._wrong_count(step, len(taken))
        if error is not None:
            error = self._judge(step, made, error, taken)
        else:
            error = await self._runs(place, step, made, taken)
        self._files[step.name], self._outputs[step.name] = made.files, made.outputs
        self._update(
            place,
            state=StepState.FAILED if error is not None else made.state,
            progress=None,
            outputs=len(made.files),
            skipped=made.skipped,
            error=made.error,
            engine=made.engine,
            usage=made.usage,
        )
        return error

    async def _runs(
        self, place: int, step: Step, made: _Made, taken: list[Input]
    ) -> JobError | None:
        batches = [[file] for file in taken] if step.for_each else [taken]
        for number, batch in enumerate(batches):
            report = self._reporter(place, number, len(batches))
            folder = self._assignment.folder / "runs" / f"{place}-{number}"
            try:
                error = await self._run(step, made, folder, batch, report)
            except OSError as exc:
                error = _no_room(exc)
            finally:
                # What a run leaves beside its outputs must not eat the space of the next.
                await _in_thread(remove_scratch, folder)
            if error is not None and (error := self._judge(step, made, error, batch)) is not None:
                return error
        return None

    async def _run(
        self, step: Step, made: _Made, folder: Path, batch: list[Input], report: Report
    ) -> JobError | None:
        if (error := _wrong_type(step, batch)) is not None:
            return error
        try:
            limits = self._limits_left(len(made.files), sum(file.size for file in batch))
        except JobError as exc:
            return exc
        assignment = replace(
            self._assignment,
            operation=step.operation,
            params=step.params,
            folder=folder,
            inputs=await _in_thread(_lay_out, folder, batch),
            limits=limits,
            programs=programs_of(step.operation),
        )
        before = await _in_thread(_stamps, batch)
        ending = await self._run_child(assignment, report)
        made.usage = _together(made.usage, ending.usage)
        made.engine = ending.engine or made.engine
        if await _in_thread(_stamps, batch) != before:
            return outcome.spoke_nonsense()
        if ending.error is not None:
            timeout = ending.error.job_code == "timeout"
            return outcome.timed_out(self._assignment.limits) if timeout else ending.error
        keep = self._assignment.folder / "made" / step.name
        files = await _in_thread(_keep, ending.outputs, keep, len(made.files))
        self._kept_bytes += sum(file.size for file in files)
        made.files += files
        made.outputs += [
            replace(output, path=file.path)
            for output, file in zip(ending.outputs, files, strict=True)
        ]
        return None

    def _judge(
        self, step: Step, made: _Made, error: JobError, batch: list[Input]
    ) -> JobError | None:
        """Note a failure; returns it, in the words of the job, where it may not be skipped."""
        about = batch[0].name if len(batch) == 1 else None
        if made.error is None:
            made.error = StepError(code=error.job_code, detail=error.detail, input=about)
        # Time is the job's. Who breaks the rules may have changed what others get. And what passes
        # by itself is for a retry of the job to mend.
        ends_all = error.job_code in {"timeout", "protocol_broken"}
        lasting = not ends_all and error.job_class is not ErrorClass.TRANSIENT
        if step.on_error == "skip" and lasting:
            made.skipped += len(batch)
            return None
        where = f"Step {step.name}" + (f", {about}" if about else "")
        detail = f"{where}: {error.detail}"
        return type(error)(detail, code=error.job_code, error_class=error.job_class)

    def _wrong_count(self, step: Step, count: int) -> JobError | None:
        operation = catalogue(debug=True).get(step.operation)
        most = self._assignment.limits.output_files
        least = 0
        if operation is not None and not step.for_each:
            least, most = operation.min_inputs, operation.max_inputs
        if least <= count <= most:
            return None
        files = f"{count} file{'' if count == 1 else 's'}"
        return BadInput(
            f"{step.operation} takes {least} to {most} files here; {files} came.",
            code="count_mismatch",
        )

    def _too_many_outputs(self) -> JobError | None:
        most = self._assignment.limits.output_files
        if len(self._of_job()) <= most:
            return None
        return BadInput(f"The job would make more than {most} files.", code="too_many_outputs")

    # --- what is left --------------------------------------------------------------------------

    def _limits_left(self, made: int, linked_bytes: int) -> Limits:
        """For the next run; what is linked into its folder counts there once more.

        Raises:
            OutOfResources: nothing is left.
        """
        whole = self._assignment.limits
        left_s = self._deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            raise outcome.timed_out(whole)
        room = whole.scratch_bytes - self._kept_bytes
        if room <= 0:
            raise outcome.scratch_exceeded()
        return replace(
            whole,
            timeout_s=left_s,
            scratch_bytes=room + linked_bytes,
            output_files=whole.output_files - made,
        )

    def _drop_unneeded(self, later: Iterable[Step]) -> None:
        needed = {need for step in later for need in step.needs} | self._output_names
        for name in self._files.keys() - needed:
            self._outputs.pop(name, None)
            for file in self._files.pop(name):
                file.path.unlink(missing_ok=True)
                self._kept_bytes -= file.size

    # --- what is told --------------------------------------------------------------------------

    def _reporter(self, place: int, number: int, count: int) -> Report:
        """Turns the progress of one run into that of the step."""

        def report(progress: Progress) -> None:
            if count > 1:
                percent = round((number + (progress.percent or 0) / 100) / count * 100, 1)
                progress = Progress(
                    phase=progress.phase, done=number, total=count, unit="files", percent=percent
                )
            self._update(place, progress=progress)

        if count > 1:
            report(Progress(phase="work", done=number, total=count))
        return report

    def _update(self, place: int, **changes: object) -> None:
        status = self.statuses[place].model_copy(update=changes)
        self.statuses[place] = status
        total = len(self._steps)
        share = (status.progress.percent or 0) / 100 if status.progress else 0
        done = place + (status.state is not StepState.RUNNING)
        self._report(
            PipelineProgress(
                phase=status.name,
                done=done,
                total=total,
                unit="steps",
                percent=round((done + share) / total * 100, 1),
                steps=list(self.statuses),
            )
        )

    def _usage(self) -> Usage:
        usage = Usage(wall_s=0, cpu_s=0, peak_rss_bytes=0)
        for status in self.statuses:
            usage = _together(usage, status.usage) if status.usage else usage
        return usage


def _together(one: Usage, other: Usage) -> Usage:
    return Usage(
        wall_s=one.wall_s + other.wall_s,
        cpu_s=one.cpu_s + other.cpu_s,
        peak_rss_bytes=max(one.peak_rss_bytes, other.peak_rss_bytes),
    )


def _wrong_type(step: Step, batch: list[Input]) -> JobError | None:
    """The api judges the files of a job; what a step made is judged here, by its bytes as well."""
    operation = catalogue(debug=True).get(step.operation)
    if operation is None:  # the child says so
        return None
    takes = operation.takes_alone if len(batch) == 1 else operation.takes
    for file in batch:
        if not takes(file.type):
            return BadInput(
                f"{file.name} is {file.type}, which {operation.name} does not take.",
                code="type_mismatch",
            )
    return None


def _lay_out(folder: Path, batch: Iterable[Input]) -> list[Input]:
    """The folder of a run, with its inputs by hard links."""
    (folder / "in").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    linked = []
    for number, file in enumerate(batch):
        path = folder / "in" / str(number)
        os.link(file.path, path, follow_symlinks=False)
        linked.append(replace(file, path=path))
    return linked


def _no_room(exc: OSError) -> JobError:
    """A full disk is met between two steps as well as within one."""
    if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
        raise exc
    return outcome.scratch_exceeded()


def _stamps(batch: Iterable[Input]) -> list[tuple[int, int]]:
    """What changes with a file: a child may not set times, and its inputs are those of others."""
    statuses = [file.path.stat() for file in batch]
    return [(status.st_size, status.st_mtime_ns) for status in statuses]


def _keep(outputs: Iterable[Output], folder: Path, first: int) -> list[Input]:
    """Move outputs, which are regular files, to where no child can reach them."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = []
    for number, output in enumerate(outputs, first):
        path = folder / str(number)
        output.path.rename(path)
        path.chmod(0o600)
        kept.append(_as_input(replace(output, path=path)))
    return kept


def _as_input(output: Output) -> Input:
    """As a file that a client sends, whose type is `output.type` by its own account."""
    path = output.path
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        whole = not file.read(1)
    found = detect(head, name=output.name, declared=output.type, whole=whole)
    kind = output.type if found == UNKNOWN else found
    return Input(path, output.name, path.stat().st_size, "", kind)


async def _in_thread(
    work: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs
) -> _Result:
    """In a thread, and to its end though we are cancelled: the folder is removed after us."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise
