"""From the event to the receiver: what is sent, when, how often, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook as Verifier

from fileproc.ids import new_id
from fileproc.jobs import (
    JobDocument,
    JobHook,
    PipelineProblem,
    StepError,
    StepState,
    StepStatus,
    Target,
    TargetState,
    TargetStatus,
)
from fileproc.outbound import open_outbound
from fileproc.resources import Resources
from fileproc.store import BatchDocument, DeliveryState, NewBatch, Settlement
from fileproc.webhooks import JOBS, LAST, EventType
from fileproc.worker.rebuild import rebuild
from fileproc.worker.shipper import Shipper
from fileproc.worker.webhooks import EventReader, Sender
from support.jobs import PROBLEM, make_job, make_result
from support.receiver import Receiver, receiving
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from fileproc.store import Delivery, Lease
    from support.books import Books

pytestmark = pytest.mark.usefixtures("books")

EVENTS = [str(kind) for kind in EventType]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "outbound_allow": "127.0.0.0/8",
            "outbound_ports": "1-65535",
            "webhook_schedule_s": "0.01,0.01",
            "webhook_timeout_s": 2,
        }
    )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


class Post:
    """The reader and the sender of one worker, a step at a time."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.store = resources.store
        self.reader = EventReader(resources, "test")
        self.sender = Sender(resources)

    async def endpoint(
        self, url: str, owner: str = "acme", events: Any = EVENTS
    ) -> tuple[str, str]:
        made, secret = await self.store.webhooks.create(owner, url, events)
        return made.id, secret

    async def job(self, owner: str = "acme", **others: Any) -> str:
        return await self.store.jobs.accept(make_job(owner, **others))

    async def claim(self) -> Lease:
        queue = self.store.queue
        (lease,) = await queue.claim("default", 0, 1, queue.next_call())
        return lease

    async def done(self, owner: str = "acme", **others: Any) -> str:
        job_id = await self.job(owner, **others)
        lease = await self.claim()
        await self.store.queue.settle(Settlement.complete(lease, make_result(lease)))
        return job_id

    async def read(self) -> None:
        while await self.reader.read():
            pass

    async def send(self) -> None:
        """Read, and send until nothing is waiting."""
        await self.read()
        while await self.store.pipeline.command("ZCARD", self.store.names.webhooks_due):
            await self.sender.send_due()
            await asyncio.sleep(0.002)

    async def log(self, webhook_id: str, owner: str = "acme") -> list[Delivery]:
        return (await self.store.deliveries.list(owner, webhook_id))[0]


@pytest.fixture
def post(resources: Resources) -> Post:
    return Post(resources)


async def test_each_event_of_a_job_reaches_the_endpoint_signed(
    post: Post, receiver: Receiver
) -> None:
    _, secret = await post.endpoint(receiver.url + "/a")
    job_id = await post.done(document=JobDocument(operation="file.probe", labels={"a": "ž"}))
    failed = await post.job()
    await post.store.queue.settle(Settlement.fail(await post.claim(), PROBLEM))
    canceled = await post.job()
    await post.store.jobs.cancel("acme", canceled)
    await post.send()
    verified = [Verifier(secret).verify(got.body, got.headers) for got in receiver.got]
    told = {(body["type"], body["data"]["id"]) for body in verified}
    assert told == {
        *((kind, job_id) for kind in ("job.accepted", "job.started", "job.succeeded")),
        *((kind, failed) for kind in ("job.accepted", "job.started", "job.failed")),
        *((kind, canceled) for kind in ("job.accepted", "job.canceled")),
    }
    (body,) = (b for b in verified if b["type"] == "job.succeeded")
    assert body["data"]["labels"] == {"a": "ž"}
    assert body["data"]["outputs"][0]["name"] == "out.txt"
    assert "X-Amz" not in json.dumps(body)
    assert {got.headers["content-type"] for got in receiver.got} == {"application/json"}
    assert len({got.id for got in receiver.got}) == 8


async def test_outputs_that_did_not_arrive_are_told_of_beside_the_end_of_the_job(
    post: Post, receiver: Receiver
) -> None:
    await post.endpoint(receiver.url + "/all")
    await post.endpoint(receiver.url + "/some", events=["job.delivery_failed"])
    target = Target(url="https://example.com/", output=0)
    document = JobDocument(operation="file.probe", deliver=[target, target])
    done = TargetStatus(state=TargetState.DELIVERED, files=1)
    failed = TargetStatus(
        state=TargetState.FAILED, error=StepError(code="delivery_refused", detail="403")
    )
    skipped = StepStatus(name="a", state=StepState.FAILED)  # that is no delivery
    jobs = []
    for deliveries in ([done, done], [done, failed]):
        jobs.append(await post.job(document=document))
        lease = await post.claim()
        result = make_result(lease).model_copy(
            update={"deliveries": deliveries, "steps": [skipped]}
        )
        await post.store.queue.settle(Settlement.complete(lease, result))
    jobs.append(await post.job(document=document))
    lost = PipelineProblem(**dict(PROBLEM), deliveries=[failed, done])
    await post.store.queue.settle(Settlement.fail(await post.claim(), lost))
    await post.send()
    told = [(got.path, json.loads(got.body)) for got in receiver.got]
    ends = [(path, body["type"], body["data"]["id"]) for path, body in told]
    assert {end for end in ends if end[0] == "/some"} == {
        ("/some", "job.delivery_failed", job_id) for job_id in jobs[1:]
    }
    assert {kind for path, kind, job in ends if path == "/all" and job == jobs[1]} == {
        "job.accepted",
        "job.started",
        "job.succeeded",
        "job.delivery_failed",
    }
    assert len({got.id for got in receiver.got}) == len(ends) == 13
    (body,) = (b for p, b in told if p == "/some" and b["data"]["id"] == jobs[1])
    assert body["data"]["deliveries"][1]["error"]["code"] == "delivery_refused"


async def test_only_what_was_asked_for_is_sent_and_only_to_its_owner(
    post: Post, receiver: Receiver
) -> None:
    await post.endpoint(receiver.url + "/failures", events=["job.failed"])
    await post.endpoint(receiver.url + "/others", "other")
    off, _ = await post.endpoint(receiver.url + "/off")
    await post.store.webhooks.change("acme", off, enabled=False)
    await post.done()
    await post.send()
    assert receiver.got == []
    await post.done("other")
    await post.send()
    assert {got.path for got in receiver.got} == {"/others"}


async def test_a_job_has_a_hook_of_its_own(post: Post, receiver: Receiver, books: Books) -> None:
    await post.store.webhooks.ensure_jobs("acme")
    _, secret = await post.store.webhooks.rotate("acme", JOBS)
    hook = JobHook(url=receiver.url + "/mine", events=["job.succeeded"])
    await post.endpoint(receiver.url + "/all", events=["job.succeeded"])
    job_id = await post.done(document=JobDocument(operation="file.probe", webhook=hook))
    await post.done()
    talks_of_it = JobDocument(operation="file.probe", metadata={"webhook": {"url": "x"}})
    await post.done(document=talks_of_it)
    await post.send()
    (mine,) = (got for got in receiver.got if got.path == "/mine")
    body = Verifier(secret).verify(mine.body, mine.headers)
    assert body["data"]["id"] == job_id
    assert [got.path for got in receiver.got].count("/all") == 3
    (logged,) = await post.log(JOBS)
    assert (logged.url, logged.about) == (hook.url, job_id)
    assert "hooked" not in books.look().names


async def test_the_hook_of_a_job_that_is_deleted_at_once_still_tells_its_end(
    post: Post, receiver: Receiver
) -> None:
    await post.store.webhooks.ensure_jobs("acme")
    hook = JobHook(url=receiver.url + "/mine", events=[str(kind) for kind in LAST])
    job_id = await post.done(document=JobDocument(operation="file.probe", webhook=hook))
    await post.store.jobs.delete("acme", job_id)
    await post.send()
    (got,) = receiver.got
    assert json.loads(got.body)["data"] == {
        "id": job_id,
        "object": "job",
        "state": "succeeded",
        "deleted": True,
    }


async def test_the_end_of_a_batch_is_told_once(
    post: Post, receiver: Receiver, books: Books
) -> None:
    await post.store.webhooks.ensure_jobs("acme")
    await post.endpoint(receiver.url + "/all", events=["batch.completed"])
    hook = JobHook(url=receiver.url + "/mine", events=["batch.completed"])
    document = BatchDocument(name="žluť", webhook=hook)
    batch_id = new_id("batch")
    member = JobDocument(operation="file.probe", batch=batch_id)
    jobs = [make_job(document=member) for _ in range(3)]
    await post.store.batches.accept(NewBatch(batch_id, "acme", document, jobs))
    for _ in jobs:
        assert receiver.got == []
        lease = await post.claim()
        await post.store.queue.settle(Settlement.complete(lease, make_result(lease)))
        await post.read()
    await post.send()
    told = [json.loads(got.body) for got in receiver.got]
    assert sorted(got.path for got in receiver.got) == ["/all", "/mine"]
    for body in told:
        assert (body["type"], body["data"]["id"]) == ("batch.completed", batch_id)
        assert body["data"]["counts"]["succeeded"] == 3
    assert "hooked" not in books.look().names


async def test_a_long_job_is_sent_in_short(post: Post, receiver: Receiver) -> None:
    await post.endpoint(receiver.url, events=["job.succeeded"])
    big = JobDocument(operation="file.probe", params={"x": "x" * 70_000}, labels={"a": "b"})
    job_id = await post.done(document=big)
    await post.send()
    data = json.loads(receiver.got[0].body)["data"]
    assert (data["id"], data["labels"], data["truncated"]) == (job_id, {"a": "b"}, True)
    assert len(receiver.got[0].body) < 2_000


FAILURES = {
    "/500": ([500] * 3, [None] * 3),
    "/404": ([404] * 3, [None] * 3),
    "/hang": ([None] * 3, ["timeout"] * 3),
    "/drip": ([None] * 3, ["timeout"] * 3),
    "/die": ([None] * 3, ["connection"] * 3),
    "/redirect": ([302] * 3, ["redirect"] * 3),
    "/gone": ([410], [None]),
}


async def test_whatever_a_receiver_does_the_message_is_tried_again_with_its_id(
    post: Post, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path, status in (("/500", 500), ("/404", 404), ("/gone", 410)):
        receiver.status(path, status)
    receiver.status("/redirect", 302, Location=receiver.url + "/elsewhere")
    for name in ("hang", "drip", "die", "flood"):
        receiver.behave[f"/{name}"] = getattr(receiver, name)
    kinds = ["job.succeeded"]
    hooks = {p: (await post.endpoint(receiver.url + p, events=kinds))[0] for p in FAILURES}
    flood, _ = await post.endpoint(receiver.url + "/flood", events=kinds)
    refused, _ = await post.endpoint("http://127.0.0.1:1/", events=kinds)
    await post.done()
    await post.send()
    for path, (statuses, errors) in FAILURES.items():
        (logged,) = await post.log(hooks[path])
        assert logged.state is DeliveryState.FAILED
        assert [tried.status for tried in logged.tries] == statuses, path
        assert [tried.error for tried in logged.tries] == errors, path
        assert {got.id for got in receiver.got if got.path == path} == {logged.id}
        assert [got.path for got in receiver.got].count(path) == len(statuses)
    assert [t.error for t in (await post.log(refused))[0].tries] == ["connection"] * 3
    assert (await post.log(flood))[0].state is DeliveryState.SUCCEEDED
    assert not any(got.path == "/elsewhere" for got in receiver.got)
    gone = await post.store.webhooks.get("acme", hooks["/gone"])
    assert gone.disabled_reason == "gone"
    shown = str([await post.log(hook) for hook in hooks.values()])
    assert "secret of the receiver" not in shown + caplog.text


async def test_a_receiver_that_recovers_gets_what_it_missed(post: Post, receiver: Receiver) -> None:
    hook, _ = await post.endpoint(receiver.url + "/a", events=["job.succeeded"])
    receiver.status("/a", 503)
    await post.done()
    await post.read()
    await post.sender.send_due()
    del receiver.behave["/a"]
    await post.send()
    (logged,) = await post.log(hook)
    assert [tried.status for tried in logged.tries] == [503, 204]
    assert logged.state is DeliveryState.SUCCEEDED
    await post.store.deliveries.redeliver("acme", hook, logged.id)
    await post.send()
    assert [got.id for got in receiver.got] == [logged.id] * 3
    assert len({got.body for got in receiver.got}) == 1


async def test_retry_after_is_heeded(post: Post, receiver: Receiver) -> None:
    hook, _ = await post.endpoint(receiver.url + "/a", events=["job.succeeded"])
    receiver.status("/a", 429, **{"Retry-After": "3600"})
    await post.done()
    await post.read()
    await post.sender.send_due()
    (logged,) = await post.log(hook)
    assert logged.next_attempt_at is not None
    assert logged.tries[0].at is not None
    waits_s = (logged.next_attempt_at - logged.tries[0].at).total_seconds()
    assert 3599 < waits_s < 3601


async def test_no_address_of_ours_is_called(resources: Resources, receiver: Receiver) -> None:
    guarded = resources.settings.model_copy(update={"outbound_allow": ""})
    async with open_outbound(guarded) as outbound:
        post = Post(replace(resources, settings=guarded, outbound=outbound))
        port = receiver.url.rpartition(":")[2]
        urls = [receiver.url, f"http://localhost:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"]
        hooks = [(await post.endpoint(url, events=["job.succeeded"]))[0] for url in urls]
        await post.done()
        await post.send()
        for hook in hooks:
            (logged,) = await post.log(hook)
            assert {tried.error for tried in logged.tries} == {"url_not_allowed"}
        assert receiver.got == []


async def test_a_record_that_cannot_be_read_stops_nobody_elses_events(
    post: Post, receiver: Receiver
) -> None:
    await post.endpoint(receiver.url, events=["job.succeeded"])
    broken, fine = await post.done(), await post.done()
    doc = await post.store.pipeline.command("HGET", post.store.names.job(broken), "doc")
    await post.store.pipeline.command("HSET", post.store.names.job(broken), "doc", "{no json")
    await post.send()
    told = {json.loads(got.body)["data"]["id"] for got in receiver.got}
    assert fine in told
    await post.store.pipeline.command("HSET", post.store.names.job(broken), "doc", doc)


async def test_a_sender_that_stops_hands_back_what_was_not_answered(
    post: Post, receiver: Receiver
) -> None:
    receiver.behave["/a"] = receiver.hang
    hook, _ = await post.endpoint(receiver.url + "/a", events=["job.succeeded"])
    await post.done()
    await post.read()
    patient = post.resources.settings.model_copy(update={"webhook_timeout_s": 60})
    sender = Sender(replace(post.resources, settings=patient))
    running = asyncio.create_task(sender.run())
    await eventually(lambda: receiver.got)
    running.cancel()
    await asyncio.wait({running})
    (logged,) = await post.log(hook)
    assert (logged.state, logged.attempts) == (DeliveryState.PENDING, 0)
    del receiver.behave["/a"]
    await post.send()
    assert [got.id for got in receiver.got] == [logged.id] * 2


async def test_endpoints_and_what_is_not_delivered_come_back_from_the_journal(
    post: Post, receiver: Receiver, shipper: Shipper, books: Books, settled: None
) -> None:
    del settled
    receiver.status("/down", 503)
    down, secret = await post.endpoint(receiver.url + "/down", events=["job.succeeded"])
    up, _ = await post.endpoint(receiver.url + "/up", events=["job.succeeded"])
    gone, _ = await post.endpoint(receiver.url + "/gone")
    await post.store.webhooks.delete("acme", gone)
    await post.store.webhooks.change("acme", up, description="žluť")
    await post.store.webhooks.ensure_jobs("acme")
    job_id = await post.done()
    hook = JobHook(url=receiver.url + "/mine", events=["job.succeeded"])
    open_job = await post.job(document=JobDocument(operation="file.probe", webhook=hook))
    await post.read()
    for posting in await post.store.deliveries.take(1):
        waits = posting
    await post.store.deliveries.queue(None, [])
    kept = [await post.store.webhooks.get("acme", each) for each in (down, up, JOBS)]
    for _ in range(3):
        await shipper.ship()
    await shipper.compact(least=1)
    books.wipe()
    done = await rebuild(post.resources)
    assert (done.webhooks, done.deliveries) == (3, 2)
    assert [await post.store.webhooks.get("acme", each) for each in (down, up, JOBS)] == kept
    assert [each.id for each in await post.store.webhooks.list("other")] == []
    assert gone not in [each.id for each in await post.store.webhooks.list("acme")]
    del receiver.behave["/down"]
    lease = await post.claim()
    assert lease.job_id == open_job
    await post.store.queue.settle(Settlement.complete(lease, make_result(lease)))
    await post.send()
    told = {(got.path, json.loads(got.body)["data"]["id"]) for got in receiver.got}
    both = {(path, job) for path in ("/down", "/up") for job in (job_id, open_job)}
    assert told == both | {("/mine", open_job)}
    assert waits.id in {got.id for got in receiver.got}
    for got in receiver.got:
        if got.path == "/down":
            Verifier(secret).verify(got.body, got.headers)
    await shipper.ship()
    books.wipe()
    assert (await rebuild(post.resources)).deliveries == 0


async def test_a_worker_reads_and_sends_by_itself(post: Post, receiver: Receiver) -> None:
    await post.endpoint(receiver.url, events=["job.succeeded"])
    chores = [asyncio.create_task(run) for run in (post.reader.run(), post.sender.run())]
    job_id = await post.done()
    await eventually(lambda: receiver.got)
    assert json.loads(receiver.got[0].body)["data"]["id"] == job_id

    async def settled() -> bool:
        return not await post.store.pipeline.command("EXISTS", post.store.names.webhooks_due)

    await eventually(settled)
    for chore in chores:
        chore.cancel()
    await asyncio.wait(chores)
