"""`debug.fail`: fails in the way that is asked for, then succeeds; for tests of retries."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from fileproc.errors import Crashed, ErrorClass, JobError
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, OutOfResources, Work


class Fail(Params):
    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    error_class: ErrorClass = Field(
        ErrorClass.TRANSIENT, alias="class", description="Class of the error."
    )
    times: int = Field(1, ge=0, description="How many attempts fail before one succeeds.")


@operation(
    "debug.fail",
    summary="Fail the first attempts, then succeed",
    params=Fail,
    accepts=("*/*",),
    produces=("text/plain",),
    example={"class": "transient", "times": 0},
    min_inputs=0,
    debug=True,
)
def fail(work: Work, params: Fail) -> None:
    """Raise an error of the class in attempts 1 to `times`; then write the attempt's number.

    Raises:
        JobError: or one of its kinds, with the code `debug_fail`.
    """
    work.engine = "debug"
    if work.attempt <= params.times:
        kind = {
            ErrorClass.PERMANENT: BadInput,
            ErrorClass.RESOURCE: OutOfResources,
            ErrorClass.CRASH: Crashed,
        }.get(params.error_class, JobError)
        raise kind(
            f"Attempt {work.attempt} fails on purpose.",
            code="debug_fail",
            error_class=params.error_class,
        )
    work.output("attempt.txt", "text/plain").write_text(f"{work.attempt}\n", encoding="ascii")
