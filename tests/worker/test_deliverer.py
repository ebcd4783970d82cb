"""Outputs sent to places of the client's, at the end of a job and once more for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.jobs import Job, JobDocument, JobState, Made, Target
from fileproc.telemetry import TARGETS
from fileproc.views import job_view
from support.origin import Origin, ok, silence, to
from support.stage import Stage, failing

if TYPE_CHECKING:
    from fileproc.settings import Settings
    from fileproc.store import Lease

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "outbound_allow": "127.0.0.1/32",
            "outbound_ports": "1-65535",
            "delivery_patience_s": 0,
            "delivery_timeout_s": 20,
        }
    )


async def leased(stage: Stage, *deliveries: Target) -> Lease:
    document = JobDocument(operation="debug.sleep", deliver=list(deliveries))
    return await stage.lease(document=document)


async def attempted(stage: Stage, *deliveries: Target) -> Job:
    """One attempt of a job with two outputs, `aaa` and `bbb`."""
    lease = await leased(stage, *deliveries)
    await stage.begin(lease)
    return await stage.job(lease)


def shown(job: Job) -> list[tuple[Any, ...]]:
    views = job_view(job)["deliveries"]
    return [
        (view["state"], view["files"], view["error"].code if view["error"] else None)
        for view in views
    ]


async def test_outputs_are_sent_and_the_job_says_so(stage: Stage, origin: Origin) -> None:
    url = origin.serves("/put", ok(b"", status="201 Created"))
    job = await attempted(
        stage,
        Target(url=url + "?sig=secret", output=1),
        Target(url=url, output=0, headers={"content-type": "x/y", "x-amz-acl": "private"}),
    )
    assert job.state is JobState.SUCCEEDED
    assert origin.bodies == [b"bbb", b"aaa"]
    assert shown(job) == [("delivered", 1, None), ("delivered", 1, None)]
    first, second = (head.lower() for head in origin.heads)
    assert first.startswith("put /put?sig=secret http/1.1\r\n")
    assert "content-type: text/plain\r\n" in first
    assert "transfer-encoding" not in first
    assert "content-type: x/y\r\n" in second
    assert "x-amz-acl: private\r\n" in second
    assert job_view(job)["deliveries"][0]["url"] == url + "?********"


async def test_what_may_pass_is_tried_again_without_the_work(stage: Stage, origin: Origin) -> None:
    stage.executor._deliverer._patience_s = 60
    answers = iter([ok(b"", status="503 Busy"), b"", ok(b"")])

    async def moody(writer: Any) -> None:
        writer.write(next(answers))
        await writer.drain()

    job = await attempted(stage, Target(url=origin.serves("/put", moody), output=0))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert origin.bodies == [b"aaa"] * 3
    assert len(stage.child.given) == 1


async def test_a_place_that_takes_nothing_costs_no_outputs_and_no_other_place(
    stage: Stage, origin: Origin
) -> None:
    bad = origin.serves("/bad", ok(b"", status="500 Oops"))
    good = origin.serves("/good", ok(b""))
    before = TARGETS.labels("failed")._value.get()
    job = await attempted(stage, Target(url=bad, output=1), Target(url=good, output=0))
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert shown(job) == [("failed", 0, "delivery_failed"), ("delivered", 1, None)]
    assert job.result is not None
    assert [output.name for output in job.result.outputs] == ["a.txt", "b.txt"]
    assert len(await stage.stored(job.result.prefix)) == 2
    assert job_view(job)["links"]["retry"] == f"/v1/jobs/{job.id}/retry"
    assert TARGETS.labels("failed")._value.get() == before + 1


async def test_what_stays_wrong_is_told_of_the_delivery(stage: Stage, origin: Origin) -> None:
    here = f"http://127.0.0.1:{origin.port}"
    cases = {
        "delivery_refused": Target(url=here + "/absent", output=0),
        "url_not_allowed": Target(url="http://127.0.0.2/", output=0),
        "delivery_impossible": Target(url=here + "/absent"),
    }
    job = await attempted(stage, *cases.values(), Target(url=here + "/absent", output=2))
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert shown(job) == [("failed", 0, code) for code in (*cases, "delivery_impossible")]
    assert len(origin.bodies) == 1


async def test_what_nobody_planned_for_costs_no_outputs(
    stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, stage.executor._deliverer, "_send", ZeroDivisionError())
    url = origin.serves("/put", ok(b""))
    job = await attempted(stage, Target(url=url, output=0), Target(url=url, output=1))
    assert job.state is JobState.SUCCEEDED
    assert shown(job) == [("failed", 0, "delivery_failed"), ("delivered", 1, None)]
    assert origin.bodies == [b"bbb"]


async def again(stage: Stage, job: Job, *targets: Target, **others: Any) -> Lease:
    """A job that only delivers what this one has made."""
    assert job.result is not None
    assert len(stage.child.given) == 1
    made = Made(
        prefix=job.result.prefix,
        outputs=job.result.outputs,
        provenance=job.result.provenance,
    )
    document = JobDocument(
        operation="debug.sleep", deliver=list(targets), retry_of=job.id, made=made
    )
    return await stage.lease(document=document, **others)


async def test_a_delivery_alone_sends_what_is_stored_and_does_no_work(
    stage: Stage, origin: Origin
) -> None:
    first = Target(url=origin.serves("/first", ok(b"", status="403 Forbidden")), output=1)
    job = await attempted(stage, first)
    url = origin.serves("/first", ok(b""))
    lease = await again(stage, job, first, Target(url=url, output=0))
    await stage.begin(lease)
    retried = await stage.job(lease)
    assert retried.state is JobState.SUCCEEDED
    assert shown(retried) == [("delivered", 1, None)] * 2
    assert origin.bodies == [b"bbb", b"bbb", b"aaa"]
    assert len(stage.child.given) == 1
    assert retried.result is not None
    assert retried.result.outputs == []
    assert "retry" not in job_view(retried)["links"]
    await stage.store.jobs.delete(retried.owner, retried.id)
    assert job.result is not None
    assert len(await stage.stored(job.result.prefix)) == 2


async def test_a_delivery_alone_that_fails_is_tried_again_and_fails_in_the_end(
    stage: Stage, origin: Origin
) -> None:
    target = Target(url=origin.serves("/put", ok(b"", status="500 Oops")), output=0)
    job = await attempted(stage, target)
    lease = await again(stage, job, target, max_attempts=2)
    await stage.begin(lease)
    retried = await stage.job(lease)
    assert (retried.state, retried.error and retried.error.code) == (
        JobState.DELAYED,
        "delivery_failed",
    )
    gone = Target(url=f"http://127.0.0.1:{origin.port}/absent", output=0)
    lease = await again(stage, job, gone)
    await stage.begin(lease)
    retried = await stage.job(lease)
    assert (retried.state, retried.error and retried.error.code) == (
        JobState.FAILED,
        "delivery_refused",
    )
    assert shown(retried) == [("failed", 0, "delivery_refused")]


async def test_a_delivery_alone_of_outputs_that_are_gone_says_so(
    stage: Stage, origin: Origin
) -> None:
    target = Target(url=origin.serves("/put", ok(b"", status="500 Oops")), output=0)
    job = await attempted(stage, target)
    lease = await again(stage, job, target)
    assert job.result is not None
    await stage.objects.delete(await stage.stored(job.result.prefix))
    await stage.begin(lease)
    retried = await stage.job(lease)
    assert (retried.state, retried.error and retried.error.code) == (
        JobState.FAILED,
        "outputs_missing",
    )
    assert len(origin.bodies) == 1


async def test_a_redirect_is_not_followed(stage: Stage, origin: Origin) -> None:
    origin.serves("/there", ok(b""))
    job = await attempted(stage, Target(url=origin.serves("/put", to("/there", 307)), output=0))
    assert shown(job) == [("failed", 0, "delivery_refused")]
    assert len(origin.heads) == 1


async def test_a_place_that_never_answers_holds_no_worker(stage: Stage, origin: Origin) -> None:
    stage.executor._deliverer._timeout_s = 0.3
    places = [Target(url=origin.serves("/put", silence), output=0) for _ in range(50)]
    job = await attempted(stage, *places)
    assert job.state is JobState.SUCCEEDED
    assert shown(job) == [("failed", 0, "delivery_failed")] * 50
    assert len(origin.heads) <= 1  # the time of all was over then


async def test_who_dies_between_delivery_and_settlement_delivers_again(
    stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await leased(stage, Target(url=origin.serves("/put", ok(b"")), output=0))

    async def killed(*_: object) -> None:
        pass

    with monkeypatch.context() as patch:
        patch.setattr(stage.executor, "_settle", killed)
        await stage.begin(lease)
    job = await stage.job(lease)
    assert job.state is JobState.RUNNING
    assert shown(job) == [("waiting", 0, None)]
    await stage.begin(lease)  # the lease is still good: as its next holder would
    job = await stage.job(lease)
    assert job.state is JobState.SUCCEEDED
    assert origin.bodies == [b"aaa", b"aaa"]
    assert shown(job) == [("delivered", 1, None)]
