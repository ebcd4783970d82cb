"""Inputs from URLs, as an attempt gets them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.jobs import Job, JobDocument, JobState, Source, Step
from fileproc.views import job_view
from support.origin import Origin, ok, to
from support.stage import Stage, ending, put

if TYPE_CHECKING:
    from fileproc.settings import Settings

pytestmark = pytest.mark.usefixtures("books")

CSV = b"a,b\n1,2\n"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "outbound_allow": "127.0.0.1/32",
            "outbound_ports": "1-65535",
            "max_upload_bytes": 100_000,
            "import_timeout_s": 20,
        }
    )


async def attempted(stage: Stage, *urls: str, **others: Any) -> Job:
    """One attempt of a job over these URLs."""
    sources = [Source(place=place, url=url) for place, url in enumerate(urls)]
    given = {"operation": "debug.sleep", "sources": sources, **others}
    lease = await stage.lease(document=JobDocument(**given))
    await stage.begin(lease)
    return await stage.job(lease)


async def test_files_and_urls_arrive_in_their_order(stage: Stage, origin: Origin) -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def look(assignment: Any, report: Any) -> Any:
        del report
        seen.extend((i.name, i.type, i.path.read_bytes()) for i in assignment.inputs)
        return ending()

    stage.child.part = look
    info = await put(stage, b"stored")
    sources = [
        Source(place=0, url=origin.serves("/t.csv", ok(CSV)), name=None),
        Source(place=2, url=origin.serves("/x%2Fy", ok(b"other")), name="named.txt"),
    ]
    document = JobDocument(operation="debug.sleep", inputs=[info], sources=sources)
    lease = await stage.lease(document=document, new_files=[info])
    await stage.begin(lease)
    assert seen == [
        ("t.csv", "text/csv", CSV),
        ("a.txt", "text/plain", b"stored"),
        ("named.txt", "text/plain", b"other"),
    ]


async def test_a_job_says_what_was_found(stage: Stage, origin: Origin) -> None:
    answer = ok(CSV, "Content-Type: application/evil; charset=x")
    job = await attempted(stage, origin.serves("/t.csv", answer) + "?sig=secret")
    assert job.state is JobState.SUCCEEDED
    (view,) = job_view(job)["inputs"]
    assert view == {
        "file_id": None,
        "url": origin.url("/t.csv") + "?********",
        "name": "t.csv",
        "size": len(CSV),
        "sha256": hashlib.sha256(CSV).hexdigest(),
        "type": "text/csv",
        "declared_type": "application/evil",
    }


async def test_another_attempt_fetches_again(stage: Stage, origin: Origin) -> None:
    url = origin.serves("/a", ok(b"", status="503 Busy"))
    job = await attempted(stage, url)
    assert job.state is JobState.DELAYED
    assert job.error is not None
    assert (job.error.code, job.error.retryable) == ("fetch_failed", True)
    origin.serves("/a", ok(b"now"))
    await stage.store.upkeep.tick()
    assert len(origin.heads) == 1


async def test_what_stays_wrong_is_not_tried_again(stage: Stage, origin: Origin) -> None:
    big = origin.serves("/big", ok(bytes(60_000)))
    cases = {
        "fetch_refused": (origin.url("/absent"),),
        "url_not_allowed": (origin.serves("/in", to("http://127.0.0.2/")),),
        "empty_file": (origin.serves("/empty", ok(b"")),),
        "fetch_too_large": (big, big),  # together
    }
    for code, urls in cases.items():
        job = await attempted(stage, *urls)
        assert job.error is not None
        assert (job.state, job.error.code) == (JobState.FAILED, code)
        assert job.error.retryable is False
    assert stage.child.given == []


async def test_the_type_of_what_came_is_judged_before_the_operation_runs(
    stage: Stage, origin: Origin
) -> None:
    url = origin.serves("/photo.jpg", ok(b"no photo", "Content-Type: image/jpeg"))
    job = await attempted(stage, url, operation="image.resize", params={"width": 9})
    assert job.error is not None
    assert job.error.code == "type_mismatch"
    step = Step(name="s", operation="image.resize", params={"width": 9}, needs=["inputs"])
    job = await attempted(stage, url, operation="pipeline", steps=[step])
    assert job.error is not None
    assert job.error.code == "type_mismatch"
    assert stage.child.given == []


async def test_nothing_of_a_url_stays_on_scratch_or_in_the_storage(
    stage: Stage, origin: Origin
) -> None:
    await attempted(stage, origin.serves("/t.csv", ok(CSV)), origin.url("/absent"))
    assert list(stage.scratch.folder.iterdir()) == []
    assert await stage.stored("files/") == []
