"""`audio.waveform`: the shape of a sound, as numbers and as a picture."""

from __future__ import annotations

import json
import sys
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fileproc.operations import clips, ffmpeg, media
from fileproc.operations.media import AUDIO, VIDEO, Stream
from fileproc.operations.rasters import PNG
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work

_RATE = 16_000  # samples a second that are looked at
_BLOCK = 80  # samples that become one pair of extremes at first: 5 ms
_FULL = 32_768
_COLOUR = r"^#[0-9a-fA-F]{6}$"


class Waveform(Params):
    output: Literal["both", "json", "png"] = Field(
        "both", description="The numbers (json), the picture (png), or both."
    )
    points: int = Field(
        1000, ge=10, le=20_000, description="Pairs of lowest and highest value in the JSON."
    )
    width: int = Field(1200, ge=10, le=10_000, description="Width of the picture in pixels.")
    height: int = Field(240, ge=10, le=2_000, description="Height of the picture in pixels.")
    colour: str = Field("#2563eb", pattern=_COLOUR, description="Colour of the wave, #rrggbb.")
    background: str = Field(
        "transparent",
        pattern=rf"^transparent$|{_COLOUR}",
        description="Colour behind the wave: transparent or #rrggbb.",
    )
    scale: bool = Field(
        False, description="Stretch the picture so that the loudest point fills its height."
    )


@operation(
    "audio.waveform",
    summary="Draw the waveform of a sound, and give it as numbers",
    params=Waveform,
    accepts=(*AUDIO, *VIDEO),
    produces=("application/json", PNG),
    example={"points": 500, "width": 800},
    lane="heavy",
    engines=("pyvips",),
    programs=(ffmpeg.NAME,),
)
def waveform(work: Work, params: Waveform) -> None:
    """Decode the sound, mixed to mono, and find the lowest and highest value of equal parts of it.

    The JSON has `duration_s` and `peaks`, a list of pairs between -1 and 1; there are fewer of
    them than asked for where the sound is very short.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `stream_missing`,
            `too_many_streams`, `type_mismatch`, `unsupported_variant`.
    """
    found = media.probe(work)
    extremes = _decoded(work, media.sound_of(found), found.duration_s)
    if params.output != "png":
        path = work.output(f"{work.input.stem}.json", "application/json")
        _write(path, extremes, params.points)
    if params.output != "json":
        path = work.output(f"{work.input.stem}.png", PNG)
        _draw(path, extremes, params)
    work.progress(1, 1, phase="done")


class _Extremes:
    """Lowest and highest value of every few milliseconds, gathered while the sound comes in."""

    def __init__(self, work: Work, total_s: float | None) -> None:
        self.low, self.high = array("h"), array("h")
        self.samples = 0
        self._work, self._total_s = work, total_s
        self._rest = b""

    @property
    def seconds(self) -> float:
        return self.samples / _RATE

    def heard(self, chunk: bytes) -> None:
        data = self._rest + chunk
        whole = len(data) - len(data) % (2 * _BLOCK)
        self._add(data[:whole])
        self._rest = data[whole:]
        done = self.seconds if self._total_s is None else min(self.seconds, self._total_s)
        self._work.progress(round(done, 3), self._total_s, unit="seconds", phase="decode")

    def end(self) -> None:
        """What does not fill a block is one as well."""
        self._add(self._rest[: len(self._rest) // 2 * 2])

    def _add(self, data: bytes) -> None:
        values = array("h", data)
        if sys.byteorder == "big":
            values.byteswap()
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            self.low.append(min(block))
            self.high.append(max(block))
        self.samples += len(values)

    def reduced(self, points: int) -> list[tuple[int, int]]:
        """At most so many pairs, each of a part of equal length."""
        count = len(self.low)
        points = min(points, count)
        edges = [count * place // points for place in range(points + 1)]
        return [
            (min(self.low[start:stop]), max(self.high[start:stop]))
            for start, stop in pairwise(edges)
        ]


def _decoded(work: Work, sound: Stream, total_s: float | None) -> _Extremes:
    """The whole sound, as it comes in.

    Raises:
        BadInput: `corrupt_input`, `media_too_long`, or as `ffmpeg.run`.
        OutOfResources, Crashed: as `ffmpeg.run`.
    """
    extremes = _Extremes(work, total_s)
    work.progress(0, total_s, unit="seconds", phase="decode")
    ffmpeg.run(
        work,
        [
            *ffmpeg.source(work),
            *("-map", f"0:{sound.index}", *clips.lasting(None)),
            *("-c:a", "pcm_s16le", "-ac", "1", "-ar", str(_RATE), "-f", "s16le", "pipe:1"),
        ],
        extremes.heard,
    )
    extremes.end()
    if not extremes.samples:
        raise BadInput("There is nothing to be heard in the file.", code="corrupt_input")
    if extremes.seconds >= ffmpeg.MAX_DURATION_S - 1:
        raise ffmpeg.too_long()
    return extremes


def _write(path: Path, extremes: _Extremes, points: int) -> None:
    peaks = [
        [round(low / _FULL, 4), round(high / _FULL, 4)] for low, high in extremes.reduced(points)
    ]
    report = {"duration_s": round(extremes.seconds, 3), "points": len(peaks), "peaks": peaks}
    path.write_text(json.dumps(report, separators=(",", ":")) + "\n", encoding="utf-8")


def _draw(path: Path, extremes: _Extremes, params: Waveform) -> None:
    """A line from the lowest to the highest value in each column, and never less than a pixel."""
    import pyvips

    pairs = extremes.reduced(params.width)
    loudest = max(max(-low, high) for low, high in pairs) if params.scale else _FULL
    half = params.height / 2
    tops = array("f", [half - half * high / (loudest or 1) for _, high in pairs])
    ends = array("f", [half - half * low / (loudest or 1) for low, _ in pairs])
    for place, (top, end) in enumerate(zip(tops, ends, strict=True)):
        if end - top < 1:
            tops[place], ends[place] = (top + end - 1) / 2, (top + end + 1) / 2
    top, end = (_stretched(line.tobytes(), len(pairs), params) for line in (tops, ends))
    row = pyvips.Image.xyz(params.width, params.height)[1] + 0.5
    wave = (row >= top) & (row < end)
    drawn = wave.ifthenelse(_rgba(params.colour), _rgba(params.background))
    drawn.cast("uchar").copy(interpretation="srgb").pngsave(str(path), compression=6)


def _stretched(line: bytes, count: int, params: Waveform) -> Any:
    """One value a column, as high as the picture."""
    import pyvips

    image = pyvips.Image.new_from_memory(line, count, 1, 1, "float")
    wide = image.resize(params.width / count, vscale=1, kernel="nearest")
    return wide.crop(0, 0, params.width, 1).replicate(1, params.height)


def _rgba(colour: str) -> list[int]:
    if colour == "transparent":
        return [255, 255, 255, 0]
    return [*bytes.fromhex(colour[1:]), 255]
