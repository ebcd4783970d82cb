"""Everything that is said between the worker, its zygote and the children.

The worker and the zygote trust each other. A child is not trusted once it has opened a file: what
it says is checked against these models, counted (`listener.py`), and never taken for a path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fileproc.errors import ErrorClass
from fileproc.operations import Input, Limits
from fileproc.operations.programs import Program

MAX_LINE_BYTES = 32 * 1024
MAX_SAID_BYTES = 16 * 1024 * 1024

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The message as a JSON line."""
        return self.model_dump_json().encode() + b"\n"


# --- worker to zygote --------------------------------------------------------------------------


class Prepare(Message):
    """The first order: what to import, which programs and which layers of the kernel there are."""

    kind: Literal["prepare"] = "prepare"
    preload: tuple[str, ...]
    programs: dict[str, Program]
    landlock: int
    seccomp: bool
    rlimits: bool


class Start(Message):
    """Fork a child; comes with three descriptors: its task (a file), its voice, its stderr.

    `programs` are those that it may execute; what is not installed is left out by the zygote.
    """

    kind: Literal["start"] = "start"
    key: int
    folder: Path
    limits: Limits
    programs: tuple[str, ...] = ()


class Kill(Message):
    """Kill the child and everything in its process group; unknown keys are those just ended."""

    kind: Literal["kill"] = "kill"
    key: int


Order = Annotated[Prepare | Start | Kill, Field(discriminator="kind")]


# --- zygote to worker --------------------------------------------------------------------------


class Ready(Message):
    """Everything is imported, and there is one thread."""

    kind: Literal["ready"] = "ready"


class Failed(Message):
    """The zygote gives up; `why` is a traceback for the log."""

    kind: Literal["failed"] = "failed"
    why: str


class Started(Message):
    """Comes with one descriptor, the child's pidfd, where the kernel has those."""

    kind: Literal["started"] = "started"
    key: int
    pid: int


class Refused(Message):
    """There is no child: the system let us make no more processes."""

    kind: Literal["refused"] = "refused"
    key: int
    why: str


class Reaped(Message):
    """The child and its group are gone. `status` as from wait(2); seconds; bytes."""

    kind: Literal["reaped"] = "reaped"
    key: int
    status: int
    cpu_s: float
    peak_rss_bytes: int


News = Annotated[Ready | Failed | Started | Refused | Reaped, Field(discriminator="kind")]


# --- worker to child, in a file ----------------------------------------------------------------


class Task(Message):
    """What to do; read after the child is confined."""

    operation: str
    params: dict[str, Any] = {}
    attempt: int = 1
    inputs: list[Input] = []
    findings: dict[str, str | None] = {}
    debug: bool = False


# --- child to worker ---------------------------------------------------------------------------


class Advance(Message):
    """Progress."""

    kind: Literal["advance"] = "advance"
    phase: str = Field(max_length=64)
    done: _Finite
    total: _Finite | None = None
    unit: str | None = Field(default=None, max_length=32)


class Made(Message):
    """Output number `index` is written: `out/<index>` in the scratch folder."""

    kind: Literal["made"] = "made"
    index: int = Field(ge=0)
    name: str = Field(max_length=1024)
    type: str = Field(max_length=127, pattern=r"^[\w.+-]+/[\w.+-]+$")


class Succeeded(Message):
    """The last line of a child whose operation returned."""

    kind: Literal["succeeded"] = "succeeded"
    engine: str | None = Field(default=None, max_length=200)


class Gave(Message):
    """The last line of a child whose operation raised. `trace` is for the log only."""

    kind: Literal["gave"] = "gave"
    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    error_class: ErrorClass
    detail: str = Field(max_length=2000)
    trace: str = Field(default="", max_length=8000)


class Probed(Message):
    """What the self-test found: probe -> whether it got through."""

    kind: Literal["probed"] = "probed"
    open: dict[str, bool]


Saying = Annotated[Advance | Made | Succeeded | Gave | Probed, Field(discriminator="kind")]

ORDERS: TypeAdapter[Prepare | Start | Kill] = TypeAdapter(Order)
NEWS: TypeAdapter[Ready | Failed | Started | Refused | Reaped] = TypeAdapter(News)
SAYINGS: TypeAdapter[Advance | Made | Succeeded | Gave | Probed] = TypeAdapter(Saying)
