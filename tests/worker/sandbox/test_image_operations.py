"""The operations on images, at work inside every layer that this kernel has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samples import BY_TYPE, card, saved, svg
from support.confined import Confined, RunOperation

PICTURES = [media_type for media_type in BY_TYPE if media_type.startswith("image/")]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def run(confined: Confined) -> RunOperation:
    return confined.run


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
    run: RunOperation, tmp_path: Path, operation: str, params: dict[str, Any]
) -> None:
    for number, media_type in enumerate(PICTURES):
        data = BY_TYPE[media_type]()[0]
        ending = await run(tmp_path / str(number), operation, (data, media_type), **params)
        assert ending.error is None, (media_type, ending.error)
        if operation == "image.info":
            assert json.loads(ending.outputs[0].path.read_text())["blurhash"]
            continue
        with Image.open(ending.outputs[0].path) as image:
            image.load()


async def test_text_of_a_drawing_finds_its_font(run: RunOperation, tmp_path: Path) -> None:
    inside = '<text x="20" y="220" font-size="80" font-family="sans-serif">Word</text>'
    for name, data in (("with", svg(inside=inside)), ("without", svg())):
        ending = await run(tmp_path / name, "image.convert", (data, "image/svg+xml"), format="png")
        with Image.open(ending.outputs[0].path) as image:
            drawn = image.getchannel("A").crop((0, 121, 320, 240)).getbbox()
        assert (drawn is not None) == (name == "with")


async def test_second_picture_is_the_mark(run: RunOperation, tmp_path: Path) -> None:
    files = [(saved(card(), "PNG"), "image/png"), (svg(), "image/svg+xml")]
    ending = await run(tmp_path, "image.watermark", *files, tiled=True)
    assert ending.error is None, ending.error
    with Image.open(ending.outputs[0].path) as image:
        assert image.size == (320, 240)


async def test_large_picture_has_room(run: RunOperation, tmp_path: Path) -> None:
    """12 megapixels, turned and written: in memory as a whole."""
    data = saved(card(4000, 3000), "JPEG")
    for number, params in enumerate(({"angle": 90}, {"angle": 7})):
        ending = await run(tmp_path / str(number), "image.rotate", (data, "image/jpeg"), **params)
        assert ending.error is None, ending.error
