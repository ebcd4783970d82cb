from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Input, Limits, Work, find
from fileproc.operations.types import detect_file
from samples import card, film, heic, png_that_claims, run, saved, svg, transparent

GREY = saved(Image.new("RGB", (300, 200), "#808080"), "PNG")


def marked(folder: Path, data: bytes = GREY, name: str = "a.png", **params: Any) -> Image.Image:
    image = run("image.watermark", folder, data, name, **params).image()
    image.load()
    return image


def marked_with(folder: Path, mark: bytes, data: bytes = GREY, **params: Any) -> Image.Image:
    """With a picture as the second input."""
    inputs = []
    for index, content in enumerate((data, mark)):
        path = folder / f"in{index}"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        inputs.append(Input(path, f"{index}.img", len(content), digest, detect_file(path)))
    work = Work(inputs, folder, params.pop("limits", Limits()))
    entry = find("image.watermark")
    entry.run(work, entry.params.model_validate(entry.parse(params)))
    with Image.open(work.outputs[0].path) as image:
        image.load()
        return image


def touched(image: Image.Image, ground: Image.Image | None = None) -> tuple[int, int, int, int]:
    """The box of what differs from the grey picture (or another)."""
    ground = ground or Image.new("RGB", image.size, "#808080")
    box = (
        ImageChops.difference(image.convert("RGB"), ground).point(lambda v: 255 * (v > 8)).getbbox()
    )
    assert box is not None, "nothing was drawn"
    return box


RED = saved(Image.new("RGB", (40, 20), "red"), "PNG")


@pytest.mark.parametrize(
    ("position", "box"),
    [
        ("north_west", (10, 10, 70, 40)),
        ("north", (120, 10, 180, 40)),
        ("North-East", (230, 10, 290, 40)),
        ("west", (10, 85, 70, 115)),
        ("center", (120, 85, 180, 115)),
        ("east", (230, 85, 290, 115)),
        ("south_west", (10, 160, 70, 190)),
        ("south", (120, 160, 180, 190)),
        ("south_east", (230, 160, 290, 190)),
    ],
)
def test_picture_is_put_where_position_and_margin_say(
    position: str, box: tuple[int, ...], tmp_path: Path
) -> None:
    image = marked_with(tmp_path, RED, position=position, margin=10, scale=0.2, opacity=1)
    assert touched(image) == box
    middle = ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)
    assert image.getpixel(middle) == (255, 0, 0)


@pytest.mark.parametrize("opacity", [0.1, 0.5, 1.0])
def test_opacity_mixes(opacity: float, tmp_path: Path) -> None:
    image = marked_with(tmp_path, RED, position="centre", opacity=opacity)
    red, green, _ = image.getpixel((150, 100))  # type: ignore[misc]  # RGB: a tuple
    assert abs(red - (128 + 127 * opacity)) <= 2
    assert abs(green - 128 * (1 - opacity)) <= 2


def test_mark_keeps_its_shape_and_fits_between_the_margins(tmp_path: Path) -> None:
    tall = saved(Image.new("RGB", (20, 80), "red"), "PNG")
    left, top, right, bottom = touched(
        marked_with(tmp_path, tall, scale=1, margin=20, opacity=1, position="centre")
    )
    assert bottom - top == 160
    assert right - left == 40


def test_transparency_of_the_mark_is_kept(tmp_path: Path) -> None:
    ring = Image.new("RGBA", (60, 60), (0, 255, 0, 0))
    ring.paste((255, 0, 0, 255), (0, 0, 60, 10))
    image = marked_with(tmp_path, saved(ring, "PNG"), position="centre", scale=0.2, opacity=1)
    assert image.getpixel((150, 100)) == (128, 128, 128)
    assert image.getpixel((150, 73)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "svg", "heic"])
def test_mark_may_be_of_any_format(kind: str, tmp_path: Path) -> None:
    data = {"svg": svg(), "heic": heic()}.get(kind) or saved(card(), kind)
    box = touched(marked_with(tmp_path, data, position="centre", scale=0.4))
    assert box[2] - box[0] > 100


def test_tiles_cover_the_picture(tmp_path: Path) -> None:
    image = marked_with(tmp_path, RED, tiled=True, scale=0.1, margin=10, opacity=1)
    assert touched(image) == (5, 5, 300, 195)  # 25 high in all: the last row ends with its gap
    assert image.getpixel((20, 12)) == (255, 0, 0)
    assert image.getpixel((60, 12)) == (255, 0, 0)  # 30 wide, 10 apart
    assert image.getpixel((40, 12)) == (128, 128, 128)


def test_angle_turns_the_mark_clockwise(tmp_path: Path) -> None:
    half = Image.new("RGB", (40, 20), "red")
    half.paste("blue", (0, 0, 20, 20))  # blue left, red right
    image = marked_with(
        tmp_path, saved(half, "PNG"), angle=90, position="centre", scale=0.2, opacity=1
    )
    assert touched(image)[3] - touched(image)[1] > 50
    assert image.getpixel((150, 80)) == (0, 0, 255)  # left goes up
    assert image.getpixel((150, 120)) == (255, 0, 0)


# --- texts -----------------------------------------------------------------------------------


def test_text_is_as_wide_as_scale_says(tmp_path: Path) -> None:
    for scale in (0.3, 0.6, 0.9):
        image = marked(
            tmp_path, text="Watermark", scale=scale, position="centre", shadow=False, opacity=1
        )
        left, top, right, bottom = touched(image)
        assert abs((right - left) - 300 * scale) < 15
        assert abs((top + bottom) / 2 - 100) < 5


def test_colour_is_that_of_the_text(tmp_path: Path) -> None:
    image = marked(
        tmp_path, text="█", colour="#00f", scale=0.5, position="centre", opacity=1, shadow=False
    )
    assert image.getpixel((150, 100)) == (0, 0, 255)


def test_shadow_shows_white_text_on_white(tmp_path: Path) -> None:
    white = Image.new("RGB", (300, 200), "white")
    data = saved(white, "PNG")
    assert touched(marked(tmp_path, data, text="mark"), white)
    plain = marked(tmp_path, data, text="mark", shadow=False)
    assert ImageChops.difference(plain, white).getbbox() is None


def test_text_is_no_markup(tmp_path: Path) -> None:
    """`<b>` is drawn, not obeyed; nor may it break the drawing."""
    plain: dict[str, Any] = {"scale": 0.9, "position": "centre", "shadow": False}
    tagged = marked(tmp_path, text="<span size='1'>x</span>", **plain)
    bare = marked(tmp_path, text="x", **plain)
    wide, narrow = touched(tagged), touched(bare)
    assert wide[3] - wide[1] < (narrow[3] - narrow[1]) / 2
    for odd in ("<b", "&amp", "& <", "</span>", "&#0;", '"><', "%s%n"):
        assert touched(marked(tmp_path, text=odd))


@pytest.mark.parametrize(
    "text",
    [
        "Grüße",
        "Привет мир",
        "שלום",
        "مرحبا",
        "a\u200cb",
        "©®™",
        "a" * 500,
        "a\nb\nc",
        "́" * 50 + "x",
    ],
)
def test_texts_of_many_kinds_are_drawn(text: str, tmp_path: Path) -> None:
    assert touched(marked(tmp_path, text=text, scale=0.9))


def test_text_that_no_font_draws_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyvips

    def text(*_: Any, **__: Any) -> None:
        raise pyvips.Error("text: no text to render")

    monkeypatch.setattr(pyvips.Image, "text", text)
    with pytest.raises(BadInput) as caught:
        marked(tmp_path, text="mark")
    assert caught.value.job_code == "undrawable_text"


def test_text_of_a_script_without_a_font_is_refused(tmp_path: Path) -> None:
    """Rare ones, of which hardly anybody has fonts for all."""
    rare = "\U00013000\U00014400\U00017000\U00018b00\U0001b170\U0001d800"
    for text in (rare, f"© {rare}"):
        with pytest.raises(BadInput) as caught:
            marked(tmp_path, text=text)
        assert caught.value.job_code == "undrawable_text"


# --- what is marked --------------------------------------------------------------------------


def test_every_frame_of_a_film_is_marked(tmp_path: Path) -> None:
    for kind in ("GIF", "WEBP"):
        image = run(
            "image.watermark", tmp_path, film(kind), "a.img",
            text="█", scale=0.5, position="centre", colour="#f0f", opacity=1, shadow=False,
        ).image()  # fmt: skip
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        assert len(frames) == 5
        for frame in frames:
            red, green, blue = frame.getpixel((60, 45))  # type: ignore[misc]  # RGB: a tuple
            assert min(red, blue) > 220
            assert green < 40


def test_transparency_of_the_picture_is_kept(tmp_path: Path) -> None:
    image = marked(tmp_path, saved(transparent(), "PNG"), text="mark")
    assert image.mode == "RGBA"
    assert image.getpixel((2, 1))[3] < 10  # type: ignore[index]  # RGBA: a tuple


def test_grey_and_tiny_pictures_can_be_marked(tmp_path: Path) -> None:
    assert marked(tmp_path, saved(card(mode="L"), "PNG"), text="mark", colour="#f00").mode == "RGB"
    for size in ((1, 1), (3, 200), (200, 3)):
        assert marked(tmp_path, saved(card(*size), "PNG"), text="mark").size == size
        assert marked_with(tmp_path, RED, saved(card(*size), "PNG"), tiled=True).size == size


# --- refusals --------------------------------------------------------------------------------


def test_there_is_one_mark(tmp_path: Path) -> None:
    calls: tuple[Callable[[], Any], ...] = (
        lambda: marked(tmp_path),
        lambda: marked_with(tmp_path, RED, text="and a text"),
    )
    for call in calls:
        with pytest.raises(BadInput) as caught:
            call()
        assert caught.value.job_code == "mark_missing"


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        (png_that_claims(30_000, 30_000), "image_too_large"),
        (RED[:50], "corrupt_input"),
        (b"no picture", "type_mismatch"),
        (b'<!DOCTYPE svg [<!ENTITY x "y">]>' + svg(), "xml_dtd"),
        (svg(10**6, 10**6), "image_too_large"),
    ],
)
def test_second_input_is_judged_as_the_first(mark: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        marked_with(tmp_path, mark)
    assert caught.value.job_code == code


def test_thin_mark_made_wide_has_a_limit(tmp_path: Path) -> None:
    thin = saved(Image.new("L", (1, 20_000)), "PNG")
    with pytest.raises(BadInput) as caught:
        marked_with(tmp_path, thin, scale=1, limits=Limits(pixels=1_000_000))
    assert caught.value.job_code == "output_too_large"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"text": ""}, "/params/text"),
        ({"text": " \n "}, "/params/text"),
        ({"text": "a\x00b"}, "/params/text"),
        ({"text": "a\u202eb"}, "/params/text"),
        ({"text": "\ud800"}, "/params/text"),
        ({"text": "x" * 501}, "/params/text"),
        ({"text": "x\n" * 25}, "/params/text"),
        ({"text": "x", "scale": 0}, "/params/scale"),
        ({"text": "x", "opacity": 1.1}, "/params/opacity"),
        ({"text": "x", "position": "attention"}, "/params/position"),
        ({"text": "x", "colour": "transparent"}, "/params/colour"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.watermark").parse(params)
    assert caught.value.errors[0]["pointer"].startswith(pointer)
