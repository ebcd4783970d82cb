"""Every route as it can be called: what stands in its path and in its body, by example.

A route that is new joins the tests over all routes by itself. What it takes that no other has taken
yet is said here, and the tests fail with that sentence until it is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fileproc.api.endpoints import Body, Endpoint, Tag
from fileproc.api.routes import ENDPOINTS
from fileproc.ids import new_id
from fileproc.store import Role, Store
from fileproc.webhooks import JOBS
from support.http import Hands

PRIVATE: Final = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
PUBLIC: Final = [endpoint for endpoint in ENDPOINTS if endpoint.public]

Headers = dict[str, str]
_PARAMETER = re.compile(r"\{(\w+)\}")

# What everybody sees, and addresses at which a caller makes something of its own.
SHARED: Final = frozenset(
    {"/v1/operations/{name}", "/v1/admin/owners/{owner}", "/v1/admin/lanes/{lane}"}  # for admins
)
MAKING: Final = frozenset({"putJob", "putTemplate"})

TEMPLATE: Final[dict[str, Any]] = {"steps": {"hash": {"operation": "file.hash"}}}

SCHEDULE: Final[dict[str, Any]] = {
    "cron": "0 4 1 1 *",
    "source": {"url": "https://example.com/a"},
    "job": {"operation": "file.hash"},
}

# A body that each endpoint takes which takes JSON.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "createBatch": {"jobs": [{"operation": "debug.sleep", "params": {"seconds": 0}}]},
    "createKey": {"owner": "acme"},
    "createSchedule": SCHEDULE,
    "changeSchedule": {},
    "createUploadToken": {"template": "thumbs"},
    "createUpload": {"size": 5},
    "createLink": {"job_id": "job_01kqb4h0nme8atrb9rgb0yvm3j"},
    "putOwner": {"weight": 2},
    "createWebhook": {"url": "https://example.com/hook"},
    "changeWebhook": {},
    "putTemplate": TEMPLATE,
    "retryJob": {},
    "retryJobs": {},
    "rotateKey": {},
}


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Someone:
    """An owner at work: through the api with a key of its own, and with a worker's hands."""

    api: Any
    store: Store
    hands: Hands
    headers: Headers

    @classmethod
    async def of(
        cls, owner: str, role: Role, api: Any, store: Store, hands: Hands, **more: Any
    ) -> Someone:
        key = await store.keys.create(owner, role, **more)
        return cls(api, store, hands, bearer(key.token))

    async def submit(self) -> dict[str, Any]:
        answer = await self.api.put("/v1/jobs/file.probe", data=b"x", headers=self.headers)
        assert answer.status == 202, await answer.text()
        job: dict[str, Any] = await answer.json()
        return job

    async def call(self, endpoint: Endpoint, values: tuple[str, ...] = ()) -> Any:
        return await call(self.api, endpoint, values, headers=self.headers)


# From an owner to values for the parameters of a path: of things of its own, and last of none.
Makers = Callable[[Someone], Awaitable[list[tuple[str, ...]]]]


async def _jobs(someone: Someone) -> list[tuple[str, ...]]:
    running = await someone.submit()
    await someone.hands.take()
    done = await someone.submit()
    await someone.hands.succeed(await someone.hands.take(), ("o", "text/plain", b"x"))
    deleted = await someone.submit()
    await someone.api.delete(f"/v1/jobs/{deleted['id']}", headers=someone.headers)
    queued = await someone.submit()
    ids = [str(job["id"]) for job in (running, done, deleted, queued)]
    return [(job_id,) for job_id in (*ids, new_id("job"))]


async def _templates(someone: Someone) -> list[tuple[str, ...]]:
    answer = await someone.api.put("/v1/templates/mine", json=TEMPLATE, headers=someone.headers)
    assert answer.status == 200, await answer.text()
    return [("mine",), ("none",)]


async def _batches(someone: Someone) -> list[tuple[str, ...]]:
    body = BODIES["createBatch"]
    answer = await someone.api.post("/v1/batches", json=body, headers=someone.headers)
    assert answer.status == 202, await answer.text()
    return [((await answer.json())["id"],), (new_id("batch"),)]


async def _schedules(someone: Someone) -> list[tuple[str, ...]]:
    answer = await someone.api.post("/v1/schedules", json=SCHEDULE, headers=someone.headers)
    assert answer.status == 201, await answer.text()
    return [((await answer.json())["id"],), (new_id("sched"),)]


async def _webhooks(someone: Someone) -> list[tuple[str, ...]]:
    body = BODIES["createWebhook"]
    answer = await someone.api.post("/v1/webhooks", json=body, headers=someone.headers)
    assert answer.status == 201, await answer.text()
    return [((await answer.json())["id"],), (new_id("wh"),)]


async def _deliveries(someone: Someone) -> list[tuple[str, ...]]:
    (webhook_id,), _ = await _webhooks(someone)
    path = f"/v1/webhooks/{webhook_id}/test"
    sent = await (await someone.api.post(path, headers=someone.headers)).json()
    return [(webhook_id, sent["id"]), (JOBS, sent["id"]), (new_id("wh"), new_id("msg"))]


async def _keys(someone: Someone) -> list[tuple[str, ...]]:
    key = await someone.store.keys.create("acme", Role.USER)
    return [(key.info.id,), ("0" * 12,)]


async def _files(someone: Someone) -> list[tuple[str, ...]]:
    ids = []
    for _ in range(2):
        answer = await someone.api.post("/v1/files", data=b"x", headers=someone.headers)
        assert answer.status == 201, await answer.text()
        ids.append(str((await answer.json())["id"]))
    await someone.api.delete(f"/v1/files/{ids[0]}", headers=someone.headers)
    return [(file_id,) for file_id in (*ids, new_id("file"))]


async def _uploads(someone: Someone) -> list[tuple[str, ...]]:
    ids = []
    for size in (5, 5, 100 * 1024 * 1024):
        answer = await someone.api.post("/v1/uploads", json={"size": size}, headers=someone.headers)
        assert answer.status == 201, await answer.text()
        ids.append(str((await answer.json())["id"]))
    await someone.api.delete(f"/v1/uploads/{ids[0]}", headers=someone.headers)
    return [(upload_id,) for upload_id in (*ids, new_id("upload"))]


async def _resumable(someone: Someone) -> list[tuple[str, ...]]:
    ids = []
    for _ in range(2):
        headers = {**someone.headers, "Tus-Resumable": "1.0.0", "Upload-Length": "5"}
        answer = await someone.api.post("/v1/tus", headers=headers)
        assert answer.status == 201, await answer.text()
        ids.append(answer.headers["Location"].rpartition("/")[2])
    headers = {**someone.headers, "Tus-Resumable": "1.0.0"}
    await someone.api.delete(f"/v1/tus/{ids[0]}", headers=headers)
    return [(upload_id,) for upload_id in (*ids, new_id("upload"))]


async def _links(someone: Someone) -> list[tuple[str, ...]]:
    job = await someone.submit()
    while (lease := await someone.hands.take()).job_id != job["id"]:
        pass  # others that wait
    await someone.hands.succeed(lease, ("o", "text/plain", b"x"))
    body = {"job_id": job["id"]}
    answer = await someone.api.post("/v1/links", json=body, headers=someone.headers)
    assert answer.status == 201, await answer.text()
    return [((await answer.json())["code"],), ("nosuchcode",)]


# By the address up to its last parameter.
MAKERS: Final[dict[str, Makers]] = {
    "/v1/jobs/{name}": _jobs,
    "/v1/batches/{batch}": _batches,
    "/v1/schedules/{schedule}": _schedules,
    "/v1/templates/{template}": _templates,
    "/v1/webhooks/{webhook}": _webhooks,
    "/v1/webhooks/{webhook}/deliveries/{delivery}": _deliveries,
    "/v1/keys/{key}": _keys,
    "/v1/files/{file}": _files,
    "/v1/uploads/{upload}": _uploads,
    "/v1/tus/{upload}": _resumable,
    "/v1/links/{code}": _links,
    "/d/{code}": _links,
}


def place_of(endpoint: Endpoint) -> str | None:
    """Its address up to the last parameter; None where it has none, or none that is anybody's."""
    last = max((found.end() for found in _PARAMETER.finditer(endpoint.path)), default=0)
    place = endpoint.path[:last]
    if not last or place in SHARED or endpoint.operation_id in MAKING:
        return None
    assert place in MAKERS, f"Say in {__name__}.MAKERS what stands in {endpoint.path}."
    return place


async def call(api: Any, endpoint: Endpoint, values: tuple[str, ...] = (), **more: Any) -> Any:
    """One request; parameters without a value get one that is well-formed."""
    given = iter(values)
    path = _PARAMETER.sub(
        lambda found: next(given, None) or _example(endpoint, found[1]), endpoint.path
    )
    if endpoint.payload is not None:
        assert endpoint.operation_id in BODIES, (
            f"Say in {__name__}.BODIES what {endpoint.operation_id} takes."
        )
        more.setdefault("json", BODIES[endpoint.operation_id])
    elif endpoint.body in {Body.FILE, Body.UPLOAD, Body.BYTES}:
        more.setdefault("data", b"x")
    elif endpoint.tag is Tag.TUS:
        piece = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        begun = {"Upload-Length": "5"} if endpoint.method == "POST" else piece
        override = {"X-HTTP-Method-Override": "DELETE"}
        extra = {"Tus-Resumable": "1.0.0", **begun, **override}
        more["headers"] = {**extra, **more.get("headers", {})}
        if endpoint.method == "PATCH":
            more.setdefault("data", b"x")
    more.setdefault("allow_redirects", False)
    return await api.request(more.pop("method", endpoint.method), path, **more)


def _example(endpoint: Endpoint, parameter: str) -> str:
    if parameter == "name" and (endpoint.body is Body.FILE or "/operations/" in endpoint.path):
        return "file.probe"
    ids = {"batch": new_id("batch"), "webhook": new_id("wh"), "delivery": new_id("msg")}
    ids |= {"schedule": new_id("sched"), "lane": "default", "code": "c" * 9}
    return {"key": "0" * 12, **ids}.get(
        parameter, new_id("job") if parameter == "name" else "thumbs"
    )
