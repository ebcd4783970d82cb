"""The whole HTTP surface on one screen or two, with what the documentation says about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fileproc import errors
from fileproc.api import (
    answers,
    docs,
    dry_runs,
    examples,
    file_routes,
    grant_routes,
    health,
    idempotency,
    jobs,
    key_routes,
    limit_routes,
    link_routes,
    operations,
    queries,
    results,
    retries,
    retry_models,
    schedule_routes,
    stream_routes,
    submit,
    template_models,
    templates,
    webhook_routes,
)
from fileproc.api.batch_routes import BATCH_ENDPOINTS
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, Repeats, RequestHeader, Tag

_KEY = idempotency.REQUEST_HEADER
_PREFER = RequestHeader("Prefer", "`wait=30`: answer with the finished job if it is done in time.")
_TAG = file_routes.TAG

_ACCEPTED = Answer(
    "The job is accepted and safe; follow it at `Location`.",
    answers.JobView,
    headers={
        "Location": "Address of the job.",
        "Retry-After": "Seconds until it is worth asking.",
        "Preference-Applied": "Which preference was heeded.",
        "Idempotency-Replayed": "`true` if an earlier request made this job.",
    },
    example=examples.ACCEPTED,
)
_FINISHED = Answer(
    "The job ended while you waited, or an earlier one answers it.",
    answers.JobView,
    example=examples.JOB,
)
_DONE_OR_DRY = Answer(
    "The job ended while you waited, or an earlier one answers it; or what `dry_run` found.",
    dry_runs.JobOrDryRun,
    example=examples.JOB,
)
_JOB = Answer("The job.", answers.JobView, example=examples.JOB)

_LOST: Errors = (errors.NotFoundError, errors.GoneError)
_IDEMPOTENT: Errors = (
    errors.IdempotencyInFlightError,
    errors.IdempotencyMismatchError,
    errors.GoneError,  # the job that the key made is deleted
)
_FULL: Errors = (errors.QuotaError, errors.BacklogError)
_UPLOAD: Errors = (
    errors.UnknownOperationError,
    errors.ProgramMissingError,
    errors.EmptyFileError,
    errors.TypeMismatchError,
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
    errors.StorageUnavailableError,
    errors.InsufficientStorageError,
    errors.UrlNotAllowedError,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    # --- submit --------------------------------------------------------------------------------
    Endpoint(
        "PUT",
        "/v1/jobs/{name}",
        submit.put_job,
        operation_id="putJob",
        tag=Tag.SUBMIT,
        summary="Send a file and name an operation",
        answers={200: _DONE_OR_DRY, 202: _ACCEPTED},
        query=queries.PutQuery,
        headers=(_KEY, _PREFER),
        body=Body.FILE,
        errors=(*_UPLOAD, errors.KnownFailureError, *_IDEMPOTENT, *_FULL),
        submits=True,
        repeats=Repeats.OWN,
    ),
    Endpoint(
        "POST",
        "/v1/jobs",
        submit.create_job,
        operation_id="createJob",
        tag=Tag.SUBMIT,
        summary="Submit a job",
        description=(
            "As JSON over files that are there already, or as a form with a `job` part (the same "
            "JSON) and the files. Put `job` first: then a file of the wrong type is refused in "
            "its first 64 KiB. In a form `inputs` may be omitted (all file parts, in order) or "
            'pick parts by name: `{"part": "cover"}`. `{"url": "https://..."}` is fetched by the '
            "worker, anew for each attempt."
        ),
        answers={200: _DONE_OR_DRY, 202: _ACCEPTED},
        query=queries.SubmitQuery,
        headers=(_KEY, _PREFER),
        body=Body.JOB,
        errors=(
            *_UPLOAD,
            errors.UrlNotAllowedError,
            errors.NotFoundError,
            errors.KnownFailureError,
            *_IDEMPOTENT,
            *_FULL,
        ),
        submits=True,
        repeats=Repeats.OWN,
    ),
    # --- jobs ----------------------------------------------------------------------------------
    Endpoint(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        operation_id="listJobs",
        tag=Tag.JOBS,
        summary="List your jobs, newest first",
        description=(
            "Where a filter leaves few of many, a page may be short and still have a cursor."
        ),
        answers={200: Answer.page(answers.JobList, examples.JOB)},
        query=queries.ListQuery,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{name}",
        jobs.get_job,
        operation_id="getJob",
        granted=True,
        tag=Tag.JOBS,
        summary="Look at a job, or wait for its end",
        answers={
            200: Answer(
                "The job.",
                answers.JobView,
                headers={
                    "ETag": "Changes with every change of the job.",
                    "Retry-After": "Seconds until it is worth asking again; absent at the end.",
                },
                example=examples.JOB,
            ),
            304: Answer("It is what you have."),
        },
        query=queries.GetQuery,
        headers=(_TAG,),
        errors=_LOST,
    ),
    Endpoint(
        "GET",
        "/v1/jobs/{name}/result",
        results.get_result,
        operation_id="getResult",
        granted=True,
        tag=Tag.JOBS,
        summary="Download an output",
        description=file_routes.DOWNLOAD,
        answers=file_routes.DOWNLOADED,
        query=queries.ResultQuery,
        headers=file_routes.RANGED,
        errors=(
            *_LOST,
            errors.NotFinishedError,
            errors.NoResultError,
            errors.ChooseOutputError,
            errors.StorageUnavailableError,
        ),
    ),
    Endpoint(
        "POST",
        "/v1/jobs/{name}/cancel",
        jobs.cancel_job,
        operation_id="cancelJob",
        tag=Tag.JOBS,
        summary="Cancel a job",
        answers={
            200: Answer("It is canceled.", answers.JobView, example=examples.CANCELED),
            202: Answer("It runs; its worker is told and stops it within 2 s.", answers.JobView),
        },
        query=queries.NoQuery,
        errors=(*_LOST, errors.WrongStateError),
        scoped=True,
    ),
    Endpoint(
        "POST",
        "/v1/jobs/{name}/retry",
        retries.retry_job,
        operation_id="retryJob",
        tag=Tag.JOBS,
        summary="Repeat a job that ended without success",
        description=(
            "Makes a new job with `retry_of` set; the old one stays as it is. Only a failed, "
            "canceled or expired job can be repeated, and only while its inputs are stored. With "
            '`{"from": "failed"}` the steps that were done are not done again, where `kept` of the '
            "job says that what they have made is there. Of a job that has succeeded what could "
            "not be delivered is sent once more, and nothing else."
        ),
        answers={200: _FINISHED, 202: _ACCEPTED},
        query=queries.RetryQuery,
        body=Body.JSON,
        payload=retry_models.RetryFrom,
        sample=examples.RETRY_FAILED_SAMPLE,
        headers=(_KEY, _PREFER),
        errors=(
            *_LOST,
            errors.WrongStateError,
            errors.NothingKeptError,
            errors.UrlNotAllowedError,  # a connection that is no longer there
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            *_IDEMPOTENT,
            *_FULL,
        ),
        submits=True,
        repeats=Repeats.OWN,
    ),
    Endpoint(
        "POST",
        "/v1/jobs/retry",
        retries.retry_jobs,
        operation_id="retryJobs",
        tag=Tag.JOBS,
        summary="Repeat failed jobs in bulk",
        description=(
            "Goes through your dead letters, the oldest first, and repeats those that fit, each as "
            "a new job, and none that another job repeats already. A call makes at most `limit` "
            "jobs and looks at 1,000: go on with `next_cursor` until it is null."
        ),
        answers={
            200: Answer("A part is done.", retry_models.RetriedView, example=examples.RETRIED)
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=retry_models.RetryRequest,
        sample=examples.RETRY_SAMPLE,
        errors=(
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            *_FULL,
        ),
    ),
    Endpoint(
        "DELETE",
        "/v1/jobs/{name}",
        jobs.delete_job,
        operation_id="deleteJob",
        tag=Tag.JOBS,
        summary="Delete a job, its files and its outputs",
        description="A running job is canceled first. From now on its address answers 410.",
        answers={204: Answer("It is gone.")},
        query=queries.NoQuery,
        errors=_LOST,
        scoped=True,
    ),
    *BATCH_ENDPOINTS,
    *schedule_routes.ENDPOINTS,
    *file_routes.ENDPOINTS,
    # --- templates -----------------------------------------------------------------------------
    Endpoint(
        "PUT",
        "/v1/templates/{template}",
        templates.put_template,
        operation_id="putTemplate",
        stores=True,
        tag=Tag.TEMPLATES,
        summary="Keep a pipeline under a name",
        description=(
            "Each PUT makes a new version; the same definition again does not. The last 50 "
            'versions are kept. `{"$var": "width"}` in the parameters of a step stands for the '
            "variable `width`, whose value a job gives."
        ),
        answers={
            200: Answer("It is kept.", template_models.TemplateView, example=examples.TEMPLATE)
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=template_models.TemplateRequest,
        sample=examples.TEMPLATE_SAMPLE,
        errors=(
            errors.NotFoundError,
            errors.UnknownOperationError,
            errors.ProgramMissingError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.QuotaError,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/templates",
        templates.list_templates,
        operation_id="listTemplates",
        tag=Tag.TEMPLATES,
        summary="List your templates",
        answers={
            200: Answer(
                "All of them, each in its newest version.",
                template_models.TemplateList,
                example={"data": [examples.TEMPLATE]},
            )
        },
        query=queries.NoQuery,
    ),
    Endpoint(
        "GET",
        "/v1/templates/{template}",
        templates.get_template,
        operation_id="getTemplate",
        tag=Tag.TEMPLATES,
        summary="Look at a template",
        answers={
            200: Answer("The template.", template_models.TemplateView, example=examples.TEMPLATE)
        },
        query=queries.TemplateQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "DELETE",
        "/v1/templates/{template}",
        templates.delete_template,
        operation_id="deleteTemplate",
        tag=Tag.TEMPLATES,
        summary="Delete a template",
        description="With all its versions. Jobs that were made from it have their steps.",
        answers={204: Answer("It is gone.")},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    *limit_routes.ENDPOINTS,
    *webhook_routes.ENDPOINTS,
    # --- operations ----------------------------------------------------------------------------
    Endpoint(
        "GET",
        "/v1/operations",
        operations.list_operations,
        operation_id="listOperations",
        tag=Tag.OPERATIONS,
        summary="List the operations",
        answers={200: Answer("All of them.", answers.OperationList)},
        query=queries.NoQuery,
    ),
    Endpoint(
        "GET",
        "/v1/operations/{name}",
        operations.get_operation,
        operation_id="getOperation",
        tag=Tag.OPERATIONS,
        summary="Look at an operation",
        answers={200: Answer("The operation.", answers.OperationView)},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    *grant_routes.ENDPOINTS,
    *stream_routes.ENDPOINTS,
    *link_routes.ENDPOINTS,
    *key_routes.ENDPOINTS,
    # --- service -------------------------------------------------------------------------------
    Endpoint(
        "GET",
        "/healthz",
        health.healthz,
        operation_id="getHealth",
        tag=Tag.SERVICE,
        summary="Whether the process answers",
        answers={200: Answer("It does.", answers.Liveness)},
        public=True,
    ),
    Endpoint(
        "GET",
        "/readyz",
        health.readyz,
        operation_id="getReadiness",
        tag=Tag.SERVICE,
        summary="Whether requests can be served",
        answers={
            200: Answer("They can.", answers.Readiness, example=examples.READY),
            503: Answer("They cannot; the checks say why.", answers.Readiness),
        },
        public=True,
    ),
    Endpoint(
        "GET",
        "/metrics",
        health.metrics,
        operation_id="getMetrics",
        tag=Tag.SERVICE,
        summary="Figures for Prometheus",
        answers={200: Answer("Prometheus' text format.", media_type="text/plain")},
        errors=(errors.UnauthorizedError,),
        public=True,
    ),
    Endpoint(
        "GET",
        "/openapi.json",
        docs.openapi_json,
        operation_id="getOpenapi",
        tag=Tag.SERVICE,
        summary="This document",
        answers={200: Answer("OpenAPI 3.1.", media_type="application/json")},
        public=True,
    ),
    Endpoint(
        "GET",
        "/docs",
        docs.docs_page,
        operation_id="getDocs",
        tag=Tag.SERVICE,
        summary="The documentation as a page",
        answers={200: Answer("The page.", media_type="text/html")},
        public=True,
    ),
    Endpoint(
        "GET",
        "/docs/style.css",
        docs.style,
        operation_id="getStyle",
        tag=Tag.SERVICE,
        summary="The page's style",
        answers={200: Answer("CSS.", media_type="text/css")},
        public=True,
        shown=False,
    ),
    Endpoint(
        "GET",
        "/",
        docs.home,
        operation_id="getHome",
        tag=Tag.SERVICE,
        summary="Leads to the documentation",
        answers={302: Answer("To /docs.")},
        public=True,
        shown=False,
    ),
)


def addresses(endpoint: Endpoint, offered: Iterable[str]) -> tuple[str, ...]:
    """What the router matches for this endpoint, where these operations are offered.

    `/v1/jobs/{name}` is three kinds of addresses, and each takes other methods: jobs by their id,
    operations, and whatever is neither, which a problem tells. What is an address of its own, as
    `/v1/jobs/retry`, is none of them.
    """
    if endpoint.path != "/v1/jobs/{name}":
        return (endpoint.path,)
    job_id = "job_[0-9a-z]{26}"
    operation = "|".join(map(re.escape, offered))
    own = operation if endpoint.body is Body.FILE else job_id
    others = "|".join(_names_below("/v1/jobs/"))
    patterns = (own, rf"(?!(?:{operation}|{job_id}|{others})\Z)[^/]+")
    return tuple(f"/v1/jobs/{{name:{pattern}}}" for pattern in patterns)


def _names_below(prefix: str) -> set[str]:
    rest = {e.path.removeprefix(prefix) for e in ENDPOINTS if e.path.startswith(prefix)}
    return {re.escape(name) for name in rest if not set(name) & set("/{")}
