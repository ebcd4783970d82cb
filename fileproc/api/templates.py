"""Pipelines that are kept by name, and jobs that are made from them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from fileproc.api import problems
from fileproc.api.access import check_scopes
from fileproc.api.body import Body, refuse_other_charsets
from fileproc.api.context import Api, Caller, api_of, caller_of
from fileproc.api.drafts import (
    Draft,
    check_count,
    check_fit,
    draft_of,
    drafted,
    files_by_id,
    pipeline_of,
    sources_of,
)
from fileproc.api.fields import TEMPLATE_NAME
from fileproc.api.idempotency import Claim
from fileproc.api.job_models import (
    FileRef,
    JobRequest,
    OperationAsked,
    PipelineAsked,
    PipelineRequest,
    TemplateAsked,
    TemplateJobRequest,
)
from fileproc.api.pages import list_answer
from fileproc.api.placeholders import check, filled, open_steps, with_values
from fileproc.api.queries import NoQuery, TemplateQuery
from fileproc.api.reading import parse_json, read_body, read_query
from fileproc.api.template_models import TemplateRequest
from fileproc.errors import FileprocError, NotFoundError
from fileproc.jobs import FileInfo
from fileproc.pipelines import RepeatedPipeline
from fileproc.store import Replay, StoredTemplate

MAX_BYTES: Final = 64 * 1024  # of a definition; each version is kept in Redis

_JSON = "application/json"
_NAME = re.compile(TEMPLATE_NAME)


def _name_of(request: web.Request) -> str:
    """The name in the address.

    Raises:
        NotFoundError: it cannot be one.
    """
    name = request.match_info["template"]
    if not _NAME.fullmatch(name):
        raise NotFoundError(
            f"There is no template {name[:100]!r}: names are lower-case letters, digits, _ and -, "
            "40 at most, beginning with a letter."
        )
    return name


async def put_template(request: web.Request) -> web.StreamResponse:
    """`PUT /v1/templates/{template}`: judged as a job is, as far as its values are known."""
    api, caller = api_of(request), caller_of(request)
    name = _name_of(request)
    read_query(NoQuery, request.query)
    refuse_other_charsets(request)
    body = await Body(request, api.settings).read(MAX_BYTES, "max_template_bytes", "A template")
    asked = read_body(TemplateRequest, parse_json(body))
    check(asked)
    pipeline_of(api, with_values(asked, {}), open_steps=open_steps(asked))
    definition = asked.model_dump_json(exclude_defaults=True)
    if len(definition) > MAX_BYTES:  # JSON of ours may be longer than the client's
        raise problems.too_large("max_template_bytes", MAX_BYTES, "The template is too large.")
    kept = await api.resources.store.templates.put(caller.owner, name, definition)
    return web.Response(body=to_json(_view(kept)), content_type=_JSON)


async def get_template(request: web.Request) -> web.StreamResponse:
    """`GET /v1/templates/{template}`."""
    api, caller = api_of(request), caller_of(request)
    name = _name_of(request)
    version = read_query(TemplateQuery, request.query).version
    kept = await api.resources.store.templates.get(caller.owner, name, version)
    return web.Response(body=to_json(_view(kept)), content_type=_JSON)


async def list_templates(request: web.Request) -> web.StreamResponse:
    """`GET /v1/templates`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    kept = await api.resources.store.templates.list(caller.owner)
    return list_answer(request, map(_view, kept))


async def delete_template(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/templates/{template}`: all its versions."""
    api, caller = api_of(request), caller_of(request)
    name = _name_of(request)
    read_query(NoQuery, request.query)
    await api.resources.store.templates.delete(caller.owner, name)
    return web.Response(status=204)


def _view(kept: StoredTemplate) -> dict[str, Any]:
    """The members of `TemplateView`."""
    return {
        "name": kept.name,
        "object": "template",
        "version": kept.version,
        "created_at": kept.created_at,
        **TemplateRequest.model_validate_json(kept.definition).model_dump(),
    }


async def draft_for(
    api: Api,
    caller: Caller,
    asked: OperationAsked | PipelineAsked | TemplateAsked,
    claim: Claim = None,
) -> Draft:
    """Judge what a body asks for; a template is filled in, and its version noted.

    Of a repetition the template is not read: it is compared by what it asks for.

    Raises:
        NotFoundError: the caller has no such template.
        ForbiddenError: the caller's key is bound to other operations or templates.
        UnknownOperationError, ProgramMissingError, InvalidRequestError: with pointers into the
            body, or below `/template` into the template.
    """
    if not isinstance(asked, TemplateAsked):
        draft = draft_of(api, asked)
        check_scopes(caller, draft)
        return draft
    asked_as = [asked.template, asked.variables]
    if isinstance(claim, Replay):
        return replace(drafted(api, asked, RepeatedPipeline(), {}), asked_as=asked_as)
    name, _, version = asked.template.partition("@")
    templates = api.resources.store.templates
    kept = await templates.get(caller.owner, name, int(version) if version else None)
    steps = filled(TemplateRequest.model_validate_json(kept.definition), asked.variables)
    try:
        plan = pipeline_of(api, steps)
    except FileprocError as exc:
        exc.errors = [{**error, "pointer": f"/template{error['pointer']}"} for error in exc.errors]
        raise
    template = f"{name}@{kept.version}"
    draft = replace(drafted(api, asked, plan, {}), template=template, asked_as=asked_as)
    check_scopes(caller, draft)
    return draft


async def draft_over(
    api: Api, caller: Caller, asked: JobRequest | PipelineRequest | TemplateJobRequest, claim: Claim
) -> tuple[Draft, list[FileInfo]]:
    """The draft of a JSON body, judged with its inputs; and those of them that are files.

    Raises:
        FileprocError: as `draft_for`, `sources_of` and `files_by_id`.
    """
    draft = await draft_for(api, caller, asked, claim)
    check_count(api, draft.plan, len(asked.inputs))
    check_fit(draft, len(asked.inputs))
    draft = replace(draft, sources=sources_of(api, asked.inputs))
    wanted = [
        (ref.file_id, f"/inputs/{place}/file_id")
        for place, ref in enumerate(asked.inputs)
        if isinstance(ref, FileRef)
    ]
    return draft, await files_by_id(api, caller, draft.plan, wanted, claim) if wanted else []
