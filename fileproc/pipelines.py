"""Pipelines: several operations in one job, each working on the files of others. No I/O.

A pipeline is judged when it is submitted, before any file is: an order of the steps exists, each
operation can take what those before it make, and their numbers are within bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fileproc.errors import InvalidRequestError
from fileproc.jobs import JOB_INPUTS, PIPELINE, Step
from fileproc.operations import Operation

MAX_STEPS: Final = 32
# Of one job; the setting for all jobs bites first.
_ANY_NUMBER: Final = 10_000

Complaint = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps that fit together. To those who take in its files it looks like an operation.

    Attributes:
        steps: in an order in which each comes after those it needs.
        operations: of each step, by the step's name.
    """

    steps: tuple[Step, ...]
    operations: Mapping[str, Operation]
    name: str = PIPELINE

    @property
    def lane(self) -> str:
        """Heavy if any step is."""
        lanes = {operation.lane for operation in self.operations.values()}
        return "heavy" if "heavy" in lanes else "default"

    @property
    def accepts(self) -> tuple[str, ...]:
        """Media types that every step takes which is given the job's files."""
        named = [kind for _, entry in self._takers() for kind in entry.accepts]
        return tuple(dict.fromkeys(kind for kind in named if self.takes(kind)))

    def takes(self, media_type: str) -> bool:
        """Whether no step is bound to fail because of such a file."""
        return all(
            entry.takes_alone(media_type) if step.for_each else entry.takes(media_type)
            for step, entry in self._takers()
            if not (step.for_each and step.on_error == "skip")
        )

    @property
    def min_inputs(self) -> int:
        """Files without which some step has too few; one that takes others' as well may do."""
        least = [
            min(entry.min_inputs, 1) if step.for_each else entry.min_inputs
            for step, entry in self._takers()
            if step.needs == [JOB_INPUTS]
        ]
        return max(least, default=0)

    @property
    def max_inputs(self) -> int:
        """Files of which no step has too many; 0 where none takes the job's."""
        if not self._takers():
            return 0
        most = [entry.max_inputs for step, entry in self._takers() if not step.for_each]
        return min(most, default=_ANY_NUMBER)

    def _takers(self) -> list[tuple[Step, Operation]]:
        return [
            (step, self.operations[step.name]) for step in self.steps if JOB_INPUTS in step.needs
        ]


class RepeatedPipeline(Pipeline):
    """Stands for the steps of a template where a request is a repetition: its job is made already.

    What was judged then is not judged again: meanwhile the template may be another, or gone.
    """

    def __init__(self) -> None:
        """Without steps."""
        super().__init__((), {})

    @property
    def max_inputs(self) -> int:
        """As many as the server takes."""
        return _ANY_NUMBER


def output_steps(steps: Iterable[Step]) -> frozenset[str]:
    """The steps whose files are the job's outputs: those marked, else those that none needs."""
    steps = list(steps)
    marked = frozenset(step.name for step in steps if step.output)
    needed = {need for step in steps for need in step.needs}
    return marked or frozenset(step.name for step in steps if step.name not in needed)


def pointer_to(step: str, *rest: str) -> str:
    """Where a body names this step; the names of steps need no escape."""
    return "/".join(["/steps", step, *rest])


def planned(steps: Sequence[Step], operations: Mapping[str, Operation]) -> Pipeline:
    """Put the steps in order, and judge whether they fit together.

    Args:
        steps: with names of their own, `needs` filled in.
        operations: of each step, by the step's name.

    Raises:
        InvalidRequestError: one entry of `errors` for each thing that does not hold.
    """
    if wrong := list(_bad_names(steps)):
        raise _invalid(wrong)
    ordered = _in_order(steps)
    misfits: list[Complaint] = []
    for step in ordered:
        misfits += _wrong_counts(step, operations[step.name])
        misfits += _wrong_types(step, operations)
    if misfits:
        raise _invalid(misfits)
    return Pipeline(tuple(ordered), operations)


def _invalid(complaints: Iterable[Complaint]) -> InvalidRequestError:
    return InvalidRequestError("The pipeline is not valid.", errors=list(complaints))


def _complaint(step: str, field: str, detail: str, **more: Any) -> Complaint:
    return {"pointer": pointer_to(step, field), "detail": detail, **more}


def _bad_names(steps: Sequence[Step]) -> Iterable[Complaint]:
    names = [step.name for step in steps]
    for step in steps:
        if step.name == JOB_INPUTS:
            detail = "This is the name of the job's files: choose another."
            yield {"pointer": pointer_to(step.name), "detail": detail}
        for place, need in enumerate(step.needs):
            others = [name for name in names if name != step.name]
            if need not in {JOB_INPUTS, *others}:
                allowed = [JOB_INPUTS, *others]
                detail = f"There is no other step {need!r}."
                yield _complaint(step.name, f"needs/{place}", detail, allowed=allowed)
        if len(set(step.needs)) < len(step.needs):
            yield _complaint(step.name, "needs", "A step is named twice.")


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """As they were written, but each after those it needs."""
    waiting = list(steps)
    ordered: list[Step] = []
    done = {JOB_INPUTS}
    while waiting:
        following = next((step for step in waiting if done.issuperset(step.needs)), None)
        if following is None:
            raise _invalid(
                _complaint(step.name, "needs", "It waits, in a circle, for itself.")
                for step in _circle(waiting)
            )
        waiting.remove(following)
        ordered.append(following)
        done.add(following.name)
    return ordered


def _circle(waiting: Sequence[Step]) -> list[Step]:
    """One circle among steps of which each needs another that waits."""
    by_name = {step.name: step for step in waiting}
    path: list[Step] = []
    step = waiting[0]
    while step not in path:
        path.append(step)
        step = by_name[next(need for need in step.needs if need in by_name)]
    return path[path.index(step) :]


def _wrong_counts(step: Step, operation: Operation) -> Iterable[Complaint]:
    if step.for_each and not step.needs:
        yield _complaint(step.name, "for_each", "It needs nothing: there is nothing to run for.")
    if step.for_each and (operation.min_inputs > 1 or operation.max_inputs == 0):
        takes = f"{operation.name} takes {operation.min_inputs} to {operation.max_inputs} files"
        yield _complaint(step.name, "for_each", f"{takes}, and cannot run for single ones.")
    if not step.for_each and len(step.needs) > operation.max_inputs:
        detail = f"{operation.name} takes at most {operation.max_inputs}: say `for_each`."
        yield _complaint(step.name, "needs", detail, most=operation.max_inputs)
    if not step.needs and operation.min_inputs:
        yield _complaint(step.name, "needs", f"{operation.name} works on files.")


def _wrong_types(step: Step, operations: Mapping[str, Operation]) -> Iterable[Complaint]:
    """What a step makes is known by its operation only: it is refused where nothing could fit."""
    taker = operations[step.name]
    for place, need in enumerate(step.needs):
        if need == JOB_INPUTS:
            continue
        made = operations[need].produces
        fits = taker.takes_alone if step.for_each else taker.takes
        if "*/*" not in (*made, *taker.accepts) and not any(map(fits, made)):
            detail = f"{taker.name} takes nothing that {operations[need].name} makes."
            yield _complaint(
                step.name, f"needs/{place}", detail, made=list(made), allowed=list(taker.accepts)
            )
