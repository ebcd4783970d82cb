from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput
from fileproc.operations.media import Chapter, parsed, parsed_tags
from films import film, made, tone, turned
from samples import run


def told(folder: Path, data: bytes, name: str, **params: Any) -> dict[str, Any]:
    ran = run("media.info", folder, data, name, **params)
    assert ran.work.outputs[0].name == Path(name).stem + ".json"
    found: dict[str, Any] = json.loads(ran.path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        ("mp4", ("h264", "aac")),
        ("mov", ("h264", "aac")),
        ("mkv", ("h264", "aac")),
        ("webm", ("vp8", "opus")),
        ("avi", ("mpeg4", "pcm_s16le")),
    ],
)
def test_a_film_is_told(suffix: str, codecs: tuple[str, str], tmp_path: Path) -> None:
    found = told(tmp_path, film(suffix), f"film.{suffix}")
    (video,), (audio,) = found["video"], found["audio"]
    assert abs(found["duration_s"] - 3) <= 0.06  # the last packet of sound may be longer
    assert (video["codec"], audio["codec"]) == codecs
    assert (video["width"], video["height"], video["fps"]) == (64, 48, 25)
    assert (video["shown_width"], video["shown_height"], video["rotation"]) == (64, 48, 0)
    assert (audio["channels"], audio["layout"]) == (1, "mono")
    assert audio["sample_rate"] == (48_000 if suffix == "webm" else 44_100)
    assert not video["cover"]
    assert found["size"] == len(film(suffix))
    assert found["bit_rate"] > 1000


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "flac", "opus", "wav", "aac"])
def test_a_sound_is_told(suffix: str, tmp_path: Path) -> None:
    found = told(tmp_path, tone(suffix), f"tone.{suffix}")
    assert abs(found["duration_s"] - 3) <= 0.08
    assert found["video"] == []
    (audio,) = found["audio"]
    assert audio["codec"] == {"m4a": "aac", "wav": "pcm_s16le"}.get(suffix, suffix)
    assert (audio["channels"], audio["layout"]) == (2, "stereo")


def test_rotation_is_clockwise_and_turns_what_is_shown(tmp_path: Path) -> None:
    (video,) = told(tmp_path, turned(film()), "film.mp4")["video"]
    assert (video["width"], video["height"]) == (64, 48)
    assert (video["shown_width"], video["shown_height"], video["rotation"]) == (48, 64, 90)


def test_pixels_that_are_not_square_count_as_they_are_shown(tmp_path: Path) -> None:
    (video,) = told(tmp_path, film("mp4", "-vf", "setsar=2"), "film.mp4")["video"]
    assert (video["width"], video["shown_width"], video["shown_height"]) == (64, 128, 48)


def test_a_live_film_is_measured_if_that_is_wanted(tmp_path: Path) -> None:
    live = film("webm", "-live", "1")
    for measure, duration_s in ((True, 3.0), (False, None)):
        folder = tmp_path / str(measure)
        folder.mkdir()
        found = told(folder, live, "film.webm", measure=measure)["duration_s"]
        assert found == duration_s if duration_s is None else abs(found - duration_s) <= 0.04


def test_tags_of_any_script_and_chapters_are_told(tmp_path: Path) -> None:
    text = (
        ";FFMETADATA1\ntitle=Gärten = 庭\\; \\#1\\\nund mehr\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=Eins\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=3000\ntitle=Zwei\n"
    )
    (tmp_path / "tags").write_text(text, encoding="utf-8")
    (tmp_path / "film.mkv").write_bytes(film("mkv"))
    data = made(
        "mkv", "-i", str(tmp_path / "film.mkv"), "-f", "ffmetadata", "-i", str(tmp_path / "tags"),
        "-map_metadata", "1", "-c", "copy",
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    found = told(tmp_path / "work", data, "film.mkv")
    assert found["tags"]["title"] == "Gärten = 庭; #1\nund mehr"
    assert found["chapters"] == [
        {"start_s": 0.0, "end_s": 1.5, "title": "Eins"},
        {"start_s": 1.5, "end_s": 3.0, "title": "Zwei"},
    ]


def test_a_cover_is_no_film(tmp_path: Path) -> None:
    (tmp_path / "tone.mp3").write_bytes(tone("mp3"))
    data = made(
        "mp3", "-i", str(tmp_path / "tone.mp3"), "-f", "lavfi", "-i", "color=red:s=32x32:d=1:r=1",
        "-map", "0", "-map", "1", "-c:a", "copy", "-c:v", "png", "-frames:v", "1",
        "-disposition:v", "attached_pic",
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    (video,) = told(tmp_path / "work", data, "tone.mp3")["video"]
    assert (video["cover"], video["codec"], video["width"]) == (True, "png", 32)


# --- what ffmpeg says --------------------------------------------------------------------------

SAID = """\
ffmpeg version 5.1.6-0+deb12u1 Copyright (c) 2000-2024 the FFmpeg developers
Input #0, matroska,webm, from 'file:x':
  Metadata:
    title           : odd
                    :   Stream #0:9: Video: none
  Duration: 01:02:03.45, start: 0.000000, bitrate: 5012 kb/s
  Stream #0:0[0x1](eng): Video: hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(tv, bt2020nc/\
bt2020/smpte2084), 3840x2160 [SAR 1:1 DAR 16:9], 4800 kb/s, 23.98 fps, 23.98 tbr, 24k tbn (default)
    Side data:
      displaymatrix: rotation of -90.00 degrees
  Stream #0:1(fre): Audio: dts (DTS-HD MA), 48000 Hz, 5.1(side), s32p (24 bit) (default)
  Stream #0:2: Audio: pcm_s16le ([1][0][0][0] / 0x0001), 96000 Hz, 7 channels, s16, 10752 kb/s
  Stream #0:3(und): Subtitle: subrip
  Stream #0:4: Attachment: ttf
  Stream #0:5: Video: mjpeg (Progressive), yuvj420p(pc, bt470bg/unknown/unknown), 600x600, 90k tbr,\
 90k tbn (attached pic)
  Stream #0:6: Unknown: none
Stream mapping:
Output #0, ffmetadata, to 'pipe:1':
  Stream #0:7: Video: h264, yuv420p, 16x16
"""


def test_every_kind_of_line_is_understood() -> None:
    media = parsed(SAID)
    assert media.engine == "ffmpeg 5.1.6"
    assert media.duration_s == 3723.45
    assert media.bit_rate == 5_012_000
    assert [stream.kind for stream in media.streams] == [
        *("video", "audio", "audio", "subtitle", "attachment", "video", "unknown")
    ]
    film, first, second, text, font, cover, unknown = media.streams
    assert media.film is film
    assert media.sound is first
    assert (film.codec, film.profile, film.language) == ("hevc", "Main 10", "eng")
    assert (film.width, film.height, film.fps, film.rotation) == (3840, 2160, 23.976, 90)
    assert (film.pixel_format, film.bit_rate, film.default) == ("yuv420p10le", 4_800_000, True)
    assert film.shown == (2160, 3840)
    assert (first.codec, first.profile, first.channels) == ("dts", "DTS-HD MA", 6)
    assert (second.codec, second.profile, second.channels) == ("pcm_s16le", None, 7)
    assert (text.codec, text.language, font.codec, unknown.codec) == (
        *("subrip", None, "ttf", "none"),
    )
    assert (cover.cover, cover.width, cover.fps) == (True, 600, None)


def test_what_it_does_not_say_is_none() -> None:
    text = "Input #0, aac, from 'x':\n  Duration: N/A, bitrate: N/A\n  Stream #0:0: Audio: aac\n"
    media = parsed(text)
    assert (media.duration_s, media.bit_rate) == (None, None)
    assert media.streams[0].sample_rate is None


@pytest.mark.parametrize("text", ["", "ffmpeg version 7.1\n", "x: Invalid data found\n"])
def test_nothing_said_is_a_damaged_file(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(text)
    assert caught.value.job_code == "corrupt_input"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("no equals sign\n=\n\\\n", {}),
        ("a=b=c\n", {"a": "b=c"}),
        ("ENCODER=x\nmajor_brand=y\n", {}),
        ("a\\=b=c\\\\\n", {"a=b": "c\\"}),
        ("[STREAM]\ntitle=of a stream\n", {}),
    ],
)
def test_tags_are_read_as_they_are_escaped(text: str, tags: dict[str, str]) -> None:
    assert parsed_tags(text)[0] == tags


def test_chapters_that_make_no_sense_are_left_out() -> None:
    text = (
        "[CHAPTER]\nTIMEBASE=1/0\nSTART=0\nEND=1\n[CHAPTER]\nSTART=x\nEND=1\n[CHAPTER]\nEND=1\n"
        "[CHAPTER]\nTIMEBASE=1/2\nSTART=1\nEND=4\n"
    )
    assert parsed_tags(text)[1] == [Chapter(0.5, 2.0, None)]
