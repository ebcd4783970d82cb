"""Share links: what strangers get by a code, how often, and what they are never told."""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from fileproc.errors import GoneError, NotFoundError
from fileproc.resources import Resources
from fileproc.settings import Auth, Downloads
from fileproc.store import Memory, Role, Store, links
from fileproc.store.events import parse
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper
from support.books import Books
from support.http import Hands, problem, submit
from support.waiting import eventually

CONTENT = b"for you"


async def finished(api: Any, hands: Hands, *outputs: tuple[str, str, bytes]) -> str:
    job = await submit(api)
    outputs = outputs or (("photo.webp", "image/webp", CONTENT),)
    await hands.succeed(await hands.take(), *outputs)
    return str(job["id"])


async def shared(api: Any, job_id: str, **more: Any) -> dict[str, Any]:
    answer = await api.post("/v1/links", json={"job_id": job_id, **more})
    assert answer.status == 201, await answer.text()
    link: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/links/{link['code']}"
    return link


def follow(api: Any, link: dict[str, Any], **more: Any) -> Any:
    return api.get(link["path"], allow_redirects=False, **more)


def by_password(password: str, user: str = "") -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


async def looked_at(api: Any, link: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await (await api.get(f"/v1/links/{link['code']}")).json()
    return found


async def counted(api: Any, link: dict[str, Any], downloads: int) -> dict[str, Any]:
    """The link once so many are counted: without a bound nobody waits for that."""

    async def enough() -> dict[str, Any] | None:
        found = await looked_at(api, link)
        return found if found["downloads"] >= downloads else None

    found: dict[str, Any] = await eventually(enough)
    assert found["downloads"] == downloads
    return found


async def test_a_link_leads_to_the_file_and_counts(api: Any, hands: Hands) -> None:
    link = await shared(api, await finished(api, hands))
    assert re.fullmatch(r"[2-9A-HJ-NP-Za-km-z]{22}", link["code"])
    answer = await follow(api, link, params={"utm_source": "mail"})
    assert answer.status == 302
    for name, value in (
        ("X-Robots-Tag", "noindex, nofollow, noarchive"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ):
        assert answer.headers[name] == value
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(answer.headers["Location"]) as file,
    ):
        assert await file.read() == CONTENT
        assert 'filename="photo.webp"' in file.headers["Content-Disposition"]
    head = await api.head(link["path"], allow_redirects=False)
    assert head.status == 302  # looks, and does not count
    found = await counted(api, link, 1)
    assert (found["downloads"], found["state"], found["has_password"]) == (1, "live", False)
    assert found["last_download_at"] >= found["created_at"]
    listed = await (await api.get("/v1/links")).json()
    assert listed == {"data": [found], "next_cursor": None}


async def test_of_many_at_once_each_is_counted(serve: Any, hands: Hands) -> None:
    servers = [await serve(), await serve()]
    link = await shared(servers[0], await finished(servers[0], hands))
    answers = await asyncio.gather(*(follow(servers[n % 2], link) for n in range(60)))
    assert {answer.status for answer in answers} == {302}
    await counted(servers[0], link, 60)
    # One that has ended meanwhile is not counted, and nobody is the worse for it.
    await servers[0].delete(f"/v1/links/{link['code']}")
    with pytest.raises(GoneError):
        await hands.store.links.note(link["code"])
    with pytest.raises(NotFoundError):
        await hands.store.links.note("nosuchcode")
    assert not hands.store.links._uncounted
    await counted(servers[0], link, 60)


async def test_what_is_not_counted_yet_is_when_the_api_stops(
    serve: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "NOTED_EVERY_S", 0.5)
    api, other = await serve(), await serve()
    link = await shared(api, await finished(api, hands))
    for _ in range(5):
        assert (await follow(api, link)).status == 302
    await api.close()
    assert (await looked_at(other, link))["downloads"] == 5


async def test_a_link_may_have_a_code_a_name_and_one_output_of_several(
    serve: Any, hands: Hands
) -> None:
    api = await serve(downloads=Downloads.PROXY)
    job_id = await finished(
        api, hands, ("a.txt", "text/plain", b"first"), ("b.html", "text/html", b"<script>")
    )
    await problem(await api.post("/v1/links", json={"job_id": job_id}), 409, "choose_output")
    link = await shared(
        api, job_id, output="b.html", code="summer-2026", name="../Brief\u202e.html"
    )
    assert (link["path"], link["index"], link["name"]) == ("/d/summer-2026", 1, "_Brief.html")
    answer = await follow(api, link)
    assert await answer.read() == b"<script>"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="_Brief.html"')
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Robots-Tag"].startswith("noindex")
    taken = await api.post("/v1/links", json={"job_id": job_id, "index": 0, "code": "summer-2026"})
    await problem(taken, 409, "code_taken")
    whole = await shared(api, job_id, archive=True)
    answer = await follow(api, whole)
    assert answer.headers["Content-Type"] == "application/zip"
    assert (await answer.read()).startswith(b"PK\x03\x04")
    for wrong in (
        {"archive": True, "index": 0},
        {"output": "a.txt", "index": 0},
        {"code": "short", "index": 0},
        {"code": "with space", "index": 0},
        {"password": "1234567", "index": 0},
        {"max_downloads": 0, "index": 0},
        {"expires_in_s": 0, "index": 0},
        {"unknown": 1, "index": 0},
        {"max_downloads": "3", "index": 0},
    ):
        answer = await api.post("/v1/links", json={"job_id": job_id, **wrong})
        await problem(answer, 422, "invalid_request")
    elsewhere: list[dict[str, Any]] = [{"index": 2}, {"output": "c.txt"}]
    for body in elsewhere:
        body["job_id"] = job_id
        await problem(await api.post("/v1/links", json=body), 404, "not_found")
    other = (await submit(api))["id"]
    await problem(await api.post("/v1/links", json={"job_id": other}), 409, "not_finished")


async def test_no_download_too_many_however_many_come_at_once(serve: Any, hands: Hands) -> None:
    servers = [await serve() for _ in range(3)]
    link = await shared(servers[0], await finished(servers[0], hands), max_downloads=7)

    async def take(number: int) -> tuple[int, bytes]:
        answer = await follow(servers[number % 3], link)
        return answer.status, await answer.read()

    answers = await asyncio.gather(*map(take, range(60)))
    assert sorted(status for status, _ in answers) == [200] * 7 + [410] * 53
    assert {body for status, body in answers if status == 200} == {CONTENT}
    found = await looked_at(servers[0], link)
    assert (found["downloads"], found["state"]) == (7, "used_up")
    # The file itself came: there is no address that could be used once more.
    assert "Location" not in (await follow(servers[0], link)).headers


async def test_a_browser_is_asked_before_a_download_counts(api: Any, hands: Hands) -> None:
    name = '<b>"x".webp'
    job_id = await finished(api, hands, (name, "image/webp", CONTENT))
    link = await shared(api, job_id, max_downloads=1)
    for _ in range(3):  # as a program does that previews links
        answer = await follow(api, link, headers={"Accept": "text/html,*/*"})
        page = await answer.text()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<script" not in page
        assert "<b>" not in page
        assert "&lt;b&gt;" in page
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Robots-Tag"].startswith("noindex")
    pressed = await api.post(link["path"], data={}, allow_redirects=False)
    assert (pressed.status, await pressed.read()) == (200, CONTENT)
    await problem(await api.post(link["path"], data={}), 410, "gone")
    plain = await shared(api, job_id)
    assert (await follow(api, plain, headers={"Accept": "text/html"})).status == 302


async def test_a_password_is_asked_for_in_two_ways_and_never_shown(
    api: Any, hands: Hands, store: Store
) -> None:
    job_id = await finished(api, hands)
    link = await shared(api, job_id, password="o\u0308ffne dich")
    assert "dich" not in str(link)
    answer = await follow(api, link)
    await problem(answer, 401, "link_password")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="link", charset="UTF-8"'
    for user in ("", "anybody"):  # composed otherwise, it is the same password
        basic = by_password("\u00f6ffne dich", user)
        assert (await follow(api, link, headers=basic)).status == 303
    wrong = by_password("open up")
    await problem(await follow(api, link, headers=wrong), 401, "link_password")
    page = await follow(api, link, headers={"Accept": "text/html"})
    text = await page.text()
    assert (page.status, "WWW-Authenticate" in page.headers) == (401, False)
    assert "password" in text
    assert "photo" not in text  # the name is for those who have the password
    again = await api.post(link["path"], data={"password": "open up"}, allow_redirects=False)
    assert (again.status, again.content_type) == (401, "text/html")
    assert "wrong" in await again.text()
    pressed = await api.post(
        link["path"], data={"password": "\u00f6ffne dich"}, allow_redirects=False
    )
    assert pressed.status == 303
    await counted(api, link, 3)
    kept = await store.pipeline.command("HGET", store.names.link(link["code"]), "pw")
    assert re.fullmatch(r"scrypt\$[0-9a-f]{32}\$[0-9a-f]{64}", kept)
    for body, content_type, status in (
        (b'{"password": "x"}', "application/json", 415),
        (b"password=" + b"x" * 5000, "application/x-www-form-urlencoded", 413),
        (b"%%%", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=1"] * 50), "application/x-www-form-urlencoded", 400),
    ):
        refused = await api.post(
            link["path"], data=body, headers={"Content-Type": content_type}, allow_redirects=False
        )
        assert refused.status == status, content_type


async def test_of_many_guesses_at_once_ten_are_judged(
    serve: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = [await serve(), await serve()]
    link = await shared(servers[0], await finished(servers[0], hands), password="rightright")
    right = by_password("rightright")
    for _ in range(12):  # being right is not counted
        assert (await follow(servers[0], link, headers=right)).status == 303

    async def guess(number: int) -> int:
        basic = by_password(f"guess-{number}")
        return int((await follow(servers[number % 2], link, headers=basic)).status)

    statuses = await asyncio.gather(*map(guess, range(40)))
    assert sorted(statuses) == [401] * 10 + [429] * 30
    locked = await follow(servers[0], link, headers=right)
    document = await problem(locked, 429, "link_locked")
    assert document["retryable"]
    assert 0 < int(locked.headers["Retry-After"]) <= 901
    monkeypatch.setattr(links, "TRIES_MS", 1)
    assert (await follow(servers[0], link, headers=right)).status == 303


async def test_a_link_ends_with_its_time_its_job_and_by_its_owners_wish(
    api: Any, hands: Hands, store: Store
) -> None:
    job_id = await finished(api, hands)
    job = await (await api.get(f"/v1/jobs/{job_id}")).json()
    longest = await shared(api, job_id, expires_in_s=300 * 86_400)
    assert datetime.fromisoformat(longest["expires_at"]) == datetime.fromisoformat(
        job["expires_at"]
    )
    short = await shared(api, job_id, expires_in_s=60)
    assert short["expires_at"] < longest["expires_at"]
    await store.pipeline.command("HSET", store.names.link(short["code"]), "ends", 1)
    await problem(await follow(api, short), 410, "gone")
    assert (await looked_at(api, short))["state"] == "expired"
    revoked = await shared(api, job_id)
    for _ in range(2):
        assert (await api.delete(f"/v1/links/{revoked['code']}")).status == 204
    await problem(await follow(api, revoked), 410, "gone")
    found = await looked_at(api, revoked)
    assert found["state"] == "revoked"
    assert found["revoked_at"] is not None
    await api.delete(f"/v1/jobs/{job_id}")
    document = await problem(await follow(api, longest), 410, "gone")
    assert job_id not in str(document)
    assert (await looked_at(api, longest))["downloads"] == 0
    for code in ("nosuchcode", "x", "%00" * 6, "a" * 65, "\u00e9" * 8):
        await problem(await api.get(f"/d/{code}", allow_redirects=False), 404, "not_found")


async def test_a_link_is_its_owners_and_public_for_everybody_else(
    serve: Any, store: Store, hands: Hands
) -> None:
    api = await serve(auth=Auth.REQUIRED, max_links_per_owner=3)
    headers = [
        {"Authorization": f"Bearer {(await store.keys.create(owner, Role.USER)).token}"}
        for owner in ("acme", "other")
    ]
    answer = await api.put("/v1/jobs/file.probe", data=b"hello", headers=headers[0])
    job_id = (await answer.json())["id"]
    await hands.succeed(await hands.take(), ("photo.webp", "image/webp", CONTENT))
    body = {"job_id": job_id}
    await problem(await api.post("/v1/links", json=body, headers=headers[1]), 404, "not_found")
    made = [
        await (await api.post("/v1/links", json=body, headers=headers[0])).json() for _ in range(3)
    ]
    document = await problem(
        await api.post("/v1/links", json=body, headers=headers[0]), 429, "quota_exceeded"
    )
    assert (document["limit"], document["used"]) == ("max_links_per_owner", 3)
    path = f"/v1/links/{made[0]['code']}"
    for method in ("GET", "DELETE"):
        await problem(await api.request(method, path, headers=headers[1]), 404, "not_found")
        await problem(await api.request(method, path), 401, "unauthorized")
    answer = await follow(api, made[0])
    assert answer.status == 302
    assert "acme" not in str(answer.headers) + await answer.text()
    codes, cursor = [], ""
    for _ in range(2):
        page = await (await api.get(f"/v1/links?limit=2{cursor}", headers=headers[0])).json()
        codes += [link["code"] for link in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert sorted(codes) == sorted(link["code"] for link in made)
    assert (await (await api.get("/v1/links", headers=headers[1])).json())["data"] == []
    # One that is long over makes room, and is listed no more.
    await store.pipeline.command("DEL", store.names.link(made[1]["code"]))
    assert len((await (await api.get("/v1/links", headers=headers[0])).json())["data"]) == 2
    assert (await api.post("/v1/links", json=body, headers=headers[0])).status == 201


async def test_a_link_outlives_the_loss_of_redis_and_gives_nothing_away_for_it(
    api: Any, hands: Hands, resources: Resources, books: Books
) -> None:
    job_id = await finished(api, hands)
    bounded = await shared(api, job_id, max_downloads=3, password="rightright")
    revoked, plain = await shared(api, job_id), await shared(api, job_id, name="x y.webp")
    right = by_password("rightright")
    for _ in range(2):
        assert (await follow(api, bounded, headers=right)).status == 200
    await follow(api, plain)
    await api.delete(f"/v1/links/{revoked['code']}")
    before = {link["code"]: await looked_at(api, link) for link in (bounded, revoked, plain)}
    while await Shipper(resources, "test").ship():
        pass
    books.wipe()
    done = await rebuild(resources)
    assert done.links == 3
    for link in (bounded, revoked, plain):
        found = await looked_at(api, link)
        for moment in ("created_at", "last_download_at", "revoked_at"):  # to some milliseconds
            assert (found.pop(moment) is None) == (before[link["code"]].pop(moment) is None)
        assert found == before[link["code"]]
    assert (await follow(api, bounded, headers=right)).status == 200
    await problem(await follow(api, bounded, headers=right), 410, "gone")
    await problem(await follow(api, revoked), 410, "gone")
    # A store that is there is not taken back to an earlier count.
    await rebuild(resources)
    assert (await looked_at(api, bounded))["downloads"] == 3


def test_links_are_folded_from_events_and_snapshots_alike() -> None:
    made = '{"own":"acme","job":"job_1","name":"n","n":"0","ends":"9999999999999","created":"5"}'
    lines = (
        f"code-1 link_made acme 0 {made}",
        "code-1 link_taken acme 4 ",
        "code-1 link_taken acme 3 ",
        "code-1 link_revoked acme 0 ",
        "code-2 link_taken acme 3 ",
        f"code-1 link_made acme 0 {made}",
        'code-3 link_made acme 0 {"own":"acme","n":"0","ends":"1"}',
    )
    memory = Memory()
    for number, line in enumerate(lines):
        for event in parse(f"{number + 1}000-0", line):
            memory.fold(event)
    memory.forget_lapsed(10**12)
    assert set(memory.links.known) == {"code-1"}
    fields = memory.links.known["code-1"]
    assert (fields["n"], fields["last"], fields["revoked"]) == ("4", "2000", "4000")
    again = Memory()
    for entry, line in memory.snapshot():
        for event in parse(entry, line):
            again.fold(event)
    assert again.links.known == memory.links.known


async def test_a_file_that_vanished_is_told_as_gone(api: Any, hands: Hands) -> None:
    link = await shared(api, await finished(api, hands), max_downloads=2)
    await hands.objects.delete_prefix("attempts/")
    await problem(await follow(api, link), 410, "gone")
    assert urlsplit(link["path"]).path == link["path"]
