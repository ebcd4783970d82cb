"""Templates: kept by name and version, filled in by jobs, the owner's own."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.api import examples
from fileproc.api.template_models import TemplateView
from fileproc.settings import Auth
from fileproc.store import Role
from fileproc.store import templates as stored
from support.http import field, file_part, form, jpeg, problem

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.http import Hands

ADDRESS = "/v1/templates/thumbs"
THUMBS: dict[str, Any] = {
    "description": "Small pictures in a ZIP",
    "variables": {
        "width": {"type": "integer", "default": 200},
        "name": {"type": "string"},
    },
    "steps": {
        "small": {
            "operation": "image.resize",
            "params": {"width": {"$var": "width"}},
            "for_each": True,
        },
        "zip": {
            "operation": "archive.create",
            "params": {"name": {"$var": "name"}},
            "needs": ["small"],
        },
    },
}


def changed(**others: Any) -> dict[str, Any]:
    return {**copy.deepcopy(THUMBS), **others}


def one(operation: str, params: dict[str, Any], **variables: Any) -> dict[str, Any]:
    return {"variables": variables, "steps": {"a": {"operation": operation, "params": params}}}


async def keep(api: Any, definition: Any = THUMBS, address: str = ADDRESS) -> dict[str, Any]:
    answer = await api.put(address, json=definition)
    assert answer.status == 200, await answer.text()
    kept: dict[str, Any] = await answer.json()
    return kept


async def ask(api: Any, template: str, key: str | None = None, **variables: Any) -> Any:
    job = json.dumps({"template": template, "variables": variables}).encode()
    headers, body = form((field("job"), job), (file_part("a.jpg"), jpeg()))
    return await api.post(
        "/v1/jobs", data=body, headers={**headers, **({"Idempotency-Key": key} if key else {})}
    )


async def pointers(answer: Any, code: str = "invalid_request") -> set[str]:
    return {error["pointer"] for error in (await problem(answer, 422, code))["errors"]}


def test_the_example_is_what_the_model_says() -> None:
    TemplateView.model_validate(examples.TEMPLATE)


async def test_what_is_kept_is_shown_again(api: Any) -> None:
    kept = await keep(api)
    assert (kept["name"], kept["version"], kept["object"]) == ("thumbs", 1, "template")
    assert kept["variables"]["width"]["default"] == 200
    assert kept["steps"]["small"]["params"] == {"width": {"$var": "width"}}
    assert await (await api.get(ADDRESS)).json() == kept
    assert await (await api.get("/v1/templates")).json() == {"data": [kept]}


async def test_each_change_is_a_version_and_no_change_is_none(api: Any) -> None:
    first = await keep(api)
    assert await keep(api) == first
    second = await keep(api, changed(description="Other"))
    assert second["version"] == 2
    assert (await keep(api))["version"] == 3
    old = await (await api.get(ADDRESS, params={"version": 1})).json()
    assert old == first
    await problem(await api.get(ADDRESS, params={"version": 4}), 404, "not_found")


async def test_a_job_names_a_template_and_its_values(api: Any) -> None:
    await keep(api)
    answer = await ask(api, "thumbs", name="Summer")
    assert answer.status == 202, await answer.text()
    job = await answer.json()
    assert (job["operation"], job["template"]) == ("pipeline", "thumbs@1")
    small, zipped = job["steps"]
    assert (small["params"]["width"], zipped["params"]["name"]) == (200, "Summer")


async def test_the_version_is_pinned_when_the_job_is_submitted(api: Any, hands: Hands) -> None:
    await keep(api)
    newer = changed()
    newer["steps"]["small"]["params"]["format"] = "webp"
    await keep(api, newer)
    old = await (await ask(api, "thumbs@1", name="x")).json()
    new = await (await ask(api, "thumbs", name="x", width=50)).json()
    assert (old["template"], new["template"]) == ("thumbs@1", "thumbs@2")
    assert old["steps"][0]["params"]["format"] != "webp"
    assert [new["steps"][0]["params"][name] for name in ("format", "width")] == ["webp", 50]
    await api.delete(ADDRESS)
    await hands.fail(await hands.take())
    again = await (await api.post(f"/v1/jobs/{old['id']}/retry")).json()
    assert (again["template"], again["steps"]) == ("thumbs@1", old["steps"])


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({}, "/variables/name"),
        ({"name": 5}, "/variables/name"),
        ({"name": "x", "width": "50"}, "/variables/width"),
        ({"name": "x", "width": True}, "/variables/width"),
        ({"name": "x", "width": 1.5}, "/variables/width"),
        ({"name": "x", "other": 1}, "/variables/other"),
        ({"name": "x" * 1001}, "/variables/name"),
        ({"name": "x", "width": 0}, "/template/steps/small/params/width"),
        ({"name": ""}, "/template/steps/zip/params/name"),
    ],
)
async def test_values_that_do_not_fit_are_named(
    api: Any, values: dict[str, Any], pointer: str
) -> None:
    await keep(api)
    assert pointer in await pointers(await ask(api, "thumbs", **values))


async def test_a_value_is_one_value_and_no_placeholder(api: Any) -> None:
    await keep(api)
    answer = await ask(api, "thumbs", name='{"$var": "width"}')
    assert (await answer.json())["steps"][1]["params"]["name"] == '{"$var": "width"}'
    assert "/variables/name" in str(
        await pointers(await ask(api, "thumbs", name={"$var": "width"}))
    )


@pytest.mark.parametrize("name", ["nobody", "thumbs@2"])
async def test_a_template_that_is_not_there_is_not_found(api: Any, name: str) -> None:
    await keep(api)
    await problem(await ask(api, name, name="x"), 404, "not_found")


@pytest.mark.parametrize("name", ["thumbs@0", "thumbs@", "@1", "Thumbs", "žluť", "a/b", "x" * 41])
async def test_a_name_that_is_none_is_refused(api: Any, name: str) -> None:
    assert await pointers(await ask(api, name)) == {"/template"}


@pytest.mark.parametrize("name", ["Thumbs", "%C5%BElu%C5%A5", "1a", "a@1", "x" * 41, "a%0A"])
async def test_nothing_is_kept_under_a_name_that_is_none(api: Any, name: str) -> None:
    await problem(await api.put(f"/v1/templates/{name}", json=THUMBS), 404, "not_found")


@pytest.mark.parametrize(
    ("definition", "pointer"),
    [
        ({}, "/steps"),
        (one("file.probe", {}, spare={"type": "integer"}), "/variables/spare"),
        (one("image.resize", {"width": {"$var": "w"}}), "/steps/a/params/width"),
        (one("image.resize", {"width": {"$var": "w"}}, w={"type": "date"}), "/variables/w/type"),
        (
            one("image.resize", {"width": {"$var": "w"}}, w={"type": "integer", "default": "5"}),
            "/variables/w/default",
        ),
        (
            one("image.resize", {"width": {"$var": "w"}}, w={"type": "integer", "default": 0}),
            "/steps/a/params/width",
        ),
        (one("image.resize", {"width": 0}), "/steps/a/params/width"),
        (one("pdf.decrypt", {"password": "sesame"}), "/steps/a/params/password"),
        (
            one(
                "pdf.decrypt",
                {"password": {"$var": "p"}},
                p={"type": "string", "default": "sesame"},
            ),
            "/steps/a/params/password",
        ),
        ({"steps": {"a": {"operation": "file.probe", "needs": ["b"]}}}, "/steps/a/needs/0"),
    ],
)
async def test_a_template_that_could_never_work_is_refused(
    api: Any, definition: Any, pointer: str
) -> None:
    assert pointer in await pointers(await api.put(ADDRESS, json=definition))
    await problem(await api.get(ADDRESS), 404, "not_found")


async def test_an_unknown_operation_is_refused(api: Any) -> None:
    answer = await api.put(ADDRESS, json=one("no.such", {}))
    assert await pointers(answer, "unknown_operation") == {"/steps/a/operation"}


async def test_a_password_is_a_variable_and_is_never_shown(api: Any, store: Store) -> None:
    await keep(api, one("pdf.decrypt", {"password": {"$var": "p"}}, p={"type": "string"}))
    job = {"template": "thumbs", "variables": {"p": "sesame"}}
    headers, body = form(
        (field("job"), json.dumps(job).encode()),
        (file_part("a.pdf"), b"%PDF-1.7\n" + bytes(20) + b"%%EOF"),
    )
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    assert "sesame" not in await answer.text()
    kept = await store.jobs.get("local", (await answer.json())["id"])
    assert kept.document.steps[0].params["password"] == "sesame"


async def test_a_deleted_template_is_gone_with_all_its_versions(api: Any) -> None:
    await keep(api)
    await keep(api, changed(description="Other"))
    assert (await api.delete(ADDRESS)).status == 204
    await problem(await api.delete(ADDRESS), 404, "not_found")
    await problem(await api.get(ADDRESS, params={"version": 1}), 404, "not_found")
    assert await (await api.get("/v1/templates")).json() == {"data": []}
    assert (await keep(api))["version"] == 1


async def test_templates_are_the_owners_own(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    mine, theirs = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("mine", "theirs")
    ]
    assert (await api.put(ADDRESS, json=THUMBS, headers=mine)).status == 200
    await problem(await api.get(ADDRESS, headers=theirs), 404, "not_found")
    await problem(await api.delete(ADDRESS, headers=theirs), 404, "not_found")
    listed = await (await api.get("/v1/templates", headers=theirs)).json()
    assert listed == {"data": []}
    await problem(await api.get(ADDRESS), 401, "unauthorized")


async def test_the_same_request_is_the_same_job_though_the_template_changed(api: Any) -> None:
    await keep(api)
    first = await (await ask(api, "thumbs", "k1", name="x")).json()
    await keep(api, changed(description="Other"))
    assert (await (await ask(api, "thumbs", "k1", name="x")).json())["id"] == first["id"]
    other = await ask(api, "thumbs", "k1", name="y")
    await problem(other, 422, "idempotency_mismatch")
    pinned = await ask(api, "thumbs@1", "k1", name="x")
    await problem(pinned, 422, "idempotency_mismatch")


@pytest.mark.parametrize("as_form", [True, False])
@pytest.mark.parametrize("fate", ["deleted", "takes other values", "takes other files"])
async def test_a_repetition_is_answered_whatever_became_of_the_template(
    api: Any, fate: str, *, as_form: bool
) -> None:
    await keep(api)
    job = await (await ask(api, "thumbs", name="x")).json()

    async def again(name: str = "x") -> Any:
        if as_form:
            return await ask(api, "thumbs", "k1", name=name)
        files = [{"file_id": job["inputs"][0]["file_id"]}]
        body = {"template": "thumbs", "variables": {"name": name}, "inputs": files}
        return await api.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})

    first = await (await again()).json()
    await api.delete(ADDRESS)
    if fate == "takes other values":
        await keep(api, one("image.resize", {"width": {"$var": "w"}}, w={"type": "integer"}))
    if fate == "takes other files":
        await keep(api, one("pdf.merge", {}))
    repeated = await again()
    assert repeated.status == 202, await repeated.text()
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert await repeated.json() == first
    await problem(await again("y"), 422, "idempotency_mismatch")
    assert len((await (await api.get("/v1/jobs")).json())["data"]) == 2


async def test_a_definition_has_a_size_and_an_owner_a_number_of_them(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = one("file.probe", {"x": "x" * 70_000})
    await problem(await api.put(ADDRESS, json=large), 413, "too_large")
    monkeypatch.setattr(stored, "MOST_TEMPLATES", 2)
    for name in ("a", "b"):
        await keep(api, address=f"/v1/templates/{name}")
    await keep(api, changed(description="Other"), "/v1/templates/a")
    await problem(await api.put("/v1/templates/c", json=THUMBS), 429, "quota_exceeded")


async def test_old_versions_are_forgotten(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_VERSIONS", 2)
    for number in range(4):
        await keep(api, changed(description=str(number)))
    for version, status in ((1, 404), (2, 404), (3, 200), (4, 200)):
        assert (await api.get(ADDRESS, params={"version": version})).status == status
