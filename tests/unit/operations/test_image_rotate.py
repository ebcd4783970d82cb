from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from samples import card, distance, film, jpeg, run, saved, transparent

ALIKE = 0.06


def rotated(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> Image.Image:
    image = run("image.rotate", folder, data, name, **params).image()
    image.load()
    return image


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 360, -90, -180, -270])
def test_quarter_turns_are_exact(angle: int, tmp_path: Path) -> None:
    image = rotated(tmp_path, saved(card(), "PNG"), angle=angle)
    expected = card().rotate(-angle, expand=True)
    assert image.size == expected.size
    assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("flip", ["horizontal", "vertical", "both"])
def test_flip_mirrors(flip: str, tmp_path: Path) -> None:
    image = rotated(tmp_path, saved(card(), "PNG"), flip=flip)
    expected = card()
    if flip != "vertical":
        expected = ImageOps.mirror(expected)
    if flip != "horizontal":
        expected = ImageOps.flip(expected)
    assert image.tobytes() == expected.tobytes()


def test_flip_comes_before_the_turn(tmp_path: Path) -> None:
    image = rotated(tmp_path, saved(card(), "PNG"), flip="horizontal", angle=90)
    assert image.tobytes() == ImageOps.mirror(card()).rotate(-90, expand=True).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_without_parameters_it_is_set_upright(orientation: int, tmp_path: Path) -> None:
    image = rotated(tmp_path, jpeg(orientation=orientation))
    assert image.size == (320, 240)
    assert distance(image, card()) < ALIKE


@pytest.mark.parametrize("angle", [30, 45, -10, 200.5])
def test_odd_angles_turn_clockwise_on_a_larger_canvas(angle: float, tmp_path: Path) -> None:
    image = rotated(tmp_path, saved(card(), "PNG"), angle=angle, background="#888888")
    expected = card().rotate(
        -angle, expand=True, resample=Image.Resampling.BICUBIC, fillcolor="#888888"
    )
    assert all(abs(a - b) <= 2 for a, b in zip(image.size, expected.size, strict=True))
    assert distance(image, expected) < ALIKE
    assert image.mode == "RGB"


def test_room_around_is_clear_where_the_result_can_be(tmp_path: Path) -> None:
    image = rotated(tmp_path, jpeg(), angle=45, format="png")
    assert image.mode == "RGBA"
    assert image.getpixel((1, 1))[3] == 0  # type: ignore[index]  # RGBA: a tuple
    white = rotated(tmp_path, jpeg(), angle=45)
    assert min(white.getpixel((1, 1))) > 250  # type: ignore[arg-type]  # RGB: a tuple


def test_transparency_shows_the_background(tmp_path: Path) -> None:
    data = saved(transparent(), "PNG")
    kept = rotated(tmp_path, data, angle=45)
    assert kept.getchannel("A").getextrema()[0] == 0
    filled = rotated(tmp_path, data, angle=45, background="#00ff00")
    assert filled.getchannel("A").getextrema() == (255, 255)
    assert filled.getpixel((2, 2)) == (0, 255, 0, 255)


def test_grey_picture_stays_grey_or_takes_the_colour(tmp_path: Path) -> None:
    grey = saved(card(mode="L"), "PNG")
    assert rotated(tmp_path, grey, angle=10, background="#888").mode == "L"
    red = rotated(tmp_path, grey, angle=10, background="#f00")
    assert red.getpixel((1, 1)) == (255, 0, 0)


def test_film_stays_a_film(tmp_path: Path) -> None:
    image = rotated(tmp_path, film("GIF"), angle=90, format="webp")
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    originals = [card(120, 90).rotate(15 * i).rotate(-90, expand=True) for i in range(5)]
    assert {frame.size for frame in frames} == {(90, 120)}
    assert all(distance(*pair) < 0.12 for pair in zip(frames, originals, strict=True))


def test_larger_canvas_has_a_limit(tmp_path: Path) -> None:
    limits = Limits(pixels=320 * 240 + 100)
    assert rotated(tmp_path, jpeg(), angle=90, limits=limits).size == (240, 320)
    with pytest.raises(BadInput) as caught:
        rotated(tmp_path, jpeg(), angle=45, limits=limits)
    assert caught.value.job_code == "output_too_large"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [({"angle": 361}, "/params/angle"), ({"angle": "nan"}, "/params/angle"),
     ({"flip": "sideways"}, "/params/flip")],
)  # fmt: skip
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.rotate").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
