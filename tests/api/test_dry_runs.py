"""A dry run judges a request, says what it would take, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.jobs import Usage
from support.http import Hands, field, file_part, form, jpeg, problem

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.books import Books

URL = "/v1/jobs/image.resize?width=9&dry_run=true&filename=a.jpg"


async def asked(answer: Any) -> dict[str, Any]:
    assert answer.status == 200, await answer.text()
    told: dict[str, Any] = await answer.json()
    assert told["object"] == "dry_run"
    return told


async def test_nothing_is_accepted_and_nothing_stays(api: Any, hands: Hands, books: Books) -> None:
    headers, content = form(
        (field("job"), b'{"operation":"image.resize","params":{"width":9}}'),
        (file_part("a.jpg"), jpeg()),
    )
    key = {"Idempotency-Key": "k"}
    for answer in (
        await api.put(URL, data=jpeg(), headers=key),
        await api.post("/v1/jobs?dry_run=true", data=content, headers={**headers, **key}),
        await api.post(
            "/v1/jobs?dry_run=true",
            json={"operation": "debug.sleep", "params": {"seconds": 0}},
            headers=key,
        ),
    ):
        told = await asked(answer)
        assert (told["lane"], told["cached"], told["estimate"]) == ("default", False, None)
    assert books.jobs() == {}
    assert await hands.files() == []
    assert not [name for name in books.look().names if name.startswith(("idem", "file"))]


async def test_what_would_be_refused_is_refused(api: Any) -> None:
    await problem(await api.put(URL, data=b"text"), 415, "type_mismatch")
    await problem(await api.put(URL, data=b""), 422, "empty_file")
    no_key = {"Idempotency-Key": "k" * 256}
    await problem(await api.put(URL, data=jpeg(), headers=no_key), 400, "bad_request")
    await problem(await api.put(URL + "&x=1", data=jpeg()), 422, "invalid_request")
    body = {
        "operation": "file.probe",
        "inputs": [{"file_id": "file_01kqb4h0nme8atrb9rgb0yvm3j"}],
    }
    await problem(await api.post("/v1/jobs?dry_run=true", json=body), 404, "not_found")
    await problem(await api.put(URL.replace("true", "perhaps"), data=b"x"), 422, "invalid_request")


async def test_what_was_done_tells_what_it_takes(api: Any, store: Store) -> None:
    def used(wall_s: float) -> Usage:
        return Usage(wall_s=wall_s, cpu_s=wall_s / 2, peak_rss_bytes=1)

    for size in (1_000, 2_000, 3_000):
        await store.costs.learn("image.resize", size, used(size / 1_000))
    picture = jpeg()
    told = await asked(await api.put(URL, data=picture))
    assert told["bytes"] == len(picture)
    estimate = told["estimate"]
    assert estimate["run_s"] == pytest.approx(len(picture) / 1_000, abs=0.01)
    assert estimate["cpu_s"] == pytest.approx(estimate["run_s"] / 2, abs=0.01)
    assert estimate["samples"] == 3
    small = await store.costs.expect("image.resize", 0)
    assert small is not None
    assert small.wall_s == pytest.approx(0, abs=0.01)
    for _ in range(300):  # of one size alone: the mean, whatever the size
        await store.costs.learn("pdf.info", 5, used(0.25))
    large = await store.costs.expect("pdf.info", 10**12)
    assert large is not None
    assert large.samples == 50
    assert large.wall_s == pytest.approx(0.25)
    assert await store.costs.expect("pdf.merge", 5) is None


async def test_what_is_known_already_takes_no_time(api: Any, hands: Hands) -> None:
    url = URL.replace("dry_run=true", "reuse=true")
    await api.put(url, data=jpeg())
    await hands.succeed(await hands.take(), ("a.webp", "image/webp", b"small"))
    told = await asked(await api.put(url + "&dry_run=true", data=jpeg()))
    assert (told["cached"], told["estimate"]["run_s"]) == (True, 0)
    await api.put(url.replace("9", "8"), data=jpeg())
    await hands.fail(await hands.take())
    answer = await api.put(url.replace("9", "8") + "&dry_run=true", data=jpeg())
    await problem(answer, 422, "known_failure")
