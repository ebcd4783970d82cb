"""Settings of workers."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from fileproc.settings.fields import GIB, MIB, Positive, PositiveSeconds


class SandboxMode(StrEnum):
    REQUIRED = "required"
    BEST_EFFORT = "best-effort"


class Working(BaseModel):
    """Workers, and what one attempt of a job may use."""

    worker_host: str = Field("127.0.0.1", description="Address of the worker's health port.")
    worker_port: int = Field(8081, ge=0, le=65535, description="Health port; 0 takes a free one.")
    lanes: str = Field("default,heavy", description="Lanes a worker serves.")
    concurrency: str | None = Field(
        None, description="Slots per lane: N, or default=4,heavy=1. Unset: cores, and 1 if heavy."
    )
    job_timeout_s: PositiveSeconds = Field(300, description="Wall time of an attempt.")
    heavy_job_timeout_s: PositiveSeconds = Field(3600, description="The same in the heavy lane.")
    max_attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        3, description="Attempts of a job, whatever the class of its errors."
    )
    lease_s: Annotated[float, Field(ge=1)] = Field(
        8, description="A worker silent for so long loses its jobs."
    )
    beat_s: PositiveSeconds = Field(
        1, description="Leases are renewed, and cancels seen, so often."
    )
    grace_s: PositiveSeconds = Field(30, description="Time running jobs get at SIGTERM.")
    scratch_dir: Path | None = Field(
        None, description="Folder for the jobs' files; unset: a folder below the system's temp."
    )
    scratch_floor_bytes: int = Field(
        256 * MIB, ge=0, description="With less free space a worker takes no job."
    )
    max_scratch_bytes: Positive = Field(20 * GIB, description="Scratch files of one attempt.")
    max_memory_bytes: Positive = Field(2 * GIB, description="Memory of one attempt.")
    max_pixels: Positive = Field(200_000_000, description="Pixels of a picture, all frames.")
    max_output_files: Positive = Field(2_000, description="Outputs of one job.")
    max_kept_bytes: int = Field(
        GIB,
        ge=0,
        description="What the finished steps of a failed job have made is kept up to this size, "
        "for a retry from the failed step. 0: never.",
    )
    keep_timeout_s: PositiveSeconds = Field(
        30, description="Time in which the storage must have taken that."
    )
    sandbox: SandboxMode = Field(
        SandboxMode.REQUIRED,
        description="required: refuse to work where the kernel has neither seccomp nor Landlock "
        "(ABI 4); best-effort: warn.",
    )
    clamd: str | None = Field(
        None,
        description="ClamAV's daemon, for file.scan: host:port, or the path of its Unix socket."
        " Unset: there is no file.scan.",
    )
    clamd_max_bytes: Positive = Field(
        100 * MIB,
        description="Largest file that is scanned. No more than the daemon's MaxFileSize and"
        " StreamMaxLength: what exceeds the first it calls clean.",
    )
    debug_operations: bool = Field(False, description="Whether debug.* operations exist.")

    @field_validator("clamd")
    @classmethod
    def _clamd_address(cls, value: str | None) -> str | None:
        if value is not None:
            clamd_address(value)
        return value

    @field_validator("concurrency", "lanes")
    @classmethod
    def _well_formed(cls, value: str | None) -> str | None:
        for item in (value or "").split(","):
            if item and not item.strip().replace("=", "").replace("_", "").isalnum():
                raise ValueError("must be names or name=number pairs, separated by commas")
        return value


def slots(settings: Working) -> dict[str, int]:
    """Slots per lane served, from `lanes` and `concurrency`.

    Raises:
        ValueError: a number is missing or not positive, or a lane is named that is not served.
    """
    lanes = [lane.strip() for lane in settings.lanes.split(",") if lane.strip()]
    if not lanes:
        raise ValueError("no lane is served: set FILEPROC_LANES")
    cores = os.cpu_count() or 1
    wanted = {lane: 1 if lane == "heavy" else cores for lane in lanes}
    for item in (settings.concurrency or "").split(","):
        name, _, number = item.strip().rpartition("=")
        if not number:
            continue
        if not number.isdecimal() or int(number) < 1:
            raise ValueError(f"{item.strip()!r} is not a positive number of slots")
        if name and name not in wanted:
            raise ValueError(f"the lane {name!r} is not served (FILEPROC_LANES={settings.lanes})")
        wanted.update({name: int(number)} if name else dict.fromkeys(lanes, int(number)))
    return wanted


def clamd_address(value: str) -> tuple[str, int] | Path:
    """Host and port, or the path of a Unix socket; `tcp://` and `unix:` before them are allowed.

    Raises:
        ValueError: it is neither.
    """
    path = value.removeprefix("unix://").removeprefix("unix:")
    if path.startswith("/"):
        return Path(path)
    parts = urlsplit(value if "://" in value else f"tcp://{value}")
    if parts.scheme != "tcp" or not parts.hostname or not parts.port or parts.path:
        raise ValueError("must be host:port, or the path of a Unix socket")
    return parts.hostname, parts.port


def services(settings: Working) -> frozenset[str]:
    """What is configured that operations may need, by the names they give it."""
    return frozenset({"clamd"} if settings.clamd is not None else ())
