from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from samples import card, distance, film, heic, jpeg, run, saved, svg, transparent

ALIKE = 0.06  # measured: re-encoding stays below 0.03, a turned card is above 0.25
KINDS = ["jpeg", "png", "webp", "avif", "gif", "tiff"]


def converted(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> Image.Image:
    image = run("image.convert", folder, data, name, **params).image()
    image.load()
    return image


def refusal(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("image.convert", folder, data, name, **params)
    return caught.value


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_becomes_every_other(source: str, kind: str, tmp_path: Path) -> None:
    ran = run("image.convert", tmp_path, saved(card(), source), "a b.img", format=kind)
    image = ran.image()
    assert image.format == kind.upper()
    assert image.size == (320, 240)
    assert distance(image, card()) < ALIKE
    assert ran.work.outputs[0].name == "a b." + {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)


def test_heic_shows_its_picture(tmp_path: Path) -> None:
    image = converted(tmp_path, heic(), "photo.heic", format="png")
    assert image.size == (64, 48)
    colours = [image.convert("RGB").getpixel(at) for at in ((9, 9), (54, 9), (9, 38), (54, 38))]
    seen = [tuple(round(v / 255) for v in colour) for colour in colours]  # type: ignore[union-attr]  # RGB: tuples
    assert seen == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_heic_and_bmp_are_corrupt(share: float, tmp_path: Path) -> None:
    for data, name in ((heic(), "a.heic"), (saved(card(), "BMP"), "a.bmp")):
        error = refusal(tmp_path, data[: int(len(data) * share)], name, format="png")
        assert error.job_code == "corrupt_input"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_kinds_of_bmp(mode: str, tmp_path: Path) -> None:
    picture = card().convert("P" if mode == "P" else mode)
    image = converted(tmp_path, saved(picture, "BMP"), "a.bmp", format="png")
    assert image.mode == ("L" if mode in {"1", "L"} else image.mode)
    assert distance(image, picture.convert("RGB")) < ALIKE


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_lossless_keeps_every_pixel(kind: str, tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    image = converted(tmp_path, saved(noise, "PNG"), format=kind, lossless=True)
    assert image.convert("RGB").tobytes() == noise.tobytes()


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "tiff", "gif"])
def test_transparency_is_kept(kind: str, tmp_path: Path) -> None:
    image = converted(tmp_path, saved(transparent(), "PNG"), format=kind).convert("RGBA")
    low, high = image.getchannel("A").getextrema()
    assert low < 10  # type: ignore[operator]  # one band: numbers
    assert high > 245  # type: ignore[operator]  # as above


def test_transparency_is_filled_for_jpeg(tmp_path: Path) -> None:
    image = converted(tmp_path, svg(), "a.svg", format="jpeg", background="#0f0")
    red, green, blue = image.getpixel((160, 200))  # type: ignore[misc]  # RGB: a tuple
    assert green > 245
    assert max(red, blue) < 10


# --- frames and pages ------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["GIF", "WEBP"])
@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_film_stays_a_film(source: str, kind: str, tmp_path: Path) -> None:
    image = converted(tmp_path, film(source), format=kind)
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    originals = [card(120, 90).rotate(15 * i) for i in range(5)]
    assert len(frames) == 5
    assert all(distance(*pair) < 0.12 for pair in zip(frames, originals, strict=True))
    assert image.info["duration"] == 80
    assert image.info["loop"] == 0


def test_page_takes_that_frame(tmp_path: Path) -> None:
    for kind in ("png", "gif"):
        image = converted(tmp_path, film("WEBP"), format=kind, page=4)
        assert getattr(image, "n_frames", 1) == 1
        assert distance(image, card(120, 90).rotate(45)) < 0.12
    assert refusal(tmp_path, film("GIF"), format="png", page=6).job_code == "page_out_of_range"
    assert refusal(tmp_path, jpeg(), format="png", page=2).job_code == "page_out_of_range"


def test_page_of_a_scan(tmp_path: Path) -> None:
    pages = [card(), card().rotate(180)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert distance(converted(tmp_path, data, format="png"), pages[0]) < ALIKE
    assert distance(converted(tmp_path, data, format="png", page=2), pages[1]) < ALIKE


def test_size_of_each_page_of_a_scan_is_judged(tmp_path: Path) -> None:
    data = saved(card(10, 10), "TIFF", save_all=True, append_images=[card(400, 400)])
    limits = Limits(pixels=10_000)
    assert run("image.convert", tmp_path, data, "a.tif", format="png", limits=limits)
    error = refusal(tmp_path, data, "a.tif", format="png", page=2, limits=limits)
    assert error.job_code == "image_too_large"


# --- orientation -----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_stands_upright(orientation: int, tmp_path: Path) -> None:
    image = converted(tmp_path, jpeg(orientation=orientation), format="png")
    assert image.size == (320, 240)
    assert distance(image, card()) < ALIKE


def test_drawing_has_the_size_that_scale_gives(tmp_path: Path) -> None:
    for scale, size in ((1, (320, 240)), (2, (640, 480)), (0.5, (160, 120))):
        image = converted(tmp_path, svg(), "a.svg", format="png", scale=scale)
        assert image.size == size
        assert image.getpixel((size[0] // 4, size[1] // 4)) == (255, 0, 0, 255)
        assert image.getpixel((size[0] // 2, size[1] - 5)) == (0, 0, 0, 0)
    few = Limits(pixels=320 * 240)
    error = refusal(tmp_path, svg(), "a.svg", format="png", scale=1.01, limits=few)
    assert error.job_code == "image_too_large"


# --- limits and parameters -------------------------------------------------------------------


def test_format_that_cannot_hold_it_says_so(tmp_path: Path) -> None:
    long = saved(Image.new("L", (17_000, 2)), "PNG")
    for kind in ("webp", "avif"):
        assert refusal(tmp_path, long, format=kind).job_code == "output_too_large"
    assert converted(tmp_path, long, format="tiff").size == (17_000, 2)


def test_quality_makes_a_difference(tmp_path: Path) -> None:
    for kind in ("jpeg", "webp", "avif"):
        sizes = [
            len(run("image.convert", tmp_path, jpeg(), format=kind, quality=quality).data)
            for quality in (20, 95)
        ]
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/params/format"),
        ({"format": "heic"}, "/params/format"),
        ({"format": "jpeg", "lossless": True}, "/params"),
        ({"format": "webp", "lossless": True, "quality": 3}, "/params"),
        ({"format": "webp", "page": 0}, "/params/page"),
        ({"format": "webp", "scale": 0}, "/params/scale"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.convert").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


def test_input_is_not_changed(tmp_path: Path) -> None:
    data = saved(transparent(), "PNG")
    run("image.convert", tmp_path, data, format="webp")
    assert (tmp_path / "in").read_bytes() == data
    assert Image.open(io.BytesIO(data)).mode == "RGBA"
