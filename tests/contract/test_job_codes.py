"""Every code that a client can meet is explained at the place that its `type` names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fileproc import errors
from fileproc.api import openapi
from fileproc.api.docs_page import render
from fileproc.api.job_codes import JOB_CODES
from fileproc.api.problems import type_of
from fileproc.api.routes import ENDPOINTS
from fileproc.errors import ErrorClass, FileprocError, JobError
from fileproc.operations import catalogue

SOURCE = Path(errors.__file__).parent
KINDS: dict[str, type[JobError]] = {
    "JobError": JobError,
    **{kind.__name__: kind for kind in JobError.__subclasses__()},
}
# No request is answered with these: a start ends with them, they become others on their way, or
# nothing raises them.
NEVER_ANSWERED = {
    *("bad_settings", "unknown_schema", "engine_failed", "no_journal"),
    *("object_missing", "forbidden", "shutting_down"),
}
# What the engines may raise while an attempt runs (`as_job_error`), or an older worker may.
PASSED_ON = {
    "insufficient_storage",
    "storage_unavailable",
    "store_unavailable",
    "unknown_operation",
}


@cache
def page() -> str:
    return render(openapi.build(ENDPOINTS, catalogue()))


@cache
def anchors() -> Counter[str]:
    return Counter(re.findall(r'\bid="error-([^"]*)"', page()))


def calls() -> Iterator[ast.Call]:
    for folder in ("operations", "worker", "objects", "store", "outbound"):
        for path in sorted((SOURCE / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be: one, or those of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def used() -> Iterator[tuple[str, ErrorClass | None]]:
    """Each code of a job in the source, with its class where the kind of error says it alone."""
    for call in calls():
        given = {word.arg: word.value for word in call.keywords}
        kind = KINDS.get(call.func.id) if isinstance(call.func, ast.Name) else None
        own = None if kind is None or "error_class" in given else kind.error_class
        if "code" in given:
            yield from ((code, own) for code in texts(given["code"]))
        elif kind is not None:
            yield kind.code, own
    yield from ((kind.code, kind.error_class) for kind in KINDS.values())


USED = sorted({code for code, _ in used()})


def test_the_search_finds_codes_of_every_part() -> None:
    assert {"ragged_rows", "timeout", "input_changed", "worker_lost", "corrupt_record"} <= set(USED)


@pytest.mark.parametrize("code", USED)
def test_a_code_of_a_job_is_explained_at_its_anchor(code: str) -> None:
    assert code in JOB_CODES
    assert anchors()[code] == 1


def test_the_table_has_no_code_that_nothing_gives() -> None:
    assert set(JOB_CODES) == {*USED, *PASSED_ON}


def test_the_table_gives_the_class_that_the_source_gives() -> None:
    for code, own in used():
        assert own in {None, JOB_CODES[code].error_class}, code


def test_an_explanation_is_a_sentence() -> None:
    for code, failure in JOB_CODES.items():
        assert re.fullmatch(r"[a-z0-9_]{1,64}", code)
        assert re.fullmatch(r"[A-Z].{10,90}\.", failure.says), code


def test_a_code_of_a_request_is_explained_at_its_anchor() -> None:
    kinds = [kind for kind in FileprocError.__subclasses__() if kind.__module__ == errors.__name__]
    codes = {kind.code for kind in kinds if kind is not JobError} - NEVER_ANSWERED
    assert {"route_not_found", "method_not_allowed"} <= codes
    assert codes | {"http_error"} <= set(anchors())


def test_no_anchor_is_doubled() -> None:
    identities = Counter(re.findall(r'\bid="([^"]*)"', page()))
    assert [name for name, count in identities.items() if count > 1] == []


def test_links_to_codes_lead_somewhere() -> None:
    linked = set(re.findall(r'href="#error-([^"]*)"', page()))
    assert linked <= set(anchors())
    assert type_of("timeout") == "/docs#error-timeout"
