"""A store that has lost everything accepts nothing, and calls nothing unknown."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.settings import Auth
from fileproc.store import Role, Settlement
from fileproc.worker.janitor import Janitor
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper
from support.http import problem, submit
from support.jobs import make_job, make_result
from support.losses import keys_below, leased, store_object, take
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.store import Store
    from support.books import Books

WORK = {"operation": "debug.sleep", "params": {"seconds": 0}}
SCHEDULE = {
    "cron": "0 3 * * *",
    "source": {"url": "https://example.com/a.bin"},
    "job": {"operation": "file.hash"},
}


async def lost(resources: Resources, books: Books) -> None:
    """All of it is gone a while after the last of it is in the journal."""
    while await Shipper(resources, "test").ship():
        pass
    books.wipe()


async def test_a_repeat_between_the_loss_and_the_rebuild_makes_no_second_job(
    api: Any, resources: Resources, books: Books
) -> None:
    keyed = {"Idempotency-Key": "k"}
    first = await (await api.post("/v1/jobs", json=WORK, headers=keyed)).json()
    await lost(resources, books)
    for headers in (keyed, {}):
        answer = await api.post("/v1/jobs", json=WORK, headers=headers)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert "lost its data" in (await answer.json())["detail"]
    assert books.jobs() == {}
    await rebuild(resources)
    answer = await api.post("/v1/jobs", json=WORK, headers=keyed)
    assert (answer.status, (await answer.json())["id"]) == (202, first["id"])
    assert len(books.jobs()) == 1


async def test_nothing_is_kept_or_begun_there(api: Any, resources: Resources, books: Books) -> None:
    await submit(api)
    await lost(resources, books)
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/files", {"data": b"hello"}),
        ("POST", "/v1/uploads", {"json": {"size": 5}}),
        ("POST", "/v1/tus", {"headers": {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}}),
        ("POST", "/v1/batches", {"json": {"jobs": [WORK]}}),
        ("PUT", "/v1/templates/t", {"json": {"steps": {"a": WORK}}}),
        (
            "POST",
            "/v1/webhooks",
            {"json": {"url": "https://example.com/", "events": ["job.succeeded"]}},
        ),
        ("POST", "/v1/schedules", {"json": SCHEDULE}),
    ]
    for method, path, given in asked:
        answer = await api.request(method, path, **given)
        await problem(answer, 503, "store_unavailable")
    left = {name for name in books.look().names if not name.startswith(("trash", "limit:"))}
    assert left == set()
    assert await resources.objects.abort_uploads(older_than_s=-60) == 0


async def test_nothing_is_called_unknown_there(
    serve: Any, store: Store, resources: Resources, books: Books
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    key = {"Authorization": f"Bearer {(await store.keys.create('acme', Role.USER)).token}"}
    job = await (await api.post("/v1/jobs", json=WORK, headers=key)).json()
    await lost(resources, books)
    open_to_all = await serve()
    for one, headers in ((api, key), (open_to_all, {})):
        answer = await one.get(f"/v1/jobs/{job['id']}", headers=headers)
        await problem(answer, 503, "store_unavailable")
    lists = ("jobs", "files", "batches", "schedules", "links", "keys", "templates", "webhooks")
    for place in (*lists, "admin/owners"):
        await problem(await open_to_all.get(f"/v1/{place}"), 503, "store_unavailable")
    checks = (await (await api.get("/readyz")).json())["checks"]
    assert checks["redis"]["status"] == "failed"
    assert "fileproc_store_in_use 0.0" in await (await api.get("/metrics")).text()
    await rebuild(resources)
    await eventually(lambda: in_use(api))
    assert (await open_to_all.get("/v1/batches")).status == 200  # there are none
    assert (await api.get(f"/v1/jobs/{job['id']}", headers=key)).status == 200


async def in_use(api: Any) -> bool:
    return "fileproc_store_in_use 1.0" in await (await api.get("/metrics")).text()


async def test_a_new_store_is_in_use_as_soon_as_an_api_has_looked(serve: Any, books: Books) -> None:
    books.wipe()
    api = await serve()

    async def accepted() -> bool:
        return bool((await api.post("/v1/jobs", json=WORK)).status == 202)

    await eventually(accepted)


async def test_workers_take_and_collect_nothing_there(resources: Resources, books: Books) -> None:
    """What is settled again there is unknown to it, and yet published."""
    store = resources.store
    lease = await leased(store)
    result = make_result(lease)
    await store_object(resources, f"{result.prefix}0")
    settlement = Settlement.complete(lease, result)
    await store.queue.settle(settlement)
    await store.jobs.accept(make_job())
    await lost(resources, books)
    await store.queue.settle(settlement)
    janitor = Janitor(resources, "test")
    await janitor.round()
    await janitor.tidy()
    assert await keys_below(resources, result.prefix) == [f"{result.prefix}0"]
    real = store.journal.go_on_after

    async def late(last: tuple[int, int]) -> None:
        assert await take(store) == []  # all jobs are back, but not all else
        await real(last)

    store.journal.go_on_after = late  # type: ignore[method-assign] # looks, and does the same
    await rebuild(resources)
    await janitor.tidy()
    assert await keys_below(resources, result.prefix) == [f"{result.prefix}0"]
    assert len(await take(store)) == 1


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_worker_that_runs_finds_out(
    resources: Resources, books: Books, *, allowed: bool
) -> None:
    await resources.store.jobs.accept(make_job())
    await lost(resources, books)
    settings = resources.settings.model_copy(update={"rebuild_empty": allowed})
    for name in ("one", "another"):
        await Janitor(dataclasses.replace(resources, settings=settings), name).round()
    assert len(books.jobs()) == int(allowed)
    assert await resources.store.journal.empty() is not allowed
