"""What the executor hands to the sandbox, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fileproc.errors import EngineError, JobError
from fileproc.jobs import Usage
from fileproc.operations import Input, Limits, Output


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt of one job.

    Attributes:
        id: of the job; appears in the log only.
        folder: the scratch folder, there already; the child may write nowhere else.
        inputs: files inside `folder`.
        debug: whether `debug.*` operations exist.
        programs: names of what the operation starts by exec.
        findings: what a service said that was asked about the input.
    """

    id: str
    operation: str
    params: dict[str, Any]
    attempt: int
    folder: Path
    inputs: list[Input]
    limits: Limits
    debug: bool = False
    programs: tuple[str, ...] = ()
    findings: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended; the process is gone by then.

    Attributes:
        outputs: regular files in `folder/out`, checked by the parent; empty if `error` is set.
        engine: name and version of the library that did the work, as the child says.
        usage: of the child; its peak memory begins with what it shares with the zygote (45 MB).
        error: None if it succeeded.
    """

    outputs: list[Output]
    engine: str | None
    usage: Usage
    error: JobError | None


class ZygoteLost(EngineError):  # noqa: N818 - a state of affairs, handled by handing the job back
    """The zygote died under a running attempt; a new one is being started."""

    code, title = "zygote_lost", "The template process of the worker died"
