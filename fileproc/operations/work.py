"""What an operation gets to work with: paths in, paths out, progress, limits.

Nothing here needs a worker: `Work.local(...)` makes one over a folder, so that an operation can
be tried in a REPL. Inside a worker the same object lives in the sandboxed child process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fileproc.errors import BadInput, OutOfResources
from fileproc.operations.programs import Program, installed

MIB = 1024 * 1024
MAX_NAME_BYTES = 200  # of a display name


@dataclass(frozen=True, slots=True)
class Input:
    """One input: a file in the scratch folder that may be read but is not to be changed.

    `name` is the client's, cleaned; `type` is the media type that we detected from the bytes.
    """

    path: Path
    name: str
    size: int
    sha256: str
    type: str

    @property
    def stem(self) -> str:
        """The display name without its extension, never empty."""
        return Path(self.name).stem or "file"


@dataclass(frozen=True, slots=True)
class Output:
    """One output, in the order of `Work.output` calls."""

    path: Path
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one attempt may use. Bytes, seconds, pixels (all frames together)."""

    memory_bytes: int = 2048 * MIB
    scratch_bytes: int = 20 * 1024 * MIB
    timeout_s: float = 300
    pixels: int = 200_000_000
    output_files: int = 2_000
    threads: int = 2

    @property
    def cpu_s(self) -> int:
        """Processor time: the whole timeout on each thread, and a second more."""
        return math.ceil(self.timeout_s * self.threads) + 1


Report = Callable[[str, float, float | None, str | None], None]


def _silent(phase: str, done: float, total: float | None, unit: str | None) -> None:
    del phase, done, total, unit


@dataclass(slots=True)
class Work:
    """One attempt of one job, as the operation sees it.

    Attributes:
        inputs: at least one, unless the operation takes none.
        folder: the scratch folder of the attempt; everything that is written goes there.
        attempt: counted from 1.
        outputs: what `output` handed out so far.
        engine: name and version of the library that did the work; becomes part of `provenance`.
        programs: what may be started, by the names that operations give.
        findings: what a service said that the worker asked beforehand.
    """

    inputs: list[Input]
    folder: Path
    limits: Limits = field(default_factory=Limits)
    attempt: int = 1
    report: Report = _silent
    outputs: list[Output] = field(default_factory=list)
    engine: str | None = None
    programs: Mapping[str, Program] = field(default_factory=installed)
    findings: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def input(self) -> Input:
        """The first input; operations with one input use this."""
        return self.inputs[0]

    def output(self, name: str, media_type: str) -> Path:
        """A fresh path to write one output to; it is published under `name`.

        Raises:
            BadInput: the job would make more files than `limits.output_files`.
        """
        if len(self.outputs) >= self.limits.output_files:
            raise BadInput(
                f"The job would make more than {self.limits.output_files} files.",
                code="too_many_outputs",
            )
        path = self.folder / "out" / str(len(self.outputs))
        path.parent.mkdir(exist_ok=True)
        self.outputs.append(Output(path, clean_name(name), media_type))
        return path

    def progress(
        self,
        done: float,
        total: float | None = None,
        *,
        unit: str | None = None,
        phase: str = "work",
    ) -> None:
        """Say how far the work is; call it as often as you like, it is thinned out later."""
        self.report(phase, done, total, unit)


def clean_name(name: str, fallback: str = "file") -> str:
    """A display name without path, control and direction characters, at most 200 bytes of UTF-8.

    It is shown to people and put into Content-Disposition; it never becomes part of a path or key.
    """
    name = re.split(r"[/\\\u2044\u2215\uff0f\uff3c]", name)[-1]
    name = "".join(char for char in name if char.isprintable()).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 20 or not stem:  # noqa: PLR2004 - longer is no extension
        stem, dot, suffix = name, "", ""
    room = MAX_NAME_BYTES - len((dot + suffix).encode())
    stem = stem.encode("utf-8", "ignore")[:room].decode("utf-8", "ignore")
    return (stem + dot + suffix).strip() or fallback


__all__ = ["BadInput", "Input", "Limits", "OutOfResources", "Output", "Work", "clean_name"]
