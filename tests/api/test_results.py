"""The way to an output: redirected to the storage, or through the api."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from fileproc.settings import Downloads
from support.http import Hands, noise, problem, submit

CONTENT = noise(300_000)


async def finished(api: Any, hands: Hands, *outputs: tuple[str, str, bytes]) -> str:
    job = await submit(api)
    await hands.succeed(await hands.take(), *outputs)
    return f"/v1/jobs/{job['id']}/result"


async def test_one_output_is_a_redirect_to_a_url_that_needs_no_key(api: Any, hands: Hands) -> None:
    url = await finished(api, hands, ("small.webp", "image/webp", CONTENT))
    answer = await api.get(url, allow_redirects=False)
    assert answer.status == 302
    assert answer.headers["Cache-Control"] == "no-store"
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(answer.headers["Location"]) as download,
    ):
        assert download.status == 200
        assert await download.read() == CONTENT
        assert download.headers["Content-Type"] == "image/webp"
        disposition = download.headers["Content-Disposition"]
        assert disposition.startswith('attachment; filename="small.webp"')


async def test_several_outputs_are_chosen_by_name_or_index(api: Any, hands: Hands) -> None:
    url = await finished(
        api, hands, ("a.txt", "text/plain", b"first"), ("b.txt", "text/plain", b"second")
    )
    document = await problem(await api.get(url), 409, "choose_output")
    assert [output["name"] for output in document["outputs"]] == ["a.txt", "b.txt"]
    for query, content in (
        ("?name=b.txt", b"second"),
        ("?index=0", b"first"),
        (urlsplit(document["outputs"][1]["url"]).query, b"second"),
    ):
        answer = await api.get(f"{url}?{query.lstrip('?')}")
        assert await answer.read() == content
    await problem(await api.get(url + "?name=c.txt"), 404, "not_found")
    await problem(await api.get(url + "?index=2"), 404, "not_found")
    await problem(await api.get(url + "?index=-1"), 422, "invalid_request")
    await problem(await api.get(url + "?index=0&name=a.txt"), 422, "invalid_request")


async def test_a_job_under_way_has_no_result_yet(api: Any, hands: Hands) -> None:
    job = await submit(api)
    url = f"/v1/jobs/{job['id']}/result"
    for state in ("queued", "running"):
        answer = await api.get(url)
        assert (await problem(answer, 409, "not_finished"))["state"] == state
        assert answer.headers["Retry-After"] == "1"
        if state == "queued":
            await hands.take()


async def test_a_failed_job_tells_its_problem_instead(api: Any, hands: Hands) -> None:
    job = await submit(api)
    await hands.fail(await hands.take(), code="image_truncated")
    document = await problem(await api.get(f"/v1/jobs/{job['id']}/result"), 409, "no_result")
    assert document["state"] == "failed"
    assert document["error"]["code"] == "image_truncated"
    assert document["error"]["class"] == "permanent"


async def test_a_canceled_job_has_none(api: Any) -> None:
    job = await submit(api)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    document = await problem(await api.get(f"/v1/jobs/{job['id']}/result"), 409, "no_result")
    assert document["state"] == "canceled"


@pytest.mark.parametrize(
    ("media_type", "handed_out"),
    [
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/xml", "application/octet-stream"),
        ("text/javascript", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("TEXT/HTML; charset=utf-8", "application/octet-stream"),
        ("application/pdf", "application/pdf"),
        ("image/png", "image/png"),
        ("text/csv", "text/csv"),
    ],
)
async def test_what_a_browser_might_run_is_handed_out_as_bytes(
    serve: Any, hands: Hands, media_type: str, handed_out: str
) -> None:
    api = await serve()
    url = await finished(api, hands, ("page.html", media_type, b"<script>alert(1)</script>"))
    location = (await api.get(url, allow_redirects=False)).headers["Location"]
    assert parse_qs(urlsplit(location).query)["response-content-type"] == [handed_out]
    proxy = await serve(downloads=Downloads.PROXY)
    answer = await proxy.get(url)
    assert answer.headers["Content-Type"] == handed_out
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]


# --- through the api ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [
        (None, 200, slice(None)),
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=299990-", 206, slice(299_990, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=100-400000", 206, slice(100, None)),
        ("bytes=-900000", 200, slice(None)),
        ("bytes=5-2", 200, slice(None)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("lines=0-1", 200, slice(None)),
        ("bytes=\u0661-2", 200, slice(None)),
        ("bytes=" + "9" * 40 + "-", 200, slice(None)),
    ],
)
async def test_ranges(
    serve: Any, hands: Hands, wanted: str | None, status: int, part: slice
) -> None:
    api = await serve(downloads=Downloads.PROXY)
    url = await finished(api, hands, ("o.bin", "application/zip", CONTENT))
    answer = await api.get(url, headers={"Range": wanted} if wanted else {})
    assert answer.status == status
    assert await answer.read() == CONTENT[part]
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert ("Content-Range" in answer.headers) == (status == 206)


async def test_a_range_outside_is_a_416(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY)
    url = await finished(api, hands, ("o.bin", "application/zip", CONTENT))
    for wanted in ("bytes=300000-", "bytes=-0"):
        answer = await api.get(url, headers={"Range": wanted})
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */300000"


async def test_a_resumed_download_must_be_of_the_same_file(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY)
    url = await finished(api, hands, ("o.bin", "application/zip", CONTENT))
    tag = (await api.head(url)).headers["ETag"]
    same = await api.get(url, headers={"Range": "bytes=5-", "If-Range": tag})
    other = await api.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (same.status, other.status) == (206, 200)
    assert (await api.get(url, headers={"If-None-Match": tag})).status == 304


async def test_an_output_that_vanished_is_gone(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY)
    url = await finished(api, hands, ("o.bin", "application/zip", CONTENT))
    await hands.objects.delete_prefix("attempts/")
    await problem(await api.get(url), 410, "gone")


async def test_an_empty_output_can_be_fetched(serve: Any, hands: Hands) -> None:
    api = await serve(downloads=Downloads.PROXY)
    url = await finished(api, hands, ("o.txt", "text/plain", b""))
    answer = await api.get(url)
    assert (answer.status, await answer.read()) == (200, b"")
