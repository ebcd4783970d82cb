"""What a batch is to be, from its request: every job judged before the first is accepted."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from fileproc.api import problems
from fileproc.api.batch_models import BatchQuery, BatchRequest
from fileproc.api.body import Body, media_type_of, refuse_other_charsets
from fileproc.api.drafts import Draft, check_hook_url
from fileproc.api.fields import MAX_METADATA_BYTES, Request
from fileproc.api.job_models import job_of_body
from fileproc.api.queries import NoQuery
from fileproc.api.reading import MAX_SHOWN, parse_json, read_body, read_query
from fileproc.api.templates import draft_over
from fileproc.errors import FileprocError, InvalidRequestError, UnsupportedMediaTypeError
from fileproc.jobs import FileInfo, JobHook
from fileproc.store import BatchDocument
from fileproc.webhooks import EventType

if TYPE_CHECKING:
    from aiohttp import web

    from fileproc.api.context import Api, Caller
    from fileproc.api.idempotency import Claim

MANIFESTS: Final = ("application/x-ndjson", "application/jsonl", "application/jsonlines")
_AT_ONCE: Final = 100  # jobs that are judged between two breaths of the loop
_TEXT_AT_ONCE: Final = 64 * 1024  # bytes of lines, likewise
_CLIENT_ERRORS: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class Asked:
    """One job as it was asked for, and where in the request that stands.

    Attributes:
        read: its JSON, made when it is judged: all of them at once may be a hundred times the
            request. Raises as `parse_json`.
        size: bytes that are parsed for that.
        alike: it differs from the others by its file only.
    """

    pointer: str
    read: Callable[[], Any]
    size: int = 0
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Drafted:
    """One job that can be accepted."""

    draft: Draft
    inputs: list[FileInfo]


async def read_batch(api: Api, request: web.Request) -> tuple[BatchDocument, list[Asked]]:
    """The request, whole, its jobs not judged yet.

    Raises:
        UnsupportedMediaTypeError, BadRequestError, InvalidRequestError, TooLargeError,
        RequestTimeoutError.
    """
    Body(request, api.settings).refuse_encoded()
    media_type = media_type_of(request)
    if media_type == "application/json":
        read_query(NoQuery, request.query)
        document, asked = await _from_json(api, request)
        _check_number(api, len(asked))
    elif media_type in MANIFESTS:
        query = read_query(BatchQuery, request.query)
        labels = dict(pair.split("=", 1) for pair in query.labels)
        hook = batch_hook(api, query.webhook, "webhook")
        document = BatchDocument(name=query.name, labels=labels, webhook=hook)
        asked = await _from_manifest(api, request)
    else:
        accepted = ["application/json", *MANIFESTS]
        raise UnsupportedMediaTypeError(f"Send {' or '.join(accepted[:2])}.", accepted=accepted)
    return document, asked


def _check_number(api: Api, number: int) -> None:
    most = api.settings.max_batch_jobs
    if number > most:
        raise problems.too_large("max_batch_jobs", most, f"A batch has at most {most} jobs.")


async def _from_json(api: Api, request: web.Request) -> tuple[BatchDocument, list[Asked]]:
    refuse_other_charsets(request)
    most = api.settings.max_json_bytes
    body = await Body(request, api.settings).read(most, "max_json_bytes", "A JSON body")
    asked = read_body(BatchRequest, parse_json(body))
    if len(to_json(asked.metadata)) > MAX_METADATA_BYTES:
        raise _invalid("/metadata", f"It has more than {MAX_METADATA_BYTES} bytes as JSON.")
    document = BatchDocument(
        name=asked.name,
        labels=asked.labels,
        metadata=asked.metadata,
        webhook=batch_hook(api, asked.webhook.url if asked.webhook else None, "/webhook/url"),
    )
    return document, list(_jobs_of(api, asked))


def batch_hook(api: Api, url: str | None, pointer: str) -> JobHook | None:
    """Where the end of a batch is told.

    Raises:
        UrlNotAllowedError: it must not be called; `pointer` is where the request names it.
    """
    if url is None:
        return None
    check_hook_url(api, url, pointer)
    return JobHook(url=url, events=[EventType.BATCH_COMPLETED.value])


def _jobs_of(api: Api, asked: BatchRequest) -> Iterator[Asked]:
    if asked.jobs is not None:
        if asked.each is not None or asked.files is not None:
            raise _invalid("/jobs", "Give either `jobs`, or `each` and `files`.")
        for place, job in enumerate(asked.jobs):
            yield Asked(f"/jobs/{place}", partial(_itself, job))
        return
    if asked.each is None or asked.files is None:
        missing = "/each" if asked.each is None else "/files"
        raise _invalid(missing, "Give `each` and `files`, or `jobs`.")
    more = asked.each.get("inputs", [])
    if not isinstance(more, list):
        raise _invalid("/each/inputs", "It must be a list.")
    most = api.settings.max_inputs
    if len(more) >= most:
        raise _invalid("/each/inputs", f"With its file a job takes at most {most}.")
    for file in asked.files:
        yield Asked("/each", partial(_with_file, asked.each, file, more), alike=True)


def _itself(job: Any) -> Any:
    return job


def _with_file(each: dict[str, Any], file: Request, more: list[Any]) -> dict[str, Any]:
    return {**each, "inputs": [file.model_dump(exclude_none=True), *more]}


async def _from_manifest(api: Api, request: web.Request) -> list[Asked]:
    most = api.settings.max_manifest_bytes
    body = await Body(request, api.settings).read(most, "max_manifest_bytes", "A manifest")
    asked: list[Asked] = []
    for number, line in enumerate(io.BytesIO(body)):  # `split` would make millions of them
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)  # others have requests too
        if line.strip():
            _check_number(api, len(asked) + 1)
            asked.append(Asked(f"/{number}", partial(_line, number, line), size=len(line)))
    if not asked:
        raise _invalid("", "The manifest has no line with a job.")
    return asked


def _line(number: int, line: bytes) -> Any:
    try:
        return parse_json(line)
    except FileprocError as exc:
        exc.detail = f"Line {number + 1}: {exc.detail}"
        raise


def _invalid(pointer: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(detail, errors=[{"pointer": pointer, "detail": detail}])


def placed(exc: FileprocError, root: str) -> FileprocError:
    """The complaint with its place in the batch."""
    complaints = exc.errors or [{"pointer": "", "detail": exc.detail}]
    exc.errors = [{**error, "pointer": f"{root}{error['pointer']}"} for error in complaints]
    return exc


async def drafted(api: Api, caller: Caller, asked: Sequence[Asked], claim: Claim) -> list[Drafted]:
    """Every job of a batch, judged as if it came alone.

    Raises:
        FileprocError: of the first that cannot be accepted; `errors` name the places of all such.
    """
    ready: list[Drafted] = []
    refusals: list[FileprocError] = []
    most, size = api.settings.max_batch_bytes, 0
    for lot in _lots(asked):
        await asyncio.sleep(0)  # others have requests too
        outcomes = await asyncio.gather(
            *(draft_one(api, caller, one, claim) for one in lot), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, Drafted):
                ready.append(outcome)
                size += outcome.draft.size
            elif isinstance(outcome, FileprocError) and outcome.status in _CLIENT_ERRORS:
                refusals.append(outcome)
            else:
                raise outcome
        if len(refusals) > MAX_SHOWN or _for_all(refusals, lot):
            break
        if size > most:  # a few lines may stand for much, by a template or by what is said of each
            raise problems.too_large(
                "max_batch_bytes",
                most,
                f"The jobs of a batch ask for at most {most:,} bytes of JSON together, with "
                "defaults and steps: send them in several.",
            )
    if refusals:
        first = refusals[0]
        complaints = [error for refusal in refusals for error in refusal.errors]
        first.errors = complaints[:MAX_SHOWN]
        first.detail = f"A job of the batch cannot be accepted: {first.detail}"
        raise first
    return ready


def _lots(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """What is judged at once; of those that are alike the first comes alone."""
    lot: list[Asked] = []
    size = 0
    for one in asked:
        lot.append(one)
        size += one.size
        if len(lot) == _AT_ONCE or size >= _TEXT_AT_ONCE or (one.alike and one is asked[0]):
            yield lot
            lot, size = [], 0
    if lot:
        yield lot


def _for_all(refusals: Sequence[FileprocError], lot: Sequence[Asked]) -> bool:
    """Whether what is wrong with one is so with all: thousands of times the same says no more."""
    return lot[0].alike and any(isinstance(exc, InvalidRequestError) for exc in refusals)


async def draft_one(api: Api, caller: Caller, asked: Asked, claim: Claim) -> Drafted:
    """One job, judged as if it came alone.

    Raises:
        FileprocError: it cannot be accepted; `errors` name the place in the request.
    """
    try:
        value = asked.read()
        job = read_body(job_of_body(value), value)
        draft, files = await draft_over(api, caller, job, claim)
    except FileprocError as exc:
        raise placed(exc, asked.pointer) from exc
    return Drafted(draft, files)
