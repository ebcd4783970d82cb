from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.api.reading import json_params, query_params
from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, Limits, find
from films import colour, film, turned
from samples import Ran, run


def taken(folder: Path, data: bytes | None = None, **params: Any) -> Ran:
    return run("video.thumbnails", folder, film() if data is None else data, "film.mp4", **params)


def shades(image: Image.Image) -> str:
    middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(middle, tuple)
    return colour(middle)


def test_each_third_of_the_film_has_its_picture(tmp_path: Path) -> None:
    ran = taken(tmp_path, count=3)
    assert [output.name for output in ran.work.outputs] == [
        *("film-01.jpg", "film-02.jpg", "film-03.jpg")
    ]
    images = [ran.image(place) for place in range(3)]
    assert [shades(image) for image in images] == ["red", "lime", "blue"]
    assert {(image.format, image.size) for image in images} == {("JPEG", (64, 48))}


def test_pictures_are_those_of_the_times(tmp_path: Path) -> None:
    ran = taken(tmp_path, times="0,0.99,1.01,2.5,2.99,3", format="png", width=32)
    shown = [shades(ran.image(place)) for place in range(6)]
    # At 0.99 the next frame begins a hundredth of a second later.
    assert shown == ["red", "lime", "lime", "blue", "blue", "blue"]
    assert ran.image().size == (32, 24)
    assert ran.image().format == "PNG"


def test_times_are_taken_as_a_list_as_well(tmp_path: Path) -> None:
    ran = taken(tmp_path, times=[2.5, 0.5], format="webp")
    assert [shades(ran.image(place)) for place in range(2)] == ["blue", "red"]
    assert ran.work.outputs[0].type == "image/webp"


def test_times_and_algorithms_are_a_list_a_text_or_given_again_and_again() -> None:
    films, hashes = find("video.thumbnails"), find("file.hash")
    for given in (["1,2.5,10"], ["1", "2.5", "10"], ["1,2.5", "10"]):
        assert query_params(films, {"times": given})["times"] == [1, 2.5, 10]
    for times in ("1,2.5,10", [1, 2.5, 10]):
        assert json_params(films, {"times": times})["times"] == [1, 2.5, 10]
    assert query_params(hashes, {"algorithms": ["md5,sha1"]})["algorithms"] == ["md5", "sha1"]
    assert json_params(hashes, {"algorithms": "md5,sha1"})["algorithms"] == ["md5", "sha1"]
    for wrong in (["1"], "1,a", "nan", ""):
        with pytest.raises(InvalidRequestError):
            json_params(films, {"times": wrong})


def test_a_sheet_has_all_pictures_in_rows(tmp_path: Path) -> None:
    ran = taken(tmp_path, count=3, layout="sheet", columns=2, format="png")
    assert [output.name for output in ran.work.outputs] == ["film-sheet.png"]
    sheet = ran.image().convert("RGB")
    assert sheet.size == (2 * 64 + 3 * 4, 2 * 48 + 3 * 4)
    for place, name in (((36, 28), "red"), ((104, 28), "lime"), ((36, 80), "blue")):
        pixel = sheet.getpixel(place)
        assert isinstance(pixel, tuple)
        assert colour(pixel) == name
    assert sheet.getpixel((104, 80)) == sheet.getpixel((1, 1)) == (255, 255, 255)


def test_both_are_files_and_then_the_sheet(tmp_path: Path) -> None:
    ran = taken(tmp_path, count=2, layout="both")
    assert [output.name for output in ran.work.outputs] == [
        *("film-01.jpg", "film-02.jpg", "film-sheet.jpg")
    ]


def test_a_turned_film_is_shown_upright(tmp_path: Path) -> None:
    assert taken(tmp_path, turned(film()), count=1).image().size == (48, 64)


def test_a_film_that_does_not_say_how_long_it_is_is_measured(tmp_path: Path) -> None:
    live = film("webm", "-live", "1")
    ran = run("video.thumbnails", tmp_path, live, "film.webm", count=3)
    assert [shades(ran.image(place)) for place in range(3)] == ["red", "lime", "blue"]


def test_a_time_behind_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        taken(tmp_path, times="1,3.5")
    assert caught.value.job_code == "time_out_of_range"


def test_a_sheet_that_is_too_large_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        taken(tmp_path, count=3, layout="sheet", limits=Limits(pixels=3 * 64 * 48 - 1))
    assert caught.value.job_code == "output_too_large"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "params",
    [
        {"times": "1", "count": 2},
        {"times": []},
        {"times": "a"},
        {"times": "1,-1"},
        {"times": "nan"},
        {"count": 0},
        {"count": 101},
        {"times": [1.0] * 101},
    ],
)
def test_nonsense_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("video.thumbnails").parse(params)
