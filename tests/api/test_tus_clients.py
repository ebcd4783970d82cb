"""Real tus clients, over a connection that is cut again and again.

`FILEPROC_TEST_CUTS=100` for as many cuts as that; some will do to see that it works at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from tusclient import client as tuspy
from tusclient import exceptions

from fileproc.store import file_of
from support.cutting import CutLine
from support.http import noise
from support.node import run

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.objects import ObjectStore

CUTS = int(os.environ.get("FILEPROC_TEST_CUTS", "8"))
EVERY = 1024 * 1024  # bytes between two cuts, more or less
SIZE = (2 * CUTS + 5) * EVERY + 13


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.bin"
    path.write_bytes(noise(SIZE))
    return path


async def check(api: Any, objects: ObjectStore, url: str, film: Path) -> None:
    """The file is the one that was sent, byte by byte, and all there is."""
    answer = await api.get(f"/v1/files/{file_of(url.rpartition('/')[2])}")
    assert answer.status == 200, await answer.text()
    file = await answer.json()
    content = await asyncio.to_thread(film.read_bytes)
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    async for chunk in objects.stream(f"files/{file['id']}"):
        digest.update(chunk)
    assert digest.hexdigest() == file["sha256"]
    assert await objects.abort_uploads(older_than_s=-60) == 0


def sent(endpoint: str, film: Path, *, checksum: bool) -> str:
    """By tuspy, which goes on where HEAD says after each cut."""
    client = tuspy.TusClient(endpoint)
    url = None
    with film.open("rb") as stream:
        while True:
            try:
                uploader = client.uploader(
                    file_stream=stream,
                    url=url,
                    chunk_size=EVERY if checksum else 3 * EVERY,
                    metadata={"filename": "film.bin"},
                    upload_checksum=checksum,
                )
                if url is None:
                    url = uploader.create_url()
                    uploader.set_url(url)
                uploader.upload()
            except (exceptions.TusCommunicationError, OSError):
                continue
            return str(url)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("checksum", [False, True])
async def test_tuspy_gets_it_all_through_a_line_that_is_cut(
    api: Any, objects: ObjectStore, film: Path, *, checksum: bool
) -> None:
    async with CutLine(api.server.port, most=CUTS, every=EVERY).open() as line:
        url = await asyncio.to_thread(sent, f"{line.url}/v1/tus", film, checksum=checksum)
    assert line.cuts == CUTS
    await check(api, objects, url, film)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", [0, 5 * EVERY])
async def test_tus_js_client_gets_it_all_through_a_line_that_is_cut(
    api: Any, objects: ObjectStore, film: Path, chunk: int
) -> None:
    async with CutLine(api.server.port, most=CUTS, every=EVERY).open() as line:
        url = await run("tus.mjs", f"{line.url}/v1/tus", str(film), str(chunk))
    assert line.cuts == CUTS
    await check(api, objects, url.strip(), film)
