"""The answers of the OpenAPI document: what each address gives, and which problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

from fileproc.api import problems
from fileproc.api.endpoints import Endpoint
from fileproc.api.openapi_schemas import REF, Json
from fileproc.api.visitors import SAFE
from fileproc.errors import (
    BadRequestError,
    FileprocError,
    ForbiddenError,
    HostNotAllowedError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    IdentityUnavailableError,
    InvalidRequestError,
    OriginNotAllowedError,
    RateLimitError,
    StoreUnavailableError,
    UnauthorizedError,
)

_REPLAYED: Final = {
    "Idempotency-Replayed": "`true` if this is the answer to an earlier request with the same key."
}


def responses_of(endpoint: Endpoint) -> Json:
    """By status: what is answered, and every problem that can be met instead."""
    responses: Json = {}
    for status, answer in endpoint.answers.items():
        entry: Json = {"description": answer.says}
        if answer.model is not None:
            content: Json = {"schema": {"$ref": REF.format(model=answer.model.__name__)}}
            if answer.example is not None:
                content["example"] = answer.example
            entry["content"] = {answer.media_type: content}
        elif answer.media_type != "application/json":
            shown = {"example": answer.example} if answer.example is not None else {}
            entry["content"] = {answer.media_type: shown}
        told = {**answer.headers, **(_REPLAYED if endpoint.keeps_answer else {})}
        if told:
            entry["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in told.items()
            }
        responses[str(status)] = entry
    responses.update(_problem_responses(all_errors(endpoint)))
    return dict(sorted(responses.items()))


def all_errors(endpoint: Endpoint) -> list[type[FileprocError]]:
    """What an endpoint may answer beside its successes."""
    common: list[type[FileprocError]] = [HostNotAllowedError]
    if endpoint.method not in SAFE:
        common.append(OriginNotAllowedError)
    if not endpoint.public:
        common += [
            *(BadRequestError, UnauthorizedError, ForbiddenError),
            *(InvalidRequestError, StoreUnavailableError, IdentityUnavailableError),
        ]
    if endpoint.keeps_answer:
        common += [IdempotencyInFlightError, IdempotencyMismatchError]
    if endpoint.rate_class is not None:
        common.append(RateLimitError)
    return list(dict.fromkeys([*common, *endpoint.errors, FileprocError]))


def _problem_responses(errors: Iterable[type[FileprocError]]) -> Json:
    by_status: dict[int, list[type[FileprocError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _problem_response(status, many) for status, many in by_status.items()}


def _phrase(status: int) -> str:
    """What HTTP calls it; 460 is tus' own."""
    known = {int(one): one.phrase for one in HTTPStatus}
    return known.get(status, "Checksum Mismatch")


def _problem_response(status: int, errors: Sequence[type[FileprocError]]) -> Json:
    examples = {
        error.code: {
            "summary": error.title,
            "value": problems.document(error(f"{error.title}."), "5e0c7a91d3b24f68"),
        }
        for error in errors
    }
    return {
        "description": _phrase(status) + ": " + ", ".join(f"`{error.code}`" for error in errors),
        "content": {
            problems.MEDIA_TYPE: {
                "schema": {"$ref": REF.format(model="ProblemView")},
                "examples": examples,
            }
        },
    }
