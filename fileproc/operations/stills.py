"""Single pictures of a film: taken by ffmpeg, drawn and saved by libvips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fileproc.operations import clips, ffmpeg, rasters
from fileproc.operations.media import Stream
from fileproc.operations.rasters import JPEG, PNG, WEBP
from fileproc.operations.work import BadInput, Work

QUALITY = {JPEG: 85, WEBP: 80}
_BANDS = 3
_LAST_FRAMES_S = 5.0


def taken(work: Work, film: Stream, at_s: float, size: tuple[int, int]) -> Any:
    """The picture that is shown at a time, in this size; an image of libvips, sRGB.

    Raises:
        BadInput: `time_out_of_range`, or as `ffmpeg.run`.
        OutOfResources: as `ffmpeg.run`.
    """
    import pyvips

    data = _pixels(work, film, at_s, size, first=True)
    if data is None:  # behind the last picture begins, and yet before the sound or film ends
        data = _pixels(work, film, max(0.0, at_s - _LAST_FRAMES_S), size, first=False)
    if data is None:
        raise BadInput(
            f"There is no picture at {at_s:g} seconds: the film ends before.",
            code="time_out_of_range",
        )
    image = pyvips.Image.new_from_memory(data, *size, _BANDS, "uchar")
    return image.copy(interpretation="srgb")


def _pixels(
    work: Work, film: Stream, at_s: float, size: tuple[int, int], *, first: bool
) -> bytes | None:
    """The first picture from a time on, or the last one there is; None where there is none."""
    length = size[0] * size[1] * _BANDS
    held = bytearray()

    def heard(chunk: bytes) -> None:
        held.extend(chunk)
        if len(held) >= 2 * length:
            del held[: len(held) // length * length - length]

    scale = f"scale={size[0]}:{size[1]}:flags=area,setsar=1,format=rgb24"
    ffmpeg.run(
        work,
        [
            *ffmpeg.source(work, *clips.seeking(at_s)),
            *("-map", f"0:{film.index}", "-vf", scale),
            *("-frames:v", "1") * first,
            *("-threads", str(work.limits.threads)),
            *("-f", "rawvideo", "pipe:1"),
        ],
        heard,
    )
    return bytes(held[:length]) if len(held) >= length else None


def sheet(images: Sequence[Any], columns: int) -> Any:
    """All pictures in rows, with a little white between them."""
    import pyvips

    return pyvips.Image.arrayjoin(
        list(images), across=columns, shim=_GAP, background=[255] * _BANDS
    ).embed(
        _GAP,
        _GAP,
        *_around(images, columns),
        extend="background",
        background=[255] * _BANDS,
    )


_GAP = 4


def _around(images: Sequence[Any], columns: int) -> tuple[int, int]:
    """Width and height of a sheet with its rim."""
    across = min(columns, len(images))
    down = -(-len(images) // columns)
    width, height = images[0].width, images[0].height
    return across * (width + _GAP) + _GAP, down * (height + _GAP) + _GAP


def save(image: Any, path: Path, media_type: str, quality: int | None) -> None:
    """Write a picture as JPEG, PNG or WebP.

    Raises:
        OutOfResources: `out_of_memory`.
    """
    with rasters.decoding():
        if media_type == PNG:
            image.pngsave(str(path), compression=6)
            return
        saver = image.jpegsave if media_type == JPEG else image.webpsave
        saver(str(path), Q=quality or QUALITY[media_type])
