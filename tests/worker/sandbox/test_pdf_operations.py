"""The operations on PDFs, at work inside every layer that this kernel has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdfs import ENDLESS_DRAWING, ENDLESS_STRUCTURE, book, painted_over, saved
from samples import saved as picture_bytes
from samples import transparent
from support.confined import MIB, Confined, RunOperation

PDF = "application/pdf"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def run(confined: Confined) -> RunOperation:
    return confined.within(256 * MIB).run


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
    run: RunOperation, tmp_path: Path, operation: str, params: dict[str, Any]
) -> None:
    ending = await run(tmp_path, operation, (saved(book()), PDF), **params)
    assert ending.error is None, ending.error
    assert all(output.path.stat().st_size for output in ending.outputs)


async def test_picture_is_stamped_confined(run: RunOperation, tmp_path: Path) -> None:
    picture = (picture_bytes(transparent(), "PNG"), "image/png")
    ending = await run(tmp_path, "pdf.stamp", (saved(book()), PDF), picture)
    assert ending.error is None, ending.error


async def test_small_document_that_paints_for_long_is_told_which_limit_it_hit(
    confined: Confined, tmp_path: Path
) -> None:
    """Some kilobytes that are no structure to refuse: a page that is painted over and over."""
    data = painted_over(400_000)
    assert len(data) < 40_000
    ending = await replace(confined, timeout_s=2).run(tmp_path, "pdf.to_images", (data, PDF))
    assert ending.error is not None
    assert ending.error.job_code == "timeout", ending.error
    assert "the 2 seconds it may take" in ending.error.detail
    assert ending.usage.wall_s < 10


@pytest.mark.parametrize("what", ["forms in forms", "twice packed contents", "twice packed table"])
async def test_bomb_is_refused_within_256_mib(run: RunOperation, tmp_path: Path, what: str) -> None:
    data = {**ENDLESS_STRUCTURE, **ENDLESS_DRAWING}[what]()
    ending = await run(tmp_path, "pdf.to_images", (data, PDF))
    assert ending.error is not None
    assert ending.error.job_code == "document_too_complex"
