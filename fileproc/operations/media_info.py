"""`media.info`: what is in a sound or a film, in one JSON document."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from fileproc.operations import ffmpeg, media
from fileproc.operations.media import AUDIO, VIDEO, Media, Stream
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_MOST_TAGS = 200
_MOST_CHAPTERS = 1_000


class Info(Params):
    measure: bool = Field(
        True,
        description="Where the header does not say how long it lasts (live WebM, raw AAC, some MP3"
        " files): read the whole file to find out.",
    )


@operation(
    "media.info",
    summary="Tell what is in a sound or a film: streams, codecs, duration, tags",
    params=Info,
    accepts=(*VIDEO, *AUDIO),
    produces=("application/json",),
    example={},
    programs=(ffmpeg.NAME,),
)
def info(work: Work, params: Info) -> None:
    """Read the headers of a file, as the decoder understands them; nothing is decoded.

    The result has `format, duration_s, bit_rate`, the lists `video, audio, subtitles` and `other`
    with one entry a stream, `tags` and `chapters`. Sizes are those of stored frames; `shown_width`
    and `shown_height` are what a player shows, turned by `rotation` degrees clockwise and with
    square pixels. A `cover` is a picture that belongs to the sound.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `too_many_streams`,
            `type_mismatch`, `unsupported_variant`.
    """
    work.progress(0, 1, unit="files", phase="read")
    found = media.probe(work)
    stream = found.film or found.sound
    if params.measure and stream and (found.duration_s is None or found.estimated):
        found.duration_s = media.measured_s(work, stream) or found.duration_s
        found.estimated = False
    path = work.output(f"{work.input.stem}.json", "application/json")
    text = json.dumps(_report(work, found), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", errors="replace")
    work.progress(1, 1, unit="files", phase="done")


def _report(work: Work, found: Media) -> dict[str, Any]:
    kinds = ("video", "audio", "subtitle")
    other = [stream for stream in found.streams if stream.kind not in kinds]
    return {
        "name": work.input.name,
        "size": work.input.path.stat().st_size,
        "type": work.input.type,
        "format": ffmpeg.DEMUXERS[work.input.type],
        "duration_s": None if found.duration_s is None else round(found.duration_s, 3),
        "bit_rate": found.bit_rate,
        "video": [_video(stream) for stream in found.of_kind("video")],
        "audio": [_audio(stream) for stream in found.of_kind("audio")],
        "subtitles": [_common(stream) for stream in found.of_kind("subtitle")],
        "other": [{"kind": stream.kind, **_common(stream)} for stream in other],
        "tags": dict(list(found.tags.items())[:_MOST_TAGS]),
        "chapters": [
            {"start_s": chapter.start_s, "end_s": chapter.end_s, "title": chapter.title}
            for chapter in found.chapters[:_MOST_CHAPTERS]
        ],
    }


def _common(stream: Stream) -> dict[str, Any]:
    return {
        "stream": stream.index,
        "codec": stream.codec,
        "profile": stream.profile,
        "language": stream.language,
        "default": stream.default,
        "bit_rate": stream.bit_rate,
    }


def _video(stream: Stream) -> dict[str, Any]:
    width, height = stream.shown
    return {
        **_common(stream),
        "cover": stream.cover,
        "width": stream.width,
        "height": stream.height,
        "shown_width": width if stream.width else None,
        "shown_height": height if stream.width else None,
        "rotation": stream.rotation,
        "fps": stream.fps,
        "pixel_format": stream.pixel_format,
    }


def _audio(stream: Stream) -> dict[str, Any]:
    return {
        **_common(stream),
        "sample_rate": stream.sample_rate,
        "channels": stream.channels,
        "layout": stream.layout,
    }
