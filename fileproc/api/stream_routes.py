"""The part of the table of routes that is about what is sent as it comes: events, archives."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import archive, examples, queries, streams
from fileproc.api.endpoints import Answer, Endpoint, Errors, RequestHeader, Tag

_LAST_EVENT = RequestHeader("Last-Event-ID", "Id of the last event that you got; go on after it.")
_LOST: Errors = (errors.NotFoundError, errors.GoneError)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "GET",
        "/v1/jobs/{name}/archive",
        archive.get_archive,
        operation_id="getArchive",
        tag=Tag.JOBS,
        summary="Download all outputs as a ZIP",
        description=(
            "Made while it is sent, by the server itself, also where it does not hand out single "
            "files. Of names that are the same, or differ in case only, the later ones are "
            "numbered. The files are not compressed; `archive.create` does that. It can be neither "
            "resumed nor asked for in part."
        ),
        answers={200: Answer("The archive.", media_type="application/zip")},
        query=queries.NoQuery,
        errors=(
            *_LOST,
            errors.NotFinishedError,
            errors.NoResultError,
            errors.StorageUnavailableError,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{name}/events",
        streams.job_events,
        operation_id="getJobEvents",
        granted=True,
        tag=Tag.JOBS,
        summary="Follow a job",
        description=(
            "Server-sent events: `job` (as `GET /v1/jobs/{id}` has it) at the beginning and at the "
            "end, `move` for every change of its state, and `progress`. With `Last-Event-ID` the "
            "moves since then come first, and no `job`; where they are no longer known, `reset` "
            "and `job`. `end` says why the stream ends: `final`, or `time`, `draining`, `slow`, "
            "`gap`, `key`, after which a reader comes back. A reader that has had everything of a "
            "job that is over gets 204, and does not."
        ),
        answers={
            200: Answer("The stream.", media_type="text/event-stream", example=examples.JOB_EVENTS),
            204: Answer("There is nothing more to come."),
        },
        query=queries.StreamQuery,
        headers=(_LAST_EVENT,),
        errors=(*_LOST, errors.TooManyStreamsError),
    ),
    Endpoint(
        "GET",
        "/v1/batches/{batch}/events",
        streams.batch_events,
        operation_id="getBatchEvents",
        tag=Tag.BATCHES,
        summary="Follow a batch",
        description=(
            "Server-sent events: `batch` (as `GET /v1/batches/{batch}` has it) at the beginning "
            "and at the end, `move` for every change of state of its jobs, and, at most once a "
            "second, `progress` with the counts that they come to. Otherwise as the stream of one "
            "job; it ends with the last of the jobs."
        ),
        answers={
            200: Answer(
                "The stream.", media_type="text/event-stream", example=examples.BATCH_EVENTS
            ),
            204: Answer("There is nothing more to come."),
        },
        query=queries.StreamQuery,
        headers=(_LAST_EVENT,),
        errors=(errors.NotFoundError, errors.TooManyStreamsError),
    ),
    Endpoint(
        "GET",
        "/v1/events",
        streams.owner_events,
        operation_id="getEvents",
        tag=Tag.JOBS,
        summary="Follow all your jobs",
        description=(
            "Server-sent events: `owner` with the number of your jobs in each state at the "
            "beginning, then `move` and `progress` of every job of yours. Otherwise as the stream "
            "of one job; it has no end of its own."
        ),
        answers={
            200: Answer(
                "The stream.", media_type="text/event-stream", example=examples.OWNER_EVENTS
            )
        },
        query=queries.StreamQuery,
        headers=(_LAST_EVENT,),
        errors=(errors.TooManyStreamsError,),
    ),
)
