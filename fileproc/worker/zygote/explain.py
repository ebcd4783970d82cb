"""From whatever an operation raised to the error that the job shows. Runs in the child."""

from __future__ import annotations

import errno
import re
import traceback

from pydantic import ValidationError

from fileproc.errors import ErrorClass, FileprocError, JobError
from fileproc.worker.zygote.protocol import Gave

MEMORY_SENTENCE = "The job needed more memory than it may use."
SCRATCH_SENTENCE = "The job needed more space for its files than it may use."
INTERNAL_SENTENCE = "The operation failed in a way that nobody foresaw; the server's log has more."

# Made beforehand: when memory is out there may be none to make it with.
OUT_OF_MEMORY = Gave(
    code="out_of_memory", error_class=ErrorClass.RESOURCE, detail=MEMORY_SENTENCE
).line()

_NAMES_OF_NO_MEMORY = {"OutOfMemoryException", "OutOfMemoryError"}
_TEXT_OF_NO_MEMORY = re.compile(
    r"out of memory|cannot allocate memory|failed to allocate", re.IGNORECASE
)
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAX_TRACE_BYTES = 6000


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine's error says so; each says it in its own way."""
    if isinstance(error, JobError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _NAMES_OF_NO_MEMORY or _TEXT_OF_NO_MEMORY.search(str(error)[:2000]))


def explain(error: BaseException) -> Gave:
    """Name the failure. What nobody foresaw is a crash, with its traceback for the log only."""
    if isinstance(error, JobError):
        code = error.job_code if re.fullmatch(r"[a-z0-9_]{1,64}", error.job_code) else error.code
        return Gave(code=code, error_class=error.job_class, detail=_sentence(error.detail))
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return Gave(
            code="scratch_full",
            error_class=ErrorClass.RESOURCE,
            detail=SCRATCH_SENTENCE,
            trace=_trace(error),
        )
    if isinstance(error, FileprocError):  # an operation this worker does not know
        return Gave(
            code=error.code, error_class=ErrorClass.PERMANENT, detail=_sentence(error.detail)
        )
    return Gave(
        code="internal_error",
        error_class=ErrorClass.CRASH,
        detail=INTERNAL_SENTENCE,
        trace=_trace(error),
    )


def explain_params(error: ValidationError) -> Gave:
    """Parameters that the api took and this worker does not: another version of the operation."""
    names = ", ".join(".".join(str(part) for part in entry["loc"]) for entry in error.errors())
    return Gave(
        code="invalid_params",
        error_class=ErrorClass.PERMANENT,
        detail=_sentence(f"The worker does not take these parameters: {names}."),
    )


def _sentence(text: str) -> str:
    text = "".join(char if char.isprintable() else " " for char in text)
    return text.encode("utf-8", "replace").decode()[:2000]


def _trace(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text.encode("ascii", "backslashreplace")[-_MAX_TRACE_BYTES:].decode()
