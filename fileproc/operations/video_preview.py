"""`video.preview`: a short clip of a film as an animated GIF or WebP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fileproc.operations import clips, ffmpeg, media
from fileproc.operations.clips import Seconds, Side
from fileproc.operations.media import VIDEO
from fileproc.operations.rasters import GIF, WEBP
from fileproc.operations.registry import Params, operation
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

_TYPES = {"gif": GIF, "webp": WEBP}
_MOST_S = 60
_MOST_PIXELS = 100_000_000  # of all frames: the palette of a GIF is made of all of them in memory


class Preview(Params):
    format: Literal["webp", "gif"] = Field(
        "webp", description="webp: smaller, with all colours. gif: 256 colours, plays everywhere."
    )
    start_s: Seconds = Field(0, description="Where to begin, in seconds.")
    duration_s: Annotated[float, Field(gt=0, le=_MOST_S, allow_inf_nan=False)] = Field(
        3, description="How many seconds to show."
    )
    width: Side = Field(480, description="Width in pixels that it has to fit into.")
    height: Side | None = Field(None, description="Height in pixels that it has to fit into.")
    fps: float = Field(10, ge=1, le=50, description="Frames per second.")
    quality: int = Field(70, ge=1, le=100, description="Quality of WebP; GIF has none.")
    loop: bool = Field(True, description="Begin anew at the end, for ever.")


@operation(
    "video.preview",
    summary="Make an animated GIF or WebP of a part of a video",
    params=Preview,
    accepts=VIDEO,
    produces=tuple(_TYPES.values()),
    example={"start_s": 0, "duration_s": 2, "width": 240},
    lane="heavy",
    programs=(ffmpeg.NAME,),
)
def preview(work: Work, params: Preview) -> None:
    """Show a few seconds of a film as a moving picture without sound.

    A GIF gets a palette of its own, made from all its frames.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `output_too_large`,
            `stream_missing`, `time_out_of_range`, `too_many_streams`, `type_mismatch`,
            `unsupported_variant`.
    """
    found = media.probe(work)
    film = media.film_of(found)
    duration_s = clips.trimmed_s(found, params.start_s, params.duration_s)
    size = clips.fitted(film, params.width, params.height)
    _check_pixels(size, params)
    target = _TYPES[params.format]
    path = work.output(work.input.stem + extension_for_type(target), target)
    frames = f"fps={params.fps:g},scale={size[0]}:{size[1]}:flags=lanczos,setsar=1"
    arguments = [
        *ffmpeg.source(work, *clips.seeking(params.start_s)),
        *ffmpeg.NO_METADATA,
        *(_gif if target == GIF else _webp)(film.index, frames, params),
        *clips.lasting(params.duration_s),
        *("-threads", str(work.limits.threads)),
        f"file:{path}",
    ]
    ffmpeg.encode(work, arguments, total_s=duration_s)
    work.progress(1, 1, phase="done")


def _gif(stream: int, frames: str, params: Preview) -> list[str]:
    # Of whole frames: a palette made of what changes between them lacks the colours of the last.
    palette = "split[shown][seen];[seen]palettegen=stats_mode=full[palette]"
    drawn = "[shown][palette]paletteuse=dither=bayer:diff_mode=rectangle"
    # The part is cut before the palette is made, which waits for the last frame.
    cut = f"trim=duration={params.duration_s:g}"
    graph = f"[0:{stream}]{cut},{frames},{palette};{drawn}"
    return ["-filter_complex", graph, "-loop", "0" if params.loop else "-1", "-f", "gif"]


def _webp(stream: int, frames: str, params: Preview) -> list[str]:
    return [
        *("-map", f"0:{stream}", "-vf", frames),
        *("-c:v", "libwebp_anim", "-quality", str(params.quality), "-compression_level", "4"),
        *("-loop", "0" if params.loop else "1", "-f", "webp"),
    ]


def _check_pixels(size: tuple[int, int], params: Preview) -> None:
    """Judge all frames together, before the first is made.

    Raises:
        BadInput: `output_too_large`.
    """
    clips.check_size(size)
    pixels = size[0] * size[1] * params.fps * params.duration_s
    if pixels > _MOST_PIXELS:
        raise BadInput(
            f"The frames would have {pixels:,.0f} pixels together; at most {_MOST_PIXELS:,} are"
            " made: choose a smaller width, fewer seconds or fewer frames.",
            code="output_too_large",
        )
