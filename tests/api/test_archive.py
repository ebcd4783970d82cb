"""All outputs of a job as one ZIP, made while it is sent."""

from __future__ import annotations

import io
import zipfile
from typing import IO, Any, cast

import aiohttp
import pytest

from fileproc.api import archive
from fileproc.jobs import OutputInfo
from support.http import Hands, noise, problem, submit


async def archived(api: Any, hands: Hands, *outputs: tuple[str, str, bytes]) -> Any:
    job = await submit(api)
    await hands.succeed(await hands.take(), *outputs)
    return await api.get(f"/v1/jobs/{job['id']}/archive")


async def test_every_output_is_in_it_under_a_safe_name_of_its_own(api: Any, hands: Hands) -> None:
    big = noise(700_000)
    answer = await archived(
        api,
        hands,
        ("a.txt", "text/plain", b"one"),
        ("A.txt", "text/plain", b"two"),
        ("a.txt", "text/plain", b""),
        ("../../etc/passwd", "text/plain", b"three"),
        ("C:\\x?.png", "image/png", big),
        ("\u00fcber \u202egnp.exe", "image/png", b"four"),
        ("", "image/png", b"five"),
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.headers["Content-Disposition"].endswith(".zip")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as found:
        assert found.testzip() is None
        names = found.namelist()
        contents = [found.read(name) for name in names]
        assert all(info.date_time[0] > 1980 for info in found.infolist())
    assert names == [
        "a.txt",
        "A-2.txt",
        "a-3.txt",
        "_.._etc_passwd",
        "C__x_.png",
        "\u00fcber gnp.exe",
        "download",
    ]
    assert contents == [b"one", b"two", b"", b"three", big, b"four", b"five"]


async def test_what_has_no_outputs_has_no_archive(api: Any, hands: Hands) -> None:
    await problem(await archived(api, hands), 409, "no_result")
    job = await submit(api)
    path = f"/v1/jobs/{job['id']}/archive"
    await problem(await api.get(path), 409, "not_finished")
    await hands.fail(await hands.take())
    document = await problem(await api.get(path), 409, "no_result")
    assert document["error"]["code"] == "bad_input"
    await problem(await api.get(path + "?index=1"), 422, "invalid_request")


async def test_a_head_costs_the_storage_nothing(api: Any, hands: Hands) -> None:
    job = await submit(api)
    await hands.succeed(await hands.take(), ("a.txt", "text/plain", b"one"))
    await hands.objects.delete_prefix("attempts/")
    answer = await api.head(f"/v1/jobs/{job['id']}/archive")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")


async def test_an_archive_that_cannot_be_whole_is_no_archive(api: Any, hands: Hands) -> None:
    job = await submit(api)
    lease = await hands.take()
    await hands.succeed(lease, ("a.bin", "x/y", noise(600_000)), ("b.txt", "text/plain", b"two"))
    path = f"/v1/jobs/{job['id']}/archive"
    done = await hands.store.jobs.get("local", job["id"])
    assert done.result is not None
    await hands.objects.delete([f"{done.result.prefix}1"])
    answer = await api.get(path)
    assert answer.status == 200
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    await hands.objects.delete([f"{done.result.prefix}0"])
    await problem(await api.get(path), 410, "gone")


async def test_entries_beyond_four_gigabytes_are_zip64(api: Any, hands: Hands) -> None:
    job_id = (await submit(api))["id"]
    job = await hands.store.jobs.get("local", job_id)
    for size, zip64 in ((1, False), (5 << 30, True)):
        info = archive._entry("a", job, OutputInfo(name="a", size=size, sha256="", type="x/y"))
        pipe = archive._Pipe()
        target = cast("IO[bytes]", pipe)
        with zipfile.ZipFile(target, "w") as file, file.open(info, "w") as entry:
            entry.write(b"x")
        assert (b"\x01\x00\x10\x00" in pipe.taken()[:60]) == zip64  # the extra field of zip64
