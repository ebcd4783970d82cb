from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from fileproc.operations.types import detect_file
from films import duration_s, ffmpeg, film, samples, tone
from samples import Ran, run

FORMATS = {
    "mp3": ("audio/mpeg", ".mp3", 1152),
    "m4a": ("audio/mp4", ".m4a", 1024),
    "aac": ("audio/aac", ".aac", 2048),
    "opus": ("audio/ogg", ".opus", 960),
    "flac": ("audio/flac", ".flac", 1),
    "wav": ("audio/wav", ".wav", 1),
}


def converted(
    folder: Path, data: bytes | None = None, name: str = "tone.wav", **params: Any
) -> Ran:
    return run("audio.convert", folder, tone() if data is None else data, name, **params)


def pitch_hz(values: list[int]) -> float:
    """How often the wave rises through nought in a second."""
    return sum(1 for one, next_ in pairwise(values) if one < 0 <= next_) / (len(values) / 8000)


@pytest.mark.parametrize("kind", FORMATS)
def test_it_sounds_the_same_and_lasts_as_long(kind: str, tmp_path: Path) -> None:
    media_type, extension, frame = FORMATS[kind]
    ran = converted(tmp_path, format=kind)

    assert ran.work.outputs[0].name == f"tone{extension}"
    assert ran.work.outputs[0].type == detect_file(ran.path) == media_type
    assert abs(duration_s(ran.path, "a") - 3) <= frame / 44_100 + 0.001
    values = samples(ran.path)[4000:20_000]
    assert abs(pitch_hz(values) - 440) < 2
    assert 0.09 < max(values) / 32_768 < 0.11  # 20 dB below full scale


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "flac", "opus", "ogg", "wav", "aac"])
def test_every_kind_of_sound_is_read(suffix: str, tmp_path: Path) -> None:
    more = ("-c:a", "libvorbis") if suffix == "ogg" else ()
    ran = converted(tmp_path, tone(suffix, *more), f"tone.{suffix}", format="wav")
    assert abs(duration_s(ran.path, "a") - 3) < 0.08
    assert abs(pitch_hz(samples(ran.path)[4000:20_000]) - 440) < 2


@pytest.mark.parametrize("suffix", ["mp4", "webm", "avi"])
def test_the_sound_of_a_film_is_taken(suffix: str, tmp_path: Path) -> None:
    ran = converted(tmp_path, film(suffix), f"film.{suffix}", format="mp3")
    assert abs(duration_s(ran.path, "a") - 3) < 0.08
    assert abs(pitch_hz(samples(ran.path)[4000:20_000]) - 440) < 2


def test_lossless_is_lossless(tmp_path: Path) -> None:
    ran = converted(tmp_path, format="flac")
    source = tmp_path / "in"
    pcm = ["-f", "s16le", "-"]
    assert ffmpeg("-i", str(ran.path), *pcm) == ffmpeg("-i", str(source), *pcm)


def test_rate_channels_and_bits_are_as_asked_for(tmp_path: Path) -> None:
    ran = converted(tmp_path, format="wav", sample_rate=22_050, channels=1, bits=24)
    header = ran.data[:200]
    at = header.index(b"fmt ") + 8
    assert int.from_bytes(header[at + 2 : at + 4], "little") == 1
    assert int.from_bytes(header[at + 4 : at + 8], "little") == 22_050
    assert int.from_bytes(header[at + 14 : at + 16], "little") == 24


def test_a_higher_bit_rate_gives_a_larger_file(tmp_path: Path) -> None:
    sizes = []
    for kbps in (64, 256):
        (tmp_path / str(kbps)).mkdir()
        sizes.append(len(converted(tmp_path / str(kbps), bitrate_kbps=kbps).data))
    assert 3 < sizes[1] / sizes[0] < 5


def test_a_rate_that_the_format_has_not_becomes_the_next(tmp_path: Path) -> None:
    high = tone("wav", "-ar", "96000")
    ran = converted(tmp_path, high, format="mp3")
    assert abs(duration_s(ran.path, "a") - 3) < 0.05


def test_a_part_is_cut(tmp_path: Path) -> None:
    ran = converted(tmp_path, format="wav", start_s=1, duration_s=0.5)
    assert abs(duration_s(ran.path, "a") - 0.5) < 0.001


def test_tags_stay_and_places_go(tmp_path: Path) -> None:
    data = film("mp4", "-metadata", "title=Our garden", "-metadata", "location=+48.1+011.5/")
    assert b"loci" in data
    for keep in (True, False):
        (tmp_path / str(keep)).mkdir()
        ran = converted(tmp_path / str(keep), data, "film.mp4", format="m4a", keep_tags=keep)
        assert (b"Our garden" in ran.data) == keep
        assert b"loci" not in ran.data


def wav_of(channels: int, mask: int) -> bytes:
    """Half a second of silence; the mask says where its loudspeakers stand."""
    body = bytes(2 * channels * 22_050)
    known = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHH", 0xFFFE, channels, 44_100, 88_200 * channels, 2 * channels, 16)
    form += struct.pack("<HHI", 22, 16, mask) + known
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize("operation", ["audio.convert", "audio.normalize"])
@pytest.mark.parametrize(
    ("channels", "mask"), [(3, 0x7), (4, 0x107), (6, 0x3F), (6, 0x60F), (8, 0x63F)]
)
def test_loudspeakers_of_any_order_are_taken(
    operation: str, channels: int, mask: int, tmp_path: Path
) -> None:
    """5.1 with the loudspeakers at the side is the usual one of films; Opus has another."""
    for kind in ("opus", "flac", "mp3"):
        folder = tmp_path / kind
        folder.mkdir()
        ran = run(operation, folder, wav_of(channels, mask), "a.wav", format=kind)
        assert ran.work.outputs[0].path.stat().st_size > 100


def test_more_channels_than_a_format_has_are_no_damage(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run("audio.convert", tmp_path, wav_of(30, 0), "a.wav", format="opus")
    assert caught.value.job_code == "unsupported_variant"


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        converted(tmp_path, film(sound=False), "film.mp4")
    assert caught.value.job_code == "stream_missing"


@pytest.mark.parametrize(
    "params",
    [
        {"format": "flac", "bitrate_kbps": 128},
        {"format": "wav", "bitrate_kbps": 128},
        {"format": "opus", "sample_rate": 44_100},
        {"format": "mp3", "sample_rate": 96_000},
        {"format": "ogg"},
        {"channels": 6},
    ],
)
def test_what_the_format_cannot_be_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("audio.convert").parse(params)
