from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from samples import CORNERS, card, distance, film, jpeg, png_that_claims, run, saved, transparent

ALIKE = 0.06  # measured: re-encoding and resampling stay below 0.03, a turned card is above 0.25


def resized(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> Image.Image:
    image = run("image.resize", folder, data, name, **params).image()
    image.load()
    return image


def refusal(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("image.resize", folder, data, name, **params)
    return caught.value


def corner_colours(image: Image.Image) -> list[tuple[int, ...]]:
    """Red, lime, blue, yellow, if it stands upright."""
    rgb = image.convert("RGB")
    inset = 5
    return [
        tuple(
            round(value / 255)
            for value in rgb.getpixel(  # type: ignore[union-attr]  # RGB: a tuple
                (
                    x * (rgb.width - 1) + (inset if x == 0 else -inset),
                    y * (rgb.height - 1) + (inset if y == 0 else -inset),
                )
            )
        )
        for x, y in CORNERS.values()
    ]


UPRIGHT = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]


# The card is 320 x 240.
@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({"width": 160}, (160, 120)),
        ({"height": 60}, (80, 60)),
        ({"width": 100, "height": 100}, (100, 75)),
        ({"width": 640}, (320, 240)),
        ({"width": 640, "enlarge": True}, (640, 480)),
        ({"width": 100, "height": 100, "mode": "fill"}, (100, 100)),
        ({"width": 400, "height": 100, "mode": "fill"}, (320, 100)),
        ({"width": 400, "height": 100, "mode": "fill", "enlarge": True}, (400, 100)),
        ({"width": 100, "height": 100, "mode": "pad"}, (100, 100)),
        ({"width": 400, "height": 400, "mode": "pad"}, (400, 400)),
        ({"width": 50, "height": 200, "mode": "exact"}, (50, 200)),
        ({"width": 50, "height": 500, "mode": "exact"}, (50, 240)),
        ({"width": 50, "height": 500, "mode": "exact", "enlarge": True}, (50, 500)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_size_is_as_asked_for(
    params: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    assert resized(tmp_path, jpeg(), **params).size == size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_stands_upright_whatever_its_orientation(orientation: int, tmp_path: Path) -> None:
    image = resized(tmp_path, jpeg(orientation=orientation), width=160, height=160)
    assert image.size == (160, 120)
    assert corner_colours(image) == UPRIGHT
    assert distance(image, card()) < ALIKE
    assert not image.getexif()


def test_orientation_is_left_alone_where_that_is_asked_for(tmp_path: Path) -> None:
    image = resized(tmp_path, jpeg(orientation=6), width=160, auto_orient=False)
    assert image.size == (160, 213)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "gif"])
def test_every_format_shows_the_same_picture(kind: str, tmp_path: Path) -> None:
    ran = run("image.resize", tmp_path, jpeg(), "a.jpg", width=200, format=kind)
    image = ran.image()
    assert image.format == kind.upper()
    assert image.size == (200, 150)
    assert distance(image, card()) < ALIKE
    assert ran.work.outputs[0].name == "a." + {"jpeg": "jpg"}.get(kind, kind)


@pytest.mark.parametrize("width", [20, 39, 40, 41, 80, 160, 300])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_decoding_smaller_shows_the_same_picture(kind: str, width: int, tmp_path: Path) -> None:
    big = saved(card(1280, 960), kind, quality=92)
    image = resized(tmp_path, big, width=width, format="png")
    assert image.size == (width, round(width * 0.75 + 0.001))
    assert distance(image, card()) < ALIKE


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: saved(card(mode="L"), "JPEG"), "L"),
        (lambda: saved(card().quantize(64), "PNG"), "RGB"),
        (lambda: saved(card(mode="L"), "PNG"), "L"),
        (lambda: saved(card(), "TIFF"), "RGB"),
        (lambda: saved(card(mode="RGBA"), "TIFF"), "RGBA"),
        (lambda: saved(card(), "JPEG", progressive=True, quality=90), "RGB"),
    ],
)
def test_kinds_of_pixels_come_out_right(made: Any, kind: str, tmp_path: Path) -> None:
    data = made()
    image = resized(tmp_path, data, width=160)
    assert image.mode == kind
    assert distance(image, Image.open(io.BytesIO(data))) < ALIKE


def test_cmyk_becomes_rgb_with_its_colours(tmp_path: Path) -> None:
    image = resized(tmp_path, saved(card(mode="CMYK"), "JPEG", quality=95), width=160)
    assert image.mode == "RGB"
    assert distance(image, card()) < 0.2  # a press cannot print such green; not inverted, though
    assert corner_colours(image)[0] == (1, 0, 0)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = Image.new("I;16", (300, 200), 32768)
    image = resized(tmp_path, saved(deep, "PNG"), width=100)
    assert image.mode == "L"
    assert abs(int(image.getpixel((50, 30))) - 128) <= 1  # type: ignore[arg-type]  # L: a number


def test_wide_gamut_is_converted_by_its_profile(tmp_path: Path) -> None:
    import pyvips

    (tmp_path / "card.png").write_bytes(saved(card(), "PNG"))
    wide = pyvips.Image.pngload(str(tmp_path / "card.png")).icc_transform(
        "p3", input_profile="srgb"
    )
    data = wide.jpegsave_buffer(Q=95, profile="p3")
    assert distance(Image.open(io.BytesIO(data)), card()) > 0.01  # as numbers they differ
    image = resized(tmp_path, data, width=160)
    assert distance(image, card()) < 0.02
    assert "icc_profile" not in image.info


def test_broken_profile_is_ignored(tmp_path: Path) -> None:
    image = resized(tmp_path, saved(card(), "JPEG", icc_profile=b"nonsense" * 40), width=160)
    assert distance(image, card()) < ALIKE


# --- transparency ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("background", "top"),
    [("auto", (255, 255, 255)), ("black", (0, 0, 0)), ("#f0f", (255, 0, 255))],
)
def test_transparency_is_filled_for_jpeg(
    background: str, top: tuple[int, ...], tmp_path: Path
) -> None:
    data = saved(transparent(), "PNG")
    image = resized(tmp_path, data, width=160, format="jpeg", background=background)
    apart = zip(image.getpixel((80, 0)), top, strict=True)  # type: ignore[arg-type]  # RGB: a tuple
    assert all(abs(one - other) < 12 for one, other in apart)


def test_transparency_is_kept_where_the_format_has_it(tmp_path: Path) -> None:
    for kind in ("png", "webp", "avif"):
        image = resized(tmp_path, saved(transparent(), "PNG"), width=160, format=kind)
        assert image.mode == "RGBA"
        low, high = image.getchannel("A").getextrema()
        assert low < 10  # type: ignore[operator]  # one band: numbers
        assert high > 245  # type: ignore[operator]  # as above


def test_clear_pixels_do_not_bleed(tmp_path: Path) -> None:
    """Half red, half clear green: scaled down, no green may show in what is opaque."""
    image = Image.new("RGBA", (200, 200), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (0, 0, 101, 200))
    small = resized(tmp_path, saved(image, "PNG"), width=20)
    assert all(g < 8 for _, g, _, a in small.get_flattened_data() if a > 30)  # type: ignore[misc]


# --- crops and pads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gravity", "seen"),
    [
        ("north_west", "red"),
        ("north_east", "lime"),
        ("south_west", "blue"),
        ("South-East", "yellow"),
    ],
)
def test_gravity_says_what_fill_keeps(gravity: str, seen: str, tmp_path: Path) -> None:
    image = resized(tmp_path, jpeg(400, 100), width=50, height=50, mode="fill", gravity=gravity)
    x, y = CORNERS[seen]
    expected = UPRIGHT[list(CORNERS).index(seen)]
    pixel = image.getpixel((x * 49, y * 49))
    assert tuple(round(v / 255) for v in pixel) == expected  # type: ignore[union-attr]  # a tuple


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_clever_gravity_finds_what_is_there(gravity: str, tmp_path: Path) -> None:
    plain = Image.new("RGB", (900, 200), "#777777")
    plain.paste(card(160, 160), (700, 20))
    image = resized(
        tmp_path, saved(plain, "PNG"), width=200, height=200, mode="fill", gravity=gravity
    )
    assert image.size == (200, 200)
    assert len(image.getcolors(100_000) or ()) > 500  # the card, not the grey


def test_pad_puts_the_picture_where_gravity_says(tmp_path: Path) -> None:
    image = resized(
        tmp_path, jpeg(), width=100, height=100, mode="pad", gravity="south",
        background="#00ff00", format="png",
    )  # fmt: skip
    assert image.getpixel((50, 2)) == (0, 255, 0)
    assert corner_colours(image.crop((0, 25, 100, 100))) == UPRIGHT


def test_pad_is_clear_where_the_result_can_be(tmp_path: Path) -> None:
    image = resized(tmp_path, jpeg(), width=100, height=100, mode="pad", format="png")
    assert image.mode == "RGBA"
    assert image.getpixel((50, 2)) == (255, 255, 255, 0)
    white = resized(tmp_path, jpeg(), width=100, height=100, mode="pad")
    assert min(white.getpixel((50, 2))) > 250  # type: ignore[arg-type]  # RGB: a tuple


def test_grey_picture_on_a_coloured_pad_becomes_coloured(tmp_path: Path) -> None:
    grey = saved(card(mode="L"), "PNG")
    image = resized(tmp_path, grey, width=99, height=99, mode="pad", background="#ff0000")
    assert image.getpixel((50, 2)) == (255, 0, 0)
    assert resized(tmp_path, grey, width=99, height=99, mode="pad", background="black").mode == "L"


# --- metadata --------------------------------------------------------------------------------


def test_metadata_goes_unless_it_is_wanted(tmp_path: Path) -> None:
    data = jpeg(orientation=6)
    bare = run("image.resize", tmp_path, data, "a.jpg", width=100)
    assert b"Maker of cameras" not in bare.data
    assert b"Exif" not in bare.data
    image = resized(tmp_path, data, width=100, keep_metadata=True)
    assert image.getexif()[0x010F] == "Maker of cameras"
    assert image.getexif().get(0x0112, 1) == 1  # it has been turned


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_no_format_keeps_metadata_by_itself(kind: str, tmp_path: Path) -> None:
    ran = run("image.resize", tmp_path, jpeg(), "a.jpg", width=100, format=kind)
    assert b"Maker of cameras" not in ran.data


# --- films -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["GIF", "WEBP"])
@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize("mode", ["fit", "fill", "pad"])
def test_film_stays_a_film(source: str, target: str, mode: str, tmp_path: Path) -> None:
    params: dict[str, Any] = {
        "width": 60,
        "height": 40,
        "mode": mode,
        "format": target,
        "background": "white",
    }
    image = resized(tmp_path, film(source), **params)
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    assert len(frames) == 5
    assert {frame.size for frame in frames} == {(53, 40) if mode == "fit" else (60, 40)}
    assert image.info["duration"] == 80
    if mode == "fit":
        originals = [card(120, 90).rotate(15 * i) for i in range(5)]
        assert all(distance(*pair) < 0.12 for pair in zip(frames, originals, strict=True))


def test_film_becomes_its_first_frame_elsewhere(tmp_path: Path) -> None:
    image = resized(tmp_path, film("GIF"), width=60, format="jpeg")
    assert distance(image, card()) < ALIKE


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("AVIF", {}),
        ("GIF", {}),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_cut_picture_is_an_error_not_a_grey_half(
    kind: str, options: dict[str, Any], share: float, tmp_path: Path
) -> None:
    data = saved(card(800, 600), kind, **options)
    error = refusal(tmp_path, data[: int(len(data) * share)], width=100)
    assert error.job_code == "corrupt_input"


@pytest.mark.parametrize("size", [(30_000, 30_000), (65_535, 65_535), (2**31 - 1, 1)])
def test_pixel_flood_is_refused_by_its_header(size: tuple[int, int], tmp_path: Path) -> None:
    data = png_that_claims(*size)
    assert len(data) < 2_200
    error = refusal(tmp_path, data, "a.png", width=100)
    assert error.job_code in {"image_too_large", "corrupt_input"}
    if size[0] == size[1]:
        assert error.job_code == "image_too_large"
        assert f"{size[0]:,}" in error.detail


def test_frames_of_a_film_count_as_pixels(tmp_path: Path) -> None:
    limits = Limits(pixels=120 * 90 * 4)
    assert refusal(tmp_path, film("GIF"), width=20, limits=limits).job_code == "image_too_large"
    assert run(
        "image.resize", tmp_path, film("GIF"), "a.gif", width=20, format="png", limits=limits
    )


def test_result_has_limits_too(tmp_path: Path) -> None:
    params: dict[str, Any] = {"width": 20_000, "height": 20, "mode": "exact", "enlarge": True}
    assert refusal(tmp_path, jpeg(), format="webp", **params).job_code == "output_too_large"
    few = Limits(pixels=100_000)
    error = refusal(tmp_path, jpeg(), width=2000, enlarge=True, limits=few)
    assert error.job_code == "output_too_large"


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_decoder_is_the_one_of_the_type_not_of_the_bytes(kind: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, saved(card(), kind), media_type="image/jpeg", width=100)
    assert error.job_code == "corrupt_input"


def test_svg_is_never_drawn_under_another_name(tmp_path: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>'
    for media_type in ("image/png", "image/webp", "image/tiff", "image/avif", "image/gif"):
        assert refusal(tmp_path, svg, media_type=media_type, width=5).job_code == "corrupt_input"


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({}, "/params"),
        ({"width": 0}, "/params/width"),
        ({"width": 70_000}, "/params/width"),
        ({"width": 10, "mode": "fill"}, "/params"),
        ({"width": 10, "mode": "squash"}, "/params/mode"),
        ({"width": 10, "format": "bmp"}, "/params/format"),
        ({"width": 10, "quality": 101}, "/params/quality"),
        ({"width": 10, "background": "mauve"}, "/params/background"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("image.resize").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


def test_query_strings_are_understood() -> None:
    parsed = find("image.resize").parse({"width": "800", "enlarge": "true", "format": "JPG"})
    assert (parsed["width"], parsed["enlarge"], parsed["format"]) == (800, True, "jpeg")


def test_quality_makes_a_difference(tmp_path: Path) -> None:
    for kind in ("jpeg", "webp", "avif"):
        sizes = [
            len(
                run(
                    "image.resize", tmp_path, jpeg(), "a.jpg", width=300, format=kind, quality=q
                ).data
            )
            for q in (20, 95)
        ]
        assert sizes[0] < sizes[1]


sides = st.integers(1, 5000)


@given(
    width=sides, height=sides, across=sides, down=sides,
    mode=st.sampled_from(["fit", "fill", "pad", "exact"]), enlarge=st.booleans(),
)  # fmt: skip
def test_boxes_hold_for_any_size(
    width: int, height: int, across: int, down: int, mode: str, *, enlarge: bool
) -> None:
    from fileproc.operations.image_resize import Resize, _box

    params = Resize.model_validate(
        {"width": across, "height": down, "mode": mode, "enlarge": enlarge}
    )
    box = _box((width, height), params)
    assert min(*box.scaled, *box.final) >= 1
    if not enlarge:
        assert box.scaled[0] <= width
        assert box.scaled[1] <= height
    if mode == "pad" or (enlarge and mode in {"fill", "exact"}):
        assert box.final == (across, down)
    else:
        assert box.final[0] <= across
        assert box.final[1] <= down
    if mode == "pad":
        assert box.scaled[0] <= across
        assert box.scaled[1] <= down
    if mode == "fill":
        assert box.scaled[0] >= box.final[0]
        assert box.scaled[1] >= box.final[1]
