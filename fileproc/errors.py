"""One class for each thing that a caller can act on, with a stable code and an HTTP status.

The message of an error is a sentence to the client: what failed, why, what to do. What only an
operator may know (hosts, paths, replies of engines) goes to the log, never into a message.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class FileprocError(Exception):
    """Base of everything that fileproc raises on purpose.

    Attributes:
        code: stable and machine-readable; never reused for another meaning.
        status: the HTTP status that the api answers with.
        title: the same for every error of this code (RFC 9457).
        detail: a sentence about this occurrence.
        errors: `{"pointer": JSON pointer or parameter name, "detail": sentence, ...}` per field.
        retry_after_s: when it is worth trying again, in seconds; None: it is not, or unknown.
        extra: further members of the problem document.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after_s: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_s = retry_after_s
        self.extra = extra


# --- the request -----------------------------------------------------------------------------


class BadRequestError(FileprocError):
    code, status, title = "bad_request", 400, "The request cannot be parsed"


class InvalidRequestError(FileprocError):
    code, status, title = "invalid_request", 422, "The request is not valid"


class UnknownOperationError(FileprocError):
    code, status, title = "unknown_operation", 422, "There is no such operation"


class ProgramMissingError(FileprocError):
    code, status, title = "program_missing", 422, "A program of the operation is not installed"


class EmptyFileError(FileprocError):
    code, status, title = "empty_file", 422, "The file is empty"


class TypeMismatchError(FileprocError):
    code, status, title = "type_mismatch", 415, "The operation does not take this type of file"


class UnsupportedMediaTypeError(FileprocError):
    code, status, title = "unsupported_media_type", 415, "The body's media type is not supported"


class TooLargeError(FileprocError):
    code, status, title = "too_large", 413, "The request is too large"


class RequestTimeoutError(FileprocError):
    code, status, title = "request_timeout", 408, "The request took too long"


class UrlNotAllowedError(FileprocError):
    """A URL of a client's that must not be called: its form, its port, or where it leads."""

    code, status, title = "url_not_allowed", 422, "The URL is not allowed"


class UnauthorizedError(FileprocError):
    code, status, title = "unauthorized", 401, "A valid key is needed"


class ForbiddenError(FileprocError):
    code, status, title = "forbidden", 403, "This key may not do that"


class HostNotAllowedError(FileprocError):
    """Where no key is asked for: the name in `Host` could be anybody's that leads here."""

    code, status, title = "host_not_allowed", 421, "The server is not asked by this name"


class OriginNotAllowedError(FileprocError):
    """Where no key is asked for: a page of another origin wants to change something."""

    code, status, title = "origin_not_allowed", 403, "Pages of this origin may not do that"


class RouteNotFoundError(FileprocError):
    code, status, title = "route_not_found", 404, "There is nothing at this address"


class MethodNotAllowedError(FileprocError):
    code, status, title = "method_not_allowed", 405, "The address does not take this method"


class CodeTakenError(FileprocError):
    code, status, title = "code_taken", 409, "Another link has this code"


class LinkPasswordError(FileprocError):
    code, status, title = "link_password", 401, "The link asks for its password"


class LinkLockedError(FileprocError):
    code, status, title = "link_locked", 429, "Too many wrong passwords"


# --- jobs and files --------------------------------------------------------------------------


class NotFoundError(FileprocError):
    code, status, title = "not_found", 404, "Not found"


class GoneError(FileprocError):
    code, status, title = "gone", 410, "It was here, and is deleted or expired"


class FileOfJobError(FileprocError):
    code, status, title = "file_of_job", 409, "The file belongs to a job"


class UploadIncompleteError(FileprocError):
    code, status, title = "upload_incomplete", 409, "Not all of the upload has arrived"


class UploadMismatchError(FileprocError):
    code, status, title = "upload_mismatch", 422, "The upload is not what was announced"


class OffsetMismatchError(FileprocError):
    code, status, title = "offset_mismatch", 409, "The upload goes on at another offset"


class ChecksumMismatchError(FileprocError):
    """460 is the number that tus 1.0 has given it."""

    code, status, title = "checksum_mismatch", 460, "The bytes do not have this checksum"


class TusVersionError(FileprocError):
    code, status, title = "tus_version", 412, "The version of tus is not supported"


class UploadLockedError(FileprocError):
    code, status, title = "upload_locked", 423, "Another request works on the upload"


class CorruptRecordError(FileprocError):
    code, status, title = "corrupt_record", 500, "The record is broken"


class NotFinishedError(FileprocError):
    code, status, title = "not_finished", 409, "The job is not finished"


class NoResultError(FileprocError):
    code, status, title = "no_result", 409, "The job ended without a result"


class ChooseOutputError(FileprocError):
    code, status, title = "choose_output", 409, "The job has several outputs"


class WrongStateError(FileprocError):
    code, status, title = "wrong_state", 409, "The job's state does not allow this"


class NothingKeptError(FileprocError):
    """There is nothing to go on from: the job can only be repeated whole."""

    code, status, title = "nothing_kept", 409, "Nothing is kept of the job's steps"


class TokenUsedError(FileprocError):
    code, status, title = "token_used", 409, "The upload token has taken its file"


class IdempotencyInFlightError(FileprocError):
    code, status, title = "idempotency_in_flight", 409, "The same request is still under way"


class IdempotencyMismatchError(FileprocError):
    code, status, title = "idempotency_mismatch", 422, "The key was used for another request"


class WebhookPendingError(FileprocError):
    code, status, title = "delivery_pending", 409, "The delivery is not over"


class WebhookDisabledError(FileprocError):
    code, status, title = "webhook_disabled", 409, "The webhook is disabled"


class WebhookBuiltInError(FileprocError):
    code, status, title = "webhook_built_in", 409, "The webhook `jobs` is always there"


class KnownFailureError(FileprocError):
    """What is asked for has been tried, and will always fail the same way."""

    code, status, title = "known_failure", 422, "The same has failed before, for good"


# --- limits and engines ----------------------------------------------------------------------


class RateLimitError(FileprocError):
    code, status, title = "rate_limited", 429, "Too many requests"


class QuotaError(FileprocError):
    code, status, title = "quota_exceeded", 429, "A quota is used up"


class TooManyStreamsError(FileprocError):
    code, status, title = "too_many_streams", 429, "Too many event streams are open"


class BacklogError(FileprocError):
    code, status, title = "backlog", 503, "Too much work is waiting"


class StoreUnavailableError(FileprocError):
    """Redis cannot be reached, or refuses to write; the detail says what may have been done."""

    code, status, title = "store_unavailable", 503, "The job store is not available"


class StorageUnavailableError(FileprocError):
    """Object storage cannot be reached, or refuses; nothing was accepted."""

    code, status, title = "storage_unavailable", 503, "The object storage is not available"


class ObjectMissingError(FileprocError):
    """An object that should be there is not: deleted behind our back, or expired."""

    code, status, title = "object_missing", 404, "The object is not in the storage"


class InsufficientStorageError(FileprocError):
    code, status, title = "insufficient_storage", 507, "There is no room left"


class ShuttingDownError(FileprocError):
    code, status, title = "shutting_down", 503, "The server is shutting down"


class IdentityUnavailableError(FileprocError):
    """The keys of whoever issues tokens cannot be had, and none that are known are fresh enough."""

    code, status, title = "identity_unavailable", 503, "The issuer of tokens is not available"


class SettingsError(FileprocError):
    """The settings do not hold; the detail has one line a complaint."""

    code, title = "bad_settings", "The settings are not valid"


class SchemaError(FileprocError):
    """Redis holds data of a version that this fileproc does not know; it must not be touched."""

    code, title = "unknown_schema", "The data is of another version"


class NoJournalError(FileprocError):
    """There is nothing that a lost store could be built from."""

    code, title = "no_journal", "There is no journal"


class EngineError(FileprocError):
    """An embedded engine (Valkey, rclone) or the sandbox cannot be started."""

    code, title = "engine_failed", "An engine could not be started"


# --- the failure of a job --------------------------------------------------------------------


class ErrorClass(StrEnum):
    """Why an attempt failed; it decides whether, and how often, the job is tried again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    RESOURCE = "resource"
    CRASH = "crash"
    WORKER_LOST = "worker_lost"


class JobError(FileprocError):
    """An attempt failed; becomes the `error` of the job when it is the last."""

    code, status, title = "job_failed", 500, "The job failed"
    error_class: ClassVar[ErrorClass] = ErrorClass.TRANSIENT

    def __init__(
        self, detail: str, *, code: str | None = None, error_class: ErrorClass | None = None
    ) -> None:
        super().__init__(detail)
        self.job_code = code or type(self).code
        self.job_class = error_class or type(self).error_class


class BadInput(JobError):  # noqa: N818 - reads as what it says in an operation: raise BadInput(...)
    """The input (or a parameter that needs the input to be judged) is wrong: never retried."""

    code, status, title = "bad_input", 422, "The input cannot be processed"
    error_class = ErrorClass.PERMANENT


class OutOfResources(JobError):  # noqa: N818 - as above
    """Memory, time or scratch space ran out: retried once at most."""

    code, status, title = "out_of_resources", 500, "The job used up a limit"
    error_class = ErrorClass.RESOURCE


class Crashed(JobError):  # noqa: N818 - as above
    """The child process died by a signal, or by an error nobody foresaw: retried once at most."""

    code, status, title = "crashed", 500, "The operation crashed"
    error_class = ErrorClass.CRASH
