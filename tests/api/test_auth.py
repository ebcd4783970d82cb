"""Who may do what: every route, every kind of key, and nobody sees what is another's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fileproc.api.endpoints import Endpoint
from fileproc.api.routes import ENDPOINTS
from fileproc.ids import new_id
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.http import Hands, problem

PRIVATE = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
PUBLIC = [endpoint for endpoint in ENDPOINTS if endpoint.public]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def call(api: Any, endpoint: Endpoint, name: str, **more: Any) -> Any:
    path = endpoint.path.replace("{name}", name).replace("{template}", "thumbs")
    return await api.request(endpoint.method, path, **more)


def test_only_what_must_be_is_public() -> None:
    assert {endpoint.path for endpoint in PUBLIC} == {
        "/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/style.css",
    }  # fmt: skip
    assert all(endpoint.path.startswith("/v1/") for endpoint in PRIVATE)


@pytest.mark.parametrize("endpoint", PRIVATE, ids=lambda endpoint: endpoint.operation_id)
async def test_a_key_that_is_none_opens_nothing(
    serve: Any, store: Store, endpoint: Endpoint
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    live = await store.keys.create("acme", Role.USER)
    revoked = await store.keys.create("acme", Role.USER)
    await store.keys.revoke(revoked.info.id)
    expired = await store.keys.create(
        "acme", Role.USER, expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    wrong_secret = live.token[:-1] + ("A" if live.token[-1] != "A" else "B")
    other_id = re.sub(r"^fp_.{12}", "fp_000000000000", live.token)
    headers: list[dict[str, str]] = [
        {},
        bearer(""),
        bearer("fp_x"),
        bearer(wrong_secret),
        bearer(other_id),
        bearer(revoked.token),
        bearer(expired.token),
        bearer("x" * 7000),
        bearer(f"{live.token} {live.token}"),
        bearer(live.token + "\u00e9"),
        {"Authorization": live.token},
        {"Authorization": f"Basic {live.token}"},
        {"Authorization": f"Token {live.token}"},
        {"X-API-Key": live.token},
        {"Cookie": f"key={live.token}"},
    ]
    name = "file.probe" if endpoint.method == "PUT" else "job_01kqb4h0nme8atrb9rgb0yvm3j"
    for given in headers:
        answer = await call(api, endpoint, name, headers=given)
        await problem(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = await call(api, endpoint, "x", params={"key": live.token, "token": live.token})
    await problem(answer, 401, "unauthorized")


async def test_a_live_key_opens_and_every_answer_is_the_owners_own(
    serve: Any, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    acme = bearer((await store.keys.create("acme", Role.USER)).token)
    other = bearer((await store.keys.create("other", Role.ADMIN)).token)
    job = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
    assert (await store.jobs.get("acme", job["id"])).owner == "acme"
    mine = await (await api.get("/v1/jobs", headers=acme)).json()
    theirs = await (await api.get("/v1/jobs", headers=other)).json()
    assert [item["id"] for item in mine["data"]] == [job["id"]]
    assert theirs["data"] == []


async def test_anothers_job_looks_exactly_like_none(serve: Any, store: Store, hands: Hands) -> None:
    api = await serve(auth=Auth.REQUIRED)
    acme = bearer((await store.keys.create("acme", Role.USER)).token)
    other = bearer((await store.keys.create("other", Role.USER)).token)
    jobs = []
    for _ in range(2):
        jobs.append(await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json())
        lease = await hands.take()
    await hands.succeed(lease, ("o", "text/plain", b"x"))
    deleted = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
    await api.delete(f"/v1/jobs/{deleted['id']}", headers=acme)
    unknown = new_id("job")
    seen = [endpoint for endpoint in PRIVATE if endpoint.path.startswith("/v1/jobs/{name}")]
    for endpoint in seen:
        if endpoint.method == "PUT":
            continue
        bodies = []
        for job_id in (unknown, jobs[0]["id"], jobs[1]["id"], deleted["id"]):
            document = await problem(
                await call(api, endpoint, job_id, headers=other), 404, "not_found"
            )
            document.pop("request_id")
            bodies.append({**document, "detail": document["detail"].replace(job_id, "ID")})
        assert all(body == bodies[0] for body in bodies)
    for job in jobs:  # and nothing happened to them
        assert (await api.get(f"/v1/jobs/{job['id']}", headers=acme)).status == 200


async def test_anothers_file_cannot_be_used(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    acme = bearer((await store.keys.create("acme", Role.USER)).token)
    other = bearer((await store.keys.create("other", Role.USER)).token)
    job = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
    body = {
        "operation": "file.probe",
        "inputs": [{"file_id": job["inputs"][0]["file_id"]}],
    }
    await problem(await api.post("/v1/jobs", json=body, headers=other), 404, "not_found")
    assert (await api.post("/v1/jobs", json=body, headers=acme)).status == 202


async def test_public_routes_need_no_key(serve: Any) -> None:
    api = await serve(auth=Auth.REQUIRED)
    for endpoint in PUBLIC:
        answer = await call(api, endpoint, "x", allow_redirects=False)
        assert answer.status not in {401, 403, 404}, endpoint.path


@pytest.mark.parametrize(
    "path", ["/%761/jobs", "/v1/../v1/jobs", "/V1/jobs", "/v1//jobs", "/v1/jobs;x"]
)
async def test_no_spelling_of_an_address_gets_around_the_key(serve: Any, path: str) -> None:
    from yarl import URL

    api = await serve(auth=Auth.REQUIRED)
    answer = await api.get(URL(path, encoded=True))
    assert answer.status in {401, 404}


async def test_the_first_admin_key_comes_from_a_file(
    serve: Any, store: Store, tmp_path: Any
) -> None:
    from support.waiting import eventually

    token = "fp_abcdefghjkmn_" + "s" * 40
    file = tmp_path / "admin-key"
    file.write_text(token + "\n")
    api = await serve(auth=Auth.REQUIRED, admin_key_file=file)

    async def known() -> bool:
        return bool((await api.get("/v1/jobs", headers=bearer(token))).status == 200)

    await eventually(known)
    found = await store.keys.authenticate(token)
    assert found is not None
    assert (found.owner, found.role) == ("admin", Role.ADMIN)
