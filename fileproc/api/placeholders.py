"""What is left open in a template, and filling it in: `{"$var": "width"}` is the value of `width`.

A placeholder is a whole value, never a part of a text: what a client gives can become nothing but
one parameter of the type that the template says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final

from fileproc.api.job_models import StepAsked
from fileproc.api.reading import MAX_SHOWN, segment
from fileproc.api.template_models import TemplateRequest, Variable
from fileproc.errors import InvalidRequestError
from fileproc.operations import secret_params
from fileproc.pipelines import pointer_to

_MARK: Final = "$var"
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_MAX_TEXT: Final = 1_000
_MAX_NUMBER: Final = 2**63

Complaint = dict[str, Any]


def check(template: TemplateRequest) -> None:
    """Judge the variables, and where they stand.

    Raises:
        InvalidRequestError: one entry of `errors` for each thing that does not hold.
    """
    found = chain(_bad_defaults(template), _bad_places(template), _secrets(template))
    if complaints := list(islice(found, MAX_SHOWN)):
        raise InvalidRequestError("The template is not valid.", errors=complaints)


def _bad_defaults(template: TemplateRequest) -> Iterator[Complaint]:
    for name, variable in template.variables.items():
        if variable.default is not None and not _fits(variable, variable.default):
            detail = f"It is no {variable.type}."
            yield {"pointer": f"/variables/{name}/default", "detail": detail}


def _bad_places(template: TemplateRequest) -> Iterator[Complaint]:
    used: set[str] = set()
    for step_name, step in template.steps.items():
        for place, name in _placeholders(step.params):
            used.add(name)
            if name not in template.variables:
                allowed = list(template.variables)
                detail = f"There is no variable {name[:100]!r}."
                pointer = pointer_to(step_name, "params", *place)
                yield {"pointer": pointer, "detail": detail, "allowed": allowed}
    for name in template.variables:
        if name not in used:
            yield {"pointer": f"/variables/{name}", "detail": "No step uses it."}


def _secrets(template: TemplateRequest) -> Iterator[Complaint]:
    """A template is kept and shown: it holds no password."""
    for step_name, step in template.steps.items():
        for field in secret_params(step.operation) & step.params.keys():
            name = _name_of(step.params[field])
            variable = template.variables.get(name) if name is not None else None
            if variable is None or variable.default is not None:
                detail = "A secret does not belong here: make it a variable without a default."
                yield {"pointer": pointer_to(step_name, "params", field), "detail": detail}


def open_steps(template: TemplateRequest) -> frozenset[str]:
    """The steps whose parameters are known only when a job gives values."""
    needed = {name for name, entry in template.variables.items() if entry.default is None}
    return frozenset(
        step_name
        for step_name, step in template.steps.items()
        if any(name in needed for _, name in _placeholders(step.params))
    )


def filled(template: TemplateRequest, given: Mapping[str, Any]) -> dict[str, StepAsked]:
    """The steps with these values, and the defaults of others.

    Raises:
        InvalidRequestError: a value is missing, unknown or of another type.
    """
    complaints = list(_bad_values(template, given))
    if complaints:
        raise InvalidRequestError("The variables do not fit the template.", errors=complaints)
    return with_values(template, given)


def with_values(template: TemplateRequest, given: Mapping[str, Any]) -> dict[str, StepAsked]:
    """As `filled`, unchecked; what has no value stays a placeholder."""
    defaults = {name: entry.default for name, entry in template.variables.items()}
    values = {name: value for name, value in (defaults | dict(given)).items() if value is not None}
    return {
        name: step.model_copy(update={"params": _replaced(step.params, values)})
        for name, step in template.steps.items()
    }


def _bad_values(template: TemplateRequest, given: Mapping[str, Any]) -> Iterator[Complaint]:
    for name, value in given.items():
        variable = template.variables.get(name)
        if variable is None:
            allowed = list(template.variables)
            detail = "The template has no such variable."
            yield {"pointer": f"/variables/{name}", "detail": detail, "allowed": allowed}
        elif not _fits(variable, value):
            yield {"pointer": f"/variables/{name}", "detail": f"It is no {variable.type}."}
    for name, variable in template.variables.items():
        if variable.default is None and name not in given:
            detail = f"The template needs a {variable.type}."
            yield {"pointer": f"/variables/{name}", "detail": detail}


def _fits(variable: Variable, value: object) -> bool:
    if isinstance(value, bool) != (variable.type == "boolean"):
        return False
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return False
    if isinstance(value, int) and not -_MAX_NUMBER <= value < _MAX_NUMBER:
        return False
    return isinstance(value, _KINDS[variable.type])


def _name_of(value: object) -> str | None:
    """The variable that a value stands for, if it is a placeholder."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_MARK), str):
        return str(value[_MARK])
    return None


def _placeholders(
    value: object, place: tuple[str | int, ...] = ()
) -> Iterator[tuple[Iterator[str], str]]:
    """(segments of where it stands, name of the variable); JSON is 32 levels deep at most."""
    if (name := _name_of(value)) is not None:
        yield map(segment, place), name
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _placeholders(item, (*place, key))


def _replaced(value: Any, values: Mapping[str, Any]) -> Any:
    name = _name_of(value)
    if name is not None:
        return values.get(name, value)
    if isinstance(value, dict):
        return {key: _replaced(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, values) for item in value]
    return value
