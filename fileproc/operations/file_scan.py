"""`file.scan`: whether ClamAV knows something bad in a file."""

from __future__ import annotations

import json

from pydantic import Field

from fileproc.errors import JobError
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work


class Scan(Params):
    fail_if_infected: bool = Field(
        False,
        description="Whether the job fails, with the code infected, where something is found;"
        " steps of a pipeline behind it do not run then.",
    )


@operation(
    "file.scan",
    summary="Look for viruses in a file, by ClamAV",
    params=Scan,
    accepts=("*/*",),
    produces=("application/json",),
    example={},
    service="clamd",
)
def scan(work: Work, params: Scan) -> None:
    """Have ClamAV's daemon look at a file, and in archives and documents inside of it.

    The result is `scan.json` with `clean` (true or false), `signature` (the name of what was found,
    or null) and `scanner`. Clean means that nothing known was found: what is encrypted cannot be
    looked into. A file that is larger than the daemon takes is an error, never clean.

    Raises:
        BadInput: `infected`, `scan_too_large`.
        JobError: `scanner_unavailable`, which is tried again.
    """
    # The worker has asked the daemon; from in here nothing can be reached.
    if "signature" not in work.findings:
        raise JobError("The worker has no virus scanner.", code="scanner_unavailable")
    signature, work.engine = work.findings["signature"], work.findings.get("engine")
    if signature is not None and params.fail_if_infected:
        raise BadInput(f"The virus scanner found {signature}.", code="infected")
    found = {"clean": signature is None, "signature": signature, "scanner": work.engine}
    path = work.output("scan.json", "application/json")
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    work.progress(1, 1, unit="files", phase="done")
