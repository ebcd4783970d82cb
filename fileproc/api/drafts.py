"""A job that is asked for and not yet accepted: everything about it that needs no file."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from fileproc import operations
from fileproc.api.fields import MAX_METADATA_BYTES
from fileproc.api.job_models import (
    JobOptions,
    JobWebhook,
    OperationAsked,
    PipelineAsked,
    StepAsked,
    TargetAsked,
    UrlRef,
)
from fileproc.api.queries import PutQuery
from fileproc.api.reading import json_params
from fileproc.api.uploads import check_type
from fileproc.connections import SCHEME, place_of
from fileproc.errors import (
    GoneError,
    InvalidRequestError,
    NotFoundError,
    ProgramMissingError,
    UrlNotAllowedError,
)
from fileproc.jobs import JOB_INPUTS, FileInfo, JobHook, KeptSteps, Made, Source, Step, Target
from fileproc.operations import Operation, clean_name
from fileproc.outbound import check_url
from fileproc.pipelines import Pipeline, planned, pointer_to
from fileproc.settings import services
from fileproc.store import Replay
from fileproc.telemetry import LIMITS_HIT

if TYPE_CHECKING:
    from fileproc.api.context import Api, Caller
    from fileproc.api.idempotency import Claim


# What a job is to do. Whoever takes in its files need not know which.
Plan = Operation | Pipeline


@dataclass(frozen=True, slots=True)
class Draft:
    """`params` are the operation's; those of a pipeline stand with its steps.

    `template` is where the steps came from, with its version; `asked_as` what was said instead of
    them. `sources` are inputs that a worker will fetch, `made` what is only to be delivered.
    `reuse` None: as the key says.
    """

    plan: Plan
    params: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    max_attempts: int | None = None
    retention_s: int | None = None
    run_at: datetime | None = None
    expires_in: int | None = None
    timeout_s: float | None = None
    reuse: bool | None = False
    retry_of: str | None = None
    resume: KeptSteps | None = None
    batch: str | None = None
    template: str | None = None
    webhook: JobHook | None = None
    asked_as: list[Any] | None = None
    sources: tuple[Source, ...] = ()
    deliver: tuple[Target, ...] = ()
    made: Made | None = None

    @property
    def steps(self) -> list[Step]:
        return list(self.plan.steps) if isinstance(self.plan, Pipeline) else []

    @property
    def size(self) -> int:
        """Bytes of what a client has filled, as JSON; the rest of a job's record is small."""
        filled = (self.params, self.steps, self.sources, self.deliver, self.labels, self.metadata)
        return len(to_json(filled))

    def asked(self) -> list[Any]:
        """What tells it from another; without the files."""
        return [
            self.plan.name,
            self.params,
            self.labels,
            self.metadata,
            self.priority,
            self.max_attempts,
            self.retention_s,
            self.retry_of,
            *self._timing(),
            *([self.webhook.model_dump()] if self.webhook else []),
            # The same request stays the same when there is a newer version of its template.
            *(self.asked_as or (step.model_dump() for step in self.steps)),
            *(source.model_dump() for source in self.sources),
            *(delivery.model_dump() for delivery in self.deliver),
            *([self.resume.model_dump()] if self.resume else []),
        ]

    def _timing(self) -> list[Any]:
        """Nothing where nothing was said, as it was before any of this could be said."""
        timing = [self.run_at.isoformat() if self.run_at else None, self.expires_in, self.timeout_s]
        return [timing] if any(timing) else []


def operation_of(api: Api, name: str, pointer: str = "/operation") -> Operation:
    """The operation of this name; `pointer` is where a body names it.

    Raises:
        UnknownOperationError: with the names there are.
        ProgramMissingError: it is known, and a program that it needs is not installed here.
    """
    if found := api.operations.get(name):
        return found
    operation = operations.find(
        name,
        debug=api.settings.debug_operations,
        services=services(api.settings),
        pointer=pointer,
    )
    if absent := operations.lacking(operation):
        raise ProgramMissingError(
            operations.not_offered(operation),
            errors=[{"pointer": pointer, "detail": "Not installed.", "missing": absent}],
        )
    return operation


def draft_of(api: Api, asked: OperationAsked | PipelineAsked) -> Draft:
    """Judge what a body asks for.

    Raises:
        UnknownOperationError, ProgramMissingError, InvalidRequestError: with pointers into the
            body.
    """
    if isinstance(asked, PipelineAsked):
        return drafted(api, asked, pipeline_of(api, asked.steps), {})
    operation = operation_of(api, asked.operation)
    return drafted(api, asked, operation, json_params(operation, asked.params))


def drafted(api: Api, asked: JobOptions, plan: Plan, params: dict[str, Any]) -> Draft:
    """A draft of this plan, with the options that were asked for.

    Raises:
        InvalidRequestError: an option is beyond what this server allows.
    """
    _check_options(api, asked, plan, "/")
    if asked.metadata and len(to_json(asked.metadata)) > MAX_METADATA_BYTES:
        raise _invalid("/metadata", f"It has more than {MAX_METADATA_BYTES} bytes as JSON.")
    return Draft(
        plan=plan,
        params=params,
        labels=asked.labels,
        metadata=asked.metadata,
        priority=asked.priority,
        max_attempts=asked.max_attempts,
        retention_s=asked.retention_s,
        run_at=asked.run_at,
        expires_in=asked.expires_in,
        timeout_s=asked.timeout_s,
        webhook=_hook(api, asked.webhook) if asked.webhook else None,
        reuse=asked.reuse,
        deliver=deliveries(api, asked.deliver),
    )


def deliveries(api: Api, asked: Sequence[TargetAsked]) -> tuple[Target, ...]:
    """The places that a body names in `deliver`.

    Raises:
        UrlNotAllowedError: with one entry of `errors` for each that may not be called.
    """
    refused = []
    for place, wanted in enumerate(asked):
        try:
            _check_place(api, wanted.url, folder=True)
        except UrlNotAllowedError as exc:
            refused.append({"pointer": f"/deliver/{place}/url", "detail": exc.detail})
    if refused:
        raise UrlNotAllowedError(refused[0]["detail"], errors=refused)
    return tuple(
        Target(url=wanted.url, output=wanted.output, headers=wanted.headers) for wanted in asked
    )


def _hook(api: Api, asked: JobWebhook) -> JobHook:
    check_hook_url(api, asked.url, "/webhook/url")
    return JobHook(url=asked.url, events=list(dict.fromkeys(asked.events)))


def check_hook_url(api: Api, url: str, pointer: str) -> None:
    """Refuse what could never be called; `pointer` is where a body names it.

    Raises:
        UrlNotAllowedError: see `check_url`.
    """
    try:
        check_url(url, api.settings)
    except UrlNotAllowedError as exc:
        exc.errors = [{"pointer": pointer, "detail": exc.detail}]
        raise


def pipeline_of(
    api: Api, asked: Mapping[str, StepAsked], *, open_steps: Collection[str] = ()
) -> Pipeline:
    """Judge the steps, each for itself and then together.

    Of `open_steps` the parameters are not known yet: they are not judged.

    Raises:
        UnknownOperationError, ProgramMissingError: the first that is unknown or missing here.
        InvalidRequestError: everything else, step by step.
    """
    entries = {
        name: operation_of(api, step.operation, pointer_to(name, "operation"))
        for name, step in asked.items()
    }
    steps: list[Step] = []
    complaints: list[Mapping[str, Any]] = []
    for name, step in asked.items():
        try:
            known = name not in open_steps
            pointer = pointer_to(name, "params")
            params = json_params(entries[name], step.params, pointer) if known else {}
            steps.append(_step(name, step, entries[name], params))
        except InvalidRequestError as exc:
            complaints += exc.errors
    if complaints:
        raise InvalidRequestError("The parameters of a step are not valid.", errors=complaints)
    return planned(steps, entries)


def _step(name: str, asked: StepAsked, operation: Operation, params: dict[str, Any]) -> Step:
    by_default = [JOB_INPUTS] if operation.max_inputs else []
    return Step(
        name=name,
        operation=operation.name,
        params=params,
        needs=by_default if asked.needs is None else asked.needs,
        for_each=asked.for_each,
        on_error=asked.on_error,
        output=asked.output,
    )


def _check_options(api: Api, asked: JobOptions | PutQuery, plan: Plan, root: str) -> None:
    settings = api.settings
    heavy = plan.lane == "heavy"
    lane_s = settings.heavy_job_timeout_s if heavy else settings.job_timeout_s
    for name, value, most in (
        ("max_attempts", asked.max_attempts, settings.max_attempts),
        ("retention_s", asked.retention_s, settings.retention_s),
        ("expires_in", asked.expires_in, settings.max_delay_s),
        ("timeout_s", asked.timeout_s, max(1, int(lane_s))),
    ):
        if value is not None and value > most:
            LIMITS_HIT.labels(name).inc()
            raise _invalid(root + name, f"At most {most} here.", most=most)
    if asked.run_at is not None and asked.run_at - datetime.now(UTC) > timedelta(
        seconds=settings.max_delay_s
    ):
        LIMITS_HIT.labels("max_delay_s").inc()
        detail = f"At most {settings.max_delay_s} seconds ahead."
        raise _invalid(root + "run_at", detail, most=settings.max_delay_s)


def draft_from_query(
    api: Api, operation: Operation, params: dict[str, Any], query: PutQuery
) -> Draft:
    """What the address of a PUT asks for; its parts are judged already.

    Raises:
        InvalidRequestError: an option is beyond what this server allows.
    """
    _check_options(api, query, operation, "")
    return Draft(
        operation,
        params,
        labels=dict(pair.split("=", 1) for pair in query.labels),
        priority=query.priority,
        max_attempts=query.max_attempts,
        retention_s=query.retention_s,
        run_at=query.run_at,
        expires_in=query.expires_in,
        timeout_s=query.timeout_s,
        reuse=query.reuse,
    )


def check_count(api: Api, plan: Plan, count: int, *, complete: bool = True) -> None:
    """Refuse too many files as soon as that is known, too few when there will be no more.

    Raises:
        InvalidRequestError: with the numbers that would do.
    """
    most = min(plan.max_inputs, api.settings.max_inputs)
    if count > most:
        raise _invalid("/inputs", f"{plan.name} takes at most {_files(most)}.", most=most)
    if complete and count < plan.min_inputs:
        least = plan.min_inputs
        detail = f"{plan.name} needs at least {_files(least)}; {_files(count)} came."
        raise _invalid("/inputs", detail, least=least)


def check_fit(draft: Draft, count: int) -> None:
    """Refuse parameters that do not go with so many files; of a step where its files are known.

    Raises:
        InvalidRequestError: one entry of `errors` for each step that is bound to fail.
    """
    root = "/template" if draft.template else ""
    wrong = [
        {"pointer": root + pointer, "detail": misfit}
        for pointer, operation, params, number in _counted(draft, count)
        if (misfit := operation.misfit(params, number)) is not None
    ]
    if wrong:
        raise InvalidRequestError(wrong[0]["detail"], errors=wrong)


def _counted(draft: Draft, count: int) -> Iterator[tuple[str, Operation, Mapping[str, Any], int]]:
    """Pointer, operation, parameters and number of files of all that runs on a known number."""
    if isinstance(draft.plan, Operation):
        yield "/inputs", draft.plan, draft.params, count
        return
    for step in draft.plan.steps:
        if step.for_each or step.needs == [JOB_INPUTS]:
            number = 1 if step.for_each else count
            yield (
                pointer_to(step.name, "params"),
                draft.plan.operations[step.name],
                step.params,
                number,
            )


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _invalid(pointer: str, detail: str, **more: Any) -> InvalidRequestError:
    return InvalidRequestError(detail, errors=[{"pointer": pointer, "detail": detail, **more}])


def _check_place(api: Api, url: str, *, folder: bool = False) -> None:
    if not url.startswith(SCHEME):
        check_url(url, api.settings)
        return
    _, key = place_of(url)
    if folder and key and not key.endswith("/"):
        raise UrlNotAllowedError("A place below a connection must end with a slash.")
    if not folder and (not key or key.endswith("/")):
        raise UrlNotAllowedError("The URL names no object below the connection.")


def check_permitted(api: Api, owner: str, draft: Draft) -> None:
    """Judge the connections that a draft names; one that is another's looks like none.

    Raises:
        UrlNotAllowedError: one entry of `errors` for each that this owner may not use so.
    """
    wanted = [(f"/inputs/{source.place}/url", source.url, False) for source in draft.sources]
    wanted += [(f"/deliver/{i}/url", target.url, True) for i, target in enumerate(draft.deliver)]
    refused = []
    for pointer, url, write in wanted:
        if url.startswith(SCHEME):
            try:
                api.resources.connections.check(owner, url, write=write)
            except UrlNotAllowedError as exc:
                refused.append({"pointer": pointer, "detail": exc.detail})
    if refused:
        raise UrlNotAllowedError(refused[0]["detail"], errors=refused)


def sources_of(api: Api, refs: Sequence[object]) -> tuple[Source, ...]:
    """Inputs that are URLs, at their places, as far as they can be judged now.

    Raises:
        UrlNotAllowedError: one entry of `errors` for each that may not be called.
    """
    refused: list[dict[str, str]] = []
    sources = []
    for place, ref in enumerate(refs):
        if isinstance(ref, UrlRef):
            try:
                _check_place(api, ref.url)
            except UrlNotAllowedError as exc:
                refused.append({"pointer": f"/inputs/{place}/url", "detail": exc.detail})
            name = clean_name(ref.name) if ref.name else None
            sources.append(Source(place=place, url=ref.url, name=name))
    if refused:
        raise UrlNotAllowedError(refused[0]["detail"], errors=refused)
    return tuple(sources)


async def files_by_id(
    api: Api, caller: Caller, plan: Plan, wanted: Sequence[tuple[str, str]], claim: Claim
) -> list[FileInfo]:
    """Files that are here already, from (id, pointer) pairs.

    A repetition is compared by their ids alone: the job has them, though they may be gone by now.

    Raises:
        NotFoundError: the caller has no such file (any more); every missing one is named.
        TypeMismatchError: one of them is not taken.
    """
    if isinstance(claim, Replay):
        ids = (file_id for file_id, _ in wanted)
        return [FileInfo(file_id=each, name="", size=0, sha256="", type="") for each in ids]
    get = api.resources.store.files.get
    found = await asyncio.gather(
        *(get(caller.owner, file_id) for file_id, _ in wanted), return_exceptions=True
    )
    files: list[FileInfo] = []
    missing: list[dict[str, str]] = []
    for outcome, (_, pointer) in zip(found, wanted, strict=True):
        if isinstance(outcome, NotFoundError | GoneError):
            missing.append({"pointer": pointer, "detail": outcome.detail})
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            check_type(plan, outcome.type, pointer)
            files.append(outcome)
    if missing:
        raise NotFoundError(missing[0]["detail"], errors=missing)
    return files
