"""The operations on images, at work inside every layer that this kernel has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from fileproc.operations import Input, Limits
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from samples import BY_TYPE, card, saved, svg

MIB = 1024 * 1024
PICTURES = [media_type for media_type in BY_TYPE if media_type.startswith("image/")]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings) as sandbox:
        yield sandbox


async def run(
    sandbox: Sandbox, folder: Path, operation: str, *files: tuple[bytes, str], **params: Any
) -> Ending:
    (folder / "in").mkdir(parents=True)
    given = []
    for index, (data, media_type) in enumerate(files):
        path = folder / "in" / str(index)
        path.write_bytes(data)
        given.append(Input(path, "given.img", len(data), "0" * 64, media_type))
    limits = replace(Limits(), timeout_s=60, memory_bytes=512 * MIB)
    assignment = Assignment("job", operation, params, 1, folder, given, limits)
    return await sandbox.run(assignment, lambda _: None)


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        *[("image.convert", {"format": kind}) for kind in ("jpeg", "webp", "avif", "gif", "tiff")],
        ("image.resize", {"width": 50}),
        ("image.crop", {"aspect": "1:1", "gravity": "attention"}),
        ("image.rotate", {"angle": 10}),
        ("image.optimize", {"format": "best", "max_bytes": 50_000}),
        ("image.watermark", {"text": "© Grüße"}),
        ("image.info", {}),
    ],
)
async def test_every_type_is_worked_on(
    sandbox: Sandbox, tmp_path: Path, operation: str, params: dict[str, Any]
) -> None:
    for number, media_type in enumerate(PICTURES):
        data = BY_TYPE[media_type]()[0]
        ending = await run(sandbox, tmp_path / str(number), operation, (data, media_type), **params)
        assert ending.error is None, (media_type, ending.error)
        if operation == "image.info":
            assert json.loads(ending.outputs[0].path.read_text())["blurhash"]
            continue
        with Image.open(ending.outputs[0].path) as image:
            image.load()


async def test_text_of_a_drawing_finds_its_font(sandbox: Sandbox, tmp_path: Path) -> None:
    inside = '<text x="20" y="220" font-size="80" font-family="sans-serif">Word</text>'
    for name, data in (("with", svg(inside=inside)), ("without", svg())):
        ending = await run(
            sandbox, tmp_path / name, "image.convert", (data, "image/svg+xml"), format="png"
        )
        with Image.open(ending.outputs[0].path) as image:
            drawn = image.getchannel("A").crop((0, 121, 320, 240)).getbbox()
        assert (drawn is not None) == (name == "with")


async def test_second_picture_is_the_mark(sandbox: Sandbox, tmp_path: Path) -> None:
    files = [(saved(card(), "PNG"), "image/png"), (svg(), "image/svg+xml")]
    ending = await run(sandbox, tmp_path, "image.watermark", *files, tiled=True)
    assert ending.error is None, ending.error
    with Image.open(ending.outputs[0].path) as image:
        assert image.size == (320, 240)


async def test_large_picture_has_room(sandbox: Sandbox, tmp_path: Path) -> None:
    """12 megapixels, turned and written: in memory as a whole."""
    data = saved(card(4000, 3000), "JPEG")
    for number, params in enumerate(({"angle": 90}, {"angle": 7})):
        ending = await run(
            sandbox, tmp_path / str(number), "image.rotate", (data, "image/jpeg"), **params
        )
        assert ending.error is None, ending.error
