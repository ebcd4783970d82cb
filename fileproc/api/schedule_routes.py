"""The part of the HTTP surface that is about schedules."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import queries, schedule_models, schedules
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, Tag

_OF_JOB: Errors = (
    errors.NotFoundError,
    errors.UnknownOperationError,
    errors.ProgramMissingError,
    errors.UrlNotAllowedError,
    errors.TypeMismatchError,
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
)
_LOST: Errors = (errors.NotFoundError,)
_IS = Answer("The schedule.", schedule_models.ScheduleView, example=schedule_models.SCHEDULE)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/schedules",
        schedules.create_schedule,
        operation_id="createSchedule",
        stores=True,
        tag=Tag.SCHEDULES,
        summary="Do a job again and again",
        description=(
            "Each time, a batch is made: of one job over a URL, or of a job for each object below "
            "a prefix that is new or has changed. Caps, quotas and rates hold as for a request; "
            "what is refused then is told in `last_error`. What was missed is made up for once."
        ),
        answers={
            201: Answer(
                "The schedule is there.",
                schedule_models.ScheduleView,
                headers={"Location": "Address of the schedule."},
                example=schedule_models.SCHEDULE,
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=schedule_models.ScheduleRequest,
        sample=schedule_models.SAMPLE,
        errors=(*_OF_JOB, errors.QuotaError),
    ),
    Endpoint(
        "GET",
        "/v1/schedules",
        schedules.list_schedules,
        operation_id="listSchedules",
        tag=Tag.SCHEDULES,
        summary="List your schedules, newest first",
        answers={200: Answer.page(schedule_models.ScheduleList, schedule_models.SCHEDULE)},
        query=queries.PageQuery,
    ),
    Endpoint(
        "GET",
        "/v1/schedules/{schedule}",
        schedules.get_schedule,
        operation_id="getSchedule",
        tag=Tag.SCHEDULES,
        summary="Look at a schedule",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "PATCH",
        "/v1/schedules/{schedule}",
        schedules.change_schedule,
        operation_id="changeSchedule",
        stores=True,
        tag=Tag.SCHEDULES,
        summary="Change a schedule",
        description=(
            "What is given is replaced, whole; what is left out stays. A firing that is under way "
            "goes on as it was."
        ),
        answers={200: _IS},
        query=queries.NoQuery,
        body=Body.JSON,
        payload=schedule_models.SchedulePatch,
        errors=_OF_JOB,
    ),
    Endpoint(
        "DELETE",
        "/v1/schedules/{schedule}",
        schedules.delete_schedule,
        operation_id="deleteSchedule",
        tag=Tag.SCHEDULES,
        summary="Delete a schedule",
        description="The jobs that it has made stay.",
        answers={204: Answer("It is gone.")},
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "POST",
        "/v1/schedules/{schedule}/pause",
        schedules.pause_schedule,
        operation_id="pauseSchedule",
        tag=Tag.SCHEDULES,
        summary="Let a schedule wait",
        description="It can still be run by hand.",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "POST",
        "/v1/schedules/{schedule}/resume",
        schedules.resume_schedule,
        operation_id="resumeSchedule",
        stores=True,
        tag=Tag.SCHEDULES,
        summary="Let a schedule go on",
        description="What was due while it was paused is not made up for.",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "POST",
        "/v1/schedules/{schedule}/run",
        schedules.run_schedule,
        operation_id="runSchedule",
        stores=True,
        tag=Tag.SCHEDULES,
        summary="Run a schedule now",
        description="Within a second or so. Asked again before that is done, it is run once.",
        answers={
            202: Answer(
                "It will be run; follow it in `last_run`.",
                schedule_models.ScheduleView,
                example={**schedule_models.SCHEDULE, "running": True},
            )
        },
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "GET",
        "/v1/schedules/{schedule}/runs",
        schedules.list_runs,
        operation_id="listRuns",
        tag=Tag.SCHEDULES,
        summary="See what came of the last runs",
        answers={
            200: Answer(
                "The last 100, newest first.",
                schedule_models.RunList,
                example={"data": [schedule_models.RUN]},
            )
        },
        query=queries.NoQuery,
        errors=_LOST,
    ),
)
