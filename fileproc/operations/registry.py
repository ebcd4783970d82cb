"""The catalogue: one module, one operation; found by themselves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from fileproc.errors import InvalidRequestError, UnknownOperationError
from fileproc.operations import programs
from fileproc.operations.work import Work

# Names in the query of PUT /v1/jobs/{operation} that are the api's own.
RESERVED = frozenset(
    {
        *("filename", "wait", "dry_run", "force", "reuse", "labels"),
        *("priority", "run_at", "expires_in", "timeout_s", "max_attempts", "retention_s"),
    }
)


class Params(BaseModel):
    """Base of every operation's parameters: unknown names are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_choice(cls, value: Any, info: ValidationInfo) -> Any:
        """A choice among whole numbers may be text, as every other number of a query is."""
        if isinstance(value, str) and value.isdecimal() and info.field_name in _choices(cls):
            return int(value)
        return value


@cache
def _choices(params: type[Params]) -> frozenset[str]:
    """The fields that are choices among whole numbers."""
    fields = params.model_fields.items()
    return frozenset(name for name, field in fields if _is_choice(field.annotation))


def _is_choice(annotation: Any) -> bool:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return all(isinstance(part, int) for part in parts)
    return any(map(_is_choice, parts))


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the catalogue.

    Attributes:
        name: `noun.verb`, as in the address.
        summary: one line; the docstring of the function is the description.
        params: the model that validates, and gives JSON Schema, OpenAPI and the docs page.
        run: a plain function over paths; it runs in the sandboxed child, imports its engine itself.
        accepts: media types that are taken, as detected; `*/*` takes all.
        accepts_later: those that inputs after the first may have as well.
        produces: media types that may come out.
        min_inputs, max_inputs: how many files a job takes.
        lane: which slots it runs in.
        engines: modules that the zygote imports beforehand.
        programs: what it starts by exec; without them it is not offered (`programs.py`).
        service: what the worker asks on its behalf; offered only where one is configured.
        example: parameters of a useful job.
        judge: tells why parameters do not go with so many files, where that is known without
            them.
        debug: exists only where FILEPROC_DEBUG_OPERATIONS is set.
    """

    name: str
    summary: str
    params: type[Params]
    run: Callable[[Work, Any], None]
    accepts: tuple[str, ...]
    produces: tuple[str, ...]
    example: Mapping[str, Any]
    min_inputs: int = 1
    max_inputs: int = 1
    accepts_later: tuple[str, ...] = ()
    lane: str = "default"
    engines: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    service: str | None = None
    judge: Callable[[Any, int], str | None] | None = None
    debug: bool = False

    @property
    def description(self) -> str:
        """The longer text: the function's docstring, with its `Raises:` as a sentence of codes."""
        text = inspect.cleandoc(self.run.__doc__ or "").partition("Raises:")[0]
        codes = ", ".join(f"`{code}`" for code in self.error_codes)
        return text.strip() + (f"\n\nA job can fail with: {codes}." if codes else "")

    @property
    def error_codes(self) -> tuple[str, ...]:
        """Why a job of its own can fail, in addition to what any job can meet."""
        raised = inspect.cleandoc(self.run.__doc__ or "").partition("Raises:")[2]
        return tuple(re.findall(r"`(\w+)`", raised))

    def takes(self, media_type: str) -> bool:
        """Whether a file of this detected type is taken, as some input."""
        return "*/*" in self.accepts or media_type in {*self.accepts, *self.accepts_later}

    def takes_alone(self, media_type: str) -> bool:
        """Whether a file of this detected type is taken as the only input."""
        return "*/*" in self.accepts or media_type in self.accepts

    def misfit(self, params: Mapping[str, Any], count: int) -> str | None:
        """Why these parameters, which are valid, do not go with so many files; None: they do."""
        if self.judge is None:
            return None
        return self.judge(self.params.model_validate(dict(params)), count)

    def parse(self, params: Mapping[str, Any], *, pointer: str = "/params") -> dict[str, Any]:
        """Validate parameters; returns them complete with defaults, JSON-ready.

        Strings from a query are read as numbers and booleans where the model wants those.

        Raises:
            InvalidRequestError: one entry of `errors` for each parameter that does not hold.
        """
        try:
            return self.params.model_validate(dict(params)).model_dump(mode="json")
        except ValidationError as exc:
            raise InvalidRequestError(
                f"The parameters of {self.name} are not valid.",
                errors=[self._field_error(error, pointer) for error in exc.errors()],
            ) from exc

    def _field_error(self, error: Any, pointer: str) -> dict[str, Any]:
        where = "/".join([pointer, *(str(part) for part in error["loc"])])
        entry: dict[str, Any] = {"pointer": where, "detail": _sentence(error["msg"])}
        field = str(error["loc"][0]) if error["loc"] else ""
        schema = self.params.model_json_schema()
        if error["type"] == "extra_forbidden":
            entry["detail"] = f"{self.name} has no parameter {field!r}."
            entry["allowed"] = sorted(schema.get("properties", {}))
        elif error["type"] in {"enum", "literal_error"}:
            entry["allowed"] = [
                item.strip(" '")
                for item in error["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
        return entry


def _sentence(message: str) -> str:
    """Pydantic's message, without its name for errors that our own checks raise."""
    message = message.removeprefix("Value error, ")
    return message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")


_catalogue: dict[str, Operation] = {}
_Model = TypeVar("_Model", bound=Params)


def operation(
    name: str, *, summary: str, params: type[_Model], **details: Any
) -> Callable[[Callable[[Work, _Model], None]], Callable[[Work, _Model], None]]:
    """Put a function into the catalogue; the keywords are the attributes of `Operation`."""

    def register(run: Callable[[Work, _Model], None]) -> Callable[[Work, _Model], None]:
        if clash := RESERVED & set(params.model_fields):
            raise AssertionError(f"{name}: reserved parameter names: {sorted(clash)}")
        _catalogue[name] = Operation(name=name, summary=summary, params=params, run=run, **details)
        return run

    return register


@cache
def _load() -> Mapping[str, Operation]:
    package = importlib.import_module("fileproc.operations")
    for module in pkgutil.iter_modules(package.__path__, "fileproc.operations."):
        importlib.import_module(module.name)
    return dict(sorted(_catalogue.items()))


def catalogue(*, debug: bool = False) -> Mapping[str, Operation]:
    """Every operation by name; `debug` adds those for tests."""
    return {name: entry for name, entry in _load().items() if debug or not entry.debug}


def offered(*, debug: bool = False, services: Collection[str] = ()) -> Mapping[str, Operation]:
    """The catalogue without the operations whose programs this machine lacks.

    `services` are those that are configured; what needs another is left out as well.
    """
    return {
        name: entry
        for name, entry in catalogue(debug=debug).items()
        if not programs.missing(entry.programs)
        and (entry.service is None or entry.service in services)
    }


def lacking(entry: Operation) -> tuple[str, ...]:
    """What an operation that is not offered needs, as people call it."""
    if absent := programs.missing(entry.programs):
        return absent
    return () if entry.service is None else (_SERVICES.get(entry.service, entry.service),)


def not_offered(entry: Operation) -> str:
    """Why this machine does not offer an operation that the catalogue has."""
    return f"{entry.name} is not offered here: it needs {' and '.join(lacking(entry))}."


_SERVICES = {"clamd": "ClamAV's daemon (FILEPROC_CLAMD)"}


def find(
    name: str,
    *,
    debug: bool = False,
    services: Collection[str] = (),
    pointer: str = "/operation",
) -> Operation:
    """The operation of this name, whether it is offered or not.

    `services` are those that are configured; `pointer` is where a body names it.

    Raises:
        UnknownOperationError: with the names there are.
    """
    known = catalogue(debug=debug)
    if name not in known:
        raise UnknownOperationError(
            f"There is no operation {name[:100]!r}.",
            errors=[
                {
                    "pointer": pointer,
                    "detail": "Not in the catalogue.",
                    "allowed": list(offered(debug=debug, services=services)),
                }
            ],
        )
    return known[name]


@cache
def secret_params(name: str) -> frozenset[str]:
    """Parameters of an operation that are never shown again: those marked `writeOnly`."""
    entry = _load().get(name)
    properties = entry.params.model_json_schema().get("properties", {}) if entry else {}
    return frozenset(field for field, schema in properties.items() if schema.get("writeOnly"))


def programs_of(name: str) -> tuple[str, ...]:
    """What an operation may execute; nothing where this version does not know it."""
    entry = _load().get(name)
    return entry.programs if entry else ()
