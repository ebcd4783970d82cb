from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations.types import detect_file
from films import duration_s, film, loudness_lufs, samples, tone
from samples import Ran, run


def normalized(folder: Path, data: bytes, name: str = "tone.wav", **params: Any) -> Ran:
    return run("audio.normalize", folder, data, name, **params)


def report(ran: Ran) -> dict[str, Any]:
    assert ran.work.outputs[1].name.endswith("-loudness.json")
    found: dict[str, Any] = json.loads(ran.work.outputs[1].path.read_text())
    return found


@pytest.mark.parametrize(("db", "target"), [(-40, -23), (-20, -16), (-6, -23)])
def test_the_result_is_as_loud_as_asked_for(db: int, target: int, tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone(db=db, seconds=4), target_lufs=target)
    path = ran.work.outputs[0].path
    assert abs(loudness_lufs(path) - target) <= 0.3
    assert abs(duration_s(path, "a") - 4) < 0.001
    # A sine of full scale on both channels has -0.7 LUFS (ITU-R BS.1770, with K-weighting).
    assert abs(report(ran)["loudness_lufs"] - (db - 0.7)) < 0.2
    assert abs(report(ran)["true_peak_db"] - db) < 0.2
    assert report(ran)["mode"] == "linear"


def test_the_true_peak_is_kept_below_its_limit(tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone(seconds=4), target_lufs=-5, true_peak_db=-9)
    assert max(samples(ran.work.outputs[0].path)) <= 32_768 * 10 ** (-8.5 / 20)
    assert report(ran)["mode"] == "dynamic"


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [("mp3", "audio/mpeg"), ("flac", "audio/flac"), ("opus", "audio/ogg"), ("m4a", "audio/mp4")],
)
def test_the_format_is_kept(suffix: str, media_type: str, tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone(suffix, seconds=4), f"tone.{suffix}")
    output = ran.work.outputs[0]
    assert output.type == detect_file(output.path) == media_type
    assert output.name == f"tone.{suffix}"
    assert abs(loudness_lufs(output.path) + 23) <= 0.5


def test_the_sound_of_a_film_becomes_m4a(tmp_path: Path) -> None:
    ran = normalized(tmp_path, film(), "film.mp4")
    assert ran.work.outputs[0].name == "film.m4a"
    assert abs(loudness_lufs(ran.work.outputs[0].path) + 23) <= 0.5


def test_silence_stays_silent(tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone(db=-200, seconds=1))
    assert report(ran)["mode"] == "silent"
    assert report(ran)["loudness_lufs"] is None
    assert abs(duration_s(ran.work.outputs[0].path, "a") - 1) < 0.001


def test_a_sound_too_short_to_be_measured_stays_as_it_is(tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone(seconds=0.1))
    assert abs(duration_s(ran.work.outputs[0].path, "a") - 0.1) < 0.001


def test_both_passes_tell_how_far_they_are(tmp_path: Path) -> None:
    ran = normalized(tmp_path, tone())
    assert {phase for phase, *_ in ran.reports} == {"measure", "encode", "done"}
