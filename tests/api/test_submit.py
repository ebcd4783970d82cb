"""Both ways to submit, when all is well."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from samples import xlsx
from support.http import Hands, field, file_part, form, jpeg, wire

if TYPE_CHECKING:
    from fileproc.store import Store


async def test_a_put_file_becomes_a_queued_job(api: Any, store: Store, hands: Hands) -> None:
    picture = jpeg()
    url = "/v1/jobs/image.resize?width=32&format=webp&filename=photo.jpg&labels=album=summer"
    answer = await api.put(url, data=picture)
    assert answer.status == 202
    job = await answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert re.fullmatch(r"job_[0-9a-z]{26}", job["id"])
    assert (job["state"], job["version"], job["attempt"]) == ("queued", 1, 0)
    assert job["params"]["width"] == 32
    assert job["labels"] == {"album": "summer"}
    [info] = job["inputs"]
    assert info["name"] == "photo.jpg"
    assert info["type"] == "image/jpeg"
    assert info["size"] == len(picture)
    assert info["sha256"] == hashlib.sha256(picture).hexdigest()
    assert await hands.files() == [f"files/{info['file_id']}"]
    assert (await store.jobs.get("local", job["id"])).document.inputs[0].sha256 == info["sha256"]


async def test_a_workbook_is_a_table_and_no_archive(api: Any) -> None:
    answer = await api.put("/v1/jobs/table.convert?to=csv", data=xlsx())
    assert answer.status == 202
    [info] = (await answer.json())["inputs"]
    assert info["type"].endswith("spreadsheetml.sheet")
    assert info["name"].endswith(".xlsx")


async def test_the_202_says_what_a_later_look_says(api: Any) -> None:
    accepted = await (await api.put("/v1/jobs/file.probe", data=b"hello")).json()
    looked = await (await api.get(f"/v1/jobs/{accepted['id']}")).json()
    for changing in ("created_at", "queue_position", "eta_s"):  # a 202 does not look into the queue
        del accepted[changing], looked[changing]
    assert accepted == looked


async def test_curl_waits_for_the_100_and_gets_it(api: Any) -> None:
    picture = jpeg()
    async with wire(api.server) as line:
        await line.send(
            b"PUT /v1/jobs/image.resize?width=9 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(picture)
        )
        status, _, _ = await line.answer()
        assert status == 100
        await line.send(picture)
        status, _, _ = await line.answer()
        assert status == 202


@pytest.mark.parametrize(
    "url",
    [
        "/v1/jobs/nonsense",
        "/v1/jobs/image.resize?width=no",
        "/v1/jobs/image.resize?width=5&wait=99",
        "/v1/jobs/image.resize?width=5&width=6",
    ],
)
async def test_what_the_address_gets_wrong_is_refused_before_the_100(api: Any, url: str) -> None:
    async with wire(api.server) as line:
        await line.send(
            f"PUT {url} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
        )
        status, headers, _ = await line.answer()
        assert status == 422
        assert headers["connection"] == "close"


async def test_a_chunked_body_is_taken(api: Any) -> None:
    async def chunks() -> Any:
        yield b"a,b\n"
        yield b"1,2\n"

    answer = await api.put("/v1/jobs/table.convert?to=jsonl&filename=t.csv", data=chunks())
    assert answer.status == 202, await answer.text()
    [info] = (await answer.json())["inputs"]
    assert (info["type"], info["size"]) == ("text/csv", 8)


async def test_a_file_without_a_name_is_named_after_its_type(api: Any) -> None:
    answer = await api.put("/v1/jobs/file.probe", data=jpeg())
    assert (await answer.json())["inputs"][0]["name"] == "file.jpg"


async def test_a_job_over_a_file_that_is_there_already(api: Any) -> None:
    first = await (await api.put("/v1/jobs/file.probe", data=jpeg())).json()
    file_id = first["inputs"][0]["file_id"]
    body = {
        "operation": "image.resize",
        "params": {"width": 12},
        "inputs": [{"file_id": file_id}],
        "labels": {"a": "b"},
        "metadata": {"mine": [1, {"deep": None}]},
        "priority": "high",
        "max_attempts": 2,
        "retention_s": 600,
    }
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    assert job["inputs"][0] == first["inputs"][0]
    assert job["metadata"] == body["metadata"]
    assert (job["priority"], job["max_attempts"]) == ("high", 2)


@pytest.mark.parametrize("job_first", [True, False])
async def test_a_form_with_the_job_before_or_after_the_file(api: Any, job_first: bool) -> None:
    parts = [
        (field("job"), json.dumps({"operation": "image.resize", "params": {"width": 9}}).encode()),
        (file_part("a.jpg"), jpeg()),
    ]
    headers, body = form(*parts if job_first else reversed(parts))
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    assert answer.status == 202, await answer.text()
    [info] = (await answer.json())["inputs"]
    assert (info["name"], info["size"]) == ("a.jpg", len(jpeg()))


async def test_inputs_pick_parts_by_name(api: Any) -> None:
    job = {"operation": "file.probe", "inputs": [{"part": "cover"}]}
    headers, body = form(
        (field("job"), json.dumps(job).encode()), (file_part("c.jpg", name="cover"), jpeg())
    )
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    assert answer.status == 202, await answer.text()
    assert (await answer.json())["inputs"][0]["name"] == "c.jpg"


async def test_a_client_that_prefers_to_wait_gets_the_finished_job(api: Any, hands: Hands) -> None:
    async def work() -> None:
        while not (await hands.store.queue.wait("default")):
            pass
        await hands.succeed(await hands.take(), ("o.txt", "text/plain", b"done"))

    worker = asyncio.create_task(work())
    answer = await api.put(
        "/v1/jobs/file.probe", data=b"hello", headers={"Prefer": "respond-async, wait=30"}
    )
    await worker
    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=30"
    job = await answer.json()
    assert job["state"] == "succeeded"
    assert job["outputs"][0]["name"] == "o.txt"
    assert job["links"]["result"] == f"/v1/jobs/{job['id']}/result"


async def test_who_waits_in_vain_gets_a_202(api: Any) -> None:
    answer = await api.put("/v1/jobs/file.probe?wait=1", data=b"hello")
    assert answer.status == 202
    assert (await answer.json())["state"] == "queued"


@pytest.mark.parametrize("wish", ["wait=x", "wait=-1", "handling=lenient", "wait=", ",,;"])
async def test_a_preference_that_makes_no_sense_is_passed_over(api: Any, wish: str) -> None:
    answer = await api.put("/v1/jobs/file.probe", data=b"hello", headers={"Prefer": wish})
    assert answer.status == 202


async def test_repeated_names_in_the_query_are_a_list(api: Any) -> None:
    answer = await api.put("/v1/jobs/file.probe?labels=a=1&labels=b=2%3D3", data=b"x")
    assert (await answer.json())["labels"] == {"a": "1", "b": "2=3"}
