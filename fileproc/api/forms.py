"""A job as a form: a `job` part and the files, in any order; `job` first is better.

With `job` first every file is judged in its first 64 KiB. A file that comes before it is taken
under the global limits, and judged once the job is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from fileproc.api import problems
from fileproc.api.body import Body
from fileproc.api.drafts import Draft, Plan, check_count, check_fit, files_by_id, sources_of
from fileproc.api.idempotency import Claim
from fileproc.api.job_models import (
    FileRef,
    FormJobRequest,
    FormPipelineRequest,
    FormTemplateJobRequest,
    PartRef,
    UrlRef,
    job_of_form,
)
from fileproc.api.multipart import Form, PartHead, boundary_of
from fileproc.api.reading import parse_json, read_body
from fileproc.api.templates import draft_for
from fileproc.api.uploads import Uploads, check_type, empty_file
from fileproc.errors import InvalidRequestError
from fileproc.jobs import FileInfo

if TYPE_CHECKING:
    from aiohttp import web

    from fileproc.api.context import Api, Caller

_PART_OVERHEAD = 16 * 1024  # boundary and headers of a part, generously
_JOB = "job"
_FILE = "file"

FormAsked = FormJobRequest | FormPipelineRequest | FormTemplateJobRequest


class JobForm:
    """Reads one form; `read` once."""

    def __init__(self, api: Api, caller: Caller, uploads: Uploads, claim: Claim = None) -> None:
        self._api = api
        self._claim = claim
        self._caller = caller
        self._uploads = uploads
        self._asked: FormAsked | None = None
        self._draft: Draft | None = None
        self._files: list[tuple[str, FileInfo]] = []  # (name of the part, file)

    async def read(self, request: web.Request) -> tuple[Draft, list[FileInfo], list[FileInfo]]:
        """The draft, all inputs in order, and those among them that came with this form.

        Raises:
            BadRequestError: the form is malformed.
            InvalidRequestError, UnknownOperationError, TypeMismatchError, EmptyFileError,
            NotFoundError, TooLargeError: what it asks for.
        """
        settings = self._api.settings
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        most = (
            settings.max_upload_bytes
            + settings.max_json_bytes
            + _PART_OVERHEAD * (settings.max_inputs + 1)
        )
        body = Body(request, settings)
        async with aclosing(body.chunks(most, "max_upload_bytes", "The form")) as chunks:
            form = Form(chunks, boundary)
            while (head := await form.next_part()) is not None:
                async with aclosing(form.chunks()) as part:
                    await self._take(head, part)
        return await self._finish()

    async def _take(self, head: PartHead, part: AsyncIterator[bytes]) -> None:
        if head.name == _JOB:
            await self._take_job(part)
        elif head.filename is None and head.name != _FILE:
            raise InvalidRequestError(
                f"The form has no field {head.name!r}: parameters go into the `job` part.",
                errors=[
                    {"pointer": head.name, "detail": "Unknown field.", "allowed": [_JOB, _FILE]}
                ],
            )
        else:
            await self._take_file(head, part)

    async def _take_job(self, part: AsyncIterator[bytes]) -> None:
        if self._asked is not None:
            raise InvalidRequestError("The form has two `job` parts.")
        most = self._api.settings.max_json_bytes
        read = bytearray()
        async for chunk in part:
            read += chunk
            if len(read) > most:
                detail = f"The `job` part may have at most {most} bytes."
                raise problems.too_large("max_json_bytes", most, detail)
        value = parse_json(bytes(read))
        self._asked = read_body(job_of_form(value), value)
        self._draft = await draft_for(self._api, self._caller, self._asked, self._claim)
        for name, info in self._files:  # those that came before
            self._check_name(name)
            check_type(self._draft.plan, info.type, name)
        self._check_count()

    async def _take_file(self, head: PartHead, part: AsyncIterator[bytes]) -> None:
        limit = self._api.settings.max_inputs
        if len(self._files) >= limit:
            raise problems.too_large("max_inputs", limit, f"A job takes at most {limit} files.")
        plan: Plan | None = None
        if self._draft is not None:
            plan = self._draft.plan
            self._check_name(head.name)
            self._check_count(more=1)
        info = await self._uploads.take(
            part,
            filename=head.filename,
            declared=head.content_type,
            plan=plan,
            pointer=head.name,
        )
        if info is None:
            raise empty_file(head.name)
        self._files.append((head.name, info))

    def _check_name(self, name: str) -> None:
        """A part that no input names would be paid for and thrown away."""
        asked = self._asked
        if asked is None or asked.inputs is None:
            return
        named = [ref.part for ref in asked.inputs if isinstance(ref, PartRef)]
        if name not in named:
            raise InvalidRequestError(
                f"No input names the part {name!r}.",
                errors=[{"pointer": name, "detail": "Not among `inputs`.", "allowed": named}],
            )

    def _check_count(self, more: int = 0) -> None:
        if self._draft is not None and self._asked is not None and self._asked.inputs is None:
            count = len(self._files) + more
            check_count(self._api, self._draft.plan, count, complete=False)

    async def _finish(self) -> tuple[Draft, list[FileInfo], list[FileInfo]]:
        if self._draft is None or self._asked is None:
            raise InvalidRequestError(
                "The form has no `job` part.",
                errors=[{"pointer": _JOB, "detail": "The job, as JSON."}],
            )
        brought = [info for _, info in self._files]
        inputs, draft = brought, self._draft
        if self._asked.inputs is not None:
            inputs = await self._picked(self._asked, draft)
            draft = replace(draft, sources=sources_of(self._api, self._asked.inputs))
        count = len(inputs) + len(draft.sources)
        check_count(self._api, draft.plan, count)
        check_fit(draft, count)
        return draft, inputs, brought

    async def _picked(self, asked: FormAsked, draft: Draft) -> list[FileInfo]:
        refs = asked.inputs or []
        wanted = [
            (ref.file_id, f"/inputs/{place}/file_id")
            for place, ref in enumerate(refs)
            if isinstance(ref, FileRef)
        ]
        known = iter(await files_by_id(self._api, self._caller, draft.plan, wanted, self._claim))
        return [
            next(known) if isinstance(ref, FileRef) else self._part(ref.part, place)
            for place, ref in enumerate(refs)
            if not isinstance(ref, UrlRef)
        ]

    def _part(self, name: str, place: int) -> FileInfo:
        found = [info for part, info in self._files if part == name]
        if len(found) != 1:
            problem = "has no part" if not found else "has several parts called"
            raise InvalidRequestError(
                f"The form {problem} {name!r}.",
                errors=[
                    {"pointer": f"/inputs/{place}/part", "detail": f"The form {problem} this."}
                ],
            )
        return found[0]
