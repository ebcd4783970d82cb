"""Which part of a film or sound is worked on, and in which size; shared by several operations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fileproc.operations import ffmpeg
from fileproc.operations.media import Media, Stream
from fileproc.operations.work import BadInput

Seconds = Annotated[float, Field(ge=0, le=ffmpeg.MAX_DURATION_S, allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, le=ffmpeg.MAX_DURATION_S, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=2, le=7680)]


def trimmed_s(found: Media, start_s: float, duration_s: float | None) -> float | None:
    """How long the part lasts that was asked for; None where the file does not say.

    Raises:
        BadInput: `time_out_of_range`, where it begins behind the end.
    """
    if found.duration_s is None:
        return duration_s
    left = found.duration_s - start_s
    if start_s and left <= 0:
        raise BadInput(
            f"It lasts {found.duration_s:g} seconds; {start_s:g} is behind its end.",
            code="time_out_of_range",
        )
    return left if duration_s is None else min(left, duration_s)


def seeking(start_s: float) -> list[str]:
    """Options of the input that skip to the frame at `start_s`."""
    return ["-ss", f"{start_s:.6f}"] if start_s else []


def lasting(duration_s: float | None) -> list[str]:
    """Options of the output that end it; one that has no end is ended as well."""
    return ["-t", f"{duration_s or ffmpeg.MAX_DURATION_S:.6f}"]


def fitted(
    stream: Stream, width: int | None, height: int | None, *, enlarge: bool = False, step: int = 1
) -> tuple[int, int]:
    """The largest size with the picture's proportions that fits into the box.

    Both sides are multiples of `step`, which most video formats want to be 2.
    """
    shown = stream.shown
    scales = [box / side for box, side in zip((width, height), shown, strict=True) if box]
    scale = min(scales, default=1.0)
    if not enlarge:
        scale = min(scale, 1.0)
    across, down = (max(step, round(side * scale / step) * step) for side in shown)
    return across, down


def check_size(size: tuple[int, int]) -> None:
    """Refuse to make pictures larger than anybody shows.

    Raises:
        BadInput: `output_too_large`.
    """
    if max(size) > _MOST_SIDE or size[0] * size[1] > ffmpeg.MAX_FRAME_PIXELS:
        raise BadInput(
            f"The result would have {size[0]:,} x {size[1]:,} pixels; at most {_MOST_SIDE:,} on a"
            " side are made.",
            code="output_too_large",
        )


_MOST_SIDE = 8192
