"""`GET /v1/jobs/{id}/archive`: all outputs as one ZIP, made while it is sent.

The bytes go in as they are (deflate's level 0): the api coordinates, packing is work, and there is
`archive.create` for it. Sizes and checksums follow each entry, so nothing is held back; entries and
archives beyond 4 GiB are zip64. Memory is one chunk and the table of contents.
"""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import IO, TYPE_CHECKING, Final, cast

from aiohttp import web

from fileproc.api.context import Api, api_of, caller_of
from fileproc.api.jobs import job_id_of
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.api.results import outputs_of, write_in_time
from fileproc.errors import FileprocError, GoneError, NoResultError, ObjectMissingError
from fileproc.objects import clean_name, content_disposition
from fileproc.operations.archives import Unlike
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from fileproc.jobs import Job, JobResult, OutputInfo

_PLAIN_FILE: Final = 0o100644
_UNIX: Final = 3
_FIRST_YEAR: Final = 1980  # that ZIP knows
_NOT_ON_WINDOWS: Final = str.maketrans(dict.fromkeys('<>:"|?*', "_"))

log = get_logger(__name__)


async def get_archive(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}/archive`."""
    api, caller = api_of(request), caller_of(request)
    job_id = job_id_of(request)
    read_query(NoQuery, request.query)
    job = await api.resources.store.jobs.get(caller.owner, job_id)
    result = outputs_of(job)
    if not result.outputs:
        raise NoResultError("The job succeeded and made no file.", state=str(job.state))
    return await send_archive(api, request, job, result, name=_name(job), headers={})


async def send_archive(
    api: Api,
    request: web.Request,
    job: Job,
    result: JobResult,
    *,
    name: str,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """The outputs of this job as an answer.

    Raises:
        GoneError: the first of them is no longer stored.
        StorageUnavailableError: it cannot be read now.
    """
    response = web.StreamResponse(
        headers={
            **headers,
            "Content-Disposition": content_disposition(name),
            "Cache-Control": "no-store",
        }
    )
    response.content_type = "application/zip"
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    async with aclosing(_zipped(api, job, result)) as chunks:
        try:
            first = await anext(chunks)
        except ObjectMissingError as exc:
            raise GoneError("An output is no longer stored.") from exc
        # Only now: what fails before the first byte can still be told as a problem.
        await response.prepare(request)
        try:
            await write_in_time(api, response, first)
            async for chunk in chunks:
                await write_in_time(api, response, chunk)
        except (FileprocError, TimeoutError) as exc:
            # The answer has begun: only a broken connection can still say that it is not whole.
            log.warning("an archive broke off", job=job.id, error=str(exc)[:200])
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the archive broke off") from exc
    await response.write_eof()
    return response


def _name(job: Job) -> str:
    inputs = job.document.inputs
    stem = clean_name(inputs[0].name).rpartition(".")[0] if len(inputs) == 1 else ""
    return f"{stem or job.id}.zip"


class _Pipe:
    """A file that can only be written to; what was written is taken out at once."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        data = b"".join(self._written)
        self._written.clear()
        return data


async def _zipped(api: Api, job: Job, result: JobResult) -> AsyncGenerator[bytes]:
    """The archive in chunks. Raises as `ObjectStore.stream`, and if an object is cut off."""
    pipe, unlike = _Pipe(), Unlike()
    archive = zipfile.ZipFile(cast("IO[bytes]", pipe), "w")
    for index, output in enumerate(result.outputs):
        info = _entry(unlike.name(_safe(output.name)), job, output)
        stream = api.resources.objects.stream(f"{result.prefix}{index}")
        async with aclosing(stream) as chunks:  # type: ignore[type-var] # a generator in truth
            with archive.open(info, "w") as entry:
                async for chunk in chunks:
                    entry.write(chunk)
                    yield pipe.taken()
        if info.file_size != output.size:
            raise ObjectMissingError(f"The output {output.name!r} is not what was stored.")
    archive.close()
    yield pipe.taken()


def _entry(name: str, job: Job, output: OutputInfo) -> zipfile.ZipInfo:
    moment = job.finished_at or job.created_at
    info = zipfile.ZipInfo(name, (max(moment.year, _FIRST_YEAR), *moment.timetuple()[1:6]))
    info.create_system, info.external_attr = _UNIX, _PLAIN_FILE << 16
    # Not "stored": an entry whose size comes after it must be deflated, or many cannot read it.
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = 0  # type: ignore[attr-defined]  # noqa: SLF001 - public from 3.13
    info.file_size = output.size  # from it follows whether zip64 is needed
    return info


def _safe(name: str) -> str:
    """A name that every system can write, in one folder."""
    return clean_name(name).translate(_NOT_ON_WINDOWS)
