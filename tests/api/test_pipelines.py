"""Jobs of several steps, as they are asked for, refused and shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api.answers import JobView
from fileproc.store import Settlement
from support.http import field, file_part, form, jpeg, problem, submit

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.http import Hands

THUMBS: dict[str, Any] = {
    "zip": {"operation": "archive.create", "needs": ["small", "facts"]},
    "small": {"operation": "image.resize", "params": {"width": 32}, "for_each": True},
    "facts": {"operation": "image.info", "for_each": True, "on_error": "skip"},
}


async def ask(api: Any, steps: Any, *files: bytes, **others: Any) -> Any:
    job = json.dumps({"steps": steps, **others}).encode()
    parts = [(file_part("photo.jpg") + "\r\nContent-Type: image/jpeg", data) for data in files]
    headers, body = form((field("job"), job), *parts)
    return await api.post("/v1/jobs", data=body, headers=headers)


async def refused(api: Any, steps: Any, code: str = "invalid_request") -> dict[str, str]:
    document = await problem(await api.post("/v1/jobs", json={"steps": steps}), 422, code)
    return {error["pointer"]: error["detail"] for error in document["errors"]}


async def test_a_pipeline_is_accepted_and_shown_with_its_steps(api: Any) -> None:
    answer = await ask(api, THUMBS, jpeg(), jpeg(), labels={"album": "summer"})
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    JobView.model_validate_json(json.dumps(job), strict=False)
    assert (job["operation"], job["params"], job["lane"]) == ("pipeline", {}, "default")
    assert [step["name"] for step in job["steps"]] == ["small", "facts", "zip"]
    small, facts, zipped = job["steps"]
    assert small["params"]["width"] == 32
    assert len(small["params"]) > 1  # complete with defaults
    assert (small["needs"], small["for_each"], small["on_error"]) == (["inputs"], True, "fail")
    assert (facts["on_error"], zipped["needs"]) == ("skip", ["small", "facts"])
    assert [step["output"] for step in job["steps"]] == [False, False, True]
    assert {step["state"] for step in job["steps"]} == {"waiting"}
    assert len(job["inputs"]) == 2
    looked = await (await api.get(f"/v1/jobs/{job['id']}")).json()
    assert looked["steps"] == job["steps"]
    listed = await (await api.get("/v1/jobs", params={"operation": "pipeline"})).json()
    assert [entry["id"] for entry in listed["data"]] == [job["id"]]


async def test_a_plain_job_has_no_steps(api: Any) -> None:
    assert (await submit(api))["steps"] == []


async def test_a_pipeline_works_on_files_that_are_there(api: Any) -> None:
    known = await (await api.put("/v1/jobs/file.probe", data=jpeg())).json()
    file_id = known["inputs"][0]["file_id"]
    answer = await api.post("/v1/jobs", json={"steps": THUMBS, "inputs": [{"file_id": file_id}]})
    assert answer.status == 202, await answer.text()
    assert (await answer.json())["inputs"][0]["file_id"] == file_id


async def test_a_heavy_step_puts_the_job_into_the_heavy_lane(api: Any, hands: Hands) -> None:
    steps = {
        "probe": {"operation": "file.probe"},
        "wave": {"operation": "audio.waveform", "needs": ["inputs"]},
    }
    document = (await api.get("/v1/operations/audio.waveform")).status
    assert document == 200
    audio = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40)
    answer = await ask(api, steps, audio)
    assert answer.status == 202, await answer.text()
    assert (await hands.take("heavy")).job_id == (await answer.json())["id"]


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ({}, "/steps"),
        ({f"s{n}": {"operation": "file.probe"} for n in range(33)}, "/steps"),
        ({f"s{n}": {"operation": "file.probe"} for n in range(9_000)}, "/steps"),
        ({"žluť": {"operation": "file.probe"}}, "/steps/žluť"),
        ({"a/../b": {"operation": "file.probe"}}, "/steps/a~1..~1b"),
        ({"a\u202eb": {"operation": "file.probe"}}, "/steps/a\u202eb"),
        ({"a\nb": {"operation": "file.probe"}}, "/steps/a\nb"),
        ({"inputs": {"operation": "file.probe"}}, "/steps/inputs"),
        ({"a": {}}, "/steps/a/operation"),
        ({"a": {"operation": "file.probe", "need": ["b"]}}, "/steps/a/need"),
        ({"a": {"operation": "file.probe", "for_each": "yes"}}, "/steps/a/for_each"),
        ({"a": {"operation": "file.probe", "on_error": "shrug"}}, "/steps/a/on_error"),
        ({"a": {"operation": "file.probe", "needs": ["a"] * 33}}, "/steps/a/needs"),
        ({"a": {"operation": "file.probe", "needs": ["b"]}}, "/steps/a/needs/0"),
        ({"a": {"operation": "image.resize", "params": {"width": 0}}}, "/steps/a/params/width"),
        ({"a": {"operation": "image.resize", "params": {"with": 9}}}, "/steps/a/params/with"),
        ([{"operation": "file.probe"}], "/steps"),
        ("file.probe", "/steps"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
async def test_what_is_wrong_is_named_by_its_place(api: Any, steps: Any, pointer: str) -> None:
    assert pointer in await refused(api, steps)


async def test_parameters_of_all_steps_are_judged_together(api: Any) -> None:
    bad = {"operation": "image.resize", "params": {"width": -1}}
    found = await refused(api, {"a": bad, "b": bad})
    assert set(found) == {"/steps/a/params/width", "/steps/b/params/width"}


async def test_a_circle_is_refused(api: Any) -> None:
    circle = {
        "a": {"operation": "archive.create", "needs": ["b"]},
        "b": {"operation": "archive.create", "needs": ["a"]},
    }
    assert set(await refused(api, circle)) == {"/steps/a/needs", "/steps/b/needs"}


async def test_an_unknown_operation_is_named_with_those_there_are(api: Any) -> None:
    steps = {"a": {"operation": "no.such"}}
    document = await problem(
        await api.post("/v1/jobs", json={"steps": steps}), 422, "unknown_operation"
    )
    [error] = document["errors"]
    assert error["pointer"] == "/steps/a/operation"
    assert "image.resize" in error["allowed"]


async def test_a_pipeline_within_a_step_is_none_of_its_parameters(api: Any) -> None:
    inner = {"operation": "pipeline", "params": {"steps": {"b": {"operation": "file.probe"}}}}
    assert "/steps/a/operation" in await refused(api, {"a": inner}, "unknown_operation")


async def test_steps_nested_without_end_are_refused(api: Any) -> None:
    nested: dict[str, Any] = {"operation": "file.probe"}
    for _ in range(40):
        nested = {"operation": "file.probe", "params": {"steps": {"a": nested}}}
    await problem(await api.post("/v1/jobs", json={"steps": {"a": nested}}), 400, "bad_request")


async def test_steps_and_an_operation_exclude_each_other(api: Any) -> None:
    body = {"steps": THUMBS, "operation": "file.probe"}
    document = await problem(await api.post("/v1/jobs", json=body), 422, "invalid_request")
    assert [error["pointer"] for error in document["errors"]] == ["/operation"]


async def test_a_file_that_a_first_step_does_not_take_is_refused(api: Any, hands: Hands) -> None:
    await problem(await ask(api, THUMBS, b"no picture at all\n"), 415, "type_mismatch")
    assert await hands.files() == []


async def test_too_many_and_too_few_files_are_refused(api: Any) -> None:
    one = {"a": {"operation": "image.resize", "params": {"width": 9}}}
    await problem(await ask(api, one, jpeg(), jpeg()), 422, "invalid_request")
    await problem(await ask(api, one), 422, "invalid_request")


async def test_passwords_of_steps_are_never_shown(api: Any, store: Store) -> None:
    steps = {"a": {"operation": "pdf.decrypt", "params": {"password": "sesame"}}}
    job = await (await ask(api, steps, b"%PDF-1.7\n" + bytes(20) + b"%%EOF")).json()
    assert job["steps"][0]["params"]["password"] == "********"
    kept = await store.jobs.get("local", job["id"])
    assert kept.document.steps[0].params["password"] == "sesame"


async def test_the_same_key_and_steps_make_one_job(api: Any) -> None:
    headers = {"Idempotency-Key": "k1"}
    steps = {"a": {"operation": "debug.sleep"}}
    first = await api.post("/v1/jobs", json={"steps": steps}, headers=headers)
    again = await api.post("/v1/jobs", json={"steps": steps}, headers=headers)
    assert (await first.json())["id"] == (await again.json())["id"]
    steps["a"]["on_error"] = "skip"
    other = await api.post("/v1/jobs", json={"steps": steps}, headers=headers)
    await problem(other, 422, "idempotency_mismatch")


async def test_a_failed_pipeline_is_repeated_as_it_was(api: Any, hands: Hands) -> None:
    job = await (await ask(api, THUMBS, jpeg())).json()
    await hands.fail(await hands.take())
    failed = await (await api.get(f"/v1/jobs/{job['id']}")).json()
    assert {step["state"] for step in failed["steps"]} == {"unknown"}
    answer = await api.post(f"/v1/jobs/{job['id']}/retry")
    assert answer.status == 202, await answer.text()
    again = await answer.json()
    assert again["retry_of"] == job["id"]
    assert again["steps"] == job["steps"]


async def test_a_canceled_pipeline_says_what_is_not_known(api: Any, hands: Hands) -> None:
    job = await (await ask(api, THUMBS, jpeg())).json()
    lease = await hands.take()
    await hands.store.queue.settle(Settlement.cancel(lease))
    canceled = await (await api.get(f"/v1/jobs/{job['id']}")).json()
    assert {step["state"] for step in canceled["steps"]} == {"unknown"}
