"""Keys at work: what they open, and what they do not. Over every route: test_owners.py."""

from __future__ import annotations

from typing import Any

import pytest

from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.http import problem


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


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
