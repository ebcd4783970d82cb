"""What is read of a request costs no more than its length, whatever a client has written there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from multidict import MultiDict

from fileproc import operations
from fileproc.api.placeholders import check
from fileproc.api.queries import ListQuery, PutQuery
from fileproc.api.reading import (
    MAX_DEPTH,
    MAX_PARAMETERS,
    MAX_SHOWN,
    MAX_VALUES,
    gathered,
    parse_json,
    query_params,
    read_query,
)
from fileproc.api.template_models import TemplateRequest
from fileproc.errors import BadRequestError, FileprocError, InvalidRequestError

# Each of these takes some hundredths of a second, and took from ten seconds to some minutes.
DEADLINE_S = 3.0


def refusal(work: Callable[[], Any]) -> tuple[FileprocError, float]:
    """The complaint, and the processor time until then."""
    began = time.process_time()
    with pytest.raises(FileprocError) as caught:
        work()
    return caught.value, time.process_time() - began


def test_a_name_as_long_as_the_body_is_not_copied_for_each_value_below_it() -> None:
    numbers: list[Any] = [1] * (MAX_VALUES - 10)
    body = json.dumps({"x" * 900_000: numbers}).encode()
    began = time.process_time()
    assert len(parse_json(body)) == 1
    assert time.process_time() - began < DEADLINE_S
    numbers[-1] = 2**70
    error, took_s = refusal(lambda: parse_json(json.dumps({"x" * 900_000: numbers}).encode()))
    assert isinstance(error, BadRequestError)
    assert error.errors[0]["pointer"] == f"/{'x' * 100}/{len(numbers) - 1}"
    assert took_s < DEADLINE_S


def test_the_place_of_what_is_refused_is_named() -> None:
    for body, pointer in (
        (b'{"a":{"b/c":[1,1e999]}}', "/a/b~1c/1"),
        (b"[[18446744073709551616]]", "/0/0"),
        (b"1e999", ""),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "/0" * MAX_DEPTH),
    ):
        error, _ = refusal(partial(parse_json, body))
        assert error.errors[0]["pointer"] == pointer
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_a_name_that_is_given_thousands_of_times_is_refused_at_once() -> None:
    for name in ("label", "limit", "no_such"):
        query = MultiDict([(name, "a=1")] * 4_000)
        error, took_s = refusal(partial(read_query, ListQuery, query))
        assert isinstance(error, BadRequestError)
        assert took_s < DEADLINE_S


def test_as_many_parameters_as_are_taken_are_read_in_one_pass() -> None:
    probe = operations.find("pdf.merge")
    for model in (ListQuery, PutQuery):
        query = MultiDict([("limit", "a=1")] * MAX_PARAMETERS)
        error, took_s = refusal(partial(read_query, model, query))
        assert isinstance(error, InvalidRequestError)
        assert took_s < DEADLINE_S
    pages = gathered(MultiDict([("pages", str(number)) for number in range(1, 101)]))
    assert len(query_params(probe, pages)["pages"]) == 100
    twice = MultiDict([(f"p{number}", "") for number in range(200)] * 2)
    error, _ = refusal(lambda: read_query(ListQuery, twice))
    assert len(error.errors) == MAX_SHOWN


def test_a_template_with_thousands_of_faults_is_told_of_some_in_short() -> None:
    holes = [{"$var": "nobody"}] * 2_000
    params = {"x" * 30_000: holes}
    template = TemplateRequest.model_validate(
        {"steps": {"one": {"operation": "file.hash", "params": params}}}
    )
    error, took_s = refusal(lambda: check(template))
    assert took_s < DEADLINE_S
    assert len(error.errors) == MAX_SHOWN
    assert error.errors[0]["pointer"] == f"/steps/one/params/{'x' * 100}/0"
