"""`debug.sleep`: takes its time and tells how far it is; for tests and for measuring."""

from __future__ import annotations

import time

from pydantic import Field

from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_STEP_S = 0.05


class Sleep(Params):
    seconds: float = Field(1.0, ge=0, le=86_400, description="How long it takes.")
    output_bytes: int = Field(
        0, ge=0, le=1 << 40, description="Size of the file of zeros that it makes; 0: none."
    )


@operation(
    "debug.sleep",
    summary="Sleep, with progress",
    params=Sleep,
    accepts=("*/*",),
    produces=("application/octet-stream",),
    example={"seconds": 0.1},
    min_inputs=0,
    debug=True,
)
def sleep(work: Work, params: Sleep) -> None:
    """Do nothing for a while; the progress is in seconds."""
    work.engine = "debug"
    began = time.monotonic()
    while (passed := time.monotonic() - began) < params.seconds:
        work.progress(passed, params.seconds, unit="seconds", phase="sleep")
        time.sleep(min(_STEP_S, params.seconds - passed))
    work.progress(params.seconds, params.seconds, unit="seconds", phase="sleep")
    if params.output_bytes:
        with work.output("zeros.bin", "application/octet-stream").open("wb") as file:
            file.truncate(params.output_bytes)
