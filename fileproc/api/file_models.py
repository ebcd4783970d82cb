"""What requests and answers about files and uploads look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import MAX_PAGE, MEDIA_TYPE, FileId, Query, Request, UploadId

MIN_PART_BYTES = 5 * 1024 * 1024  # what S3 takes, but for the last
MAX_PART_BYTES = 5 * 1024**3  # of one PUT


class UploadRequest(Request):
    """A file that is to be sent to the storage directly."""

    name: str | None = Field(None, min_length=1, max_length=500, description="Display name.")
    size: int = Field(ge=1, description="Bytes, exactly.")
    type: str = Field(
        "application/octet-stream",
        max_length=100,
        pattern=f"^{MEDIA_TYPE}$",
        description="Media type. It is compared with the bytes at the end, unless it is this one.",
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Digest to compare with, lower-case hex."
    )
    retention_s: Annotated[int, Field(ge=60)] | None = Field(
        None, description="The file goes so long after its completion; shorter than usual."
    )
    part_bytes: Annotated[int, Field(ge=MIN_PART_BYTES, le=MAX_PART_BYTES)] | None = Field(
        None,
        description="A file larger than this goes in parts of this size (5 MiB to 5 GiB; 64 MiB).",
    )


class FileQuery(Query):
    """What is said of a file that is uploaded on its own."""

    filename: str | None = Field(None, description="Display name of the file.")
    retention_s: Annotated[int, Field(ge=60)] | None = Field(
        None, description="It goes so long after now; shorter than usual."
    )


class UploadQuery(Query):
    """Which parts are shown."""

    part: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="Number of the first part to show; `next_part` of the answer before."
    )


class TusQuery(Query):
    """What is said of a file that is uploaded in several requests."""

    retention_s: Annotated[int, Field(ge=60)] | None = Field(
        None, description="The file goes so long after its completion; shorter than usual."
    )


class FilesQuery(Query):
    """Place of a page of files."""

    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Files on a page.")


class SignedView(BaseModel):
    """A request to the storage that needs no key."""

    method: Literal["PUT"]
    url: str = Field(description="Good for minutes; a GET of the upload makes fresh ones.")
    headers: dict[str, str] = Field(description="Signed: send them as they are.")


class PartView(SignedView):
    number: int
    offset: int = Field(description="Place of its first byte in the file.")
    size: int = Field(description="Bytes, exactly.")
    arrived: bool = Field(description="The storage has it already.")


class UploadLinks(BaseModel):
    self: str
    complete: str | None = Field(description="null: it completes itself, with its last byte.")


class UploadView(BaseModel):
    """An upload that takes several requests."""

    id: UploadId
    object: Literal["upload"]
    state: Literal["open", "complete"]
    name: str = Field(description="Display name, cleaned.")
    size: int | None = Field(description="Bytes.")
    type: str = Field(description="Media type as announced.")
    sha256: str | None = Field(description="Digest as announced.")
    offset: int | None = Field(description="Of a resumable one: bytes that are safe.")
    created_at: AwareDatetime | None = Field(description="null once it is complete.")
    expires_at: AwareDatetime | None = Field(description="It must be complete by then.")
    file_id: FileId | None = Field(description="The file, once it is complete.")
    put: SignedView | None = Field(
        description="How to send it, where it goes in one piece. Not for a key that may only look."
    )
    part_bytes: int | None = Field(description="Size of all parts but the last.")
    parts: list[PartView] = Field(
        description="How to send it in parts; 100 at most are shown. As with `put`."
    )
    next_part: int | None = Field(description="`?part=` for those that are not shown.")
    links: UploadLinks


class FileLinks(BaseModel):
    self: str
    content: str


class FileView(BaseModel):
    """A file that is stored."""

    id: FileId
    object: Literal["file"]
    name: str = Field(description="Display name, cleaned.")
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Lower-case hex digest.")
    type: str = Field(description="Media type as detected from the bytes.")
    declared_type: str | None = Field(description="Media type that the client named.")
    created_at: AwareDatetime | None = Field(description="null: it came with a job.")
    expires_at: AwareDatetime | None = Field(
        description="When it goes, unless an unfinished job uses it. null: with its jobs."
    )
    jobs: int | None = Field(description="Unfinished jobs that use it. null: it came with one.")
    links: FileLinks


class FileList(BaseModel):
    """A page of files that were uploaded on their own, newest first."""

    data: list[FileView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")
