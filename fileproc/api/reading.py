"""From text and JSON to models, with every complaint at its place.

400 is what cannot be parsed, 422 what was parsed and does not hold. Queries are text, so numbers in
them are read leniently; JSON is taken at its word: a string is no number there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from fileproc.api import phrases
from fileproc.errors import BadRequestError, InvalidRequestError
from fileproc.operations import Operation

if TYPE_CHECKING:
    from multidict import MultiMapping

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**63
MAX_VALUES: Final = 20_000  # each may become a complaint, and those cost a thousand times more
MAX_PARAMETERS: Final = 1_000  # of one query
MAX_SHOWN: Final = 40  # complaints of one request: enough to mend it, too few to blow up the answer
_MAX_NAME = 100

Model = TypeVar("Model", bound=BaseModel)


def parse_json(body: bytes) -> Any:
    """The value: finite, no deeper than 32, of 20,000 values, without integers beyond 64 bits.

    Raises:
        BadRequestError: it is not such JSON, or not UTF-8.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise _unfit("", f"JSON of more than {MAX_VALUES} values is not taken.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadRequestError(f"The body is not valid JSON: {exc}.") from exc
    _check_plain(value, ())
    return value


def _check_plain(value: Any, place: tuple[str | int, ...]) -> None:
    """Judge a value; of its place a text is made only for a complaint.

    A name may be as long as the body: copied for each value below it, one request would take
    minutes.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _unfit(_pointer(place), "The number is too large.")
    elif isinstance(value, int):
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise _unfit(_pointer(place), "The number is too large.")
    elif isinstance(value, dict | list):
        if len(place) == MAX_DEPTH:
            detail = f"JSON deeper than {MAX_DEPTH} levels is not taken."
            raise _unfit(_pointer(place)[:200], detail)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            if isinstance(item, dict | list | float | int):
                _check_plain(item, (*place, name))


def _pointer(place: tuple[str | int, ...]) -> str:
    return "".join(f"/{segment(name)}" for name in place)


def _unfit(pointer: str, detail: str) -> BadRequestError:
    return BadRequestError(detail, errors=[{"pointer": pointer, "detail": detail}])


def escape(name: str) -> str:
    """One segment of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def segment(name: str | int) -> str:
    """The same, of a name that may be as long as the request."""
    return escape(str(name)[:_MAX_NAME])


def read_body(model: type[Model], value: Any) -> Model:
    """Validate a JSON value.

    Raises:
        InvalidRequestError: one entry of `errors` for each thing that does not hold.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise InvalidRequestError(
            "The request is not valid.", errors=complaints(exc, model, "", value)
        ) from exc


def read_query(model: type[Model], query: MultiMapping[str]) -> Model:
    """Validate a query; a name may be repeated only where the model has a list.

    Raises:
        BadRequestError: it has too many parameters.
        InvalidRequestError: as `read_body`.
    """
    if not query:
        empty: Model = _without(model)
        return empty
    return read_gathered(model, gathered(query))


def read_gathered(model: type[Model], query: Mapping[str, list[str]]) -> Model:
    """As `read_query`, from all values of each name."""
    lists = _lists(model)
    values = _once({name: (found, name in lists) for name, found in query.items()})
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise InvalidRequestError(
            "The query is not valid.", errors=complaints(exc, model, None, values)
        ) from exc


def gathered(query: MultiMapping[str]) -> dict[str, list[str]]:
    """All values of each name of a query.

    In one pass: a MultiDict takes quadratic time for the values of one name, so that a few thousand
    `?a&a&a...` asked for one by one would stop this process for minutes.

    Raises:
        BadRequestError: there are too many.
    """
    if len(query) > MAX_PARAMETERS:
        raise BadRequestError(f"A query has at most {MAX_PARAMETERS:,} parameters.")
    found: dict[str, list[str]] = {}
    for name, value in query.items():
        found.setdefault(name, []).append(value)
    return found


def query_params(operation: Operation, query: Mapping[str, list[str]]) -> dict[str, Any]:
    """An operation's parameters from text; returned complete with defaults, JSON-ready.

    Raises:
        InvalidRequestError: as `read_body`, with the names of the parameters as pointers.
    """
    lists = _lists(operation.params)
    values = _once({name: (found, name in lists) for name, found in query.items()})
    try:
        return operation.params.model_validate(values).model_dump(mode="json")
    except ValidationError as exc:
        raise _bad_params(operation, exc, None, values) from exc


def json_params(
    operation: Operation, params: Mapping[str, Any], pointer: str = "/params"
) -> dict[str, Any]:
    """An operation's parameters from JSON; returned complete with defaults, JSON-ready.

    Raises:
        InvalidRequestError: as `read_body`, with pointers below this one.
    """
    try:
        # By way of JSON: strict in Python would refuse a text for an enum, strict in JSON takes it.
        read = operation.params.model_validate_json(to_json(params), strict=True)
    except ValidationError as exc:
        raise _bad_params(operation, exc, pointer, params) from exc
    return read.model_dump(mode="json")


def _bad_params(
    operation: Operation, exc: ValidationError, pointer: str | None, sent: Any
) -> InvalidRequestError:
    return InvalidRequestError(
        f"The parameters of {operation.name} are not valid.",
        errors=complaints(exc, operation.params, pointer, sent, owner=operation.name),
    )


def _once(found: Mapping[str, tuple[list[str], bool]]) -> dict[str, Any]:
    twice = [name for name, (values, many) in found.items() if len(values) > 1 and not many]
    if twice:
        raise InvalidRequestError(
            "A parameter is given more than once.",
            errors=[
                {"pointer": name[:_MAX_NAME], "detail": "Given twice."}
                for name in twice[:MAX_SHOWN]
            ],
        )
    return {name: values if many else values[0] for name, (values, many) in found.items()}


@cache
def _without(model: type[BaseModel]) -> Any:
    """What an empty query means; models of queries are immutable."""
    return model()


@cache
def _lists(model: type[BaseModel]) -> frozenset[str]:
    """Names of the fields that take several values."""
    properties = model.model_json_schema().get("properties", {})
    return frozenset(
        name
        for name, schema in properties.items()
        if any(kind.get("type") == "array" for kind in (schema, *schema.get("anyOf", ())))
    )


@cache
def _names(model: type[BaseModel]) -> list[str]:
    return sorted(model.model_json_schema().get("properties", {}))


def complaints(
    exc: ValidationError,
    model: type[BaseModel],
    pointer: str | None,
    sent: Any,
    *,
    owner: str = "request",
) -> list[dict[str, Any]]:
    """One entry for each thing that does not hold; `pointer` None: names, not JSON pointers."""
    errors = exc.errors(include_url=False, include_context=True)[:MAX_SHOWN]
    return [_complaint(error, model, pointer, sent, owner) for error in errors]


def _complaint(
    error: ErrorDetails, model: type[BaseModel], pointer: str | None, sent: Any, owner: str
) -> dict[str, Any]:
    if pointer is None:
        where = ".".join(str(part)[:_MAX_NAME] for part in error["loc"])
    else:
        where = "/".join([pointer, *map(segment, phrases.place(error, sent))])
    entry: dict[str, Any] = {"pointer": where, "detail": phrases.sentence(error)}
    if error["type"] == "extra_forbidden":
        entry["detail"] = f"The {owner} has no {str(error['loc'][-1])[:_MAX_NAME]!r}."
        if len(error["loc"]) == 1:
            entry["allowed"] = _names(model)
    elif allowed := phrases.choices(error, model):
        entry["allowed"] = allowed
    return entry
