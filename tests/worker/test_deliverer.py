"""Outputs sent to places of the client's, before the job is said to have succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fileproc.jobs import Job, JobDocument, JobState, Target
from fileproc.views import job_view
from support.origin import Origin, ok, silence, to
from support.stage import Stage

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


async def test_after_its_patience_the_attempt_fails_and_another_delivers(
    stage: Stage, origin: Origin
) -> None:
    good = origin.serves("/good", ok(b""))
    bad = origin.serves("/bad", ok(b"", status="500 Oops"))
    lease = await leased(stage, Target(url=good, output=0), Target(url=bad, output=1))
    await stage.begin(lease)
    job = await stage.job(lease)
    assert (job.state, job.error and job.error.code) == (JobState.DELAYED, "delivery_failed")
    assert shown(job) == [("delivered", 1, None), ("failed", 0, "delivery_failed")]
    assert await stage.stored("attempts/") != []  # in the trash, until it is emptied


async def test_what_stays_wrong_ends_the_job(stage: Stage, origin: Origin) -> None:
    here = f"http://127.0.0.1:{origin.port}"
    cases = {
        "delivery_refused": Target(url=here + "/absent", output=0),
        "url_not_allowed": Target(url="http://127.0.0.2/", output=0),
        "delivery_impossible": Target(url=here + "/absent"),
    }
    for code, delivery in cases.items():
        job = await attempted(stage, delivery)
        assert (job.state, job.error and job.error.code) == (JobState.FAILED, code)
        assert shown(job) == [("failed", 0, code)]
    job = await attempted(stage, Target(url=here + "/absent", output=2))
    assert job.error
    assert job.error.code == "delivery_impossible"
    assert len(origin.bodies) == 1


async def test_a_redirect_is_not_followed(stage: Stage, origin: Origin) -> None:
    origin.serves("/there", ok(b""))
    job = await attempted(stage, Target(url=origin.serves("/put", to("/there", 307)), output=0))
    assert job.error
    assert job.error.code == "delivery_refused"
    assert len(origin.heads) == 1


async def test_a_place_that_never_answers_holds_no_worker(stage: Stage, origin: Origin) -> None:
    stage.executor._deliverer._timeout_s = 0.3
    places = [Target(url=origin.serves("/put", silence), output=0) for _ in range(50)]
    job = await attempted(stage, *places)
    assert (job.state, job.error and job.error.code) == (JobState.DELAYED, "delivery_failed")
    assert shown(job)[1:] == [("waiting", 0, None)] * 49


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
