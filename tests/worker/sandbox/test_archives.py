"""Archives and compressed files, good ones and bombs, inside every layer that this kernel has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.operations.types import XLSX, detect_file
from hostile_archives import BOMBS, aes, old_cipher
from samples import BY_TYPE
from support.confined import MIB, Confined, RunOperation

REFUSED_S = 10  # five times what is promised
NAMES = (
    *("archive.create", "archive.extract", "archive.list", "file.compress", "file.hash"),
    "file.preview",
)
KINDS = (
    *("application/zip", "application/x-tar", "application/gzip", "application/x-bzip2"),
    *("application/x-xz", "application/zstd"),
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def run(confined: Confined) -> RunOperation:
    return confined.within(256 * MIB).run


@pytest.mark.parametrize("operation", NAMES)
@pytest.mark.parametrize("media_type", KINDS)
async def test_operations_on_archives_work_confined(
    run: RunOperation, tmp_path: Path, operation: str, media_type: str
) -> None:
    data = BY_TYPE[media_type]()[0]
    ending = await run(tmp_path, operation, (data, media_type))
    assert ending.error is None, ending.error
    assert len(ending.outputs) == (2 if operation == "archive.extract" else 1)
    assert all(output.path.stat().st_size for output in ending.outputs)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
async def test_every_kind_is_created(run: RunOperation, tmp_path: Path, kind: str) -> None:
    ending = await run(
        tmp_path, "archive.create", (b"hello", "text/plain"), format=kind, effort="small"
    )
    assert ending.error is None, ending.error
    assert detect_file(ending.outputs[0].path) == ending.outputs[0].type


@pytest.mark.parametrize("kind", ["gzip", "zstd", "brotli"])
async def test_what_is_compressed_is_unpacked(run: RunOperation, tmp_path: Path, kind: str) -> None:
    data = b"hello\n" * 1000
    packed = await run(tmp_path / "1", "file.compress", (data, "text/plain"), format=kind)
    assert packed.error is None, packed.error
    made = packed.outputs[0]
    again = await run(tmp_path / "2", "file.decompress", (made.path.read_bytes(), made.type))
    assert again.error is None, again.error
    assert again.outputs[0].path.read_bytes() == data


@pytest.mark.parametrize("lock", [old_cipher, aes])
async def test_locked_files_are_opened(run: RunOperation, tmp_path: Path, lock: Any) -> None:
    """The library for that, and its cipher in C, are loaded within the child."""
    data = lock(b"a.txt", b"secret", "sesame")
    ending = await run(tmp_path, "archive.extract", (data, "application/zip"), password="sesame")
    assert ending.error is None, ending.error
    assert ending.outputs[0].path.read_bytes() == b"secret"


async def test_every_digest_is_computed(run: RunOperation, tmp_path: Path) -> None:
    algorithms = ["sha256", "sha512", "sha1", "md5", "blake2b", "blake3", "crc32"]
    ending = await run(tmp_path, "file.hash", (b"abc", "text/plain"), algorithms=algorithms)
    assert ending.error is None, ending.error
    assert ending.outputs[0].path.read_text().count('"') > 20


@pytest.mark.parametrize(
    "media_type",
    [
        "image/webp",
        "image/heic",
        "image/svg+xml",
        "application/pdf",
        "text/csv",
        "text/plain",
        XLSX,
    ],
)
async def test_preview_is_drawn(run: RunOperation, tmp_path: Path, media_type: str) -> None:
    """With fonts, for texts and tables."""
    data = BY_TYPE[media_type]()[0]
    ending = await run(tmp_path, "file.preview", (data, media_type), format="png")
    assert ending.error is None, ending.error
    with Image.open(ending.outputs[0].path) as image:
        assert len(image.convert("RGB").getcolors(2**24) or ()) > 2


@pytest.mark.parametrize("bomb", BOMBS)
async def test_bomb_is_refused_within_the_memory(
    run: RunOperation, tmp_path: Path, bomb: str
) -> None:
    data, media_type = BOMBS[bomb]()
    operation = "archive.list" if bomb == "many entries of tar" else "archive.extract"
    params = {"password": "sesame"} if "encrypted" in bomb else {}
    ending = await run(tmp_path, operation, (data, media_type), **params)
    assert ending.error is not None
    assert ending.error.job_code == "archive_bomb", ending.error
    assert ending.usage.wall_s < REFUSED_S
