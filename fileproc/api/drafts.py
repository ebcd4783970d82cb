"""A job that is asked for and not yet accepted: everything about it that needs no file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from fileproc import operations
from fileproc.api.models import MAX_METADATA_BYTES, JobCommon, PutQuery
from fileproc.api.reading import json_params
from fileproc.api.uploads import check_type
from fileproc.errors import InvalidRequestError, NotFoundError, ProgramMissingError
from fileproc.jobs import FileInfo
from fileproc.operations import Operation, programs

if TYPE_CHECKING:
    from fileproc.api.context import Api, Caller


@dataclass(frozen=True, slots=True)
class Draft:
    operation: Operation
    params: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    priority: str = "normal"
    max_attempts: int | None = None
    retention_s: int | None = None
    retry_of: str | None = None

    def asked(self) -> list[Any]:
        """What tells it from another; without the files."""
        return [
            self.operation.name,
            self.params,
            self.labels,
            self.metadata,
            self.priority,
            self.max_attempts,
            self.retention_s,
            self.retry_of,
        ]


def operation_of(api: Api, name: str) -> Operation:
    """The operation of this name.

    Raises:
        UnknownOperationError: with the names there are.
        ProgramMissingError: it is known, and a program that it needs is not installed here.
    """
    if found := api.operations.get(name):
        return found
    operation = operations.find(name, debug=api.settings.debug_operations)
    if absent := programs.missing(operation.programs):
        raise ProgramMissingError(
            f"{name} needs {' and '.join(absent)}, which this server does not have.",
            errors=[{"pointer": "/operation", "detail": "Not installed.", "missing": absent}],
        )
    return operation


def draft_of(api: Api, asked: JobCommon) -> Draft:
    """Judge what a body asks for.

    Raises:
        UnknownOperationError, InvalidRequestError: with pointers into the body.
    """
    operation = operation_of(api, asked.operation)
    _check_limit("/max_attempts", asked.max_attempts, api.settings.max_attempts)
    _check_limit("/retention_s", asked.retention_s, api.settings.retention_s)
    if asked.metadata and len(to_json(asked.metadata)) > MAX_METADATA_BYTES:
        raise _invalid("/metadata", f"It has more than {MAX_METADATA_BYTES} bytes as JSON.")
    return Draft(
        operation=operation,
        params=json_params(operation, asked.params),
        labels=asked.labels,
        metadata=asked.metadata,
        priority=asked.priority,
        max_attempts=asked.max_attempts,
        retention_s=asked.retention_s,
    )


def _check_limit(pointer: str, asked: int | None, most: int) -> None:
    if asked is not None and asked > most:
        raise _invalid(pointer, f"At most {most} here.", most=most)


def draft_from_query(operation: Operation, params: dict[str, Any], query: PutQuery) -> Draft:
    """What the address of a PUT asks for; its parts are judged already."""
    labels = dict(pair.split("=", 1) for pair in query.labels)
    return Draft(operation, params, labels=labels, priority=query.priority)


def check_count(api: Api, operation: Operation, count: int, *, complete: bool = True) -> None:
    """Refuse too many files as soon as that is known, too few when there will be no more.

    Raises:
        InvalidRequestError: with the numbers that would do.
    """
    most = min(operation.max_inputs, api.settings.max_inputs)
    if count > most:
        raise _invalid("/inputs", f"{operation.name} takes at most {_files(most)}.", most=most)
    if complete and count < operation.min_inputs:
        least = operation.min_inputs
        detail = f"{operation.name} needs at least {_files(least)}; {_files(count)} came."
        raise _invalid("/inputs", detail, least=least)


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _invalid(pointer: str, detail: str, **more: Any) -> InvalidRequestError:
    return InvalidRequestError(detail, errors=[{"pointer": pointer, "detail": detail, **more}])


async def files_by_id(
    api: Api, caller: Caller, operation: Operation, wanted: Sequence[tuple[str, str]]
) -> list[FileInfo]:
    """Files that are here already, from (id, pointer) pairs.

    Raises:
        NotFoundError: the caller has no such file; every missing one is named.
        TypeMismatchError: the operation does not take one of them.
    """
    get = api.resources.store.files.get
    found = await asyncio.gather(
        *(get(caller.owner, file_id) for file_id, _ in wanted), return_exceptions=True
    )
    files: list[FileInfo] = []
    missing: list[dict[str, str]] = []
    for outcome, (_, pointer) in zip(found, wanted, strict=True):
        if isinstance(outcome, NotFoundError):
            missing.append({"pointer": pointer, "detail": outcome.detail})
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            check_type(operation, outcome.type, pointer)
            files.append(outcome)
    if missing:
        raise NotFoundError(missing[0]["detail"], errors=missing)
    return files
