"""Values that requests and answers have in common, and what their models are based on.

A request model is strict (a string is no number) and refuses names it does not know. The models of
queries are lax, since everything in a query is text.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from fileproc.outbound import MAX_URL_CHARS
from fileproc.webhooks import EventType

MAX_WAIT_S = 60
MAX_PAGE = 200
MAX_LABELS = 32
MAX_INPUTS = 10_000  # of any deployment; FILEPROC_MAX_INPUTS is the limit that bites
MAX_METADATA_BYTES = 16 * 1024
MAX_DELIVERIES = 100
MAX_DELIVERY_HEADERS = 16

JOB_ID = "job_01kqb4h0nme8atrb9rgb0yvm3j"
BATCH_ID = "batch_01kqb4h0nme8atrb9rgb0yvm3m"
UPLOAD_ID = "upload_01kqb4h0nme8atrb9rgb0yvm3k"
FILE_ID = "file_01kqb4h0nme8atrb9rgb0yvm3k"
_ID = "_[0-7][0-9a-hjkmnp-tv-z]{25}$"

JobId = Annotated[str, StringConstraints(pattern="^job" + _ID), Field(examples=[JOB_ID])]
BatchId = Annotated[str, StringConstraints(pattern="^batch" + _ID), Field(examples=[BATCH_ID])]
FileId = Annotated[str, StringConstraints(pattern="^file" + _ID), Field(examples=[FILE_ID])]
UploadId = Annotated[str, StringConstraints(pattern="^upload" + _ID), Field(examples=[UPLOAD_ID])]


def _signable(name: str) -> str:
    """Others would change what the request is, or whom it is for."""
    plain = {"content-type", "content-disposition", "content-language", "cache-control"}
    if name.lower() not in plain and not name.lower().startswith(("x-amz-", "x-goog-", "x-ms-")):
        raise ValueError("This header cannot be sent along")
    return name


DeliveryHeader = Annotated[
    str, StringConstraints(pattern="^[A-Za-z0-9-]{1,64}$"), AfterValidator(_signable)
]
DeliveryHeaderValue = Annotated[str, StringConstraints(max_length=1000, pattern="^[\\x20-\\x7e]*$")]

LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Labels = Annotated[
    dict[LabelName, LabelValue],
    Field(max_length=MAX_LABELS, description="Names and values to find the job by."),
]
# A name of a step needs no escape in a JSON pointer.
StepName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_-]{0,39}$")]
VariableName = StepName
MAX_VARIABLES = 32
TEMPLATE_NAME = "[a-z][a-z0-9_-]{0,39}"
TEMPLATE_REFERENCE = f"^{TEMPLATE_NAME}(@[1-9][0-9]{{0,8}})?$"
MEDIA_TYPE = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*"
LINK_CODE = "^[A-Za-z0-9][A-Za-z0-9_-]{5,63}$"

Priority = Literal["high", "normal", "low"]
Wait = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_WAIT_S,
        description="Seconds to wait for the job to end before answering.",
    ),
]

ExpiresIn = Annotated[
    int,
    Field(
        ge=1,
        description="A job that has not started so many seconds after it was accepted, or after "
        "`run_at`, is `expired`.",
    ),
]
Timeout = Annotated[
    int,
    Field(ge=1, description="Seconds that an attempt may take; the lane has a limit of its own."),
]
MaxAttempts = Annotated[
    int, Field(ge=1, le=20, description="Attempts at most; the server has a limit of its own.")
]
Reuse = Annotated[
    bool | None,
    Field(
        description="Answer with the outputs of an earlier job of yours that asked the same of the "
        "same files, if there is one; refuse what has failed for good before. Both jobs must say "
        "so, or their keys. Omitted: as the key says."
    ),
]
Force = Annotated[
    bool, Field(description="With `reuse`: do the work, whatever has come of it before.")
]
DryRun = Annotated[
    bool,
    Field(description="Judge the request and say what it would take; nothing is accepted."),
]
Retention = Annotated[
    int,
    Field(
        ge=60,
        description="Record and files go so many seconds after the job's end; sooner than usual.",
    ),
]


def _rfc3339(value: object) -> object:
    """Pydantic would also take seconds since 1970, and dates without a time."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("must be a time with its offset, such as 2026-11-22T08:15:30Z")
    return value


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]{8,18}([Zz]|[+-][0-9]{2}:[0-9]{2})")
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_rfc3339)]
# `key=value`; split here so that a wrong one is named by its place.
LabelPair = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=[^\x00-\x1f\x7f]{0,255}$")
]


class Request(BaseModel):
    """Base of bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """Base of queries."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _each_once(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[
    list[Annotated[EventType, Field(strict=False)]],  # as JSON has it: text
    Field(min_length=1, max_length=50, description="What is sent there."),
    AfterValidator(_each_once),
]
HookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="Where it is sent: http or https, reachable from everywhere.",
        examples=["https://example.com/hooks/fileproc"],
    ),
]
JobEvent = Literal[
    "job.accepted",
    "job.started",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
    "job.delivery_failed",
]
Scalar = str | int | float | bool
