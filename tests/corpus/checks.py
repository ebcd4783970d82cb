"""One run of one operation on one file, through the real sandbox, and what is wrong with it."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corpus.files import Specimen
from fileproc.errors import ErrorClass, JobError
from fileproc.operations import Input, Limits, Operation, offered
from fileproc.worker.sandbox import Assignment, Ending, Sandbox, ZygoteLost, remove_scratch

GRACE_S = 1.0  # by which a limit of time may be overrun
SUCCEEDED = "succeeded"
ZYGOTE_LOST = "zygote_lost"
# What a file may do to a job: be wrong, or need more than there is.
_FAIR = {ErrorClass.PERMANENT, ErrorClass.RESOURCE}
# Permanent, but our fault and not the file's.
_OURS = {"killed", "invalid_params", "unknown_operation"}
_ABSOLUTE = re.compile(r"(?<![\w.:/])(?:/[\w.+~-]+){2,}")
_OF_THE_SCRATCH = re.compile(r"(?<![\w/])(?:in|out)/\d+\b")
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """How one attempt ended."""

    id: str
    specimen: Specimen
    operation: str
    code: str
    error_class: str
    detail: str
    wall_s: float
    peak_rss_bytes: int
    findings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the file of all runs."""
        facts = asdict(self)
        given = facts.pop("specimen")
        return {**facts, "file": given["shown"], "type": given["type"], "bytes": given["size"]}


def runs_of(specimens: list[Specimen]) -> Iterator[tuple[Specimen, Operation]]:
    """Each file with each operation that takes it alone and that this machine offers."""
    operations = offered().values()
    for specimen in specimens:
        for entry in operations:
            if entry.min_inputs == 1 and entry.takes_alone(specimen.type):
                yield specimen, entry


class Pulse:
    """Counts the time in which nobody let this process run though it would have.

    On a machine that is busy with other work a run may end late without anybody's fault. What
    this process was late by its own work does not count.
    """

    def __init__(self) -> None:
        self.stolen_s = 0.0

    async def beat(self) -> None:
        """Until cancelled."""
        while True:
            wall, own = time.monotonic(), time.process_time()
            await asyncio.sleep(_TICK_S)
            late = time.monotonic() - wall - _TICK_S - (time.process_time() - own)
            self.stolen_s += late if late > _TICK_S else 0.0


class Checker:
    """Runs attempts in scratch folders below `base`, which holds nothing between two of them."""

    def __init__(self, sandbox: Sandbox, pulse: Pulse, limits: Limits, base: Path) -> None:
        self._sandbox = sandbox
        self._pulse = pulse
        self._limits = limits
        self._base = base
        self._numbers = itertools.count(1)

    async def check(self, specimen: Specimen, entry: Operation) -> Run:
        """One attempt, from its scratch folder to the removal of that."""
        folder = self._base / f"run-{next(self._numbers)}"
        try:
            given = await asyncio.to_thread(_laid_out, specimen, folder)
            zygote, stolen_s = self._sandbox.zygote_pid, self._pulse.stolen_s
            began = time.monotonic()
            ending = await self._run(entry, folder, given)
            wall_s = time.monotonic() - began
            fair_s = wall_s - (self._pulse.stolen_s - stolen_s)
            findings = [
                *found(ending, fair_s, self._limits, self._base),
                *(["the zygote died"] if self._sandbox.zygote_pid != zygote else []),
                *await asyncio.to_thread(_left_running, folder),
            ]
        finally:
            await asyncio.to_thread(remove_scratch, folder)
        if folder.exists():
            findings.append("its scratch folder cannot be removed")
        return _written_down(
            specimen, entry, ending, identity=folder.name, wall_s=wall_s, findings=findings
        )

    async def _run(self, entry: Operation, folder: Path, given: Input) -> Ending | None:
        """None: the zygote died."""
        assignment = Assignment(
            id=folder.name,
            operation=entry.name,
            params=entry.parse(entry.example),
            attempt=1,
            folder=folder,
            inputs=[given],
            limits=self._limits,
            programs=entry.programs,
        )
        try:
            return await self._sandbox.run(assignment, lambda _: None)
        except ZygoteLost:
            return None


def _laid_out(specimen: Specimen, folder: Path) -> Input:
    """The scratch folder as a worker makes it, with a copy of the file."""
    (folder / "in").mkdir(parents=True, mode=0o700)
    path = folder / "in" / "0"
    shutil.copyfile(specimen.path, path)
    name = Path(specimen.shown).name
    return Input(path, name, specimen.size, specimen.sha256, specimen.type)


def _written_down(
    specimen: Specimen,
    entry: Operation,
    ending: Ending | None,
    *,
    identity: str,
    wall_s: float,
    findings: list[str],
) -> Run:
    error = ending.error if ending is not None else None
    code = ZYGOTE_LOST if ending is None else SUCCEEDED if error is None else error.job_code
    return Run(
        id=identity,
        specimen=specimen,
        operation=entry.name,
        code=code,
        error_class=error.job_class.value if error is not None else "",
        detail=error.detail if error is not None else "",
        wall_s=round(wall_s, 3),
        peak_rss_bytes=ending.usage.peak_rss_bytes if ending is not None else 0,
        findings=tuple(findings),
    )


# --- judging ---------------------------------------------------------------------------------


def found(ending: Ending | None, wall_s: float, limits: Limits, base: Path) -> list[str]:
    """What must never be, whatever the file is; empty if all is well.

    Args:
        ending: None if the zygote died.
        wall_s: how long it took, without what others kept the machine from it.
        limits: what the attempt was given.
        base: where the scratch folders are.
    """
    findings = []
    if ending is None or not _is_fair(ending.error):
        findings.append("not an answer that a file may have")
    if wall_s > limits.timeout_s + GRACE_S:
        findings.append(f"{wall_s - limits.timeout_s:.1f} s longer than it may take")
    if ending is not None and ending.error is not None and _tells(ending.error.detail, base):
        findings.append("its sentence tells a path")
    return findings


def _is_fair(error: JobError | None) -> bool:
    return error is None or (error.job_class in _FAIR and error.job_code not in _OURS)


def _tells(sentence: str, base: Path) -> bool:
    """Whether it names a file of this machine; a path inside an archive is the client's own."""
    if str(base) in sentence or _OF_THE_SCRATCH.search(sentence):
        return True
    return any(os.path.lexists(path) for path in _ABSOLUTE.findall(sentence))


def _left_running(folder: Path) -> list[str]:
    """Processes that still work in the scratch folder though the attempt is over."""
    working = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            working += (entry / "cwd").readlink().is_relative_to(folder)
        except OSError:  # gone, or another user's
            continue
    return [f"{working} of its processes are alive"] if working else []
