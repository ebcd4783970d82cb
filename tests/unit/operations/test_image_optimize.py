from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from fileproc.operations.image_optimize import bisect
from samples import Ran, card, distance, film, jpeg, run, saved, svg, transparent


def optimized(folder: Path, data: bytes, name: str = "a.img", **params: Any) -> Ran:
    own = folder / str(len(list(folder.iterdir())))  # results are compared with one another
    own.mkdir()
    return run("image.optimize", own, data, name, **params)


def noisy(width: int = 320, height: int = 240) -> Image.Image:
    """The card with grain: like a photograph, it does not compress to nothing."""
    grain = random.Random(1).randbytes(3 * width * height)
    return Image.blend(card(width, height), Image.frombytes("RGB", (width, height), grain), 0.15)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF"])
def test_format_and_picture_stay(kind: str, tmp_path: Path) -> None:
    image = optimized(tmp_path, saved(card(), kind)).image()
    assert image.format == kind
    assert image.size == (320, 240)
    assert distance(image, card()) < 0.03


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_result_is_not_larger_than_what_was_given(kind: str, tmp_path: Path) -> None:
    for quality in (45, 90):
        data = saved(noisy(), kind, quality=quality)
        assert len(optimized(tmp_path, data).data) <= len(data)


@pytest.mark.parametrize("source", [card(), noisy(), transparent(), card(mode="L")])
def test_png_loses_nothing_by_default(source: Image.Image, tmp_path: Path) -> None:
    data = saved(source, "PNG", compress_level=1)
    ran = optimized(tmp_path, data)
    assert len(ran.data) < len(data)
    image = ran.image()
    assert image.convert("RGBA").tobytes() == source.convert("RGBA").tobytes()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "gif"])
def test_quality_makes_a_difference(kind: str, tmp_path: Path) -> None:
    sizes = [
        len(optimized(tmp_path, saved(noisy(160, 120), "PNG"), format=kind, quality=quality).data)
        for quality in (20, 95)
    ]
    assert sizes[0] < sizes[1]


# --- within a number of bytes ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif", "png", "gif"])
def test_result_fits(kind: str, tmp_path: Path) -> None:
    data = saved(noisy(160, 120), "PNG")
    largest = len(optimized(tmp_path, data, format=kind, quality=95).data)
    smallest = len(optimized(tmp_path, data, format=kind, quality=20).data)
    most = (largest + smallest) // 2
    ran = optimized(tmp_path, data, format=kind, max_bytes=most)
    assert len(ran.data) <= most
    assert ran.image().format == kind.upper()
    assert distance(ran.image(), noisy(160, 120)) < 0.1


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_best_quality_that_fits_is_taken(kind: str, tmp_path: Path) -> None:
    """A file that one step of quality more would give does not fit: so it nearly fills the room."""
    data = saved(noisy(), "PNG")
    for most in (9_000, 15_000):
        ran = optimized(tmp_path, data, format=kind, max_bytes=most)
        assert 0.9 * most < len(ran.data) <= most


def test_what_fits_anyway_has_the_highest_quality(tmp_path: Path) -> None:
    ran = optimized(tmp_path, saved(card(), "PNG"), max_bytes=10_000_000)
    assert ran.image().tobytes() == card().tobytes()


def test_what_cannot_fit_says_how_small_it_gets(tmp_path: Path) -> None:
    for params, floor in (
        ({}, 20), ({"format": "webp"}, 20), ({"format": "best"}, 20), ({"min_quality": 95}, 95),
        ({"min_quality": 1}, None), ({"format": "png"}, None),
    ):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            optimized(tmp_path, saved(noisy(), "JPEG"), max_bytes=300, **params)
        assert caught.value.job_code == "output_too_large"
        assert "300 are asked for" in caught.value.detail
        named = f"min_quality allows ({floor})" if floor else "smallest result would"
        assert named in caught.value.detail


def test_min_quality_is_a_floor(tmp_path: Path) -> None:
    data = saved(noisy(), "PNG")
    small = len(optimized(tmp_path, data, format="jpeg", quality=30).data)
    assert optimized(tmp_path, data, format="jpeg", max_bytes=small, min_quality=25)
    with pytest.raises(BadInput):
        optimized(tmp_path, data, format="jpeg", max_bytes=small, min_quality=60)


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=90).map(lambda s: sorted(s)[::-1]),
    most=st.integers(0, 1001),
)
def test_bisection_finds_the_first_that_fits(sizes: Sequence[int], most: int) -> None:
    tried = []

    def encode(options: dict[str, Any]) -> bytes:
        tried.append(options["at"])
        return bytes(sizes[options["at"]])

    found = bisect([{"at": at} for at in range(len(sizes))], encode, most)
    fitting = [size for size in sizes if size <= most]
    assert (found is None) == (not fitting)
    if found is not None:
        assert len(found) == fitting[0]
    assert len(tried) <= 8


# --- best ------------------------------------------------------------------------------------


def test_best_is_the_smallest_of_those_that_can_hold_it(tmp_path: Path) -> None:
    for data, kinds in (
        (jpeg(), {"jpeg", "webp", "avif"}),
        (saved(transparent(), "PNG"), {"png", "webp", "avif"}),
        (film("GIF"), {"gif", "webp"}),
    ):
        best = optimized(tmp_path, data, format="best")
        sizes = {
            kind: len(
                optimized(
                    tmp_path, data, format=kind, quality=None if kind in {"png", "gif"} else 82
                ).data
            )
            for kind in kinds
        }
        assert len(best.data) <= min(sizes.values()) * 1.02
        assert best.work.outputs[0].name.startswith("a.")


def test_best_keeps_transparency_and_film(tmp_path: Path) -> None:
    image = optimized(tmp_path, saved(transparent(), "PNG"), format="best").image()
    assert image.convert("RGBA").getchannel("A").getextrema()[0] < 10  # type: ignore[operator]  # a number
    moving = optimized(tmp_path, film("GIF"), format="best").image()
    moving.load()
    assert moving.info["duration"] == 80
    assert len(list(ImageSequence.Iterator(moving))) == 5


def test_best_of_flat_colours_may_be_png(tmp_path: Path) -> None:
    flat = Image.new("RGB", (64, 64), "#abc")
    assert optimized(tmp_path, saved(flat, "PNG"), format="best").image().size == (64, 64)
    assert optimized(tmp_path, svg(), "a.svg", format="best").image().size == (320, 240)


def test_best_within_bytes_looks_most_like_the_original(tmp_path: Path) -> None:
    original = noisy(160, 120)
    data = saved(original, "PNG")
    most = 2_500

    def error(ran: Ran) -> float:
        import pyvips

        pair = [
            pyvips.Image.new_from_memory(one.convert("RGB").tobytes(), 160, 120, 3, "uchar")
            for one in (ran.image(), original)
        ]
        return float(((pair[0] - pair[1]) ** 2).avg())

    best = optimized(tmp_path, data, format="best", max_bytes=most)
    assert len(best.data) <= most
    others = [
        optimized(tmp_path, data, format=kind, max_bytes=most) for kind in ("jpeg", "webp", "avif")
    ]
    assert error(best) <= min(error(other) for other in others) * 1.05


def test_best_of_inks_is_found_and_says_srgb(tmp_path: Path) -> None:
    """libvips leaves the profile of the inks in a picture that it converts by itself, freed."""
    inks = saved(card(mode="CMYK"), "JPEG", quality=95)
    ran = optimized(tmp_path, inks, max_bytes=100_000, format="best", keep_metadata=True)
    image = ran.image()
    assert image.mode == "RGB"
    assert len(image.info["icc_profile"]) < 10_000  # that of the inks has a megabyte
    assert distance(image, card()) < 0.2


# --- films -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_film_stays_a_film_within_its_bytes(kind: str, tmp_path: Path) -> None:
    data = film(kind)
    ran = optimized(tmp_path, data, max_bytes=int(len(data) * 0.7))
    assert len(ran.data) <= len(data) * 0.7
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(ran.image())]
    originals = [card(120, 90).rotate(15 * i) for i in range(5)]
    assert all(distance(*pair) < 0.15 for pair in zip(frames, originals, strict=True))


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"quality": 0}, "/params/quality"),
        ({"max_bytes": 5}, "/params/max_bytes"),
        ({"quality": 50, "max_bytes": 5_000}, "/params"),
        ({"format": "smallest"}, "/params/format"),
        ({"min_quality": 96}, "/params/min_quality"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.optimize").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
