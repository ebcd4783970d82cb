"""Files on their own: uploaded once, used by many jobs, gone when their time is over."""

from __future__ import annotations

import asyncio
import hashlib
import io
from typing import TYPE_CHECKING, Any

from fileproc.api import examples
from fileproc.api.file_models import FileList, FileView
from fileproc.ids import new_id
from fileproc.settings import Auth, Downloads
from fileproc.store import Role
from support.clock import step_clock
from support.http import field, file_part, form, jpeg, noise, problem

if TYPE_CHECKING:
    from fileproc.store import Store
    from support.books import Books
    from support.http import Hands

HOUR_MS = 3_600_000


async def upload(api: Any, content: bytes = b"hello", **query: Any) -> dict[str, Any]:
    answer = await api.post("/v1/files", data=content, params=query)
    assert answer.status == 201, await answer.text()
    file: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/files/{file['id']}"
    return file


async def use(api: Any, file_id: str, operation: str = "file.probe", **others: Any) -> Any:
    body = {"operation": operation, "inputs": [{"file_id": file_id}], **others}
    return await api.post("/v1/jobs", json=body)


def test_the_example_is_what_the_model_says() -> None:
    FileView.model_validate(examples.FILE)
    FileList.model_validate({"data": [examples.FILE], "next_cursor": None})


async def test_a_file_is_stored_looked_at_and_downloaded(api: Any, serve: Any) -> None:
    content = jpeg()
    file = await upload(api, content, filename="../a b.jpg")
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["size"], file["type"], file["jobs"]) == (len(content), "image/jpeg", 0)
    assert "/" not in file["name"]
    assert file["expires_at"] > file["created_at"]
    assert await (await api.get(file["links"]["self"])).json() == file
    answer = await api.get(file["links"]["content"], allow_redirects=False)
    assert answer.status == 302
    assert "response-content-disposition=attachment" in answer.headers["Location"]
    proxy = await serve(downloads=Downloads.PROXY)
    answer = await proxy.get(file["links"]["content"], headers={"Range": "bytes=2-5"})
    assert (answer.status, await answer.read()) == (206, content[2:6])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_form_with_one_file_will_do_and_no_other(api: Any, hands: Hands) -> None:
    headers, body = form((file_part("a.csv"), b"a,b\n1,2\n"))
    answer = await api.post("/v1/files", data=body, headers=headers)
    assert answer.status == 201
    file = await answer.json()
    assert (file["name"], file["type"]) == ("a.csv", "text/csv")
    one = (file_part("a.bin"), noise(200_000))
    for parts in ((one, one), (one, (field("job"), b"{}")), ((field("job"), b"{}"),), ()):
        headers, body = form(*parts)
        await problem(
            await api.post("/v1/files", data=body, headers=headers), 422, "invalid_request"
        )
    headers, body = form((file_part("a"), b""))
    await problem(await api.post("/v1/files", data=body, headers=headers), 422, "empty_file")
    assert await hands.files() == [f"files/{file['id']}"]


async def test_what_is_refused_leaves_nothing(serve: Any, hands: Hands) -> None:
    api = await serve(max_upload_bytes=1000, file_retention_s=7200, max_files_per_owner=1)

    async def send(content: Any, **others: Any) -> Any:
        return await api.post("/v1/files", data=content, **others)

    await problem(await send(b""), 422, "empty_file")
    await problem(await send(bytes(1001)), 413, "too_large")
    await problem(await send(io.BytesIO(bytes(100_000))), 413, "too_large")
    for retention in ("59", "7201", "x", "1e999", "-1"):
        answer = await send(b"x", params={"retention_s": retention})
        document = await problem(answer, 422, "invalid_request")
        assert document["errors"][0]["pointer"] == "retention_s"
    await problem(await send(b"x", params={"other": "1"}), 422, "invalid_request")
    packed = await send(b"x", headers={"Content-Encoding": "gzip"})
    await problem(packed, 415, "unsupported_media_type")
    assert await hands.files() == []
    await upload(api)
    document = await problem(await send(b"x"), 429, "quota_exceeded")
    assert (document["limit"], document["allowed"]) == ("max_files_per_owner", 1)
    assert len(await hands.files()) == 1


async def test_many_jobs_use_one_file(api: Any, hands: Hands) -> None:
    file = await upload(api, jpeg(), filename="a.jpg")
    jobs = [await use(api, file["id"]) for _ in range(5)]
    assert [job.status for job in jobs] == [202] * 5
    inputs = (await jobs[0].json())["inputs"]
    assert inputs[0]["sha256"] == file["sha256"]
    assert (await (await api.get(file["links"]["self"])).json())["jobs"] == 5
    for _ in range(4):
        await hands.succeed(await hands.take())
    await hands.fail(await hands.take())
    assert (await (await api.get(file["links"]["self"])).json())["jobs"] == 0
    assert await hands.files() == [f"files/{file['id']}"]
    wrong = await use(api, file["id"], "table.convert", params={"to": "csv"})
    await problem(wrong, 415, "type_mismatch")


async def test_a_deleted_file_goes_when_the_last_unfinished_job_is_over(
    api: Any, hands: Hands, books: Books
) -> None:
    file = await upload(api)
    failed = await (await use(api, file["id"])).json()
    await hands.fail(await hands.take())
    for _ in range(2):
        assert (await use(api, file["id"])).status == 202
    assert (await api.delete(file["links"]["self"])).status == 204
    for path in (file["links"]["self"], file["links"]["content"]):
        await problem(await api.get(path), 410, "gone")
    await problem(await api.delete(file["links"]["self"]), 410, "gone")
    await problem(await use(api, file["id"]), 404, "not_found")
    retry = await api.post(f"/v1/jobs/{failed['id']}/retry")
    assert (await problem(retry, 410, "gone"))["file_id"] == file["id"]
    key = f"files/{file['id']}"
    await hands.succeed(await hands.take())
    assert key not in books.zset("trash")
    lease = await hands.take()
    await api.post(f"/v1/jobs/{lease.job_id}/cancel")
    assert key not in books.zset("trash")
    await hands.fail(lease)
    assert key in books.zset("trash")
    await problem(await api.get(file["links"]["self"]), 410, "gone")


async def test_a_file_that_came_with_a_job_goes_with_it(api: Any) -> None:
    job = await (await api.put("/v1/jobs/file.probe", data=b"hello")).json()
    path = f"/v1/files/{job['inputs'][0]['file_id']}"
    file = await (await api.get(path)).json()
    assert (file["created_at"], file["expires_at"], file["jobs"]) == (None, None, None)
    assert (await api.get(path + "/content", allow_redirects=False)).status == 302
    await problem(await api.delete(path), 409, "file_of_job")
    assert (await (await api.get("/v1/files")).json())["data"] == []
    await api.delete(f"/v1/jobs/{job['id']}")
    await problem(await api.get(path), 404, "not_found")


async def test_a_file_ends_with_its_retention_but_not_under_a_job(
    api: Any, hands: Hands, store: Store, books: Books
) -> None:
    idle, used = [await upload(api, retention_s=3600) for _ in range(2)]
    later = await upload(api, retention_s=7200)
    await use(api, used["id"])
    step_clock(books.redis, books.prefix, HOUR_MS + 1)
    assert await store.files.expire() == 2
    assert await store.files.expire() == 0
    for file in (idle, used):
        await problem(await api.get(file["links"]["self"]), 410, "gone")
        await problem(await use(api, file["id"]), 404, "not_found")
    assert (await api.get(later["links"]["self"])).status == 200
    assert set(books.zset("trash")) == {f"files/{idle['id']}"}
    assert (await store.files.exists(used["id"]), await store.files.exists(idle["id"])) == (
        True,
        False,
    )
    await hands.succeed(await hands.take())
    assert set(books.zset("trash")) == {f"files/{idle['id']}", f"files/{used['id']}"}


async def test_lists_go_on_where_the_page_ends(api: Any) -> None:
    made = [(await upload(api, filename=f"{number}.txt"))["id"] for number in range(5)]
    seen: list[str] = []
    path = "/v1/files?limit=2"
    for _ in range(3):
        answer = await api.get(path)
        page = await answer.json()
        seen += [file["id"] for file in page["data"]]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert (path, page["next_cursor"]) == ("", None)
    assert seen == made[::-1]
    await problem(await api.get("/v1/files?cursor=%00"), 400, "bad_request")
    await problem(await api.get("/v1/files?limit=0"), 422, "invalid_request")


async def test_another_owners_file_is_as_one_that_never_was(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    mine, theirs = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("mine", "theirs")
    ]
    answer = await api.post("/v1/files", data=b"secret", headers=mine)
    file_id = (await answer.json())["id"]
    unknown = new_id("file")
    for wanted in (file_id, unknown, "file_x", "file_%0A", "x" * 300):
        path = f"/v1/files/{wanted}"
        answers = [
            await api.get(path, headers=theirs),
            await api.get(path + "/content", headers=theirs),
            await api.delete(path, headers=theirs),
        ]
        for answer in answers:
            await problem(answer, 404, "not_found")
    body = {"operation": "file.probe", "inputs": [{"file_id": file_id}]}
    await problem(await api.post("/v1/jobs", json=body, headers=theirs), 404, "not_found")
    assert (await (await api.get("/v1/files", headers=theirs)).json())["data"] == []
    await problem(await api.post("/v1/files", data=b"x"), 401, "unauthorized")
    assert (await api.delete(f"/v1/files/{file_id}", headers=mine)).status == 204
    await problem(await api.get(f"/v1/files/{file_id}", headers=theirs), 404, "not_found")


async def test_use_and_delete_at_once_never_leave_a_job_without_its_file(
    api: Any, hands: Hands, books: Books
) -> None:
    for _ in range(10):
        file = await upload(api)
        used, deleted = await asyncio.gather(
            use(api, file["id"]), api.delete(file["links"]["self"])
        )
        assert deleted.status == 204
        in_trash = f"files/{file['id']}" in books.zset("trash")
        assert (used.status, in_trash) in {(202, False), (404, True)}
        if used.status == 202:
            await hands.succeed(await hands.take())
