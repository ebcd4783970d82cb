"""A job that is read again and again is told as it is at that moment, and only to its owner."""

from __future__ import annotations

from typing import Any

from fileproc.settings import Auth
from fileproc.store import Role, Settlement, Store, seen
from fileproc.store.seen import Seen
from support.books import Books
from support.http import Hands, problem
from support.jobs import PROBLEM


async def test_every_change_is_seen_at_once_in_every_process(
    serve: Any, store: Store, hands: Hands
) -> None:
    apis = [await serve(), await serve()]
    job = await (await apis[0].put("/v1/jobs/file.probe", data=b"x")).json()
    path = f"/v1/jobs/{job['id']}"

    async def told() -> tuple[str, int]:
        answers = [await api.get(path) for api in apis for _ in range(2)]
        texts = {await answer.text() for answer in answers}
        assert len(texts) == 1
        found = await answers[0].json()
        assert {answer.headers["ETag"] for answer in answers} == {f'"{found["version"]}"'}
        return found["state"], found["version"]

    seen_so_far = [await told()]
    lease = await hands.take()
    seen_so_far.append(await told())
    await store.queue.report_progress(lease, "default", '{"phase":"read","done":1}')
    seen_so_far.append(await told())
    await store.queue.settle(Settlement.retry(lease, PROBLEM, 3600))
    seen_so_far.append(await told())
    await store.jobs.cancel("local", job["id"])
    seen_so_far.append(await told())
    states = [state for state, _ in seen_so_far]
    assert states == ["queued", "running", "running", "delayed", "canceled"]
    assert len({version for _, version in seen_so_far}) == 5
    await apis[0].delete(path)
    for api in apis:
        await problem(await api.get(path), 410, "gone")


async def test_what_one_owner_has_read_is_not_told_to_another(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    acme, other = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("acme", "other")
    ]
    job = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=acme)).json()
    for _ in range(2):
        assert (await api.get(f"/v1/jobs/{job['id']}", headers=acme)).status == 200
        answer = await api.get(f"/v1/jobs/{job['id']}", headers=other)
        await problem(answer, 404, "not_found")


async def test_record_that_differs_in_anything_is_read_anew(api: Any, books: Books) -> None:
    """A replica that took over may give the same version to something else."""
    job = await (await api.put("/v1/jobs/file.probe", data=b"x")).json()
    path = f"/v1/jobs/{job['id']}"
    assert (await (await api.get(path)).json())["max_attempts"] == 3
    key = books.key(f"job:{job['id']}")
    books.redis.hset(key, "ma", 7)
    assert (await (await api.get(path)).json())["max_attempts"] == 7
    books.redis.hset(key, "ma", 3)


def test_few_and_short_texts_are_remembered() -> None:
    def fields(number: int) -> dict[str, str]:
        told = {"st": "queued", "own": "acme", "ln": "default", "v": str(number), "at": "0"}
        return {**told, "ma": "3", "ca": "1", "doc": '{"operation":"file.probe"}'}

    remembered, written = Seen(), 0

    def write(_: Any) -> bytes:
        nonlocal written
        written += 1
        return b"x" * size

    size = 10
    for _ in range(2):
        for number in range(seen.MOST_JOBS):
            remembered.read(f"job_{number}", "acme", fields(number), write)
    assert written == seen.MOST_JOBS
    remembered.read("job_new", "acme", fields(0), write)
    assert len(remembered._entries) == seen.MOST_JOBS
    size, written = seen.MOST_CHARACTERS + 1, 0
    for _ in range(2):
        remembered.read("job_long", "acme", fields(1), write)
    assert written == 2
