"""Inputs that are URLs: what is taken, and what is refused before a job exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.http import Hands, field, file_part, form, problem
from support.spellings import refused_urls

if TYPE_CHECKING:
    from fileproc.store import Store

URL = "https://files.example/in/report.pdf?X-Signature=secret"
INPUT = {"url": URL}


async def post(api: Any, *inputs: dict[str, Any], **others: Any) -> Any:
    body = {"operation": "file.probe", "inputs": list(inputs), **others}
    return await api.post("/v1/jobs", json=body)


async def test_a_url_is_taken_without_being_called(api: Any, store: Store) -> None:
    answer = await post(api, {**INPUT, "name": "a/b/r.pdf"})
    assert answer.status == 202
    job = await answer.json()
    assert job["inputs"] == [
        {
            "file_id": None,
            "url": "https://files.example/in/report.pdf?********",
            "name": "r.pdf",
            "size": None,
            "sha256": None,
            "type": None,
            "declared_type": None,
        }
    ]
    (source,) = (await store.jobs.get("local", job["id"])).document.sources
    assert (source.place, source.url, source.name) == (0, URL, "r.pdf")


async def test_no_answer_shows_the_query_of_a_url(api: Any) -> None:
    job = await (await post(api, INPUT)).json()
    for path in (f"/v1/jobs/{job['id']}", "/v1/jobs"):
        assert "secret" not in await (await api.get(path)).text()


async def test_urls_and_files_keep_their_order(api: Any) -> None:
    known = await (await api.put("/v1/jobs/file.probe", data=b"hello")).json()
    file_id = known["inputs"][0]["file_id"]
    answer = await post(
        api, INPUT, {"file_id": file_id}, INPUT, {"file_id": file_id}, operation="archive.create"
    )
    inputs = (await answer.json())["inputs"]
    assert [each["file_id"] for each in inputs] == [None, file_id, None, file_id]
    assert [each["url"] is None for each in inputs] == [False, True, False, True]


async def test_a_form_may_name_urls_beside_its_files(api: Any, hands: Hands) -> None:
    job = (
        '{"operation": "archive.create", "inputs": '
        '[{"url": "http://files.example/a"}, {"part": "file"}, {"url": "http://files.example/b"}]}'
    )
    headers, body = form((field("job"), job.encode()), (file_part("a.txt"), b"hello"))
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    assert answer.status == 202, await answer.text()
    inputs = (await answer.json())["inputs"]
    assert [each["url"] for each in inputs] == [
        "http://files.example/a",
        None,
        "http://files.example/b",
    ]
    assert len(await hands.files()) == 1


async def test_urls_count_as_inputs(api: Any) -> None:
    await problem(await post(api, INPUT, INPUT), 422, "invalid_request")
    await problem(
        await post(api, operation="image.resize", params={"width": 9}), 422, "invalid_request"
    )


async def test_a_pipeline_takes_urls(api: Any) -> None:
    steps = {"small": {"operation": "image.resize", "params": {"width": 9}, "for_each": True}}
    answer = await api.post("/v1/jobs", json={"steps": steps, "inputs": [INPUT, INPUT]})
    assert answer.status == 202
    assert len((await answer.json())["inputs"]) == 2


async def test_a_retry_asks_for_the_same_urls(api: Any, store: Store) -> None:
    job = await (await post(api, INPUT)).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    again = await (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    document = (await store.jobs.get("local", again["id"])).document
    assert [source.url for source in document.sources] == [URL]


async def test_another_url_is_another_request(api: Any) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"operation": "file.probe", "inputs": [INPUT]}
    first = await (await api.post("/v1/jobs", json=body, headers=headers)).json()
    same = await (await api.post("/v1/jobs", json=body, headers=headers)).json()
    assert same["id"] == first["id"]
    body["inputs"] = [{"url": URL + "2"}]
    other = await api.post("/v1/jobs", json=body, headers=headers)
    await problem(other, 422, "idempotency_mismatch")


async def test_more_than_300_urls_into_the_inside_are_refused(serve: Any) -> None:
    api = await serve(outbound_ports="1-65535")
    hosts_of_anybody = ("http://1e3:", "http://example.com#")
    urls = [
        url
        for url in sorted(set(refused_urls(9000)))
        if url and not url.startswith(hosts_of_anybody)
    ]
    assert len(urls) > 300
    for some in (urls[start : start + 50] for start in range(0, len(urls), 50)):
        answer = await post(api, *({"url": url} for url in some), operation="archive.create")
        document = await problem(answer, 422, "url_not_allowed")
        pointers = [error["pointer"] for error in document["errors"]]
        assert pointers == [f"/inputs/{place}/url" for place in range(len(some))]
    assert (await (await api.get("/v1/jobs")).json())["data"] == []


async def test_a_batch_takes_urls(api: Any) -> None:
    body = {"each": {"operation": "file.probe"}, "files": [INPUT, {"url": URL + "2"}]}
    answer = await api.post("/v1/batches", json=body)
    assert answer.status == 202, await answer.text()
    listed = (await (await api.get("/v1/jobs")).json())["data"]
    assert [len(job["inputs"]) for job in listed] == [1, 1]
    body["files"] = [{"url": "http://127.0.0.1/"}]
    await problem(await api.post("/v1/batches", json=body), 422, "url_not_allowed")
