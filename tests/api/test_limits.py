"""Limits as clients and operators see them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from fileproc.api.limit_models import LimitsView, OwnerView, UsageView
from fileproc.settings import Auth
from fileproc.store import Grant, Role, Store
from support.http import Hands, problem


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_limits_and_usage_tell_what_accept_goes_by(api: Any, hands: Hands) -> None:
    await api.put("/v1/admin/owners/local", json={"jobs_per_day": 2, "max_running": 7})
    limits = await (await api.get("/v1/limits")).json()
    LimitsView.model_validate(limits)
    assert limits["limits"]["jobs_per_day"] == 2
    assert limits["limits"]["max_running"] == 7
    assert limits["limits"]["bytes_per_day"] is None
    assert limits["rates"] == {"read": None, "write": None, "submit": None}  # there are no keys
    for _ in range(2):
        assert (await api.put("/v1/jobs/file.probe", data=b"hello")).status == 202
    lease = await hands.take()
    await hands.succeed(lease, ("o", "text/plain", b"x"))
    usage = await (await api.get("/v1/usage", params={"days": 2})).json()
    UsageView.model_validate(usage)
    assert usage["quotas"]["jobs"] == {"used": 2, "allowed": 2, "left": 0}
    assert usage["quotas"]["bytes"] == {"used": 10, "allowed": None, "left": None}
    assert usage["jobs"] == {"queued": 1, "running": 0, "delayed": 0, "awaiting_upload": 0}
    assert [day["jobs"] for day in usage["days"]] == [2, 0]

    refused = await api.put("/v1/jobs/file.probe", data=b"hello")
    document = await problem(refused, 429, "quota_exceeded")
    told = {name: document[name] for name in ("limit", "allowed", "used", "retryable")}
    assert told == {"limit": "quota_jobs_per_day", "allowed": 2, "used": 2, "retryable": True}
    assert re.search(r"00:00 UTC, in [0-9]+ (h|min)", document["detail"])
    wait = refused.headers["Retry-After"]
    assert 1 <= int(wait) <= 86_401
    assert refused.headers["RateLimit-Policy"] == '"quota_jobs_per_day";q=2;w=86400'
    assert refused.headers["RateLimit"] == f'"quota_jobs_per_day";r=0;t={wait}'
    metrics = await (await api.get("/metrics")).text()
    assert 'fileproc_limits_hit_total{limit="quota_jobs_per_day"}' in metrics


async def test_refused_upload_leaves_no_file_and_a_repetition_is_no_new_job(
    api: Any, hands: Hands, store: Store
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await (await api.put("/v1/jobs/file.probe", data=b"abc", headers=headers)).json()
    await store.owners.set("local", Grant(bytes_per_day=3, jobs_per_day=2))
    again = await api.put("/v1/jobs/file.probe", data=b"abc", headers=headers)
    assert (again.status, (await again.json())["id"]) == (202, first["id"])
    for data in (b"abcd", _chunks([b"ab", b"cd"])):  # with its length told, and without
        answer = await api.put("/v1/jobs/file.probe", data=data)
        assert (await problem(answer, 429, "quota_exceeded"))["limit"] == "quota_bytes_per_day"
    form = {"job": '{"operation": "file.probe"}', "file": io.BytesIO(b"abcd")}
    answer = await api.post("/v1/jobs", data=form)
    await problem(answer, 429, "quota_exceeded")
    assert len(await hands.files()) == 1
    # A job over files that are there already brings no bytes.
    body = {"operation": "file.probe", "inputs": [{"file_id": first["inputs"][0]["file_id"]}]}
    assert (await api.post("/v1/jobs", json=body)).status == 202
    assert (await api.post("/v1/jobs", json=body)).status == 429


async def _chunks(parts: Any) -> Any:
    for part in parts:
        yield part


async def test_operator_sees_sets_pauses_and_takes_back(api: Any, hands: Hands) -> None:
    path = "/v1/admin/owners/acme"
    fresh = await (await api.get(path)).json()
    OwnerView.model_validate(fresh)
    assert set(fresh["settings"].values()) == {None}
    assert fresh["changed_at"] is None
    answer = await api.put(path, json={"weight": 3, "cpu_s_per_day": 7200})
    owner = await answer.json()
    assert (owner["settings"]["weight"], owner["limits"]["cpu_s_per_day"]) == (3, 7200)
    assert (await (await api.get("/v1/admin/owners")).json())["data"] == [owner]
    again = await (await api.put(path, json={"max_queued": 5})).json()
    assert again["settings"]["weight"] is None  # all settings at once
    paused = await (await api.post(f"{path}/pause")).json()
    assert paused["paused_lanes"] == ["default", "heavy"]
    assert (await (await api.post(f"{path}/resume")).json())["paused_lanes"] == []
    assert (await (await api.get(f"{path}/usage")).json())["owner"] == "acme"
    assert (await api.delete(path)).status == 204
    assert (await (await api.get("/v1/admin/owners")).json())["data"] == []

    lane = await (await api.post("/v1/admin/lanes/default/pause")).json()
    assert lane["paused"] is True
    job = await (await api.put("/v1/jobs/file.probe", data=b"x")).json()
    assert job["state"] == "queued"
    lanes = await (await api.get("/v1/admin/lanes")).json()
    assert [(item["lane"], item["paused"]) for item in lanes["data"]] == [
        ("default", True),
        ("heavy", False),
    ]
    assert (await (await api.post("/v1/admin/lanes/default/resume")).json())["paused"] is False
    assert (await hands.take()).job_id == job["id"]


async def test_wrong_settings_are_refused_by_name(api: Any) -> None:
    path = "/v1/admin/owners/acme"
    for body, pointer in (
        ({"weight": 0}, "/weight"),
        ({"weight": 101}, "/weight"),
        ({"weight": "3"}, "/weight"),
        ({"weight": 1.5}, "/weight"),
        ({"max_running": -1}, "/max_running"),
        ({"bytes_per_day": 10**16}, "/bytes_per_day"),
        ({"jobs_per_day": True}, "/jobs_per_day"),
        ({"unknown": 1}, "/unknown"),
    ):
        document = await problem(await api.put(path, json=body), 422, "invalid_request")
        assert [error["pointer"] for error in document["errors"]] == [pointer]
    await problem(await api.put(path, data=b"{}"), 415, "unsupported_media_type")
    for wrong in ("-a", "a" * 65, "a%20b", "%C3%A4", "a:b"):
        await problem(await api.get(f"/v1/admin/owners/{wrong}"), 404, "not_found")
    await problem(await api.post("/v1/admin/lanes/none/pause"), 404, "not_found")
    for days in ("0", "93", "x"):
        answer = await api.get("/v1/usage", params={"days": days})
        await problem(answer, 422, "invalid_request")
    assert (await (await api.get("/v1/admin/owners")).json())["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/admin/owners"),
        ("GET", "/v1/admin/owners/acme"),
        ("PUT", "/v1/admin/owners/acme"),
        ("DELETE", "/v1/admin/owners/acme"),
        ("GET", "/v1/admin/owners/acme/usage"),
        ("POST", "/v1/admin/owners/acme/pause"),
        ("POST", "/v1/admin/owners/acme/resume"),
        ("GET", "/v1/admin/lanes"),
        ("POST", "/v1/admin/lanes/default/pause"),
        ("POST", "/v1/admin/lanes/default/resume"),
    ],
)
async def test_only_admins_grant_and_hold_back(
    serve: Any, store: Store, method: str, path: str
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    user = bearer((await store.keys.create("acme", Role.USER)).token)
    answer = await api.request(method, path, headers=user, json={"weight": 100})
    await problem(answer, 403, "forbidden")
    assert (await store.owners.get("acme")).grant == Grant()
    assert (await store.usage.of("acme", 1)).paused_lanes == []


async def test_an_upload_that_could_not_be_kept_is_refused_when_it_begins(serve: Any) -> None:
    api = await serve(quota_bytes_per_day=1000, max_queued_per_owner=1)
    tus = {"Tus-Resumable": "1.0.0"}
    answer = await api.post("/v1/tus", headers={**tus, "Upload-Length": "1001"})
    assert (await problem(answer, 429, "quota_exceeded"))["limit"] == "quota_bytes_per_day"
    await problem(await api.post("/v1/uploads", json={"size": 1001}), 429, "quota_exceeded")
    answer = await api.post("/v1/tus", headers={**tus, "Upload-Defer-Length": "1"})
    assert answer.status == 201
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sized = {**piece, "Upload-Length": "1001"}
    refused = await api.patch(answer.headers["Location"], headers=sized, data=b"x")
    await problem(refused, 429, "quota_exceeded")
    # Of jobs that wait an upload knows nothing.
    assert (await api.post("/v1/jobs", json={"operation": "debug.sleep"})).status == 202
    assert (await api.post("/v1/tus", headers={**tus, "Upload-Length": "1000"})).status == 201
