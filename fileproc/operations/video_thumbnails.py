"""`video.thumbnails`: pictures out of a film, one by one or all on a sheet."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fileproc.operations import clips, ffmpeg, lists, media, rasters, stills
from fileproc.operations.clips import Seconds, Side
from fileproc.operations.media import VIDEO, Media, Stream
from fileproc.operations.rasters import JPEG, PNG, WEBP
from fileproc.operations.registry import Params, operation
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

_TYPES = {"jpeg": JPEG, "png": PNG, "webp": WEBP}
_MOST = 100
_Times = Annotated[list[Seconds], Field(min_length=1, max_length=_MOST)]
_Text = Annotated[str, Field(max_length=2_000, pattern=r"^[0-9]+(\.[0-9]+)?(,[0-9]+(\.[0-9]+)?)*$")]


def _spelling(value: object) -> object:
    return "jpeg" if value == "jpg" else value


class Thumbnails(Params):
    times: Annotated[
        _Times | None,
        BeforeValidator(lists.numbers, json_schema_input_type=_Times | _Text | None),
    ] = Field(
        None,
        description="Where to take the pictures, in seconds from the start: a list, or 1,2.5,10.",
    )
    count: int | None = Field(
        None,
        ge=1,
        le=_MOST,
        description="How many pictures, evenly spread; 5 where no times are given either.",
    )
    width: Side | None = Field(
        None, description="Width in pixels that each has to fit into; default 320."
    )
    height: Side | None = Field(None, description="Height in pixels that each has to fit into.")
    format: Annotated[Literal["jpeg", "png", "webp"], BeforeValidator(_spelling)] = Field(
        "jpeg", description="Format of the pictures."
    )
    quality: int | None = Field(
        None, ge=1, le=100, description="Quality of JPEG (default 85) and WebP (80)."
    )
    layout: Literal["files", "sheet", "both"] = Field(
        "files", description="A file for each picture, one contact sheet with all, or both."
    )
    columns: int = Field(4, ge=1, le=20, description="Pictures in a row of the sheet.")

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if self.times is not None and self.count is not None:
            raise ValueError("give times or count, not both")
        return self


@operation(
    "video.thumbnails",
    summary="Take pictures out of a video, or a contact sheet",
    params=Thumbnails,
    accepts=VIDEO,
    produces=tuple(_TYPES.values()),
    example={"count": 6, "layout": "both", "columns": 3},
    lane="heavy",
    engines=("pyvips",),
    programs=(ffmpeg.NAME,),
)
def thumbnails(work: Work, params: Thumbnails) -> None:
    """Take the pictures that a player would show at certain times, upright and scaled down.

    `count` pictures stand for parts of equal length, each taken from the middle of its part.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `media_too_long`, `output_too_large`,
            `stream_missing`, `time_out_of_range`, `too_many_outputs`, `too_many_streams`,
            `type_mismatch`, `unsupported_variant`.
    """
    found = media.probe(work)
    film = media.film_of(found)
    work.engine = f"{found.engine}, {rasters.engine()}"
    default = 320 if params.height is None else None
    size = clips.fitted(film, params.width or default, params.height)
    times = _times(work, found, film, params)
    _check_sheet(size, len(times), params, work)
    target, digits = _TYPES[params.format], max(2, len(str(len(times))))
    images: list[Any] = []
    for number, at_s in enumerate(times, 1):
        image = stills.taken(work, film, at_s, size)
        if params.layout != "sheet":
            name = f"{work.input.stem}-{number:0{digits}}{extension_for_type(target)}"
            stills.save(image, work.output(name, target), target, params.quality)
        if params.layout != "files":
            images.append(image)
        work.progress(number, len(times), unit="pictures", phase="take")
    if images:
        name = f"{work.input.stem}-sheet{extension_for_type(target)}"
        sheet = stills.sheet(images, params.columns)
        stills.save(sheet, work.output(name, target), target, params.quality)


def _times(work: Work, found: Media, film: Stream, params: Thumbnails) -> list[float]:
    """Where to take the pictures, in seconds.

    Raises:
        BadInput: `time_out_of_range`.
    """
    duration_s = found.duration_s
    if params.times is None:
        duration_s = duration_s or media.measured_s(work, film)
        count = params.count or 5
        return [duration_s * (place + 0.5) / count for place in range(count)]
    if duration_s is not None and max(params.times) > duration_s:
        raise BadInput(
            f"It lasts {duration_s:g} seconds; there is no picture at {max(params.times):g}.",
            code="time_out_of_range",
        )
    return params.times


def _check_sheet(size: tuple[int, int], count: int, params: Thumbnails, work: Work) -> None:
    """Judge a sheet, which is made in memory, before the first picture is taken.

    Raises:
        BadInput: `output_too_large`.
    """
    clips.check_size(size)
    pixels = size[0] * size[1] * count
    if params.layout != "files" and pixels > work.limits.pixels:
        raise BadInput(
            f"The sheet would have {pixels:,} pixels; at most {work.limits.pixels:,} are made.",
            code="output_too_large",
        )
