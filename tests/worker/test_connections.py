"""Buckets that the operator has connected, as attempts use them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from fileproc.jobs import Job, JobDocument, JobState, Source, Target
from support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fileproc.settings import Settings

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    one = {
        "endpoint": settings.s3_endpoint,
        "bucket": settings.s3_bucket,
        "prefix": "theirs/",
        "access_key_id": settings.s3_access_key_id.get_secret_value(),
        "secret_access_key": settings.s3_secret_access_key.get_secret_value(),
        "owners": ["acme"],
        "write": True,
    }
    text = json.dumps(
        {
            "box": one,
            "others": {**one, "owners": ["other"]},
            "silent": {**one, "endpoint": "http://127.0.0.1:1"},
        }
    )
    return settings.model_copy(update={"connections": SecretStr(text), "delivery_patience_s": 0})


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def kept(stage: Stage, url: str) -> bytes:
    stream = stage.resources.connections.stream("acme", url)
    return b"".join([chunk async for chunk in stream])


async def attempted(stage: Stage, *, read: str | None = None, write: str | None = None) -> Job:
    document = JobDocument(
        operation="debug.sleep",
        sources=[Source(place=0, url=read)] if read else [],
        deliver=[Target(url=write)] if write else [],
    )
    lease = await stage.lease(document=document)
    await stage.begin(lease)
    return await stage.job(lease)


async def test_an_object_is_read_and_outputs_are_written_below_the_prefix(stage: Stage) -> None:
    await stage.resources.connections.put(
        "acme", "s3://box/in/a.txt", once(b"content"), content_type="text/plain"
    )
    job = await attempted(stage, read="s3://box/in/a.txt", write="s3://box/out/")
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result
    assert job.result.fetched
    assert (job.result.fetched[0].name, job.result.fetched[0].size) == ("a.txt", 7)
    assert await kept(stage, "s3://box/out/a.txt") == b"aaa"
    assert await kept(stage, "s3://box/out/b.txt") == b"bbb"
    assert [target.files for target in job.deliveries] == [2]


async def test_what_cannot_be_had_ends_clearly(stage: Stage) -> None:
    cases = [
        ("s3://box/absent", JobState.FAILED, "fetch_refused"),
        ("s3://others/a", JobState.FAILED, "url_not_allowed"),
        ("s3://nowhere/a", JobState.FAILED, "url_not_allowed"),
        ("s3://silent/a", JobState.DELAYED, "fetch_failed"),
    ]
    for read, state, code in cases:
        job = await attempted(stage, read=read)
        assert job.error
        assert (job.state, job.error.code) == (state, code)
    for write, code in (("s3://others/", "url_not_allowed"), ("s3://silent/", "delivery_failed")):
        job = await attempted(stage, write=write)
        (told,) = job.deliveries
        assert (job.state, told.error and told.error.code) == (JobState.SUCCEEDED, code)
