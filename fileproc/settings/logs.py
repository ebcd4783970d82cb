"""Settings of the log, and of tests."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field, field_validator

from fileproc import crashpoints


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Logs(BaseModel):
    """The log."""

    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe line printed."
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="json, console, or auto: console on a terminal."
    )
    crash_at: str | None = Field(
        None,
        description="A point of fileproc/crashpoints.py at which the process dies; for tests.",
        json_schema_extra={"hidden": True},
    )

    @field_validator("crash_at")
    @classmethod
    def _crash_point(cls, value: str | None) -> str | None:
        if value is not None:
            crashpoints.parse(value)
        return value
