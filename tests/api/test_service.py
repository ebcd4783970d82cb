"""Health, metrics, headers, request ids: what operators and browsers see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from fileproc import __version__
from support.http import Hands, jpeg, problem, submit


async def test_healthz_asks_nobody(api: Any) -> None:
    answer = await api.get("/healthz")
    assert await answer.json() == {"status": "ok", "version": __version__}


async def test_readyz_names_each_need(api: Any) -> None:
    from support.waiting import eventually

    async def ready() -> Any:
        answer = await api.get("/readyz")
        return await answer.json() if answer.status == 200 else None

    document = await eventually(ready)
    assert document["status"] == "ready"
    for name in ("redis", "durability", "scripts", "storage"):
        assert document["checks"][name]["status"] == "ok"


async def figures(api: Any) -> dict[str, list[Any]]:
    answer = await api.get("/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(await answer.text())
    return {sample.name: [] for family in families for sample in family.samples} | {
        family.name: family.samples
        for family in text_string_to_metric_families(await answer.text())
    }


async def test_metrics_are_by_route_template_and_bounded(api: Any) -> None:
    job = await submit(api)
    await api.get(f"/v1/jobs/{job['id']}")
    for path in ("/x/1", "/x/2", "/v1/jobs/%00"):
        await api.get(path)
    await api.request("PROPFIND", "/v1/jobs")
    families = await figures(api)
    samples = families["fileproc_http_request_duration_seconds"]
    routes = {sample.labels["route"] for sample in samples}
    assert {"/v1/jobs/{name}", "unmatched"} <= routes
    assert not any("job_" in route or "/x" in route for route in routes)
    assert {sample.labels["method"] for sample in samples} >= {"GET", "PUT", "other"}
    assert "fileproc_queue_jobs" in families
    assert "fileproc_jobs_submitted" in families


async def test_refusals_and_limits_are_counted(serve: Any) -> None:
    api = await serve(max_upload_bytes=10)
    await api.put("/v1/jobs/file.probe", data=b"x" * 11)
    families = await figures(api)
    refused = {
        s.labels["code"]: s.value for s in families["fileproc_jobs_refused"] if "code" in s.labels
    }
    assert refused["too_large"] >= 1
    hit = {
        s.labels["limit"]: s.value for s in families["fileproc_limits_hit"] if "limit" in s.labels
    }
    assert hit["max_upload_bytes"] >= 1


async def test_a_request_id_is_taken_over_or_made(api: Any) -> None:
    answer = await api.get("/healthz", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["X-Request-ID"] == "abc-123"
    made = {(await api.get("/healthz")).headers["X-Request-ID"] for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize("given", ["x" * 129, "a b", 'a"b', "<script>", "é", ""])
async def test_a_request_id_that_could_do_harm_is_not_taken_over(api: Any, given: str) -> None:
    answer = await api.get("/nothing", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] != given
    assert given == "" or given not in await answer.text()


async def test_every_answer_has_the_headers_that_keep_browsers_from_harm(
    api: Any, hands: Hands
) -> None:
    job = await submit(api)
    await hands.succeed(await hands.take(), ("o", "text/html", b"<script>"))
    for path in (
        "/healthz",
        "/nothing",
        "/v1/jobs",
        f"/v1/jobs/{job['id']}",
        f"/v1/jobs/{job['id']}/result",
        "/docs",
        "/openapi.json",
    ):
        answer = await api.get(path, allow_redirects=False)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "fileproc"
        assert answer.headers["Cache-Control"]


async def test_what_an_operator_may_know_is_in_the_log_and_not_in_the_answer(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fileproc.api import jobs

    def broken(*_: Any) -> bytes:
        raise RuntimeError("host db7.internal")

    monkeypatch.setattr(jobs, "page_answer", broken)
    with capture_logs() as logs:
        answer = await api.get("/v1/jobs")
    await problem(answer, 500, "internal_error")
    assert "db7" not in await answer.text()
    [entry] = [entry for entry in logs if entry["event"] == "unhandled error"]
    assert "db7.internal" in str(entry["exc_info"])


async def test_no_secret_is_logged(
    api: Any, hands: Hands, settings: Any, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    job = await submit(api)
    await hands.succeed(await hands.take(), ("o.txt", "text/plain", b"x"))
    with caplog.at_level("DEBUG"), capture_logs() as logs:
        headers = {"Authorization": "Bearer fp_abcdefghjkmn_" + "s" * 40}
        answer = await api.get(
            f"/v1/jobs/{job['id']}/result", headers=headers, allow_redirects=False
        )
    printed = json.dumps(logs, default=str) + "".join(capfd.readouterr())
    assert [line["event"] for line in logs if line["log_level"] == "debug"] == ["request"]
    assert "X-Amz-Signature" in answer.headers["Location"]
    for secret in ("X-Amz-Signature", "s" * 40, settings.s3_secret_access_key.get_secret_value()):
        assert secret not in printed


async def test_operations_are_listed_with_schema_and_example(api: Any) -> None:
    listed = (await (await api.get("/v1/operations")).json())["data"]
    names = [operation["name"] for operation in listed]
    assert {"image.resize", "file.probe", "table.convert", "pdf.to_images"} <= set(names)
    for operation in listed:
        one = await (await api.get(f"/v1/operations/{operation['name']}")).json()
        assert one == operation
        assert set(operation["example"]) <= set(operation["params_schema"]["properties"])
    await problem(await api.get("/v1/operations/image.enlarge"), 404, "not_found")


async def test_operation_says_what_later_files_may_be_what_it_needs_and_how_it_fails(
    api: Any,
) -> None:
    stamp = await (await api.get("/v1/operations/pdf.stamp")).json()
    assert stamp["accepts"] == ["application/pdf"]
    assert "image/png" in stamp["accepts_later"]
    assert "password_required" in stamp["errors"]
    info = await (await api.get("/v1/operations/media.info")).json()
    assert info["programs"] == ["ffmpeg"]
    assert "media_too_long" in info["errors"]


async def test_debug_operations_do_not_exist_unless_asked_for(serve: Any) -> None:
    api = await serve(debug_operations=False)
    listed = (await (await api.get("/v1/operations")).json())["data"]
    assert not any(operation["name"].startswith("debug.") for operation in listed)
    await problem(await api.put("/v1/jobs/debug.sleep", data=b""), 422, "unknown_operation")
    assert "debug." not in await (await api.get("/openapi.json")).text()


# --- names -------------------------------------------------------------------------------------

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows\\system32\\cmd.exe",
    "a\x00b.jpg",
    "a\r\nX-Evil: 1.jpg",
    'a"b;c.jpg',
    "CON",
    "NUL.txt",
    ".",
    "..",
    "...",
    " ",
    ".htaccess",
    "-rf",
    "a" * 5000 + ".jpg",
    "😀" * 300 + ".jpg",
    "photo\u202egpj.exe",
    "\u2066x\u2069",
    "a\u2044b.jpg",
    "a\uff0fb.jpg",
    "%2e%2e%2fx",
    "{{7*7}}",
    "$(reboot)",
    "`id`",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE jobs; --",
    "name\ttab",
    "\ud7ff\ue000",
    "e\u0301.jpg",
    "ﷺ" * 50,
    "\u200b",
    "file.jpg/",
    "C:photo.jpg",
    "con.tar.gz",
    "a" * 30 + "." + "b" * 400,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_name_is_shown_cleaned_and_never_becomes_a_key(
    api: Any, hands: Hands, name: str
) -> None:
    answer = await api.put(
        "/v1/jobs/image.resize", data=jpeg(), params={"width": "9", "filename": name}
    )
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    shown = job["inputs"][0]["name"]
    assert shown
    assert len(shown.encode()) <= 200
    assert shown.isprintable()
    assert not set(shown) & set("/\\\u2044\u2215\uff0f\uff3c\u202e")
    assert await hands.files() == [f"files/{job['inputs'][0]['file_id']}"]
    lease = await hands.take()
    await hands.succeed(lease, (shown, "image/jpeg", b"x"))
    result = await api.get(f"/v1/jobs/{job['id']}/result")
    assert await result.read() == b"x"
    disposition = result.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=")
    assert "\r" not in disposition
    assert "\n" not in disposition
