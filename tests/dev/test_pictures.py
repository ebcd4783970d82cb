"""The demo judges pictures by their own header; Pillow makes them here, to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fileproc.dev.demo import wrong_with
from fileproc.dev.pictures import Picture, read_picture


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.png", {}),
        ("a.webp", {}),
        ("a.webp", {"lossless": True}),
        ("a.webp", {"exif": Image.Exif()}),
    ],
)
def test_format_and_size_are_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / name
    Image.new("RGB", (301, 203)).save(path, **options)
    picture = read_picture(path)
    assert picture
    assert (picture.format, picture.width, picture.height) == (
        {"jpg": "jpeg"}.get(path.suffix[1:], path.suffix[1:]),
        301,
        203,
    )
    assert picture.upright == (301, 203)


@pytest.mark.parametrize("alpha", [True, False])
def test_extended_webp_is_read(tmp_path: Path, alpha: bool) -> None:
    path = tmp_path / "a.webp"
    frames = [Image.new("RGBA" if alpha else "RGB", (77, 33), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_picture(path) == Picture("webp", 77, 33)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_turns_the_size(tmp_path: Path, orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    picture = read_picture(path)
    assert picture
    assert picture.orientation == orientation
    assert picture.upright == ((30, 40) if orientation >= 5 else (40, 30))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(cut=st.integers(0, 700), garbage=st.binary(max_size=40))
def test_damaged_pictures_are_no_pictures_or_read_but_never_raise(
    tmp_path: Path, cut: int, garbage: bytes
) -> None:
    path = tmp_path / "whole.jpg"
    if not path.exists():
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (40, 30)).save(path, exif=exif)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:cut] + garbage)
    read_picture(damaged)


def test_a_wrong_result_is_told_from_a_right_one(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "result.webp"
    Image.new("RGB", (800, 1067)).save(path)
    right = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    before = Picture("jpeg", 4000, 3000, orientation=6)
    assert wrong_with(path, right, before) is None
    assert wrong_with(path, right, None) is None
    assert "not 800 x 600" in str(wrong_with(path, right, Picture("jpeg", 4000, 3000)))
    assert "has the digest" in str(wrong_with(path, {"sha256": "0"}, before))
    path.write_bytes(b"RIFF....WEBPnonsense")
    right = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert "no WebP" in str(wrong_with(path, right, before))
