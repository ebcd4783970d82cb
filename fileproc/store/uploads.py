"""Uploads that take several requests: presigned ones, and resumable ones (tus).

The record says what is safe in the storage, and nothing else. One request at a time holds an
upload; what it notes after it has lost its hold is refused. The file that comes of an upload has
the same id with another prefix. An upload under way is no part of the journal: after a loss of
Redis it begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from fileproc.errors import GoneError, NotFoundError, QuotaError, UploadLockedError
from fileproc.jobs import FileInfo, Record
from fileproc.store.connection import Pipeline
from fileproc.store.files import Files, StoredFile
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

AT_ONCE = 100
HOLD_MS: Final = 5_000  # after a death its upload waits so long; in a stall nothing is spoilt
KEEP_S: Final = 1.0  # a hold is renewed so often, and sees whether another wants it


def file_of(upload_id: str) -> str:
    """The id of the file that the upload becomes."""
    return "file_" + upload_id.removeprefix("upload_")


def upload_of(file_id: str) -> str:
    """The other way."""
    return "upload_" + file_id.removeprefix("file_")


class UploadDocument(Record):
    """What was asked for.

    `size` None: the client will say later. `part_bytes` None: one PUT. `metadata` is the header of
    a resumable upload, as it was sent.
    """

    kind: Literal["direct", "tus"]
    name: str
    type: str
    retention_s: int
    size: int | None = None
    sha256: str | None = None
    part_bytes: int | None = None
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as its record has it.

    Attributes:
        multipart: id of the storage's multipart upload, '' where there is none (yet).
        offset: bytes that are safe: those of all parts, and of the tail.
        etags: of the parts, which all have the same size, but for the last of a whole upload.
        tail: key of the object with what came after the last part; '': nothing did.
        done: it is complete; `offset`, `etags` and `tail` are no longer known.
    """

    id: str
    owner: str
    document: UploadDocument
    multipart: str
    created_at: datetime | None
    expires_at: datetime | None
    offset: int
    etags: list[str]
    tail: str
    done: bool

    @property
    def file_id(self) -> str:
        return file_of(self.id)


class Uploads:
    def __init__(
        self, pipeline: Pipeline, keys: Keys, files: Files, *, life_s: int, most: int
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._files = files
        self._life_s = life_s
        self._most = most

    async def open(
        self, upload_id: str, owner: str, document: UploadDocument, multipart: str
    ) -> Upload:
        """Write an upload down, before a byte of it comes.

        Raises:
            QuotaError: the owner has too many open.
        """
        reply = await self._pipeline.script(
            *("upload", "open", upload_id, owner),
            *(document.model_dump_json(exclude_none=True), multipart),
            *(self._life_s * 1000, self._most),
        )
        if reply[0] == "quota":
            LIMITS_HIT.labels("max_uploads_per_owner").inc()
            raise QuotaError(
                f"You have {reply[1]} uploads under way; at most {self._most} may be. Complete or "
                "delete some.",
                limit="max_uploads_per_owner",
                allowed=self._most,
                used=int(reply[1]),
            )
        created, expires = when(str(reply[1])), when(str(reply[2]))
        return Upload(
            upload_id, owner, document, multipart, created, expires, 0, [], "", done=False
        )

    async def get(self, owner: str, upload_id: str) -> Upload:
        """What is known of an upload.

        Raises:
            NotFoundError: no such upload, or another owner's.
            GoneError: it was deleted, did not hold what it promised, or its time is over.
        """
        fields = await self._pipeline.command("HGETALL", self._keys.upload(upload_id))
        if fields.get("own") != owner:
            raise NotFoundError(f"There is no upload {upload_id}.")
        if "gone" in fields:
            raise GoneError(f"The upload {upload_id} is over.")
        document = UploadDocument.model_validate_json(fields.get("done") or fields["doc"])
        size = int(fields["size"]) if "size" in fields else document.size
        return Upload(
            id=upload_id,
            owner=owner,
            document=document.model_copy(update={"size": size}),
            multipart=fields.get("mp", ""),
            created_at=when(fields.get("ca")),
            expires_at=when(fields.get("ex")),
            offset=int(fields.get("off", 0)),
            etags=_etags(fields),
            tail=fields.get("tail", ""),
            done="done" in fields,
        )

    async def hold(self, owner: str, upload_id: str, holder: str) -> bool:
        """Take an upload for oneself; False if another has it, who is asked to let go.

        One that is over is nobody's, and held by everybody: `get` tells.
        """
        return bool(await self._call("hold", upload_id, owner, holder, HOLD_MS))

    async def keep(self, upload_id: str, holder: str) -> Literal["kept", "asked", "lost"]:
        """Renew a hold; to be called well within `HOLD_MS`."""
        answer = int(await self._call("keep", upload_id, "", holder, HOLD_MS))
        return {1: "kept", 2: "asked"}.get(answer, "lost")  # type: ignore[return-value] # these three

    async def release(self, upload_id: str, holder: str) -> None:
        """Let an upload go."""
        await self._call("release", upload_id, "", holder)

    async def note(self, upload_id: str, holder: str, **fields: Any) -> None:
        """Write down what is safe now: `off`, `e1`, `e2`, ... (ETags), `tail`, `mp`, `size`.

        Raises:
            UploadLockedError: the hold was lost to another, whose word counts.
        """
        flat = [item for pair in fields.items() for item in pair]
        if not await self._call("note", upload_id, "", holder, *flat):
            raise lost()

    async def complete(self, upload: Upload, holder: str, info: FileInfo) -> StoredFile:
        """The upload becomes a file; twice is once.

        Raises:
            UploadLockedError: the hold was lost.
            QuotaError, BacklogError: as `Files.put`; the upload stays.
        """
        reply = await self._call(
            *("complete", upload.id, "", holder),
            *self._files.arguments(info, upload.document.retention_s),
        )
        if reply[0] == "lost":
            raise lost()
        return self._files.kept(info, reply)

    async def close(self, upload_id: str, holder: str = "") -> str | None:
        """Give an upload up: its objects go to the trash.

        Returns the id of its multipart upload, which is to be aborted ('': there is none); None if
        another holds it. Without a `holder` whoever holds it comes first.
        """
        reply = await self._call("close", upload_id, "", holder)
        return str(reply[1]) if reply[0] else None

    async def due(self) -> list[str]:
        """Ids of uploads whose time is over, some at a time."""
        found: list[str] = await self._call("due", "", "", AT_ONCE)
        return found

    async def exists(self, upload_id: str) -> bool:
        """Whether an upload is under way, or was lately; for the sweep of orphans."""
        return bool(await self._pipeline.command("HEXISTS", self._keys.upload(upload_id), "doc"))

    async def _call(self, verb: str, upload_id: str, owner: str, *more: Any) -> Any:
        return await self._pipeline.script("upload", verb, upload_id, owner, *more)


def _etags(fields: Mapping[str, str]) -> list[str]:
    """One field each: a large upload has thousands, and only the last is new."""
    etags: list[str] = []
    while (etag := fields.get(f"e{len(etags) + 1}")) is not None:
        etags.append(etag)
    return etags


def lost() -> UploadLockedError:
    """The error for work on an upload that another request holds."""
    return UploadLockedError("Another request works on this upload.", retry_after_s=1)
