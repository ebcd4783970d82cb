"""What is refused, with which code, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fileproc.operations import programs
from support.http import Hands, field, file_part, form, jpeg, noise, problem, wire


async def nothing_stayed(hands: Hands) -> None:
    assert await hands.files() == []


async def post(api: Any, body: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.post("/v1/jobs", data=raw, headers={"Content-Type": "application/json"})


# --- the address and the parameters ------------------------------------------------------------


async def test_an_unknown_operation_names_those_there_are(api: Any) -> None:
    for answer in (
        await api.put("/v1/jobs/image.enlarge", data=jpeg()),
        await post(api, {"operation": "image.enlarge"}),
    ):
        document = await problem(answer, 422, "unknown_operation")
        assert "image.resize" in document["errors"][0]["allowed"]


async def test_an_operation_whose_program_is_not_installed_is_not_offered(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "installed", dict)
    api = await serve()
    for answer in (
        await api.put("/v1/jobs/media.info", data=jpeg()),
        await post(api, {"operation": "media.info"}),
    ):
        document = await problem(answer, 422, "program_missing")
        assert "ffmpeg" in document["detail"]
        assert document["errors"][0]["missing"] == ["ffmpeg"]
    listed = (await (await api.get("/v1/operations")).json())["data"]
    names = {entry["name"] for entry in listed}
    assert "image.resize" in names
    assert "media.info" not in names
    missing = await problem(await api.get("/v1/operations/media.info"), 404, "not_found")
    assert missing["detail"] == document["detail"]
    missing = await problem(await api.get("/v1/operations/file.scan"), 404, "not_found")
    assert missing["detail"].startswith("file.scan is not offered here: it needs ClamAV's daemon")
    unknown = await problem(await api.get("/v1/operations/file.eat"), 404, "not_found")
    assert unknown["detail"] == "There is no operation 'file.eat'."


async def test_an_unknown_parameter_names_those_there_are(api: Any) -> None:
    answer = await api.put("/v1/jobs/image.resize?widht=3", data=jpeg())
    document = await problem(answer, 422, "invalid_request")
    [error] = document["errors"]
    assert error["pointer"] == "widht"
    assert "width" in error["allowed"]


@pytest.mark.parametrize(
    ("job", "count", "says"),
    [
        ({"operation": "image.watermark", "params": {}}, 1, "no mark"),
        ({"operation": "image.watermark", "params": {"text": "x"}}, 2, "two marks"),
        ({"operation": "pdf.stamp", "params": {}}, 1, "no stamp"),
        ({"operation": "pdf.stamp", "params": {"text": "x"}}, 2, "two stamps"),
        ({"operation": "pdf.merge", "params": {"pages": ["1"]}}, 2, "1 entry in pages for 2 files"),
        ({"operation": "pdf.merge", "params": {"passwords": ["", "x"]}}, 1, "2 entries in"),
    ],
)
async def test_parameters_that_do_not_go_with_so_many_files_make_no_job(
    api: Any, hands: Hands, job: dict[str, Any], count: int, says: str
) -> None:
    operation = job["operation"]
    data = jpeg() if operation.startswith("image") else b"%PDF-1.7\n"
    answers = [await sent(api, job, data, count)]
    if not job["params"]:
        answers.append(await api.put(f"/v1/jobs/{operation}", data=data))
    for answer in answers:
        document = await problem(answer, 422, "invalid_request")
        assert says in document["detail"]
        assert document["errors"][0]["pointer"] == "/inputs"
    answer = await sent(api, {"steps": {"a": job}}, data, count)
    document = await problem(answer, 422, "invalid_request")
    assert document["errors"][0]["pointer"] == "/steps/a/params"
    await nothing_stayed(hands)


async def test_what_a_step_gets_from_others_is_not_counted_at_the_door(api: Any) -> None:
    marked = {"operation": "image.watermark"}
    steps = {"small": {"operation": "image.resize", "params": {"width": 9}, "for_each": True}}
    answer = await sent(api, {"steps": {**steps, "a": {**marked, "needs": ["small"]}}}, jpeg(), 1)
    assert answer.status == 202
    answer = await sent(api, {"steps": {"a": {**marked, "for_each": True}}}, jpeg(), 2)
    document = await problem(answer, 422, "invalid_request")
    assert "no mark" in document["detail"]


async def sent(api: Any, job: Any, data: bytes, count: int) -> Any:
    parts = [(file_part("a"), data)] * count
    headers, body = form((field("job"), json.dumps(job).encode()), *parts)
    return await api.post("/v1/jobs", data=body, headers=headers)


async def test_a_wrong_choice_names_the_choices(api: Any) -> None:
    answer = await api.put("/v1/jobs/image.resize?width=3&format=bmp", data=jpeg())
    [error] = (await problem(answer, 422, "invalid_request"))["errors"]
    assert error["pointer"] == "format"
    assert "webp" in error["allowed"]


async def test_json_is_taken_at_its_word(api: Any) -> None:
    body = {"operation": "image.resize", "params": {"width": "800"}, "inputs": []}
    [error] = (
        await problem(await post(api, {**body, "priority": "high"}), 422, "invalid_request")
    )["errors"]
    assert error["pointer"] == "/params/width"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"operation": 5}, "/operation"),
        ({"operation": ["file.probe"]}, "/operation"),
        ({"priority": "urgent"}, "/priority"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {"a": "x" * 256}}, "/labels/a"),
        ({"labels": {"no spaces": "x"}}, "/labels/no spaces"),
        ({"labels": {str(i): "x" for i in range(33)}}, "/labels"),
        ({"metadata": []}, "/metadata"),
        ({"metadata": {"a": "x" * 17_000}}, "/metadata"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"max_attempts": 4}, "/max_attempts"),
        ({"max_attempts": True}, "/max_attempts"),
        ({"retention_s": 59}, "/retention_s"),
        ({"retention_s": 10**9}, "/retention_s"),
        ({"inputs": [{"file_id": "file_../../etc"}]}, "/inputs/0/file_id"),
        ({"inputs": [{"url": 5}]}, "/inputs/0/url"),
        ({"inputs": [{"url": "http://e.example/", "headers": {}}]}, "/inputs/0/headers"),
        ({"inputs": [{"url": "http://e.example/", "name": ""}]}, "/inputs/0/name"),
        ({"inputs": [{"part": "file"}]}, "/inputs/0/file_id"),
        ({"inputs": "file"}, "/inputs"),
        ({"__proto__": {}}, "/__proto__"),
        ({"owner": "admin"}, "/owner"),
        ({"state": "succeeded"}, "/state"),
    ],
)
async def test_what_does_not_hold_is_named_by_its_place(
    api: Any, change: dict[str, Any], pointer: str
) -> None:
    answer = await post(api, {"operation": "file.probe", "inputs": [], **change})
    document = await problem(answer, 422, "invalid_request")
    assert pointer in [error["pointer"] for error in document["errors"]]


@pytest.mark.parametrize(
    ("operation", "params", "pointer", "says"),
    [
        ("table.query", {"filter": 5}, "/params/filter", "This is to be a JSON object."),
        ("table.query", {"select": [5]}, "/params/select/0", "This is to be a text."),
        ("table.query", {"sort": [{"as": 1}]}, "/params/sort/0/column", "This is needed."),
        ("image.resize", {"width": "9"}, "/params/width", "This is to be a whole number."),
        ("image.crop", {"left": 1}, "/params", "Give width and height, or aspect, or trim."),
        ("image.watermark", {"colour": "x"}, "/params/colour", "This text does not have the form"),
        ("file.hash", {"algorithms": 5}, "/params/algorithms", "This is to be a list."),
    ],
)
async def test_what_does_not_hold_is_said_in_plain_sentences(
    api: Any, operation: str, params: dict[str, Any], pointer: str, says: str
) -> None:
    answer = await post(api, {"operation": operation, "params": params, "inputs": []})
    errors = (await problem(answer, 422, "invalid_request"))["errors"]
    told = [error["detail"] for error in errors if error["pointer"] == pointer]
    assert any(detail.startswith(says) for detail in told), errors


async def test_a_choice_that_is_missing_names_the_choices(api: Any) -> None:
    answer = await api.put("/v1/jobs/table.convert", data=b"a,b\n1,2\n")
    [error] = (await problem(answer, 422, "invalid_request"))["errors"]
    assert (error["pointer"], error["detail"]) == ("to", "This is needed.")
    assert error["allowed"] == ["csv", "tsv", "jsonl", "parquet", "xlsx"]
    answer = await post(api, {"operation": "image.convert", "inputs": []})
    [error] = (await problem(answer, 422, "invalid_request"))["errors"]
    assert "webp" in error["allowed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"\xff\xfe",
        b'{"operation": NaN}',
        b'{"operation": "file.probe", "metadata": {"a": Infinity}}',
        b'{"operation": "file.probe", "metadata": {"a": 1e999}}',
        b'{"operation": "file.probe", "metadata": {"a": 99999999999999999999}}',
        b'{"operation": "\\ud800"}',
        b"[" * 100_000,
        b'{"operation": "file.probe", "metadata": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b"9" * 5000,
    ],
)
async def test_json_that_cannot_be_taken_is_a_400(api: Any, body: bytes) -> None:
    await problem(await post(api, body), 400, "bad_request")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"file.probe"', b"5"])
async def test_json_that_is_no_object_is_a_422(api: Any, body: bytes) -> None:
    await problem(await post(api, body), 422, "invalid_request")


@pytest.mark.parametrize(
    "query",
    [
        "wait=61",
        "wait=-1",
        "wait=soon",
        "nonsense=1",
        "wait=1&wait=2",
        "priority=high",
    ],
)
async def test_a_query_that_does_not_hold(api: Any, query: str) -> None:
    answer = await api.post(f"/v1/jobs?{query}", json={"operation": "file.probe"})
    await problem(answer, 422, "invalid_request")


async def test_a_label_without_a_value_is_refused(api: Any) -> None:
    answer = await api.put("/v1/jobs/file.probe?labels=novalue", data=b"x")
    await problem(answer, 422, "invalid_request")


# --- the body ----------------------------------------------------------------------------------


async def test_an_empty_file_is_a_422(api: Any, hands: Hands) -> None:
    await problem(await api.put("/v1/jobs/file.probe", data=b""), 422, "empty_file")

    async def nothing() -> Any:
        none: list[bytes] = []
        for chunk in none:
            yield chunk

    await problem(await api.put("/v1/jobs/file.probe", data=nothing()), 422, "empty_file")
    headers, body = form((field("job"), b'{"operation":"file.probe"}'), (file_part("a"), b""))
    await problem(await api.post("/v1/jobs", data=body, headers=headers), 422, "empty_file")
    await nothing_stayed(hands)


async def test_text_called_jpg_is_a_415_that_says_what_it_is(api: Any, hands: Hands) -> None:
    url = "/v1/jobs/image.resize?width=3&filename=photo.jpg"
    answer = await api.put(url, data=b"hello " * 9, headers={"Content-Type": "image/jpeg"})
    document = await problem(answer, 415, "type_mismatch")
    assert document["detected"] == "text/plain"
    assert "image/jpeg" in document["accepted"]
    await nothing_stayed(hands)


@pytest.mark.parametrize("body", [b'{"a":1}\n', b'[{"a":1},{"a":2}]'])
async def test_json_where_lines_of_it_are_meant_is_told_how_to_say_so(
    api: Any, body: bytes
) -> None:
    answer = await api.put("/v1/jobs/table.convert?to=csv", data=body)
    document = await problem(answer, 415, "type_mismatch")
    assert document["detected"] == "application/json"
    assert "by its name (?filename=data.jsonl)" in document["detail"]


async def test_a_wrong_type_in_front_of_the_job_part_leaves_nothing(api: Any, hands: Hands) -> None:
    headers, body = form(
        (file_part("photo.jpg"), b"hello " * 50_000),
        (field("job"), b'{"operation":"image.resize","params":{"width":9}}'),
    )
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    await problem(answer, 415, "type_mismatch")
    await nothing_stayed(hands)


@pytest.mark.parametrize("method", ["put", "post"])
async def test_a_compressed_body_is_a_415(api: Any, method: str) -> None:
    url = "/v1/jobs/file.probe" if method == "put" else "/v1/jobs"
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await api.request(method, url, data=b"\x1f\x8b junk", headers=headers)
    await problem(answer, 415, "unsupported_media_type")


async def test_a_body_of_another_kind_is_a_415(api: Any) -> None:
    for content_type in ("text/plain", "application/xml", "application/json; charset=latin-1"):
        answer = await api.post("/v1/jobs", data=b"{}", headers={"Content-Type": content_type})
        await problem(answer, 415, "unsupported_media_type")
    headers, body = form((file_part("a"), b"x"))
    answer = await api.put("/v1/jobs/file.probe", data=body, headers=headers)
    await problem(answer, 415, "unsupported_media_type")


async def test_a_file_over_the_limit_is_a_413_that_names_it(serve: Any, hands: Hands) -> None:
    api = await serve(max_upload_bytes=1000)

    async def long() -> Any:
        for _ in range(3):
            yield noise(500)

    headers, body = form(
        (field("job"), b'{"operation":"file.probe"}'), (file_part("a"), noise(1001))
    )
    for answer in (
        await api.put("/v1/jobs/file.probe", data=noise(1001)),
        await api.put("/v1/jobs/file.probe", data=long()),
        await api.post("/v1/jobs", data=body, headers=headers),
    ):
        document = await problem(answer, 413, "too_large")
        assert document["limit"] == "max_upload_bytes"
        assert document["limit_value"] == 1000
    assert (await api.put("/v1/jobs/file.probe", data=noise(1000))).status == 202
    assert len(await hands.files()) == 1


async def test_json_over_the_limit_is_a_413(serve: Any) -> None:
    api = await serve(max_json_bytes=100)
    big = {"operation": "file.probe", "metadata": {"a": "x" * 200}}
    assert (await problem(await post(api, big), 413, "too_large"))["limit"] == "max_json_bytes"

    async def chunks(pause_s: float) -> Any:
        yield json.dumps(big).encode()
        await asyncio.sleep(pause_s)  # what comes with the headers is read in another way

    for pause_s in (0, 0.05):
        body = chunks(pause_s)
        answer = await api.post("/v1/jobs", data=body, headers={"Content-Type": "application/json"})
        await problem(answer, 413, "too_large")
    headers, body = form((field("job"), json.dumps(big).encode()))
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    await problem(answer, 413, "too_large")


async def test_a_file_that_nobody_has_is_a_404_with_its_place(api: Any) -> None:
    missing = "file_01kqb4h0nme8atrb9rgb0yvm3k"
    body = {"operation": "file.probe", "inputs": [{"file_id": missing}]}
    document = await problem(await post(api, body), 404, "not_found")
    assert document["errors"][0]["pointer"] == "/inputs/0/file_id"


async def test_too_few_and_too_many_files(api: Any, hands: Hands) -> None:
    none = {"operation": "image.resize", "params": {"width": 3}}
    document = await problem(await post(api, none), 422, "invalid_request")
    assert document["errors"][0]["pointer"] == "/inputs"
    headers, body = form(
        (field("job"), json.dumps(none).encode()),
        (file_part("a.jpg"), jpeg()),
        (file_part("b.jpg"), jpeg()),
    )
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    await problem(answer, 422, "invalid_request")
    await nothing_stayed(hands)


# --- limits of the owner -----------------------------------------------------------------------


async def test_a_full_queue_of_ones_own_is_a_429(serve: Any, hands: Hands) -> None:
    api = await serve(max_queued_per_owner=1)
    assert (await api.put("/v1/jobs/file.probe", data=b"x")).status == 202
    answer = await api.put("/v1/jobs/file.probe", data=b"x")
    document = await problem(answer, 429, "quota_exceeded")
    assert document["limit"] == "max_queued_per_owner"
    assert document["retryable"] is True
    assert int(answer.headers["Retry-After"]) > 0
    assert len(await hands.files()) == 1


async def test_a_backlog_of_events_is_a_503(serve: Any, hands: Hands) -> None:
    api = await serve(max_event_backlog=1)
    assert (await api.put("/v1/jobs/file.probe", data=b"x")).status == 202
    answer = await api.put("/v1/jobs/file.probe", data=b"x")
    await problem(answer, 503, "backlog")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(await hands.files()) == 1


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/jobs/", "/v2/jobs", "/v1/x/y"])
async def test_an_unknown_address_is_a_problem_too(api: Any, path: str) -> None:
    await problem(await api.get(path), 404, "route_not_found")


async def test_a_method_that_is_not_taken_names_those_that_are(api: Any) -> None:
    answer = await api.delete("/v1/jobs")
    await problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD, POST, PUT"
    answer = await api.put("/v1/jobs/job_01kqb4h0nme8atrb9rgb0yvm3j", data=b"x")
    await problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD"
    answer = await api.get("/v1/jobs/image.resize")
    await problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "PUT"


async def test_an_error_nobody_foresaw_shows_its_request_id_and_nothing_else(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fileproc.api import jobs

    monkeypatch.setattr(jobs, "page_answer", lambda *_: 1 / 0)
    answer = await api.get("/v1/jobs", headers={"X-Request-ID": "find-me"})
    document = await problem(answer, 500, "internal_error")
    assert document["request_id"] == "find-me"
    assert "division" not in await answer.text()
    assert "errors" not in document


# --- small requests that must not cost much ----------------------------------------------------


@pytest.mark.parametrize("item", ["1", "{}", "[]", '{"part":1}'])
@pytest.mark.parametrize("as_form", [False, True])
async def test_a_flood_of_values_is_refused_before_it_is_judged(
    api: Any, item: str, *, as_form: bool
) -> None:
    body = '{"operation":"file.probe","inputs":[' + ",".join([item] * 30_000) + "]}"
    if as_form:
        headers, data = form((field("job"), body.encode()))
        answer = await api.post("/v1/jobs", headers=headers, data=data)
    else:
        headers = {"Content-Type": "application/json"}
        answer = await api.post("/v1/jobs", headers=headers, data=body)
    problem_ = await problem(answer, 400, "bad_request")
    assert "20000 values" in problem_["detail"]


async def test_a_list_of_wrong_values_is_one_complaint(api: Any) -> None:
    body = {"operation": "file.probe", "inputs": [1] * 5_000}
    refused = await problem(await api.post("/v1/jobs", json=body), 422, "invalid_request")
    assert len(refused["errors"]) == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ('application/json;a="' + '"' * 8000 + ";1", 400),
        (";utf-8*", 415),
        ("application/json;a*", 422),
        (";boundary*0*", 415),
        ("", 415),
        ("application/json; charset=utf-16", 415),
        ('application/json; Charset="UTF-8"', 422),
    ],
)
async def test_odd_content_types_are_refused_quickly(
    api: Any, content_type: str, status: int
) -> None:
    answer = await api.post("/v1/jobs", headers={"Content-Type": content_type}, data=b"{}")
    assert answer.status == status, await answer.text()


async def test_a_content_type_that_is_no_text_is_written_down_as_text(api: Any) -> None:
    async with wire(api.server) as raw:
        await raw.send(
            b"PUT /v1/jobs/file.probe HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Content-Type: text/plain; \xff\xfe\r\n\r\nhello"
        )
        status, _, _ = await raw.answer()
    assert status == 202


async def test_a_second_content_encoding_does_not_slip_by(api: Any) -> None:
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    answer = await api.put("/v1/jobs/file.probe", headers=headers, data=b"x")
    await problem(answer, 415, "unsupported_media_type")
