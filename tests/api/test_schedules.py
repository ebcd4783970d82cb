"""Recurring jobs: over a URL, over what is new below a prefix, once for each time that is due."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from fileproc.api.schedule_models import RunList, ScheduleList, ScheduleView
from fileproc.objects import open_connections
from fileproc.settings import Auth
from fileproc.store import Grant, Role, Store
from fileproc.views import MASK
from support.bucket import Bucket, listing_bucket
from support.clock import step_clock
from support.commands import start
from support.http import problem
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fileproc.settings import Settings
    from support.books import Books

URL = {"url": "https://example.com/rates.csv?token=hush"}
YEARLY = "0 4 1 1 *"
HASH = {"operation": "file.hash"}


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    async with listing_bucket() as opened:
        yield opened


@pytest.fixture
def settings(settings: Settings, bucket: Bucket) -> Settings:
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    keys = {
        "access_key_id": settings.s3_access_key_id.get_secret_value(),
        "secret_access_key": settings.s3_secret_access_key.get_secret_value(),
    }
    real = {"endpoint": settings.s3_endpoint, "bucket": settings.s3_bucket, "prefix": "theirs/"}
    known = {
        "box": {**keys, **real, "owners": ["*"], "write": True},
        "odd": {**keys, "endpoint": bucket.endpoint, "bucket": "b", "owners": ["*"]},
        "private": {**keys, **real, "owners": ["other"]},
    }
    return settings.model_copy(update={"connections": SecretStr(json.dumps(known))})


async def make(api: Any, **asked: Any) -> dict[str, Any]:
    body = {"cron": YEARLY, "source": URL, "job": HASH, **asked}
    answer = await api.post("/v1/schedules", json=body)
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/schedules/{made['id']}"
    ScheduleView.model_validate(made)
    return made


async def look(api: Any, schedule: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await (await api.get(f"/v1/schedules/{schedule['id']}")).json()
    return found


async def runs_of(api: Any, schedule: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await (await api.get(f"/v1/schedules/{schedule['id']}/runs")).json()
    RunList.model_validate(answer)
    found: list[dict[str, Any]] = answer["data"]
    return found


async def fired(api: Any, schedule: dict[str, Any], times: int = 1) -> dict[str, Any]:
    """The schedule once it has been fired so often, and is at rest."""

    async def rests() -> Any:
        now = await look(api, schedule)
        return not now["running"] and len(await runs_of(api, schedule)) >= times and now

    found: dict[str, Any] = await eventually(rests, within_s=60)
    ScheduleView.model_validate(found)
    return found


async def run(api: Any, schedule: dict[str, Any]) -> dict[str, Any]:
    """Run it by hand; returns what came of it."""
    before = len(await runs_of(api, schedule))
    answer = await api.post(f"/v1/schedules/{schedule['id']}/run")
    assert answer.status == 202, await answer.text()
    last: dict[str, Any] = (await fired(api, schedule, before + 1))["last_run"]
    return last


async def jobs_of(api: Any, run: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = await api.get("/v1/jobs", params={"batch": run["batch_id"], "limit": "200", **query})
    data: list[dict[str, Any]] = (await answer.json())["data"]
    return data


def until(schedule: dict[str, Any], books: Books) -> None:
    """Let the time pass until it is due."""
    left = datetime.fromisoformat(schedule["next_run_at"]) - datetime.now(UTC)
    step_clock(books.redis, books.prefix, int(left.total_seconds() * 1000) + 1000)


async def test_a_url_is_fetched_anew_each_time_by_a_job_with_all_its_options(
    api: Any, books: Books
) -> None:
    job = {
        **HASH,
        "labels": {"of": "night"},
        "priority": "low",
        "retention_s": 3600,
        "deliver": [{"url": "s3://box/out/"}],
        "webhook": {"url": "https://example.com/hook"},
    }
    hook = {"url": "https://example.com/batches"}
    made = await make(api, name="rates", timezone="Europe/Berlin", job=job, webhook=hook)
    assert made["source"] == {"url": "https://example.com/rates.csv?********", "name": None}
    assert made["next_run_at"].endswith("-01-01T03:00:00Z")
    assert (made["state"], made["last_run"], made["failures"]) == ("active", None, 0)
    until(made, books)
    now = await fired(api, made)
    last = now["last_run"]
    assert (last["trigger"], last["outcome"], last["jobs"]) == ("cron", "accepted", 1)
    assert datetime.fromisoformat(now["next_run_at"]) > datetime.now(UTC)
    batch = await (await api.get(now["links"]["last_batch"])).json()
    assert (batch["name"], batch["schedule"], batch["total"]) == ("rates", made["id"], 1)
    assert batch["webhook"]["events"] == ["batch.completed"]
    (done,) = await jobs_of(api, last)
    assert (done["labels"], done["priority"]) == ({"of": "night"}, "low")
    assert done["inputs"][0]["url"].startswith("https://example.com/rates.csv?")
    until(now, books)
    assert (await fired(api, made, 2))["last_run"]["batch_id"] != last["batch_id"]
    metrics = await (await api.get("/metrics")).text()
    assert 'fileproc_schedule_firings_total{outcome="accepted"}' in metrics


async def test_each_object_below_a_prefix_gets_its_job_when_it_is_new_or_has_changed(
    api: Any, settings: Settings
) -> None:
    async with open_connections(settings) as connections:

        async def put(key: str, content: bytes) -> None:
            async def once() -> AsyncIterator[bytes]:
                yield content

            await connections.put("local", f"s3://box/{key}", once(), content_type="text/plain")

        for key in ("in/a.csv", "in/deep/b.csv", "in/c.txt", "other/d.csv"):
            await put(key, b"1")
        source = {"prefix": "s3://box/in/", "suffix": ".csv"}
        made = await make(api, source=source, job={"steps": {"hash": HASH}})
        first = await run(api, made)
        urls = [job["inputs"][0]["url"] for job in await jobs_of(api, first)]
        assert sorted(urls) == ["s3://box/in/a.csv", "s3://box/in/deep/b.csv"]
        again = await run(api, made)
        assert (again["outcome"], again["batch_id"], again["jobs"]) == ("nothing", None, 0)
        await put("in/a.csv", b"2")
        await put("in/e.csv", b"1")
        names = [job["inputs"][0]["name"] for job in await jobs_of(api, await run(api, made))]
        assert sorted(names) == ["a.csv", "e.csv"]
        await api.patch(f"/v1/schedules/{made['id']}", json={"source": {**source, "take": "all"}})
        assert (await run(api, made))["jobs"] == 3


async def test_thousands_of_keys_and_hostile_ones(serve: Any, bucket: Bucket, store: Store) -> None:
    api = await serve(max_schedule_jobs=700, max_schedule_objects=1500)
    bucket.objects = {f"in/{number:05}.bin": "e" for number in range(1200)}
    made = await make(api, source={"prefix": "s3://odd/in/"})
    found = [await run(api, made) for _ in range(3)]
    assert [(each["jobs"], each["left"]) for each in found] == [(700, 500), (500, 0), (0, 0)]
    assert len(await store.schedules.taken(made["id"])) == 1200
    odd = [
        "a/../../b",
        "a//b",
        "./a",
        "back\\slash",
        "line\nbreak",
        "nul\0",
        "\u202eevil",
        "x" * 950,
    ]
    fine = ["ü ö?#%2e&.txt", "'\";<script>", "..."]
    bucket.objects = {f"in/{key}": "e" for key in (*odd, *fine, "folder/")}
    now = await run(api, made)
    assert (now["jobs"], now["skipped"]) == (len(fine), len(odd))
    names = {job["inputs"][0]["name"] for job in await jobs_of(api, now)}
    assert "ü ö?#%2e&.txt" in names
    assert len(await store.schedules.taken(made["id"])) == len(fine)  # what has gone is forgotten
    bucket.objects = {f"in/{number}": "e" for number in range(1501)}
    now = await run(api, made)
    assert (now["outcome"], now["error"]["code"]) == ("refused", "too_large")
    assert "more than 1500 objects" in now["error"]["detail"]
    assert len(await store.schedules.taken(made["id"])) == len(fine)


async def test_what_is_refused_is_told_to_its_owner_and_tried_the_next_time(
    serve: Any, store: Store, bucket: Bucket, books: Books
) -> None:
    api = await serve()
    bucket.objects = {"in/a": "1", "in/b": "1"}
    made = await make(api, source={"prefix": "s3://odd/in/"})
    await store.owners.set("local", Grant(jobs_per_day=1))
    until(made, books)
    now = await fired(api, made)
    error = now["last_error"]
    assert (now["failures"], error["code"], error["status"]) == (1, "quota_exceeded", 429)
    assert now["state"] == "active"
    assert now["next_run_at"] is not None
    await store.owners.set("local", Grant(jobs_per_day=2))
    last = await run(api, made)  # both objects are still to be taken
    assert last["jobs"] == 2
    now = await look(api, made)
    assert (now["failures"], now["last_error"]) == (0, None)
    # A storage that is away is tried again within the same firing.
    bucket.status, bucket.listed = 503, 0
    await api.post(f"/v1/schedules/{made['id']}/run")
    await eventually(lambda: bucket.listed, within_s=60)
    bucket.status, bucket.objects = 200, {}

    async def rests() -> bool:
        step_clock(books.redis, books.prefix, 60_000)
        return not (await look(api, made))["running"]

    await eventually(rests, within_s=60, every_s=0.3)
    assert (await look(api, made))["last_run"]["outcome"] == "nothing"


async def test_several_apis_fire_once_and_what_was_missed_is_made_up_for_once(
    serve: Any, store: Store, books: Books
) -> None:
    api = await serve()
    made = [await make(api) for _ in range(8)]
    hourly = await make(api, cron="0 * * * *")
    step_clock(books.redis, books.prefix, 366 * 86_400_000)  # for a year nobody was there
    for _ in range(3):
        await serve()
    for schedule in (*made, hourly):
        await fired(api, schedule)
    step_clock(books.redis, books.prefix, -7_200_000)  # the clock is set back
    await asyncio.sleep(1.5)  # three rounds of four apis, for all that could be due
    for schedule in (*made, hourly):
        (only,) = await runs_of(api, schedule)
        assert only["outcome"] == "accepted"
    batches = (await store.batches.list("local")).batches
    assert len(batches) == 9
    assert books.complaints() == []


async def test_killed_between_the_claim_and_the_end_it_is_fired_once_all_the_same(
    serve: Any, settings: Settings, store: Store, books: Books, tmp_path: Path
) -> None:
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    assert key
    assert secret
    given = {
        "FILEPROC_REDIS_URL": settings.redis_url.get_secret_value(),
        "FILEPROC_REDIS_PREFIX": settings.redis_prefix,
        "FILEPROC_S3_ENDPOINT": settings.s3_endpoint or "",
        "FILEPROC_S3_BUCKET": settings.s3_bucket,
        "AWS_ACCESS_KEY_ID": key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
        "FILEPROC_AUTH": "off",
        "FILEPROC_PORT": "0",
    }
    for point in ("before-accept", "accepted"):
        api = await serve()
        made = await make(api, cron="*/5 * * * *")
        await api.close()  # nobody fires but the one that dies
        until(made, books)
        process = start(
            *("api",),
            cwd=tmp_path,
            log=tmp_path / f"{point}.log",
            settings={**given, "FILEPROC_CRASH_AT": point},
        )
        await asyncio.to_thread(process.wait, 120)
        assert process.returncode == -9, (tmp_path / f"{point}.log").read_text()
        claimed = point == "before-accept"
        assert (await store.schedules.get("local", made["id"])).firing == claimed
        step_clock(books.redis, books.prefix, 31_000 if claimed else 0)
        api = await serve()
        now = await fired(api, made)
        await api.delete(f"/v1/schedules/{made['id']}")
        assert now["last_run"]["trigger"] == "cron"
        batches = (await store.batches.list("local")).batches
        assert [batch.id for batch in batches if batch.document.schedule == made["id"]] == [
            now["last_run"]["batch_id"]
        ]
        await api.close()


async def test_it_is_changed_paused_resumed_and_deleted(api: Any) -> None:
    made = await make(api, paused=True)
    path = f"/v1/schedules/{made['id']}"
    assert (made["state"], made["next_run_at"]) == ("paused", None)
    change = {"name": "mine", "cron": "15 * * * *", "webhook": {"url": "https://example.com/a"}}
    answer = await api.patch(path, json=change)
    now = await answer.json()
    assert (answer.status, now["name"], now["next_run_at"]) == (200, "mine", None)
    answer = await api.patch(path, json={"name": None, "webhook": None, "cron": None})
    now = await answer.json()
    assert (now["name"], now["webhook"], now["cron"]) == (None, None, "15 * * * *")
    now = await (await api.post(f"{path}/resume")).json()
    assert now["next_run_at"][14:16] == "15"
    now = await (await api.patch(path, json={"cron": "45 * * * *"})).json()
    assert now["next_run_at"][14:16] == "45"
    assert (await (await api.post(f"{path}/resume")).json())["version"] == now["version"]
    now = await (await api.post(f"{path}/pause")).json()
    assert (now["state"], now["next_run_at"]) == ("paused", None)
    assert (await run(api, made))["trigger"] == "manual"
    assert (await look(api, made))["next_run_at"] is None
    page = await (await api.get("/v1/schedules")).json()
    ScheduleList.model_validate(page)
    assert [each["id"] for each in page["data"]] == [made["id"]]
    assert (await api.delete(path)).status == 204
    for method, end in (("GET", ""), ("POST", "/run"), ("PATCH", ""), ("DELETE", "")):
        answer = await api.request(method, path + end, json={} if method == "PATCH" else None)
        await problem(answer, 404, "not_found")


async def test_what_cannot_be_done_is_refused_when_it_is_asked_for(serve: Any) -> None:
    api = await serve(min_schedule_interval_s=300, max_schedules_per_owner=1)
    prefix = {"prefix": "s3://box/in/"}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"cron": "* * * *"}, "invalid_request", "/cron"),
        ({"cron": "*/4 * * * *"}, "invalid_request", "/cron"),
        ({"cron": "0 0 30 2 *"}, "invalid_request", "/cron"),
        ({"timezone": "Mars/Olympus"}, "invalid_request", "/timezone"),
        ({"source": {}}, "invalid_request", "/source/url"),
        ({"source": {"url": "http://127.0.0.1:1/"}}, "url_not_allowed", "/job/inputs/0/url"),
        ({"source": {"url": "s3://private/a"}}, "url_not_allowed", "/job/inputs/0/url"),
        ({"source": {"prefix": "s3://private/"}}, "url_not_allowed", "/source/prefix"),
        ({"source": {"prefix": "s3://box/a/../b"}}, "url_not_allowed", "/source/prefix"),
        ({"source": {**prefix, "max_objects": 0}}, "invalid_request", "/source/max_objects"),
        ({"job": {}}, "invalid_request", "/job/operation"),
        ({"job": {"operation": "no.such"}}, "unknown_operation", "/job/operation"),
        ({"job": {**HASH, "params": {"x": 1}}}, "invalid_request", "/job/params/x"),
        ({"job": {**HASH, "run_at": "2099-01-01T00:00:00Z"}}, "invalid_request", "/job/run_at"),
        ({"job": {**HASH, "inputs": 1}}, "invalid_request", "/job/inputs"),
        ({"webhook": {"url": "http://10.0.0.1/"}}, "url_not_allowed", "/webhook/url"),
        (
            {"source": prefix, "job": {**HASH, "deliver": [{"url": "s3://box/in/out/"}]}},
            *("invalid_request", "/job/deliver/0/url"),
        ),
        (
            {
                "source": {"prefix": "s3://box/re"},
                "job": {**HASH, "deliver": [{"url": "s3://box/"}]},
            },
            *("invalid_request", "/job/deliver/0/url"),
        ),
        (
            {"job": {**HASH, "deliver": [{"url": "s3://private/"}]}},
            *("url_not_allowed", "/job/deliver/0/url"),
        ),
        ({"surplus": 1}, "invalid_request", "/surplus"),
    ]
    for asked, code, pointer in cases:
        body = {"cron": YEARLY, "source": URL, "job": HASH, **asked}
        document = await problem(await api.post("/v1/schedules", json=body), 422, code)
        assert pointer in {error["pointer"] for error in document["errors"]}, (asked, document)
    big = {"cron": YEARLY, "source": URL, "job": {**HASH, "metadata": {"a": "x" * 70_000}}}
    await problem(await api.post("/v1/schedules", json=big), 413, "too_large")
    made = await make(api, source=prefix, job={**HASH, "deliver": [{"url": "s3://box/"}]})
    path = f"/v1/schedules/{made['id']}"
    await problem(await api.patch(path, json={"cron": "*/4 * * * *"}), 422, "invalid_request")
    assert (await look(api, made))["version"] == made["version"]
    body = {"cron": YEARLY, "source": URL, "job": HASH}
    document = await problem(await api.post("/v1/schedules", json=body), 429, "quota_exceeded")
    assert document["limit"] == "max_schedules_per_owner"


async def test_secrets_of_a_schedule_are_not_shown_and_bound_keys_make_none(
    serve: Any, store: Store
) -> None:
    api = await serve(auth=Auth.REQUIRED)
    user = await store.keys.create("acme", Role.USER)
    bound = await store.keys.create("acme", Role.USER, scopes=["operation:pdf.*"])
    encrypt = {"operation": "pdf.encrypt", "params": {"user_password": "hush hush"}}
    target = {"url": "https://example.com/put?sig=hush", "headers": {"x-amz-meta-a": "hush"}}
    job = {"steps": {"lock": encrypt}, "deliver": [target]}
    body = {"cron": YEARLY, "source": {"url": "https://example.com/a.pdf?sig=hush"}, "job": job}
    headers = {"Authorization": f"Bearer {user.token}"}
    answer = await api.post("/v1/schedules", json=body, headers=headers)
    assert answer.status == 201, await answer.text()
    assert "hush" not in await answer.text()
    lock = {"operation": "pdf.encrypt", "params": {"user_password": {"$var": "password"}}}
    template = {"variables": {"password": {"type": "string"}}, "steps": {"lock": lock}}
    assert (await api.put("/v1/templates/lock", json=template, headers=headers)).status == 200
    filled = {"template": "lock", "variables": {"password": "hush hush"}}
    answer = await api.post("/v1/schedules", json={**body, "job": filled}, headers=headers)
    assert answer.status == 201, await answer.text()
    assert (await answer.json())["job"]["variables"] == {"password": MASK}
    headers = {"Authorization": f"Bearer {bound.token}"}
    await problem(await api.post("/v1/schedules", json=body, headers=headers), 403, "forbidden")
    text = await (await api.get("/v1/schedules", headers=headers)).text()
    assert "pdf.encrypt" in text
    assert "hush" not in text
