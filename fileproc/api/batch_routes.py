"""The part of the HTTP surface that is about batches."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import batch_models, batches, examples, queries
from fileproc.api.endpoints import Answer, Body, Endpoint, Repeats, Tag
from fileproc.api.idempotency import REQUEST_HEADER

BATCH_ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/batches",
        batches.create_batch,
        operation_id="createBatch",
        tag=Tag.BATCHES,
        summary="Submit many jobs at once",
        description=(
            "As JSON, or as a manifest: JSON lines, a job on each. All jobs are judged first, and "
            "all are accepted or none; `errors[].pointer` names the job and the place in it."
        ),
        answers={
            202: Answer(
                "All of its jobs are accepted and safe; follow it at `Location`.",
                batch_models.BatchView,
                headers={
                    "Location": "Address of the batch.",
                    "Retry-After": "Seconds until it is worth asking.",
                    "Idempotency-Replayed": "`true` if an earlier request made this batch.",
                },
                example=examples.BATCH,
            )
        },
        query=batch_models.BatchQuery,
        headers=(REQUEST_HEADER,),
        body=Body.BATCH,
        payload=batch_models.BatchRequest,
        sample=examples.BATCH_SAMPLE,
        errors=(
            errors.NotFoundError,
            errors.UnknownOperationError,
            errors.ProgramMissingError,
            errors.TypeMismatchError,
            errors.UrlNotAllowedError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.IdempotencyInFlightError,
            errors.IdempotencyMismatchError,
            errors.GoneError,  # it took so long that it was withdrawn
            errors.QuotaError,
            errors.BacklogError,
        ),
        submits=True,
        repeats=Repeats.OWN,
    ),
    Endpoint(
        "GET",
        "/v1/batches",
        batches.list_batches,
        operation_id="listBatches",
        tag=Tag.BATCHES,
        summary="List your batches, newest first",
        answers={200: Answer.page(batch_models.BatchList, examples.BATCH)},
        query=queries.PageQuery,
    ),
    Endpoint(
        "GET",
        "/v1/batches/{batch}",
        batches.get_batch,
        operation_id="getBatch",
        tag=Tag.BATCHES,
        summary="Look at a batch",
        description="Its jobs are at `GET /v1/jobs?batch=`.",
        answers={
            200: Answer(
                "The batch.",
                batch_models.BatchView,
                headers={"Retry-After": "Seconds until it is worth asking again."},
                example=examples.BATCH,
            )
        },
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "POST",
        "/v1/batches/{batch}/cancel",
        batches.cancel_batch,
        operation_id="cancelBatch",
        tag=Tag.BATCHES,
        summary="Cancel what of a batch is not over",
        answers={
            200: Answer("Every job of it is over.", batch_models.BatchView),
            202: Answer("Some run; their workers are told.", batch_models.BatchView),
        },
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
)
