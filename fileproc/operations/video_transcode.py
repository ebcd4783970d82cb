"""`video.transcode`: a film as MP4 or WebM that every browser plays."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import clips, ffmpeg, media
from fileproc.operations.clips import Length, Seconds, Side
from fileproc.operations.media import VIDEO, Media, Stream
from fileproc.operations.registry import Params, operation
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import Work

_TYPES = {"mp4": "video/mp4", "webm": "video/webm"}
_CRF = {"mp4": 23, "webm": 32}
_MOST_CRF = {"mp4": 51, "webm": 63}
# Of libx264, and of libvpx-vp9 (-cpu-used).
_EFFORT = {"fast": ("veryfast", "6"), "balanced": ("medium", "4"), "best": ("slow", "2")}


class Transcode(Params):
    format: Literal["mp4", "webm"] = Field(
        "mp4",
        description="mp4: H.264 and AAC, plays everywhere. webm: VP9 and Opus, smaller and slower"
        " to make.",
    )
    width: Side | None = Field(
        None, description="Width in pixels that the film has to fit into; it is never enlarged."
    )
    height: Side | None = Field(
        None, description="Height in pixels that the film has to fit into; it is never enlarged."
    )
    fps: float | None = Field(
        None, ge=1, le=120, description="Frames per second; by default those of the film."
    )
    crf: int | None = Field(
        None,
        ge=0,
        le=63,
        description="Constant rate factor, lower is better and larger: mp4 0 to 51 (default 23),"
        " webm 0 to 63 (32).",
    )
    effort: Literal["fast", "balanced", "best"] = Field(
        "balanced", description="How much time is spent to make the file smaller."
    )
    start_s: Seconds = Field(0, description="Where to begin, in seconds.")
    duration_s: Length | None = Field(
        None, description="How many seconds to take; by default all that is left."
    )
    mute: bool = Field(False, description="Leave the sound out.")
    audio_kbps: int = Field(
        128, ge=32, le=320, description="Bit rate of the sound, in kilobits per second."
    )
    keep_metadata: bool = Field(
        False, description="Keep tags and chapters; by default all go, places included."
    )

    @model_validator(mode="after")
    def _has_such_a_factor(self) -> Self:
        if self.crf is not None and self.crf > _MOST_CRF[self.format]:
            raise ValueError(f"crf of {self.format} goes up to {_MOST_CRF[self.format]}")
        return self


@operation(
    "video.transcode",
    summary="Convert a video to MP4 or WebM; scale, trim, mute",
    params=Transcode,
    accepts=VIDEO,
    produces=tuple(_TYPES.values()),
    example={"format": "mp4", "height": 720},
    lane="heavy",
    programs=(ffmpeg.NAME,),
)
def transcode(work: Work, params: Transcode) -> None:
    """Decode a film and encode it anew, upright, with square pixels and 8 bits a colour.

    The first (or default) stream of pictures and of sound is taken; subtitles are not. An MP4 has
    its index at the front, so that it plays while it still loads.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `output_too_large`,
            `stream_missing`, `time_out_of_range`, `too_many_streams`, `type_mismatch`,
            `unsupported_variant`.
    """
    found = media.probe(work)
    film = media.film_of(found)
    duration_s = clips.trimmed_s(found, params.start_s, params.duration_s)
    size = clips.fitted(film, params.width, params.height, step=2)
    clips.check_size(size)
    target = _TYPES[params.format]
    path = work.output(work.input.stem + extension_for_type(target), target)
    arguments = [
        *ffmpeg.source(work, *clips.seeking(params.start_s)),
        *_streams(found, film, params),
        *("-vf", _filters(size, params)),
        *clips.lasting(params.duration_s),
        *_picture(params),
        *(["-an"] if params.mute else _sound(found, params)),
        *("-threads", str(work.limits.threads)),
        *("-movflags", "+faststart") * (params.format == "mp4"),
        *("-f", params.format, f"file:{path}"),
    ]
    ffmpeg.encode(work, arguments, total_s=duration_s)
    work.progress(1, 1, phase="done")


def _streams(found: Media, film: Stream, params: Transcode) -> list[str]:
    chosen = ["-map", f"0:{film.index}"]
    if found.sound is not None and not params.mute:
        chosen += ["-map", f"0:{found.sound.index}"]
    return chosen if params.keep_metadata else [*chosen, *ffmpeg.NO_METADATA]


def _filters(size: tuple[int, int], params: Transcode) -> str:
    rate = [] if params.fps is None else [f"fps={params.fps:g}"]
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic"
    return ",".join([*rate, scale, "setsar=1", "format=yuv420p"])


def _picture(params: Transcode) -> list[str]:
    factor = str(_CRF[params.format] if params.crf is None else params.crf)
    h264, vp9 = _EFFORT[params.effort]
    if params.format == "mp4":
        return ["-c:v", "libx264", "-preset", h264, "-crf", factor]
    best = ["-deadline", "good", "-cpu-used", vp9, "-row-mt", "1"]
    return ["-c:v", "libvpx-vp9", "-crf", factor, "-b:v", "0", *best]


def _sound(found: Media, params: Transcode) -> list[str]:
    """At most stereo: browsers differ in what they do with more."""
    codec = "aac" if params.format == "mp4" else "libopus"
    mono = found.sound is not None and found.sound.channels == 1
    return ["-c:a", codec, "-b:a", f"{params.audio_kbps}k", "-ac", "1" if mono else "2"]
