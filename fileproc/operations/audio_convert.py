"""`audio.convert`: sound in another format, also that of a film."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import clips, ffmpeg, media, sounds
from fileproc.operations.clips import Length, Seconds
from fileproc.operations.media import AUDIO, VIDEO
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work


class Convert(Params):
    format: sounds.Format = Field(
        "mp3",
        description="mp3, m4a (AAC with an index), aac (bare AAC), opus (Ogg), flac or wav.",
    )
    bitrate_kbps: Annotated[int, Field(ge=16, le=320)] | None = Field(
        None,
        description="Kilobits per second: by default 192 for mp3, 160 for m4a and aac, 112 for"
        " opus. flac and wav have none.",
    )
    sample_rate: Annotated[int, Field(ge=8_000, le=192_000)] | None = Field(
        None, description="Samples per second; by default those of the sound."
    )
    channels: Literal[1, 2] | None = Field(
        None, description="1: mixed to mono, 2: to stereo; by default as they are."
    )
    bits: Literal[16, 24] = Field(16, description="Bits of a sample, for flac and wav.")
    start_s: Seconds = Field(0, description="Where to begin, in seconds.")
    duration_s: Length | None = Field(
        None, description="How many seconds to take; by default all that is left."
    )
    keep_tags: bool = Field(
        True, description="Keep title, artist and the like; where it was recorded goes always."
    )

    @model_validator(mode="after")
    def _suits_the_format(self) -> Self:
        if self.format in sounds.LOSSLESS and self.bitrate_kbps is not None:
            raise ValueError(f"{self.format} has no bit rate: leave bitrate_kbps out")
        rates = sounds.RATES.get(self.format)
        if rates and self.sample_rate is not None and self.sample_rate not in rates:
            raise ValueError(f"{self.format} has these sample rates: {', '.join(map(str, rates))}")
        return self


@operation(
    "audio.convert",
    summary="Convert sound to MP3, AAC, Opus, FLAC or WAV",
    params=Convert,
    accepts=(*AUDIO, *VIDEO),
    produces=tuple(sounds.TYPES.values()),
    example={"format": "mp3", "bitrate_kbps": 128},
    lane="heavy",
    programs=(ffmpeg.NAME,),
)
def convert(work: Work, params: Convert) -> None:
    """Decode the first (or default) stream of sound and encode it anew.

    Covers and everything else that is no sound is left out.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `stream_missing`,
            `time_out_of_range`, `too_many_streams`, `type_mismatch`, `unsupported_variant`.
    """
    found = media.probe(work)
    sound = media.sound_of(found)
    duration_s = clips.trimmed_s(found, params.start_s, params.duration_s)
    rate = params.sample_rate or sounds.fitting_rate(params.format, sound.sample_rate)
    path = work.output(sounds.name_of(work.input, params.format), sounds.TYPES[params.format])
    arguments = [
        *ffmpeg.source(work, *clips.seeking(params.start_s)),
        *("-map", f"0:{sound.index}"),
        *sounds.tags(keep=params.keep_tags),
        *clips.lasting(params.duration_s),
        *(("-af", chain[0]) if (chain := sounds.layouts(params.format)) else ()),
        *sounds.encoded(
            params.format,
            kbps=params.bitrate_kbps,
            rate=rate,
            channels=params.channels,
            bits=params.bits,
        ),
        f"file:{path}",
    ]
    ffmpeg.encode(work, arguments, total_s=duration_s)
    work.progress(1, 1, phase="done")
