"""The part of the table of routes that is about files: on their own, presigned, and by tus."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import direct, examples, file_models, files, queries, tus
from fileproc.api.endpoints import (
    Answer,
    Body,
    Endpoint,
    Errors,
    RateClass,
    Repeats,
    RequestHeader,
    Tag,
)
from fileproc.store import Role

TAG: Final = RequestHeader("If-None-Match", "ETag of what you have; 304 if it is still that.")
_RANGE = RequestHeader("Range", "Only a part, `bytes=0-1023`; where the server hands out files.")
_IF_RANGE = RequestHeader("If-Range", "ETag that the range belongs to.")
RANGED: Final = (TAG, _RANGE, _IF_RANGE)

DOWNLOAD: Final = (
    "A redirect to a short-lived URL of the object storage. Where the server is set to hand out "
    "files itself, the file, with ranges."
)
DOWNLOADED: Final = {
    200: Answer("The file.", media_type="application/octet-stream"),
    206: Answer("A part of the file.", media_type="application/octet-stream"),
    302: Answer("The file is there.", headers={"Location": "A URL good for minutes."}),
    304: Answer("It is what you have."),
    416: Answer("The range lies outside the file."),
}

_FULL: Errors = (errors.QuotaError, errors.BacklogError)
_LOST: Errors = (errors.NotFoundError, errors.GoneError)

_TUS_VERSION = RequestHeader("Tus-Resumable", "`1.0.0`", r"1\.0\.0", required=True)
_TUS_LENGTH = RequestHeader("Upload-Length", "Bytes of the whole file.", "[0-9]{1,18}")
_TUS_CHECKSUM = RequestHeader(
    "Upload-Checksum", "`sha256 <base64>` of the body (or sha1, md5); else nothing of it counts."
)
_TUS_PROGRESS: Final = {
    "Upload-Offset": "Bytes that are safe.",
    "Upload-Expires": "It must be complete by then.",
    "Content-Location": "The file, once it is complete.",
}
_TUS_ERRORS: Errors = (
    errors.TusVersionError,
    errors.ChecksumMismatchError,
    errors.UploadLockedError,
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
    errors.StorageUnavailableError,
    errors.InsufficientStorageError,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    # --- files ---------------------------------------------------------------------------------
    Endpoint(
        "POST",
        "/v1/files",
        files.create_file,
        operation_id="createFile",
        rate=RateClass.SUBMIT,
        tag=Tag.FILES,
        summary="Upload a file on its own",
        description=(
            "The body is the file, or a form with one file part. Jobs name it by `file_id`, as "
            "many as you like, until its retention is over."
        ),
        answers={
            201: Answer(
                "It is stored.",
                file_models.FileView,
                headers={"Location": "Address of the file."},
                example=examples.FILE,
            )
        },
        query=file_models.FileQuery,
        body=Body.BYTES,
        sample=examples.FILE_SAMPLE,
        errors=(
            errors.EmptyFileError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.StorageUnavailableError,
            errors.InsufficientStorageError,
            *_FULL,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/files",
        files.list_files,
        operation_id="listFiles",
        tag=Tag.FILES,
        summary="List the files you uploaded, newest first",
        description="Those that came with a job stand in its `inputs`.",
        answers={200: Answer.page(file_models.FileList, examples.FILE)},
        query=file_models.FilesQuery,
    ),
    Endpoint(
        "GET",
        "/v1/files/{file}",
        files.get_file,
        operation_id="getFile",
        tag=Tag.FILES,
        summary="Look at a file",
        answers={200: Answer("The file.", file_models.FileView, example=examples.FILE)},
        query=queries.NoQuery,
        errors=_LOST,
    ),
    Endpoint(
        "GET",
        "/v1/files/{file}/content",
        files.get_content,
        operation_id="getFileContent",
        tag=Tag.FILES,
        summary="Download a file",
        description=DOWNLOAD,
        answers=DOWNLOADED,
        query=queries.NoQuery,
        headers=RANGED,
        errors=(*_LOST, errors.StorageUnavailableError),
    ),
    Endpoint(
        "DELETE",
        "/v1/files/{file}",
        files.delete_file,
        operation_id="deleteFile",
        tag=Tag.FILES,
        summary="Delete a file",
        description=(
            "No new job can use it. Unfinished jobs that do still get it: it goes when they are "
            "over."
        ),
        answers={204: Answer("It is gone.")},
        query=queries.NoQuery,
        errors=(*_LOST, errors.FileOfJobError),
    ),
    # --- uploads -------------------------------------------------------------------------------
    Endpoint(
        "POST",
        "/v1/uploads",
        direct.create_upload,
        operation_id="createUpload",
        stores=True,
        rate=RateClass.SUBMIT,
        tag=Tag.FILES,
        summary="Announce a file that is sent to the storage directly",
        description=(
            "The answer has a presigned PUT, or one for each part of a large file. Key, length and "
            "type are signed. Send the file there, then complete the upload."
        ),
        answers={
            201: Answer(
                "Send it now.",
                file_models.UploadView,
                headers={"Location": "Address of the upload."},
                example=examples.UPLOAD,
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=file_models.UploadRequest,
        sample=examples.UPLOAD_SAMPLE,
        errors=(
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
            errors.StorageUnavailableError,
            errors.QuotaError,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/uploads/{upload}",
        direct.get_upload,
        operation_id="getUpload",
        tag=Tag.FILES,
        summary="Look at an upload, with fresh URLs",
        answers={200: Answer("The upload.", file_models.UploadView, example=examples.UPLOAD)},
        query=file_models.UploadQuery,
        errors=(*_LOST, errors.StorageUnavailableError),
    ),
    Endpoint(
        "POST",
        "/v1/uploads/{upload}/complete",
        direct.complete_upload,
        operation_id="completeUpload",
        tag=Tag.FILES,
        summary="Make an upload a file",
        description=(
            "Size, digest and type are compared with what was announced; what differs is deleted. "
            "Sent again it gives the same file. It takes as long as reading the file does."
        ),
        answers={
            200: Answer(
                "The file, ready for jobs.",
                file_models.FileView,
                headers={"Location": "Address of the file."},
                example=examples.FILE,
            )
        },
        query=queries.NoQuery,
        errors=(
            *_LOST,
            *_FULL,
            errors.UploadIncompleteError,
            errors.UploadMismatchError,
            errors.TypeMismatchError,
            errors.UploadLockedError,
            errors.StorageUnavailableError,
            errors.InsufficientStorageError,
        ),
    ),
    Endpoint(
        "DELETE",
        "/v1/uploads/{upload}",
        direct.delete_upload,
        operation_id="deleteUpload",
        tag=Tag.FILES,
        summary="Give an upload up",
        answers={204: Answer("What had arrived is deleted.")},
        query=queries.NoQuery,
        errors=(*_LOST, errors.UploadLockedError),
    ),
    # --- tus -----------------------------------------------------------------------------------
    Endpoint(
        "OPTIONS",
        "/v1/tus",
        tus.tus_options,
        operation_id="getTusOptions",
        tag=Tag.TUS,
        summary="What is offered of tus",
        answers={
            204: Answer(
                "It is.",
                headers={
                    "Allow": "The methods.",
                    "Tus-Version": "1.0.0",
                    "Tus-Extension": "The extensions.",
                    "Tus-Max-Size": "Largest file, in bytes.",
                    "Tus-Checksum-Algorithm": "What Upload-Checksum knows.",
                },
            )
        },
        query=queries.NoQuery,
    ),
    Endpoint(
        "POST",
        "/v1/tus",
        tus.create_tus,
        operation_id="createTusUpload",
        stores=True,
        rate=RateClass.SUBMIT,
        tag=Tag.TUS,
        summary="Begin a resumable upload",
        description=(
            "Give its length, or `Upload-Defer-Length: 1`. A body is the first piece of it. The "
            "file has the id of the upload, with the prefix `file_`."
        ),
        answers={
            201: Answer(
                "It is begun.", headers={"Location": "Address of the upload.", **_TUS_PROGRESS}
            )
        },
        query=file_models.TusQuery,
        headers=(
            _TUS_VERSION,
            _TUS_LENGTH,
            RequestHeader("Upload-Defer-Length", "`1`: the length is told later."),
            RequestHeader(
                "Upload-Metadata",
                "`filename <base64>,filetype <base64>`; other keys are given back.",
            ),
            _TUS_CHECKSUM,
        ),
        body=Body.OFFSET_BYTES,
        repeats=Repeats.NONE,
        errors=(*_TUS_ERRORS, errors.EmptyFileError, *_FULL),
    ),
    Endpoint(
        "GET",
        "/v1/tus/{upload}",
        tus.get_tus,
        operation_id="getTusUpload",
        tag=Tag.TUS,
        summary="Where a resumable upload goes on",
        description="tus clients ask by HEAD: the headers say it all.",
        answers={200: Answer("There.", file_models.UploadView, headers=_TUS_PROGRESS)},
        role=Role.USER,  # it may bring to its end what a process that died has begun
        query=queries.NoQuery,
        headers=(_TUS_VERSION,),
        errors=(*_LOST, *_TUS_ERRORS, *_FULL),
    ),
    Endpoint(
        "PATCH",
        "/v1/tus/{upload}",
        tus.patch_tus,
        operation_id="appendTusUpload",
        tag=Tag.TUS,
        summary="Send a piece of a resumable upload",
        description="With the last byte it becomes a file, whose address is Content-Location.",
        answers={204: Answer("It is safe.", headers=_TUS_PROGRESS)},
        query=queries.NoQuery,
        headers=(
            _TUS_VERSION,
            RequestHeader(
                "Upload-Offset", "Of the first byte of the body.", "[0-9]{1,18}", required=True
            ),
            _TUS_LENGTH,
            _TUS_CHECKSUM,
        ),
        body=Body.OFFSET_BYTES,
        errors=(
            *_LOST,
            *_TUS_ERRORS,
            errors.OffsetMismatchError,
            errors.EmptyFileError,
            *_FULL,
        ),
    ),
    Endpoint(
        "DELETE",
        "/v1/tus/{upload}",
        tus.delete_tus,
        operation_id="deleteTusUpload",
        tag=Tag.TUS,
        summary="Give a resumable upload up",
        description="Of one that is complete, the file is deleted.",
        answers={204: Answer("What had arrived is deleted.")},
        query=queries.NoQuery,
        headers=(_TUS_VERSION,),
        errors=(*_LOST, errors.TusVersionError, errors.UploadLockedError),
    ),
    Endpoint(
        "POST",
        "/v1/tus/{upload}",
        tus.post_tus,
        operation_id="overrideTusUpload",
        tag=Tag.TUS,
        summary="PATCH, HEAD or DELETE by POST",
        description="For clients whose proxies know neither PATCH nor DELETE.",
        answers={
            200: Answer("As HEAD.", headers=_TUS_PROGRESS),
            204: Answer("As PATCH or DELETE.", headers=_TUS_PROGRESS),
        },
        query=queries.NoQuery,
        headers=(
            RequestHeader(
                "X-HTTP-Method-Override", "What it is.", "(PATCH|HEAD|DELETE)", required=True
            ),
            _TUS_VERSION,
            RequestHeader("Upload-Offset", "Of the first byte of the body.", "[0-9]{1,18}"),
            _TUS_LENGTH,
            _TUS_CHECKSUM,
        ),
        body=Body.OFFSET_BYTES,
        errors=(
            *_LOST,
            *_TUS_ERRORS,
            errors.MethodNotAllowedError,
            errors.OffsetMismatchError,
            errors.EmptyFileError,
            *_FULL,
        ),
        repeats=Repeats.NONE,
    ),
)
