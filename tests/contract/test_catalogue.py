"""What every operation of the catalogue holds to, whatever it does."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest

from fileproc.api.job_codes import JOB_CODES
from fileproc.api.reading import query_params
from fileproc.errors import InvalidRequestError, JobError, UnknownOperationError
from fileproc.jobs import LANES
from fileproc.operations import (
    BadInput,
    Operation,
    OutOfResources,
    catalogue,
    find,
    programs,
    secret_params,
)
from fileproc.operations.reference import examples, markdown
from samples import BY_TYPE, run

ALL = list(catalogue(debug=True).values())
REAL = list(catalogue().values())
DOCS = Path(__file__).parents[2] / "docs"


def named(entry: Operation) -> str:
    return entry.name


def cases() -> list[Any]:
    """Each operation with each type that it takes; what a service does has tests of its own."""
    return [
        pytest.param(entry, media_type, id=f"{entry.name}-{media_type}")
        for entry in REAL
        for media_type in BY_TYPE
        if entry.takes_alone(media_type) and entry.service is None
    ]


def attempt(entry: Operation, folder: Path, data: bytes, name: str, media_type: str) -> Any:
    """Run it; the clear error, if there was one. Anything else is a failure of the test."""
    if absent := programs.missing(entry.programs):
        pytest.skip(f"not installed: {', '.join(absent)}")
    folder.mkdir()
    try:
        ran = run(entry.name, folder, data, name, media_type=media_type, **entry.example)
    except (BadInput, OutOfResources) as error:
        return error
    assert ran.work.outputs
    assert {path.name for path in folder.iterdir()} == {"in", "out"}
    return ran


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_entry_says_what_it_is(entry: Operation) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", entry.name)
    assert 10 < len(entry.summary) < 80
    assert not entry.summary.endswith(".")
    assert len(entry.description) > 15
    assert "Raises" not in entry.description
    assert all(line == line.strip() for line in entry.description.splitlines())
    assert entry.lane in LANES
    assert 0 <= entry.min_inputs <= entry.max_inputs
    assert entry.accepts
    assert entry.debug == entry.name.startswith("debug.")


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_example_is_valid(entry: Operation) -> None:
    parsed = entry.parse(entry.example)
    assert entry.parse(parsed) == parsed  # complete, and stable


@pytest.mark.parametrize("entry", REAL, ids=named)
def test_example_lines_ask_for_the_example(entry: Operation) -> None:
    words = shlex.split("\n".join(examples(entry)).replace("\\\n", ""), comments=False)
    assert words[0] == "curl"
    for word in words:
        if word.startswith("job="):
            assert entry.parse(json.loads(word[4:])["params"])
        elif "?" in word:
            asked = parse_qs(urlsplit(word).query, strict_parsing=True)
            assert query_params(entry, asked) == entry.parse(entry.example)
            assert not secret_params(entry.name) & set(asked)


@pytest.mark.parametrize("entry", REAL, ids=named)
def test_every_choice_can_be_made_in_a_query(entry: Operation) -> None:
    for name, field in entry.params.model_json_schema().get("properties", {}).items():
        choices = [one for option in field.get("anyOf", [field]) for one in option.get("enum", ())]
        for choice in choices:
            try:
                made = entry.parse({**entry.example, name: choice})
            except InvalidRequestError:  # it does not fit the rest of the example
                continue
            assert entry.parse({**entry.example, name: str(choice)}) == made


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_codes_that_it_names_are_known(entry: Operation) -> None:
    assert set(entry.error_codes) <= set(JOB_CODES)


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_schema_is_valid_and_describes_every_parameter(entry: Operation) -> None:
    schema = entry.params.model_json_schema()
    jsonschema_rs.meta.validate(schema)
    jsonschema_rs.Draft202012Validator(schema).validate(dict(entry.example))
    for name, field in schema.get("properties", {}).items():
        assert len(field.get("description", "")) > 10, name


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_unknown_parameter_is_refused_with_a_pointer(entry: Operation) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        entry.parse({**entry.example, "nonsense": 1})
    assert any(error["pointer"] == "/params/nonsense" for error in caught.value.errors)


@pytest.mark.parametrize("entry", ALL, ids=named)
@pytest.mark.parametrize(
    "value", [None, [], {}, "x" * 100_000, -1, 1e999, float("nan"), 10**30, "\x00", "../../x"]
)
def test_odd_values_are_refused_or_taken_never_a_crash(entry: Operation, value: Any) -> None:
    for name in entry.params.model_json_schema().get("properties", {}):
        with suppress(InvalidRequestError):
            entry.parse({**entry.example, name: value})


def test_unknown_operation_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownOperationError) as caught:
        find("image.rezise")
    assert "image.resize" in caught.value.errors[0]["allowed"]
    with pytest.raises(UnknownOperationError):
        find("debug.crash")


def test_importing_the_catalogue_loads_no_engine() -> None:
    script = (
        "import sys; from fileproc.operations import catalogue; catalogue(debug=True);"
        "print(sorted({'pyvips','duckdb','pypdfium2','PIL'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"


def test_reference_in_the_docs_is_up_to_date() -> None:
    written = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert written == markdown(), (
        "run: python -m fileproc.operations.reference > docs/operations.md"
    )


# --- with files ------------------------------------------------------------------------------


@pytest.mark.parametrize(("entry", "media_type"), cases())
def test_good_input_gives_what_is_promised(
    entry: Operation, media_type: str, tmp_path: Path
) -> None:
    data, name = BY_TYPE[media_type]()
    odd = "Grüße 世界 👩‍🚀 '\"%s{}" + Path(name).suffix
    ran = attempt(entry, tmp_path / "work", data, odd, media_type)
    assert not isinstance(ran, JobError), ran
    assert ran.work.engine
    for output in ran.work.outputs:
        assert output.path.parent == tmp_path / "work" / "out"
        assert output.path.stat().st_size > 0
        assert output.type in entry.produces or "*/*" in entry.produces
    assert (tmp_path / "work" / "in").read_bytes() == data
    assert ran.reports, "it never told how far it is"
    if entry.name not in {"file.probe", "archive.extract"}:  # a name of its own, and others' names
        assert ran.work.outputs[0].name.startswith("Grüße 世界")


def hostile(media_type: str, *, mutations: int) -> Iterator[tuple[str, bytes]]:
    """Files that say they are of a type, and are not, or not quite."""
    good = BY_TYPE[media_type]()[0]
    chance = random.Random(media_type)  # the same on every run
    yield "empty", b""
    yield "one byte", good[:1]
    for share in (0.1, 0.5, 0.9, 0.99):
        yield f"cut at {share}", good[: int(len(good) * share)]
    yield "garbage", chance.randbytes(5_000)
    yield "garbage behind a good start", good[:64] + chance.randbytes(5_000)
    yield "zeros", bytes(5_000)
    for other in ("image/png", "application/pdf", "text/csv", "application/zip"):
        if other != media_type:
            yield f"really {other}", BY_TYPE[other]()[0]
    for number in range(mutations):
        mutated = bytearray(good)
        for _ in range(chance.choice((1, 3, 20))):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        yield f"mutation {number}", bytes(mutated)


@pytest.mark.parametrize(("entry", "media_type"), cases())
def test_hostile_input_ends_in_a_clear_error_or_a_result(
    entry: Operation, media_type: str, tmp_path: Path
) -> None:
    # Each starts a program, or tries several encoders: what only parses, is tried more often.
    mutations = 2 if entry.programs or entry.name == "image.optimize" else 8
    for number, (what, data) in enumerate(hostile(media_type, mutations=mutations)):
        folder = tmp_path / str(number)
        ended = attempt(entry, folder, data, "hostile", media_type)
        if isinstance(ended, JobError):
            assert re.fullmatch(r"[a-z_]+", ended.job_code), what
            assert str(tmp_path) not in ended.detail, what
            assert re.fullmatch(r"[^\n]+\.", ended.detail), what
            assert {path.name for path in folder.iterdir()} <= {"in", "out", "spill"}, what


@pytest.mark.parametrize("entry", [e for e in REAL if not e.takes("text/plain")], ids=named)
def test_type_that_is_not_taken_is_refused(entry: Operation, tmp_path: Path) -> None:
    error = attempt(entry, tmp_path / "work", b"hello", "a.txt", "text/plain")
    assert isinstance(error, BadInput)
    assert error.job_code == "type_mismatch"
