"""Sound in the formats that we write; shared by the operations that make it."""

from __future__ import annotations

from typing import Final, Literal

from fileproc.operations import ffmpeg
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import Input

Format = Literal["mp3", "m4a", "aac", "opus", "flac", "wav"]
TYPES: Final[dict[str, str]] = {
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
}
LOSSLESS: Final = frozenset({"flac", "wav"})
OPUS_RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)
AAC_RATES: Final = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000,
)  # fmt: skip
MP3_RATES: Final = AAC_RATES[:9]
RATES: Final = {"opus": OPUS_RATES, "aac": AAC_RATES, "m4a": AAC_RATES, "mp3": MP3_RATES}

_CODECS = {
    "mp3": "libmp3lame",
    "m4a": "aac",
    "aac": "aac",
    "opus": "libopus",
    "flac": "flac",
}
_MUXERS = {"mp3": "mp3", "m4a": "ipod", "aac": "adts", "opus": "ogg", "flac": "flac", "wav": "wav"}
_DEFAULT_KBPS = {"mp3": 192, "m4a": 160, "aac": 160, "opus": 112}
# What each encoder takes; ffmpeg's own list for Opus is longer than what libopus then does.
_LAYOUTS = {
    "mp3": "mono|stereo",
    "opus": "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1",
    "aac": "mono|stereo|3.0|4.0|5.0|5.1|7.1(wide)|6.1|7.1",
    "m4a": "mono|stereo|3.0|4.0|5.0|5.1|7.1(wide)|6.1|7.1",
    "flac": "mono|stereo|3.0|quad|5.0|5.0(side)|5.1|5.1(side)|6.1|7.1",
}
# Where the sound was recorded, as cameras and telephones write it.
_PLACES = ("location", "location-eng", "com.apple.quicktime.location.ISO6709", "xyz")


def name_of(source: Input, kind: str) -> str:
    """The name of the result; Opus has an extension of its own, though it is Ogg."""
    return source.stem + (".opus" if kind == "opus" else extension_for_type(TYPES[kind]))


def encoded(
    kind: str, *, kbps: int | None, rate: int | None, channels: int | None, bits: int = 16
) -> list[str]:
    """The options of an output in this format, up to its name.

    Args:
        kind: one of `TYPES`.
        kbps: kilobits per second; none of formats without loss.
        rate: samples per second; None: as they come, as near as the format has it.
        channels: None: as they come.
        bits: of a sample, for formats without loss: 16 or 24.
    """
    options = ["-c:a", _CODECS.get(kind, f"pcm_s{bits}le")]
    if kind == "flac":
        options += ["-sample_fmt", "s16" if bits == 16 else "s32"]  # noqa: PLR2004 - or 24
        options += ["-bits_per_raw_sample", str(bits), "-compression_level", "5"]
    elif kind == "wav":
        options += ["-rf64", "auto"]  # beyond 4 GiB a WAV cannot say how long it is
    else:
        options += ["-b:a", f"{kbps or _DEFAULT_KBPS[kind]}k"]
    if rate is not None:
        options += ["-ar", str(rate)]
    if channels is not None:
        options += ["-ac", str(channels)]
    if kind == "m4a":
        options += ["-movflags", "+faststart"]
    return [*options, "-f", _MUXERS[kind]]


def layouts(kind: str) -> list[str]:
    """The filter, if any, that brings channels into an order that the format has."""
    known = _LAYOUTS.get(kind)
    return [f"aformat=channel_layouts={known}"] if known else []


def tags(*, keep: bool) -> list[str]:
    """Options that keep title, artist and the like, and never where it was recorded."""
    if not keep:
        return list(ffmpeg.NO_METADATA)
    return [option for place in _PLACES for option in ("-metadata", f"{place}=")]


def fitting_rate(kind: str, rate: int | None) -> int | None:
    """The rate itself, or the nearest above that the format has."""
    known = RATES.get(kind)
    if rate is None or known is None or rate in known:
        return rate
    return next((value for value in known if value >= rate), known[-1])
