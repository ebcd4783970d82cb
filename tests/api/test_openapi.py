"""The document says what the api does, and the page shows it without any help from outside."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import examples
from fileproc.api.answers import JobList, JobView, Readiness
from fileproc.operations import offered
from fileproc.settings import Auth
from fileproc.store import Role, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# `wait` at 0, else every request would take up to a minute. What is valid by the schema may still
# be refused: a random cursor is none of ours, random bytes are no picture, and of `width` and
# `height` one must be given, which no schema of a query can say.
CONFIG = """
request-timeout = 30

[parameters]
"query.wait" = 0

[checks]
positive_data_acceptance.expected-statuses = [
    "2xx", "3xx", 400, 401, 403, 404, 409, 410, 413, 415, 422, 429,
]
missing_required_header.expected-statuses = [400, 401, 403, 405, 412, 415, 422]
negative_data_rejection.expected-statuses = [
    400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 422, 429, 460,
]
"""


# What a request line may hold is the parser's affair: longer ones it answers as it does.
HOOKS = """
from urllib.parse import urlencode

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@schemathesis.hook
def filter_query(context, query):
    return len(urlencode(query or {}, doseq=True)) < 16_000
"""


async def document_of(api: Any) -> dict[str, Any]:
    answer = await api.get("/openapi.json")
    assert answer.status == 200
    document: dict[str, Any] = await answer.json()
    return document


def entries(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, entry in item.items():
            yield path, method, entry


async def test_every_operation_is_named_summed_up_and_has_its_problems(api: Any) -> None:
    document = await document_of(api)
    assert document["openapi"] == "3.1.0"
    names = [entry["operationId"] for _, _, entry in entries(document)]
    assert len(set(names)) == len(names)
    for path, _, entry in entries(document):
        assert re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*)+", entry["operationId"])
        assert entry["summary"]
        assert entry["tags"]
        for status, response in entry["responses"].items():
            assert response["description"]
            if status >= "400" and status != "416" and path != "/readyz":
                assert list(response["content"]) == ["application/problem+json"]


async def test_every_reference_leads_somewhere(api: Any) -> None:
    document = await document_of(api)

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in references(document):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


async def test_each_operation_has_a_put_of_its_own_with_typed_parameters(api: Any) -> None:
    document = await document_of(api)
    for name, operation in offered(debug=True).items():
        put = document["paths"][f"/v1/jobs/{name}"]["put"]
        documented = {item["name"] for item in put["parameters"] if item["in"] == "query"}
        fields = operation.params.model_fields.items()
        assert {field.alias or field_name for field_name, field in fields} <= documented
        assert {"filename", "wait", "priority", "labels"} <= documented


async def test_keys_are_asked_for_only_where_they_are(serve: Any) -> None:
    with_keys = await document_of(await serve(auth=Auth.REQUIRED))
    without = await document_of(await serve(auth=Auth.OFF))
    assert with_keys["security"] == [{"key": []}]
    assert without["security"] == []


def test_the_examples_are_what_the_models_say() -> None:
    for job in (examples.JOB, examples.ACCEPTED, examples.CANCELED):
        JobView.model_validate(job)
    JobList.model_validate({"data": [examples.JOB], "next_cursor": None})
    Readiness.model_validate(examples.READY)


async def test_the_example_of_a_canceled_job_is_one(api: Any) -> None:
    document = await document_of(api)
    answer = document["paths"]["/v1/jobs/{id}/cancel"]["post"]["responses"]["200"]
    example = answer["content"]["application/json"]["example"]
    assert example["state"] == "canceled"
    assert example["outputs"] == []


async def test_the_document_is_cached_by_its_etag(api: Any) -> None:
    for path in ("/openapi.json", "/docs", "/docs/style.css"):
        tag = (await api.get(path)).headers["ETag"]
        assert (await api.get(path, headers={"If-None-Match": tag})).status == 304


# --- the page ----------------------------------------------------------------------------------

VOID = {"meta", "link", "wbr"}


class Reader(HTMLParser):
    """Collects what matters, and complains about tags that do not pair."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src"}:
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_page_is_whole_and_needs_nobody_else(api: Any) -> None:
    answer = await api.get("/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none'")
    reader = Reader()
    reader.feed(await answer.text())
    assert reader.open == []
    assert not reader.tags & {"script", "iframe", "img", "style", "form"}
    assert not {name for name in reader.attributes if name.startswith("on") or name == "style"}
    assert len(set(reader.ids)) == len(reader.ids)
    for link in reader.links:
        if link.startswith("#"):
            assert link[1:] in reader.ids
        else:
            assert link.startswith("/")
            assert not link.startswith("//")
            assert (await api.get(link)).status == 200


async def test_every_type_of_problem_leads_to_its_place_on_the_page(api: Any) -> None:
    page = await (await api.get("/docs")).text()
    answers = [
        await api.get("/v1/jobs/x"),
        await api.put("/v1/jobs/file.probe", data=b""),
        await api.put("/v1/jobs/nothing", data=b"x"),
        await api.get("/v1/jobs?cursor=x"),
        await api.get("/nothing"),
        await api.post("/docs"),
    ]
    for answer in answers:
        _, _, anchor = (await answer.json())["type"].partition("#")
        assert f'id="{anchor}"' in page


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("files.example:8443", "http://files.example:8443"),
        ("[::1]:8080", "&#x27;http://[::1]:8080&#x27;"),
        ('x"><b>$(id)', "http://localhost"),
    ],
)
async def test_the_page_defines_the_address_it_was_asked_at_once(
    serve: Any, host: str, shown: str
) -> None:
    api = await serve(auth=Auth.REQUIRED)  # without keys other names are not answered at all
    page = await (await api.get("/docs", headers={"Host": host})).text()
    assert re.findall(r"export FILEPROC_URL=(.*)", page) == [shown]
    assert page.count("http://") == 1
    assert set(re.findall(r"\$FILEPROC\w*", page)) == {"$FILEPROC_URL", "$FILEPROC_KEY"}


# --- the api against its document --------------------------------------------------------------


# Each operation has an address of its own, and its own variant of each body of `POST /v1/jobs`: of
# dozens of them the bodies would make ten thousand requests. None of these takes files of any type:
# what the tool means by "no file" is one.
OF_OPERATIONS = r"^/v1/jobs/[a-z]+\.[a-z_0-9]+$"
OF_TUS = r"^/v1/tus"
# So many times as many requests: FILEPROC_TEST_FUZZ=45 by make fuzz.
FACTOR = int(os.environ.get("FILEPROC_TEST_FUZZ", "1"))
SOME = ("image.info", "image.resize", "pdf.encrypt", "pdf.merge", "table.query", "table.split")
PARTS = {
    "operations": (
        *("--include-path-regex", OF_OPERATIONS),
        *("--phases", "examples,fuzzing", "--max-examples", str(5 * FACTOR)),
    ),
    "rest": (
        *("--exclude-path-regex", f"{OF_OPERATIONS}|{OF_TUS}"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(8 * FACTOR)),
    ),
    "tus": (
        *("--include-path-regex", OF_TUS),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(8 * FACTOR)),
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(300 * FACTOR)
@pytest.mark.parametrize("part", PARTS)
async def test_the_api_keeps_to_its_document(
    part: str, serve: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some thousands of requests made up from the document, right and wrong ones."""
    if part == "rest":
        some = {name: entry for name, entry in offered().items() if name in SOME}
        monkeypatch.setattr("fileproc.api.app._offered", lambda _: some)
    api = await serve(auth=Auth.REQUIRED, upload_idle_s=5, rate_submit="60000/minute")
    token = (await store.keys.create("fuzz", Role.USER)).token
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    (tmp_path / "hooks.py").write_text(HOOKS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        *(str(api.make_url("/openapi.json")), "--checks", "all", *PARTS[part]),
        *("--seed", "20261122", "--continue-on-failure", "--no-color"),
        *("-H", f"Authorization: Bearer {token}"),
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    lines = (line[:400] for line in output.decode().splitlines())  # some bodies are huge
    said = "\n".join(lines)[-12_000:]
    assert process.returncode == 0, said
    sys.stdout.write(said)
