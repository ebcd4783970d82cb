from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from films import colour, duration_s, film, frames, picture, tone, turned
from samples import Ran, run

FRAME_S = 1 / 25 + 1e-6


def transcoded(
    folder: Path, data: bytes | None = None, name: str = "film.mp4", **params: Any
) -> Ran:
    params = {"effort": "fast", **params}
    return run("video.transcode", folder, film() if data is None else data, name, **params)


def size(path: Path) -> tuple[int, int]:
    """Width and height of the first frame, as it is decoded."""
    from films import ffmpeg

    out = ffmpeg("-i", str(path), "-frames:v", "1", "-f", "framecrc", "-").decode()
    width, height = out.split("#dimensions 0: ")[1].split("\n")[0].split("x")
    return int(width), int(height)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi"])
@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_film_lasts_as_long_and_shows_the_same(suffix: str, kind: str, tmp_path: Path) -> None:
    if kind == "webm" and suffix in {"mov", "mkv"}:
        pytest.skip("read as MP4 and WebM are, written as WebM by the others")
    ran = transcoded(tmp_path, film(suffix), f"film.{suffix}", format=kind)

    assert ran.work.outputs[0].name == f"film.{kind}"
    assert ran.work.outputs[0].type == f"video/{kind}"
    assert abs(duration_s(ran.path) - 3) <= FRAME_S
    assert [colour(picture(ran.path, at)) for at in (0.1, 0.9, 1.1, 1.9, 2.1, 2.9)] == [
        *("red", "red", "lime", "lime", "blue", "blue")
    ]
    assert abs(duration_s(ran.path, "a") - 3) < 0.1
    assert size(ran.path) == (64, 48)
    assert ran.work.engine is not None
    assert ran.work.engine.startswith("ffmpeg ")


def test_a_part_is_cut_to_the_frame(tmp_path: Path) -> None:
    ran = transcoded(tmp_path, start_s=0.92, duration_s=0.48)

    shown = frames(ran.path)
    assert len(shown) == 12
    assert abs(duration_s(ran.path) - 0.48) <= FRAME_S
    assert colour(picture(ran.path, 0.04)) == "red"
    assert colour(picture(ran.path, 0.1)) == "lime"


def test_a_part_that_is_longer_than_the_rest_is_the_rest(tmp_path: Path) -> None:
    ran = transcoded(tmp_path, start_s=2.0, duration_s=100)
    assert abs(duration_s(ran.path) - 1) <= FRAME_S


def test_a_part_behind_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        transcoded(tmp_path, start_s=3.5)
    assert caught.value.job_code == "time_out_of_range"
    assert "3 seconds" in caught.value.detail


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"width": 32}, (32, 24)),
        ({"height": 24}, (32, 24)),
        ({"width": 32, "height": 10}, (14, 10)),
        ({"width": 1000}, (64, 48)),
        ({"width": 33}, (32, 24)),
        ({}, (64, 48)),
    ],
)
def test_it_is_scaled_to_even_sides_and_never_enlarged(
    params: dict[str, Any], expected: tuple[int, int], tmp_path: Path
) -> None:
    assert size(transcoded(tmp_path, **params).path) == expected


def test_a_turned_film_comes_out_upright(tmp_path: Path) -> None:
    ran = transcoded(tmp_path, turned(film()))
    assert size(ran.path) == (48, 64)
    assert abs(duration_s(ran.path) - 3) <= FRAME_S


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    ran = transcoded(tmp_path, film("mp4", "-vf", "setsar=2"))
    assert size(ran.path) == (128, 48)


def test_another_rate_of_frames_keeps_the_duration(tmp_path: Path) -> None:
    ran = transcoded(tmp_path, fps=10)
    assert len(frames(ran.path)) == 30
    assert abs(duration_s(ran.path) - 3) <= 1 / 10


def test_mute_leaves_the_sound_out(tmp_path: Path) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "mute").mkdir()
    loud, mute = transcoded(tmp_path / "loud"), transcoded(tmp_path / "mute", mute=True)
    assert b"soun" in loud.data
    assert b"soun" not in mute.data
    assert abs(duration_s(mute.path) - 3) <= FRAME_S


def test_a_film_without_sound_is_taken(tmp_path: Path) -> None:
    assert abs(duration_s(transcoded(tmp_path, film(sound=False)).path) - 3) <= FRAME_S


def test_a_lower_factor_gives_a_larger_file(tmp_path: Path) -> None:
    sizes = []
    for crf in (15, 45):
        (tmp_path / str(crf)).mkdir()
        noise = film("mp4", "-vf", "noise=alls=40:allf=t")
        sizes.append(len(transcoded(tmp_path / str(crf), noise, crf=crf).data))
    assert sizes[0] > 2 * sizes[1]


def test_tags_and_places_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    tags = ("-metadata", "title=Our garden", "-metadata", "location=+48.1+011.5/")
    data = film("mp4", *tags)
    assert b"loci" in data
    for keep in (False, True):
        (tmp_path / str(keep)).mkdir()
        ran = transcoded(tmp_path / str(keep), data, keep_metadata=keep)
        assert (b"Our garden" in ran.data) == keep
        assert (b"loci" in ran.data) == keep


def test_the_index_of_an_mp4_is_at_the_front(tmp_path: Path) -> None:
    data = transcoded(tmp_path).data
    assert data.index(b"moov") < data.index(b"mdat")


def test_progress_is_in_seconds_of_the_film(tmp_path: Path) -> None:
    reports = transcoded(tmp_path).reports
    encode = [report for report in reports if report[0] == "encode"]
    assert encode[0][1:] == (0, 3.0, "seconds")
    assert 2.5 < encode[-1][1] <= 3
    assert all(done <= (total or 0) for _, done, total, _ in encode)


def test_a_sound_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        transcoded(tmp_path, tone("m4a"), media_type="video/mp4")
    assert caught.value.job_code == "stream_missing"


@pytest.mark.parametrize(
    "params",
    [
        {"format": "mp4", "crf": 52},
        {"format": "avi"},
        {"width": 1},
        {"start_s": -1},
        {"duration_s": 0},
        {"duration_s": "nan"},
        {"fps": 1000},
    ],
)
def test_what_no_film_can_be_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("video.transcode").parse(params)
