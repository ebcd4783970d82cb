from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from samples import card, distance, film, jpeg, run, saved

ALIKE = 0.06


def cropped(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> Image.Image:
    image = run("image.crop", folder, data, name, **params).image()
    image.load()
    return image


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_box_is_counted_on_the_upright_picture(orientation: int, tmp_path: Path) -> None:
    data = jpeg(orientation=orientation)
    image = cropped(tmp_path, data, left=240, top=160, width=80, height=70, format="png")
    assert image.size == (80, 70)
    assert distance(image, card().crop((240, 160, 320, 230))) < ALIKE


@pytest.mark.parametrize(
    ("gravity", "corner"),
    [
        ("centre", (110, 70)),
        ("north_west", (0, 0)),
        ("South-East", (220, 140)),
        ("east", (220, 70)),
    ],
)
def test_gravity_places_the_box(gravity: str, corner: tuple[int, int], tmp_path: Path) -> None:
    image = cropped(tmp_path, jpeg(), width=100, height=100, gravity=gravity, format="png")
    left, top = corner
    assert distance(image, card().crop((left, top, left + 100, top + 100))) < ALIKE


@pytest.mark.parametrize(
    ("aspect", "size"),
    [("1:1", (240, 240)), ("16:9", (320, 180)), ("1:2", (120, 240)), ("4:3", (320, 240)),
     ("99999:1", (320, 1)), ("1:99999", (1, 240))],
)  # fmt: skip
def test_aspect_gives_the_largest_part(aspect: str, size: tuple[int, int], tmp_path: Path) -> None:
    assert cropped(tmp_path, jpeg(), aspect=aspect).size == size


def test_attention_finds_what_is_there(tmp_path: Path) -> None:
    plain = Image.new("RGB", (900, 200), "#777777")
    plain.paste(card(160, 160), (700, 20))
    image = cropped(tmp_path, saved(plain, "PNG"), aspect="1:1", gravity="attention")
    assert image.size == (200, 200)
    assert len(image.getcolors(100_000) or ()) > 500  # the card, not the grey


def test_every_frame_of_a_film_is_cut_alike(tmp_path: Path) -> None:
    image = cropped(tmp_path, film("GIF"), left=10, top=20, width=60, height=50, format="webp")
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    originals = [card(120, 90).rotate(15 * i).crop((10, 20, 70, 70)) for i in range(5)]
    assert all(distance(*pair) < 0.12 for pair in zip(frames, originals, strict=True))
    assert image.info["duration"] == 80


@pytest.mark.parametrize("border", ["white", "black", "#fe8"])
def test_trim_takes_the_border_off(border: str, tmp_path: Path) -> None:
    framed = Image.new("RGB", (400, 300), border)
    framed.paste(card(), (30, 40))
    image = cropped(tmp_path, saved(framed, "PNG"), trim=True)
    assert image.size == (320, 240)
    assert distance(image, card()) < 0.01


def test_trim_takes_what_is_clear_off(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (100, 80), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (20, 30, 50, 60))  # black on clear black
    assert cropped(tmp_path, saved(clear, "PNG"), trim=True).size == (30, 30)


def test_trim_leaves_a_hairline_and_an_empty_picture(tmp_path: Path) -> None:
    line = Image.new("RGB", (100, 80), "white")
    line.paste("black", (40, 10, 41, 70))
    assert cropped(tmp_path, saved(line, "PNG"), trim=True).size == (1, 60)
    assert cropped(tmp_path, saved(Image.new("L", (9, 8)), "PNG"), trim=True).size == (9, 8)


def test_tolerance_says_what_is_still_border(tmp_path: Path) -> None:
    shade = Image.new("L", (100, 80), 255)
    shade.paste(235, (20, 20, 80, 60))
    assert cropped(tmp_path, saved(shade, "PNG"), trim=True).size == (60, 40)
    assert cropped(tmp_path, saved(shade, "PNG"), trim=True, tolerance=40).size == (100, 80)


@pytest.mark.parametrize(
    "params",
    [
        {"width": 321, "height": 10},
        {"width": 10, "height": 241},
        {"left": 300, "top": 0, "width": 21, "height": 10},
        {"left": 999_999, "top": 0, "width": 1, "height": 1},
    ],
)
def test_part_outside_is_refused(params: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run("image.crop", tmp_path, jpeg(), "a.jpg", **params)
    assert caught.value.job_code == "outside_image"
    assert "320 x 240" in caught.value.detail


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/params"),
        ({"width": 5}, "/params"),
        ({"width": 5, "height": 5, "trim": True}, "/params"),
        ({"aspect": "1:1", "trim": True}, "/params"),
        ({"width": 5, "height": 5, "left": 1}, "/params"),
        ({"aspect": "1:1", "left": 1, "top": 1}, "/params"),
        ({"aspect": "0:1"}, "/params/aspect"),
        ({"aspect": "1/1"}, "/params/aspect"),
        ({"width": 5, "height": 5, "left": -1, "top": 0}, "/params/left"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.crop").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
