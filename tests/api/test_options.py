"""What can be said of any job: when it may start, how long it may wait and take, how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fileproc.jobs import JobState
from fileproc.worker.executor import limits_for
from support.clock import step_clock
from support.http import Hands, problem, submit

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from fileproc.store import Store
    from support.books import Books


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


async def job_of(api: Any, job_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/jobs/{job_id}")
    job: dict[str, Any] = await answer.json()
    return job


async def test_a_job_with_a_set_time_waits_for_it(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    job = await submit(api, run_at=in_an_hour())
    assert (job["state"], job["retry_at"]) == ("delayed", None)
    assert await job_of(api, job["id"]) == job
    other = await submit(api)
    assert (await hands.take()).job_id == other["id"]
    assert await store.upkeep.tick() == (0, 0)
    step_clock(books.redis, books.prefix, 3_600_001)
    assert await store.upkeep.tick() == (1, 0)
    assert (await hands.take()).job_id == job["id"]


async def test_a_set_time_is_the_place_in_the_queue(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    """Not the moment at which it was told: who asks early for later overtakes nobody."""
    later = await submit(api, run_at=in_an_hour())
    queued = [(await submit(api))["id"] for _ in range(20)]
    step_clock(books.redis, books.prefix, 3_600_001)
    await store.upkeep.tick()
    taken = [(await hands.take()).job_id for _ in range(21)]
    assert taken == [*queued, later["id"]]


async def test_a_set_time_that_is_past_is_now(api: Any) -> None:
    for past in ("2020-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"):
        answer = await api.put("/v1/jobs/file.probe", data=b"x", params={"run_at": past})
        if answer.status == 422:  # before all time
            continue
        assert (await answer.json())["state"] == "queued"


async def test_a_job_that_waits_too_long_expires_and_can_be_repeated(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    job = await submit(api, expires_in="60")
    started = await submit(api, expires_in="60")
    begin = datetime.fromisoformat(job["created_at"])
    assert datetime.fromisoformat(job["start_before"]) == begin + timedelta(seconds=60)
    lease = await hands.take()
    assert lease.job_id == job["id"]  # this one starts in time
    step_clock(books.redis, books.prefix, 60_001)
    assert await store.upkeep.tick() == (0, 1)
    late = await job_of(api, started["id"])
    assert (late["state"], late["links"].get("retry") is not None) == ("expired", True)
    assert (await job_of(api, job["id"]))["state"] == "running"
    document = await problem(await api.get(f"/v1/jobs/{started['id']}/result"), 409, "no_result")
    assert document["state"] == "expired"
    again = await (await api.post(f"/v1/jobs/{started['id']}/retry")).json()
    assert (again["state"], again["start_before"] is not None) == ("queued", True)


async def test_a_deadline_counts_from_the_set_time(api: Any, store: Store, books: Books) -> None:
    job = await submit(api, run_at=in_an_hour(), expires_in="60")
    run_at = datetime.fromisoformat(job["run_at"])
    assert datetime.fromisoformat(job["start_before"]) == run_at + timedelta(seconds=60)
    step_clock(books.redis, books.prefix, 3_600_001)
    assert await store.upkeep.tick() == (1, 0)
    step_clock(books.redis, books.prefix, 60_001)
    assert await store.upkeep.tick() == (0, 1)
    assert (await job_of(api, job["id"]))["state"] == "expired"


async def test_a_head_start_of_priority_is_one_of_time(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    """High overtakes what is less than a minute older; older than that, nothing starves."""
    await store.upkeep.pause("default", "local")  # so that all of them wait, and none is ready
    old = await submit(api, priority="low")
    step_clock(books.redis, books.prefix, 0)
    normal = await submit(api)
    high = await submit(api, priority="high")
    await store.upkeep.resume("default", "local")
    order = [(await hands.take()).job_id for _ in range(3)]
    assert order == [high["id"], normal["id"], old["id"]]
    await store.upkeep.pause("default", "local")
    waited = await submit(api, priority="low")
    books.redis.zincrby(books.key("wait:default:local"), -120_001, waited["id"])
    books.redis.hincrby(books.key(f"job:{waited['id']}"), "sc", -120_001)  # two minutes ago
    late = await submit(api, priority="high")
    await store.upkeep.resume("default", "local")
    assert [(await hands.take()).job_id for _ in range(2)] == [waited["id"], late["id"]]


async def test_time_and_attempts_of_a_job_are_its_own(
    api: Any, hands: Hands, settings: Settings
) -> None:
    job = await submit(api, timeout_s="7", max_attempts="2", retention_s="600")
    assert (job["timeout_s"], job["max_attempts"]) == (7, 2)
    lease = await hands.take()
    assert (limits_for(settings, lease).timeout_s, lease.max_attempts) == (7, 2)
    await hands.fail(lease)
    ended = await hands.store.jobs.get("local", job["id"])
    assert ended.state is JobState.FAILED
    assert ended.expires_at is not None
    assert ended.finished_at is not None
    assert ended.expires_at - ended.finished_at == timedelta(seconds=600)
    again = await (await api.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert (again["timeout_s"], again["max_attempts"]) == (7, 2)


BEYOND: list[tuple[str, Any, int | None]] = [
    ("timeout_s", 301, 300),
    ("max_attempts", 4, 3),
    ("retention_s", 86_401, 86_400),
    ("expires_in", 2_592_001, 2_592_000),
    ("run_at", "2199-01-01T00:00:00Z", 2_592_000),
    ("timeout_s", 0, None),
    ("timeout_s", 2.5, None),
    ("expires_in", 0, None),
    ("expires_in", -5, None),
    ("run_at", "soon", None),
    ("run_at", "2026-01-01", None),
    ("run_at", 1_800_000_000, None),
    ("run_at", "2026-13-01T00:00:00Z", None),
    ("run_at", "2026-01-01T00:00:00", None),
]


async def test_an_option_beyond_its_limit_is_refused_by_name(api: Any) -> None:
    for name, value, most in BEYOND:
        body = {"operation": "debug.sleep", "params": {"seconds": 0}, name: value}
        document = await problem(await api.post("/v1/jobs", json=body), 422, "invalid_request")
        assert document["errors"][0]["pointer"] == f"/{name}"
        assert document["errors"][0].get("most") == most
        answer = await api.put("/v1/jobs/file.probe", data=b"x", params={name: str(value)})
        document = await problem(answer, 422, "invalid_request")
        assert document["errors"][0]["pointer"] == name


async def test_the_same_key_with_another_time_is_another_request(api: Any) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"operation": "debug.sleep", "params": {"seconds": 0}, "expires_in": 60}
    assert (await api.post("/v1/jobs", json=body, headers=key)).status == 202
    assert (await api.post("/v1/jobs", json=body, headers=key)).status == 202
    answer = await api.post("/v1/jobs", json={**body, "expires_in": 61}, headers=key)
    await problem(answer, 422, "idempotency_mismatch")
