"""Archives and compressed files, good ones and bombs, inside every layer that this kernel has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from fileproc.operations import Input, Limits
from fileproc.operations.types import XLSX, detect_file
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from hostile_archives import BOMBS, aes, old_cipher
from samples import BY_TYPE

HERE = Path(__file__).parent
MIB = 1024 * 1024
NAMES = (
    *("archive.create", "archive.extract", "archive.list", "file.compress", "file.hash"),
    "file.preview",
)
KINDS = (
    *("application/zip", "application/x-tar", "application/gzip", "application/x-bzip2"),
    *("application/x-xz", "application/zstd"),
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings, preload=[str(HERE / "hostile.py")]) as sandbox:
        yield sandbox


async def run(
    sandbox: Sandbox, folder: Path, operation: str, data: bytes, media_type: str, **params: Any
) -> Ending:
    """Confined to 256 MiB."""
    (folder / "in").mkdir(parents=True)
    path = folder / "in" / "0"
    path.write_bytes(data)
    given = Input(path, "given", len(data), "0" * 64, media_type)
    limits = replace(Limits(), timeout_s=60, memory_bytes=256 * MIB)
    assignment = Assignment("job", operation, params, 1, folder, [given], limits)
    return await sandbox.run(assignment, lambda _: None)


@pytest.mark.parametrize("operation", NAMES)
@pytest.mark.parametrize("media_type", KINDS)
async def test_operations_on_archives_work_confined(
    sandbox: Sandbox, tmp_path: Path, operation: str, media_type: str
) -> None:
    data = BY_TYPE[media_type]()[0]
    ending = await run(sandbox, tmp_path, operation, data, media_type)
    assert ending.error is None, ending.error
    assert len(ending.outputs) == (2 if operation == "archive.extract" else 1)
    assert all(output.path.stat().st_size for output in ending.outputs)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
async def test_every_kind_is_created(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    ending = await run(
        sandbox, tmp_path, "archive.create", b"hello", "text/plain", format=kind, effort="small"
    )
    assert ending.error is None, ending.error
    assert detect_file(ending.outputs[0].path) == ending.outputs[0].type


@pytest.mark.parametrize("kind", ["gzip", "zstd", "brotli"])
async def test_what_is_compressed_is_unpacked(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    data = b"hello\n" * 1000
    packed = await run(sandbox, tmp_path / "1", "file.compress", data, "text/plain", format=kind)
    assert packed.error is None, packed.error
    made = packed.outputs[0]
    again = await run(sandbox, tmp_path / "2", "file.decompress", made.path.read_bytes(), made.type)
    assert again.error is None, again.error
    assert again.outputs[0].path.read_bytes() == data


@pytest.mark.parametrize("lock", [old_cipher, aes])
async def test_locked_files_are_opened(sandbox: Sandbox, tmp_path: Path, lock: Any) -> None:
    """The library for that, and its cipher in C, are loaded within the child."""
    data = lock(b"a.txt", b"secret", "sesame")
    ending = await run(
        sandbox, tmp_path, "archive.extract", data, "application/zip", password="sesame"
    )
    assert ending.error is None, ending.error
    assert ending.outputs[0].path.read_bytes() == b"secret"


async def test_every_digest_is_computed(sandbox: Sandbox, tmp_path: Path) -> None:
    algorithms = ["sha256", "sha512", "sha1", "md5", "blake2b", "blake3", "crc32"]
    ending = await run(sandbox, tmp_path, "file.hash", b"abc", "text/plain", algorithms=algorithms)
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
async def test_preview_is_drawn(sandbox: Sandbox, tmp_path: Path, media_type: str) -> None:
    """With fonts, for texts and tables."""
    data = BY_TYPE[media_type]()[0]
    ending = await run(sandbox, tmp_path, "file.preview", data, media_type, format="png")
    assert ending.error is None, ending.error
    with Image.open(ending.outputs[0].path) as image:
        assert len(image.convert("RGB").getcolors(2**24) or ()) > 2


@pytest.mark.parametrize("bomb", BOMBS)
async def test_bomb_is_refused_within_the_memory(
    sandbox: Sandbox, tmp_path: Path, bomb: str
) -> None:
    data, media_type = BOMBS[bomb]()
    operation = "archive.list" if bomb == "many entries of tar" else "archive.extract"
    params = {"password": "sesame"} if "encrypted" in bomb else {}
    ending = await run(sandbox, tmp_path, operation, data, media_type, **params)
    assert ending.error is not None
    assert ending.error.job_code == "archive_bomb", ending.error
