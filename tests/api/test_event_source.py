"""The EventSource that browsers have, as npm's package of that name: it follows, and comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fileproc.api import frames
from fileproc.settings import Auth
from fileproc.store import Role, Store
from support.cutting import CutLine
from support.http import Hands
from support.node import running
from support.surface import bearer


async def test_event_source_comes_back_and_is_told_what_it_missed(
    serve: Any, hands: Hands, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_COME_BACK_MS", (20, 40))
    api = await serve(auth=Auth.REQUIRED)
    token = (await store.keys.create("acme", Role.USER)).token
    job = await (await api.put("/v1/jobs/file.probe", data=b"x", headers=bearer(token))).json()
    path = job["links"]["events"]
    async with (
        CutLine(api.server.port, most=0, every=1 << 20).open() as line,
        running("events.mjs", line.url + path, KEY=token) as process,
    ):
        said = process.stdout
        assert said

        async def told() -> dict[str, Any]:
            event: dict[str, Any] = json.loads(await said.readline())
            return event

        first = await told()
        lease = await hands.take()
        claim = await told()
        await line.go_down()
        await hands.succeed(lease, ("o.txt", "text/plain", b"x"))
        line.up.set()
        rest = [await told() for _ in range(3)]
        assert await said.read() == b""  # it was told the end, and asks no more
    assert line.taken == 2
    events = [first, claim, *rest]
    # After the cut it goes on with the next move, where one that is new is shown the job first.
    assert [event["name"] for event in events] == ["job", "move", "move", "job", "end"]
    assert [event["data"]["move"] for event in events[1:3]] == ["claim", "complete"]
    assert events[0]["data"]["state"] == "queued"
    assert events[3]["data"]["state"] == "succeeded"
    ids = [event["id"] for event in events]
    assert ids == sorted(ids)
    assert ids[2] > ids[1]


async def test_event_source_without_a_key_gives_up_with_its_status(
    serve: Any, store: Store
) -> None:
    del store
    api = await serve(auth=Auth.REQUIRED)
    with pytest.raises(AssertionError, match="closed by 401"):
        async with running("events.mjs", str(api.make_url("/v1/events")), KEY="fp_none"):
            pass
