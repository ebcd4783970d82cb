"""The part of the table of routes that is about upload tokens."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import answers, examples, grant_models, grants, queries
from fileproc.api.endpoints import Answer, Body, Endpoint, Repeats, Tag

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/upload-tokens",
        grants.create_upload_token,
        operation_id="createUploadToken",
        stores=True,
        tag=Tag.SUBMIT,
        summary="Let a browser send one file",
        description=(
            "A token for somebody without a key: one file of at most `max_bytes`, which becomes a "
            "job of this template, and a look at that job and its result. It lives for minutes, "
            "and no longer than the key that made it."
        ),
        answers={
            201: Answer("The token.", grant_models.UploadTokenView, example=examples.UPLOAD_GRANT)
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=grant_models.UploadTokenRequest,
        sample=examples.UPLOADING_SAMPLE,
        errors=(
            errors.NotFoundError,
            errors.UnknownOperationError,
            errors.ProgramMissingError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.QuotaError,
        ),
        scoped=True,
        secrets=("token",),
    ),
    Endpoint(
        "PUT",
        "/v1/jobs",
        grants.put_upload,
        operation_id="putUpload",
        tag=Tag.SUBMIT,
        summary="Send the file of an upload token",
        description=(
            "Takes an upload token in place of a key. The same file sent again gets the same job."
        ),
        answers={
            200: Answer("The job ended while you waited.", answers.JobView, example=examples.JOB),
            202: Answer(
                "The job is accepted and safe; follow it at `Location`, with the same token.",
                answers.JobView,
                headers={"Location": "Address of the job."},
                example=examples.ACCEPTED,
            ),
        },
        query=grant_models.UploadQuery,
        body=Body.UPLOAD,
        errors=(
            errors.NotFoundError,
            errors.GoneError,
            errors.UnknownOperationError,
            errors.ProgramMissingError,
            errors.EmptyFileError,
            errors.TypeMismatchError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.TokenUsedError,
            errors.IdempotencyInFlightError,
            errors.QuotaError,
            errors.BacklogError,
            errors.StorageUnavailableError,
            errors.InsufficientStorageError,
        ),
        granted=True,
        submits=True,
        repeats=Repeats.NONE,
    ),
)
