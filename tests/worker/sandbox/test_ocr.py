"""Tesseract confined: it reads pictures, and nothing beside its languages."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from fileproc.errors import ErrorClass
from fileproc.jobs import Progress
from fileproc.operations import Input, Limits, tesseract
from fileproc.operations.programs import installed
from fileproc.worker.sandbox import Assignment, Ending, Sandbox

pytestmark = pytest.mark.skipif(
    "tesseract" not in installed() or "eng" not in tesseract.languages(installed()["tesseract"]),
    reason="Tesseract with the language eng is not installed",
)
MIB = 1024 * 1024


def ignore(progress: Progress) -> None:
    del progress


async def ocr(sandbox: Sandbox, folder: Path, limits: Limits, **params: str) -> Ending:
    image = Image.new("L", (700, 150), 255)
    draw = ImageDraw.Draw(image)
    draw.text((40, 40), "Invoice number 4711", font=ImageFont.load_default(size=44), fill=0)
    file = io.BytesIO()
    image.save(file, "PNG")
    data = file.getvalue()
    (folder / "in").write_bytes(data)
    given = Input(folder / "in", "scan.png", len(data), "0" * 64, "image/png")
    return await sandbox.run(
        Assignment(
            "job", "image.ocr", dict(params), 1, folder, [given], limits, programs=("tesseract",)
        ),
        ignore,
    )


@pytest.mark.parametrize("form", ["text", "json", "hocr", "pdf"])
async def test_text_is_read_in_it(sandbox: Sandbox, form: str, tmp_path: Path) -> None:
    ending = await ocr(sandbox, tmp_path, Limits(), format=form)
    assert ending.error is None, ending.error
    (output,) = ending.outputs
    if form == "json":
        assert json.loads(output.path.read_bytes())["pages"][0]["text"] == "Invoice number 4711"
    if form == "text":
        assert output.path.read_text() == "Invoice number 4711\n"


async def test_memory_that_it_lacks_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    ending = await ocr(sandbox, tmp_path, Limits(memory_bytes=30 * MIB))
    assert ending.error is not None
    assert ending.error.job_class in {ErrorClass.RESOURCE, ErrorClass.CRASH}
