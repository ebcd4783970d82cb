"""`audio.normalize`: sound as loud as it should be (EBU R 128)."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

from pydantic import Field

from fileproc.operations import clips, ffmpeg, media, sounds
from fileproc.operations.media import AUDIO, VIDEO, Stream
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work

_BY_TYPE = {"audio/mpeg": "mp3", "audio/flac": "flac", "audio/ogg": "opus", "audio/wav": "wav"}
_MOST_RANGE_LU = 50.0
_RANGE_LU = 7.0
# What `loudnorm` prints; names of tags may have braces on lines of their own.
_TOLD = re.compile(r'^\{\n(?:\s*"\w+" : "[^"\\\n]*",?\n)+\}$', re.MULTILINE)
_FIELDS = ("i", "tp", "lra", "thresh")


class Normalize(Params):
    target_lufs: float = Field(
        -23.0,
        ge=-70,
        le=-5,
        description="Integrated loudness of the result: -23 is broadcast (EBU R 128), -16 common"
        " for podcasts, -14 for streaming.",
    )
    true_peak_db: float = Field(
        -1.0, ge=-9, le=0, description="Highest true peak of the result, in dBTP."
    )
    format: Literal["keep", "mp3", "m4a", "aac", "opus", "flac", "wav"] = Field(
        "keep", description="Format of the result; keep: that of the input, m4a for a film."
    )
    bitrate_kbps: int | None = Field(
        None, ge=16, le=320, description="Kilobits per second; flac and wav have none."
    )


@operation(
    "audio.normalize",
    summary="Bring sound to a standard loudness (EBU R 128)",
    params=Normalize,
    accepts=(*AUDIO, *VIDEO),
    produces=(*sounds.TYPES.values(), "application/json"),
    example={"target_lufs": -16},
    lane="heavy",
    programs=(ffmpeg.NAME,),
)
def normalize(work: Work, params: Normalize) -> None:
    """Measure the loudness of the whole sound, then change it to the target in a second pass.

    The gain is one and the same from start to end, so that the dynamics stay; only where the true
    peak would go over its limit is it made smaller there. The second result is JSON: loudness,
    true peak and range before, and `mode` (`linear` or `dynamic`). Silence stays as it is. Sounds
    of a few seconds, in which there is little to measure, may come out about 1 LU off the target.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `stream_missing`,
            `too_many_streams`, `type_mismatch`, `unsupported_variant`.
    """
    found = media.probe(work)
    sound = media.sound_of(found)
    kind = _BY_TYPE.get(work.input.type, "m4a") if params.format == "keep" else params.format
    before = _measured(work, sound, found.duration_s)
    path = work.output(sounds.name_of(work.input, kind), sounds.TYPES[kind])
    output = [
        *sounds.tags(keep=True),
        *clips.lasting(None),
        *sounds.encoded(
            kind,
            kbps=None if kind in sounds.LOSSLESS else params.bitrate_kbps,
            rate=sounds.fitting_rate(kind, sound.sample_rate or 48_000),
            channels=None,
        ),
        f"file:{path}",
    ]
    mode, chain = _second(params, before)
    chain += "".join(f",{each}" for each in sounds.layouts(kind))
    _passed(work, sound, chain, output, total_s=found.duration_s, phase="encode")
    _report(work, before, mode)


def _second(params: Normalize, before: dict[str, float | None]) -> tuple[str, str]:
    """Name and filter of the second pass, from what the first has found.

    One gain for the whole, where the true peak allows it. Otherwise `loudnorm` again, told what it
    is to expect, which makes the loud places less loud.
    """
    loudness, peak, span, threshold = (before[name] for name in _FIELDS)
    if loudness is None or peak is None or span is None or threshold is None:
        return "silent", "anull"
    gain = params.target_lufs - loudness
    if peak + gain <= params.true_peak_db:
        return "linear", f"volume={gain:.2f}dB:precision=double"
    wanted = min(_MOST_RANGE_LU, max(_RANGE_LU, math.ceil(span)))
    return "dynamic", (
        f"loudnorm=I={params.target_lufs:g}:TP={params.true_peak_db:g}:LRA={wanted:g}"
        f":measured_I={loudness:g}:measured_TP={peak:g}:measured_LRA={span:g}"
        f":measured_thresh={threshold:g}:linear=false:print_format=json"
    )


def _measured(work: Work, sound: Stream, total_s: float | None) -> dict[str, float | None]:
    """Loudness, true peak, range and threshold of the whole sound; None: it has none.

    Raises:
        BadInput, OutOfResources, Crashed: as `ffmpeg.encode`.
    """
    said = _passed(
        work, sound, "loudnorm=print_format=json", ["-f", "null", "-"],
        total_s=total_s, phase="measure",
    )  # fmt: skip
    found = _TOLD.findall(said)
    if not found:
        raise BadInput("The loudness cannot be measured.", code="corrupt_input")
    told = json.loads(found[-1])
    return {name: _number(told, f"input_{name}") for name in _FIELDS}


def _passed(
    work: Work, sound: Stream, chain: str, output: list[str], *, total_s: float | None, phase: str
) -> str:
    """Run the sound through a filter; what ffmpeg says of it.

    Raises:
        BadInput, OutOfResources, Crashed: as `ffmpeg.encode`.
    """
    return ffmpeg.encode(
        work,
        [*ffmpeg.source(work), "-map", f"0:{sound.index}", "-af", chain, *output],
        total_s=total_s,
        phase=phase,
        level="info",
    )


def _number(told: dict[str, Any], name: str) -> float | None:
    """A finite number; None where there was nothing to measure (`-inf`)."""
    try:
        value = float(told[name])
    except (KeyError, ValueError, TypeError):
        return None
    return value if math.isfinite(value) else None


def _report(work: Work, before: dict[str, float | None], mode: str) -> None:
    path = work.output(f"{work.input.stem}-loudness.json", "application/json")
    report = {
        "loudness_lufs": before["i"],
        "true_peak_db": before["tp"],
        "range_lu": before["lra"],
        "mode": mode,
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    work.progress(1, 1, phase="done")
