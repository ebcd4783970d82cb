"""Every way an attempt can end has a name: the executor returns one, and that is settled."""

from __future__ import annotations

from dataclasses import dataclass

from fileproc.errors import (
    Crashed,
    ErrorClass,
    FileprocError,
    InsufficientStorageError,
    JobError,
    ObjectMissingError,
)
from fileproc.jobs import (
    JobResult,
    KeptSteps,
    PipelineProblem,
    Problem,
    StepStatus,
    TargetStatus,
    backoff_s,
    may_retry,
)
from fileproc.store import Lease, Settlement


@dataclass(frozen=True, slots=True)
class Done:
    """The outputs are in the storage."""

    result: JobResult
    name = "succeeded"

    def settlement(self, lease: Lease) -> Settlement:
        return Settlement.complete(lease, self.result)


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed: the job is tried again later, or that was it."""

    error: JobError
    prefix: str
    steps: list[StepStatus] | None = None  # of a pipeline
    deliveries: list[TargetStatus] | None = None
    kept: KeptSteps | None = None
    name = "failed"

    def settlement(self, lease: Lease) -> Settlement:
        problem = problem_of(self.error, lease)
        if (self.steps, self.deliveries, self.kept) != (None, None, None):
            problem = PipelineProblem(
                **dict(problem), steps=self.steps, deliveries=self.deliveries, kept=self.kept
            )
        if not self.for_good(lease):
            return Settlement.retry(lease, problem, backoff_s(lease.attempt), self.prefix)
        return Settlement.fail(lease, problem, self.prefix, self.kept.prefix if self.kept else "")

    def for_good(self, lease: Lease) -> bool:
        """Whether no other attempt follows."""
        return not may_retry(self.error.job_class, lease.attempt, lease.max_attempts)


@dataclass(frozen=True, slots=True)
class Canceled:
    """Its owner wanted it to end."""

    prefix: str
    name = "canceled"

    def settlement(self, lease: Lease) -> Settlement:
        return Settlement.cancel(lease, self.prefix)


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Not the job's fault (shutdown, a dead template process): no attempt is spent."""

    prefix: str
    name = "handed_back"

    def settlement(self, lease: Lease) -> Settlement:
        return Settlement.release(lease, self.prefix)


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else has the job: settling is refused, and puts what we uploaded into the trash."""

    prefix: str
    name = "lost"

    def settlement(self, lease: Lease) -> Settlement:
        return Settlement.release(lease, self.prefix)


Outcome = Done | Failed | Canceled | HandedBack | Lost


def problem_of(error: JobError, lease: Lease) -> Problem:
    """The failure as clients read it."""
    return Problem(
        type=f"/docs#error-{error.job_code}",
        title=type(error).title,
        status=type(error).status,
        detail=error.detail,
        code=error.job_code,
        error_class=error.job_class,
        retryable=error.job_class is not ErrorClass.PERMANENT,
        attempt=lease.attempt,
    )


def as_job_error(error: FileprocError) -> JobError:
    """What stopped an attempt, classed: the storage's troubles pass, a missing input stays away."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, ObjectMissingError):
        return JobError(
            "An input of the job is no longer in the storage.",
            code="input_missing",
            error_class=ErrorClass.PERMANENT,
        )
    if isinstance(error, InsufficientStorageError):
        return JobError(error.detail, code=error.code, error_class=ErrorClass.RESOURCE)
    return JobError(error.detail, code=error.code, error_class=ErrorClass.TRANSIENT)


def unforeseen() -> JobError:
    """For an exception nobody planned for; the traceback is in the log."""
    return Crashed(
        "The worker met an error that it does not know; its log has the details.",
        code="internal_error",
    )
