"""The operations on PDFs, at work inside every layer that this kernel has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fileproc.operations import Input, Limits
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from pdfs import ENDLESS_DRAWING, ENDLESS_STRUCTURE, book, saved
from samples import saved as picture_bytes
from samples import transparent

MIB = 1024 * 1024
PDF = "application/pdf"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings) as sandbox:
        yield sandbox


async def run(
    sandbox: Sandbox, folder: Path, operation: str, *files: tuple[bytes, str], **params: Any
) -> Ending:
    (folder / "in").mkdir()
    given = []
    for index, (data, media_type) in enumerate(files):
        path = folder / "in" / str(index)
        path.write_bytes(data)
        given.append(Input(path, "given.pdf", len(data), "0" * 64, media_type))
    limits = replace(Limits(), timeout_s=60, memory_bytes=256 * MIB)
    assignment = Assignment("job", operation, params, 1, folder, given, limits)
    return await sandbox.run(assignment, lambda _: None)


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("pdf.to_text", {}),
        ("pdf.to_images", {}),
        ("pdf.merge", {}),
        ("pdf.split", {"max_bytes": 100_000}),
        ("pdf.pages", {"delete": "1"}),
        ("pdf.optimize", {}),
        ("pdf.encrypt", {"user_password": "sesame"}),
        ("pdf.decrypt", {}),
        ("pdf.stamp", {"text": "Page {page}"}),
        ("pdf.stamp", {"text": "žluť Привет"}),
        ("pdf.info", {}),
    ],
)
async def test_operation_works_confined(
    sandbox: Sandbox, tmp_path: Path, operation: str, params: dict[str, Any]
) -> None:
    ending = await run(sandbox, tmp_path, operation, (saved(book()), PDF), **params)
    assert ending.error is None, ending.error
    assert all(output.path.stat().st_size for output in ending.outputs)


async def test_picture_is_stamped_confined(sandbox: Sandbox, tmp_path: Path) -> None:
    picture = (picture_bytes(transparent(), "PNG"), "image/png")
    ending = await run(sandbox, tmp_path, "pdf.stamp", (saved(book()), PDF), picture)
    assert ending.error is None, ending.error


@pytest.mark.parametrize("what", ["forms in forms", "twice packed contents", "twice packed table"])
async def test_bomb_is_refused_within_256_mib(sandbox: Sandbox, tmp_path: Path, what: str) -> None:
    data = {**ENDLESS_STRUCTURE, **ENDLESS_DRAWING}[what]()
    ending = await run(sandbox, tmp_path, "pdf.to_images", (data, PDF))
    assert ending.error is not None
    assert ending.error.job_code == "document_too_complex"
