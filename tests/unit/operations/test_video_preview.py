from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput
from films import colour, film, turned
from samples import Ran, run


def previewed(folder: Path, data: bytes | None = None, **params: Any) -> Ran:
    return run("video.preview", folder, film() if data is None else data, "film.mp4", **params)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_it_moves_as_the_film_does_and_lasts_as_long(kind: str, tmp_path: Path) -> None:
    image = previewed(tmp_path, format=kind, duration_s=3, fps=10).image()
    assert image.format == kind.upper()
    assert image.size == (64, 48)
    length_ms, shown = 0, []
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        pixel = image.convert("RGB").getpixel((32, 24))
        assert isinstance(pixel, tuple)
        shown.append(colour(pixel))
        length_ms += int(image.info["duration"])
    assert abs(length_ms - 3000) <= 100
    assert list(dict.fromkeys(shown)) == ["red", "lime", "blue"]
    assert image.info["loop"] == 0


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_it_begins_where_it_is_told(kind: str, tmp_path: Path) -> None:
    image = previewed(tmp_path, format=kind, start_s=2, duration_s=0.5, width=32).image()
    pixel = image.convert("RGB").getpixel((16, 12))
    assert isinstance(pixel, tuple)
    assert (image.size, colour(pixel)) == ((32, 24), "blue")


def test_a_turned_film_is_shown_upright(tmp_path: Path) -> None:
    assert previewed(tmp_path, turned(film()), duration_s=0.2).image().size == (48, 64)


def test_it_can_end_after_one_round(tmp_path: Path) -> None:
    assert "loop" not in previewed(tmp_path, format="gif", loop=False).image().info


def test_too_much_of_it_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        previewed(tmp_path, film(size="640x480", second_s=0.2), width=640, fps=50, duration_s=10)
    assert caught.value.job_code == "output_too_large"
    assert "fewer" in caught.value.detail
    assert not (tmp_path / "out").exists()
