"""Keys by the api: made, listed, rotated, revoked; and what a role and a scope keep a key from."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from fileproc.api import examples
from fileproc.api.key_models import KeyView, NewKeyView
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.http import Hands, field, file_part, form, jpeg, problem
from support.surface import Someone, bearer

RESIZE = {"operation": "image.resize", "params": {"width": 9}}


@pytest.fixture
async def admin(serve: Any, store: Store, hands: Hands) -> Someone:
    api = await serve(auth=Auth.REQUIRED)
    return await Someone.of("root", Role.ADMIN, api, store, hands)


async def make(admin: Someone, **body: Any) -> dict[str, Any]:
    answer = await admin.api.post("/v1/keys", json={"owner": "acme", **body}, headers=admin.headers)
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/keys/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    return made


def test_the_examples_are_what_the_models_say() -> None:
    KeyView.model_validate(examples.KEY)
    NewKeyView.model_validate(examples.NEW_KEY)


async def test_a_key_that_was_made_opens_what_is_its_owners(admin: Someone) -> None:
    made = await make(admin, label="web shop", expires_in_s=3600)
    NewKeyView.model_validate(made)
    assert (made["owner"], made["role"], made["state"]) == ("acme", "user", "live")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)
    someone = Someone(admin.api, admin.store, admin.hands, bearer(made["token"]))
    job = await someone.submit()
    assert (await admin.store.jobs.get("acme", job["id"])).owner == "acme"
    shown = await admin.api.get(f"/v1/keys/{made['id']}", headers=admin.headers)
    assert await shown.json() == {name: made[name] for name in made if name != "token"}


async def test_a_secret_is_shown_once_and_nowhere_logged(admin: Someone) -> None:
    with capture_logs() as logs:
        made = await make(admin)
        turned = await admin.api.post(f"/v1/keys/{made['id']}/rotate", headers=admin.headers)
        new = await turned.json()
    said = str(logs)
    for path in ("/v1/keys", f"/v1/keys/{made['id']}"):
        said += await (await admin.api.get(path, headers=admin.headers)).text()
    for token in (made["token"], new["token"]):
        assert token.split("_", 2)[2] not in said
    assert "a key is made" in said
    assert made["id"] in said


async def test_keys_are_listed_by_pages_and_owner(admin: Someone) -> None:
    mine = [(await make(admin, label=str(n)))["id"] for n in range(3)]
    theirs = (await make(admin, owner="other"))["id"]
    address, seen = "/v1/keys?limit=2", []
    while address:
        answer = await admin.api.get(address, headers=admin.headers)
        page = await answer.json()
        seen += [key["id"] for key in page["data"]]
        link = answer.headers.get("Link")
        assert (link is None) == (page["next_cursor"] is None)
        address = link.split(">")[0].removeprefix("<") if link else ""
    assert len(seen) == 5
    assert {*mine, theirs} < set(seen)
    only = await admin.api.get("/v1/keys", params={"owner": "acme"}, headers=admin.headers)
    assert {key["id"] for key in (await only.json())["data"]} == set(mine)
    wrong = await admin.api.get("/v1/keys", params={"cursor": "x"}, headers=admin.headers)
    await problem(wrong, 400, "bad_request")


async def test_rotation_lets_both_secrets_live_for_the_time_that_was_chosen(
    admin: Someone,
) -> None:
    made = await make(admin, expires_in_s=600)
    address = f"/v1/keys/{made['id']}/rotate"
    answer = await admin.api.post(
        address, json={"overlap_s": 60, "expires_in_s": 7200}, headers=admin.headers
    )
    new = await answer.json()
    NewKeyView.model_validate(new)
    assert new["id"] == made["id"]
    left = datetime.fromisoformat(new["old_secrets_until"]) - datetime.now(UTC)
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)
    assert new["expires_at"] > made["expires_at"]
    for token in (made["token"], new["token"]):
        assert (await admin.api.get("/v1/jobs", headers=bearer(token))).status == 200
    last = await (
        await admin.api.post(address, json={"overlap_s": 0}, headers=admin.headers)
    ).json()
    assert last["old_secrets_until"] is None
    for token in (made["token"], new["token"]):
        await problem(await admin.api.get("/v1/jobs", headers=bearer(token)), 401, "unauthorized")
    assert (await admin.api.get("/v1/jobs", headers=bearer(last["token"]))).status == 200


async def test_a_rotation_too_many_and_one_of_a_dead_key_are_refused(admin: Someone) -> None:
    made = await make(admin)
    address = f"/v1/keys/{made['id']}/rotate"
    for _ in range(4):
        assert (await admin.api.post(address, headers=admin.headers)).status == 200
    document = await problem(
        await admin.api.post(address, headers=admin.headers), 429, "quota_exceeded"
    )
    assert document["limit"] == "old_secrets"
    assert (await admin.api.get("/v1/jobs", headers=bearer(made["token"]))).status == 200
    await admin.api.delete(f"/v1/keys/{made['id']}", headers=admin.headers)
    await problem(await admin.api.post(address, headers=admin.headers), 409, "wrong_state")


async def test_a_revoked_key_opens_nothing_from_then_on(admin: Someone) -> None:
    made = await make(admin)
    someone = Someone(admin.api, admin.store, admin.hands, bearer(made["token"]))
    job = await someone.submit()
    address = f"/v1/keys/{made['id']}"
    for _ in range(2):
        assert (await admin.api.delete(address, headers=admin.headers)).status == 204
    await problem(
        await admin.api.get(f"/v1/jobs/{job['id']}", headers=someone.headers), 401, "unauthorized"
    )
    shown = await (await admin.api.get(address, headers=admin.headers)).json()
    assert shown["state"] == "revoked"
    assert (await admin.store.jobs.get("acme", job["id"])).state == "queued"  # goes on
    for absent in ("0" * 12, "x", "*", "job_01kqb4h0nme8atrb9rgb0yvm3j"):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            answer = await admin.api.request(
                method, f"/v1/keys/{absent}{path}", headers=admin.headers
            )
            await problem(answer, 404, "not_found")


async def test_what_makes_no_key_is_refused_by_its_place(admin: Someone) -> None:
    wrong: list[tuple[Any, str | None]] = [
        ({}, "/owner"),
        ({"owner": ""}, "/owner"),
        ({"owner": "a b"}, "/owner"),
        ({"owner": "a\n"}, "/owner"),
        ({"owner": "x" * 65}, "/owner"),
        ({"owner": 7}, "/owner"),
        ({"owner": ["acme"]}, "/owner"),
        ({"owner": "acme", "role": "root"}, "/role"),
        ({"owner": "acme", "role": "ADMIN"}, "/role"),
        ({"owner": "acme", "role": "upload"}, "/role"),
        ({"owner": "acme", "scopes": "operation:image.*"}, "/scopes"),
        ({"owner": "acme", "scopes": ["image.resize"]}, "/scopes/0"),
        ({"owner": "acme", "scopes": ["template:t", "operation:*"]}, "/scopes/1"),
        ({"owner": "acme", "scopes": ["template:t\n"]}, "/scopes/0"),
        ({"owner": "acme", "scopes": ["template:t"] * 101}, "/scopes"),
        ({"owner": "acme", "expires_in_s": 0}, "/expires_in_s"),
        ({"owner": "acme", "expires_in_s": -1}, "/expires_in_s"),
        ({"owner": "acme", "expires_in_s": 1.5}, "/expires_in_s"),
        ({"owner": "acme", "expires_in_s": 10**12}, "/expires_in_s"),
        ({"owner": "acme", "label": "x" * 201}, "/label"),
        ({"owner": "acme", "hash": "x"}, "/hash"),
        ({"owner": "acme", "id": "x"}, "/id"),
        ([], ""),
    ]
    for body, pointer in wrong:
        answer = await admin.api.post("/v1/keys", json=body, headers=admin.headers)
        document = await problem(answer, 422, "invalid_request")
        assert document["errors"][0]["pointer"] == pointer, body
    listed = await admin.api.get("/v1/keys", headers=admin.headers)
    assert len((await listed.json())["data"]) == 1
    for headers, data, status, code in (
        ({"Content-Type": "text/plain"}, b'{"owner": "acme"}', 415, "unsupported_media_type"),
        ({}, b'{"owner": "acme"}', 415, "unsupported_media_type"),
        ({"Content-Type": "application/json"}, b"{", 400, "bad_request"),
        ({"Content-Type": "application/json"}, b"\xff", 400, "bad_request"),
        (
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            b"x",
            415,
            "unsupported_media_type",
        ),
        ({"Content-Type": "application/json"}, io.BytesIO(b" " * (2 << 20)), 413, "too_large"),
    ):
        answer = await admin.api.post("/v1/keys", data=data, headers={**admin.headers, **headers})
        await problem(answer, status, code)


# --- scopes ------------------------------------------------------------------------------------


async def bound(admin: Someone, *scopes: str) -> Someone:
    made = await make(admin, scopes=list(scopes))
    return Someone(admin.api, admin.store, admin.hands, bearer(made["token"]))


async def test_a_key_bound_to_operations_starts_these_and_no_others(admin: Someone) -> None:
    someone = await bound(admin, "operation:image.*", "operation:file.hash")
    api, headers = someone.api, someone.headers
    allowed = await api.put("/v1/jobs/image.resize?width=9", data=jpeg(), headers=headers)
    assert allowed.status == 202
    file = {"file_id": (await allowed.json())["inputs"][0]["file_id"]}
    put = await api.put("/v1/jobs/file.probe", data=b"x", headers=headers)
    document = await problem(put, 403, "forbidden")
    assert document["scopes"] == ["operation:file.hash", "operation:image.*"]
    steps = {"a": {"operation": "image.resize", "params": {"width": 9}}}
    probing = {**steps, "b": {"operation": "file.probe", "needs": ["a"]}}
    hashing = {**steps, "b": {"operation": "file.hash", "needs": ["a"]}}
    for body, status in (
        (RESIZE, 202),
        ({"operation": "file.hash"}, 202),
        ({"operation": "file.probe"}, 403),
        ({"operation": "imagex.resize"}, 422),
        ({"steps": hashing}, 202),
        ({"steps": probing}, 403),
    ):
        sent = await api.post("/v1/jobs", json={**body, "inputs": [file]}, headers=headers)
        assert sent.status == status, (body, await sent.text())
    probe = {"operation": "file.probe", "inputs": [file]}
    together = {"jobs": [{**RESIZE, "inputs": [file]}, probe]}
    batch = await api.post("/v1/batches", json=together, headers=headers)
    await problem(batch, 403, "forbidden")
    parts, data = form((field("job"), b'{"operation": "file.probe"}'), (file_part("a"), b"x"))
    formed = await api.post("/v1/jobs", data=data, headers={**headers, **parts})
    await problem(formed, 403, "forbidden")


async def test_a_forbidden_upload_is_refused_before_it_is_sent(
    admin: Someone, hands: Hands
) -> None:
    someone = await bound(admin, "operation:image.*")
    sent = 0

    async def body() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b"x" * 65536

    answer = await admin.api.put(
        "/v1/jobs/file.probe", data=body(), headers={**someone.headers, "Expect": "100-continue"}
    )
    await problem(answer, 403, "forbidden")
    assert sent == 0
    assert await hands.files() == []


async def test_a_key_bound_to_a_template_starts_that_and_cannot_change_it(
    admin: Someone,
) -> None:
    owner = Someone(admin.api, admin.store, admin.hands, bearer((await make(admin))["token"]))
    someone = await bound(admin, "template:mine")
    template = {"steps": {"hash": {"operation": "file.hash"}}}
    for name in ("mine", "other"):
        kept = await owner.api.put(f"/v1/templates/{name}", json=template, headers=owner.headers)
        assert kept.status == 200
    file = {"file_id": (await owner.submit())["inputs"][0]["file_id"]}
    for body, status in (
        ({"template": "mine"}, 202),
        ({"template": "mine@1"}, 202),
        ({"template": "other"}, 403),
        ({"operation": "file.hash"}, 403),
        (template, 403),
    ):
        sent = await someone.api.post(
            "/v1/jobs", json={**body, "inputs": [file]}, headers=someone.headers
        )
        assert sent.status == status, (body, await sent.text())
    changed = await someone.api.put("/v1/templates/mine", json=template, headers=someone.headers)
    await problem(changed, 403, "forbidden")
    deleted = await someone.api.delete("/v1/templates/mine", headers=someone.headers)
    await problem(deleted, 403, "forbidden")


async def test_a_retry_is_a_start_too_and_a_repetition_is_none(admin: Someone) -> None:
    owner = Someone(admin.api, admin.store, admin.hands, bearer((await make(admin))["token"]))
    imaging = await bound(admin, "operation:image.*")
    probing = await bound(admin, "operation:file.probe")
    job = await owner.submit()
    address = f"/v1/jobs/{job['id']}"
    assert (await imaging.api.get(address, headers=imaging.headers)).status == 200
    assert (await imaging.api.post(address + "/cancel", headers=imaging.headers)).status == 200
    refused = await imaging.api.post(address + "/retry", headers=imaging.headers)
    await problem(refused, 403, "forbidden")
    again = await probing.api.post(address + "/retry", headers=probing.headers)
    assert again.status == 202
    assert (await imaging.api.delete(address, headers=imaging.headers)).status == 204


async def test_an_admin_with_scopes_makes_no_keys(admin: Someone) -> None:
    made = await make(admin, role="admin", scopes=["operation:image.*"])
    headers = bearer(made["token"])
    answer = await admin.api.post("/v1/keys", json={"owner": "acme"}, headers=headers)
    await problem(answer, 403, "forbidden")
