"""`image.rotate`: an image turned, mirrored or set upright."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from fileproc.operations import encoders, frames, rasters
from fileproc.operations.picture_params import (
    AUTO_ORIENT,
    BACKGROUND,
    FORMAT,
    KEEP_GPS,
    KEEP_METADATA,
    QUALITY,
    Format,
    Spelling,
)
from fileproc.operations.rasters import PICTURES
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_QUARTERS = {0: None, 90: "rot90", 180: "rot180", 270: "rot270"}


class Rotate(Params):
    angle: float = Field(
        0,
        ge=-360,
        le=360,
        description="Degrees clockwise. Quarter turns lose nothing; for others the canvas grows.",
    )
    flip: Annotated[Literal["none", "horizontal", "vertical", "both"], Spelling] = Field(
        "none", description="Mirror before turning: left with right, top with bottom, or both."
    )
    format: Annotated[Format, Spelling] = FORMAT
    quality: int | None = QUALITY
    background: str = BACKGROUND
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS


@operation(
    "image.rotate",
    summary="Turn or mirror an image, or set it upright",
    params=Rotate,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"angle": 90},
    engines=("pyvips",),
)
def rotate(work: Work, params: Rotate) -> None:
    """Turn a picture clockwise about its middle, and mirror it.

    It is first set upright as its EXIF says; without `angle` and `flip` that is all that is done.
    Animations stay animated; metadata is left out.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `output_too_large`, `type_mismatch`,
            `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        target = encoders.target_type(params.format, source.type, header)
        count = frames.check(header, target, work)
        upright = header.upright if params.auto_orient else (header.width, header.height)
        encoders.check_size(_canvas(upright, params.angle), target, work, frames=count)
        behind = encoders.background(params.background, target)

        def change(image: Any) -> Any:
            return encoders.flat(_turned(image, params, behind), target, behind)

        image = frames.changed(
            work, header, opened, target, change,
            phase="rotate", auto_orient=params.auto_orient,
        )  # fmt: skip
        encoders.save(image, work, params, target)


def _canvas(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """What holds a picture of this size, turned."""
    across, down = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    width, height = size
    return round(width * across + height * down), round(width * down + height * across)


def _turned(image: Any, params: Rotate, behind: tuple[int, ...]) -> Any:
    angle = params.angle % 360
    if params.flip != "none" or angle:
        image = image.copy_memory()  # lines are not wanted in the order they come in
    if params.flip in {"horizontal", "both"}:
        image = image.fliphor()
    if params.flip in {"vertical", "both"}:
        image = image.flipver()
    if angle in _QUARTERS:
        turn = _QUARTERS[int(angle)]
        return getattr(image, turn)() if turn else image
    return _tilted(image, angle, behind)


def _tilted(image: Any, angle: float, behind: tuple[int, ...]) -> Any:
    """Turned by an odd angle: with alpha, so that neither its edge nor clear pixels bleed."""
    import pyvips

    image, colour = encoders.backed(image, behind)
    opaque = not image.hasalpha()
    if opaque:
        image = image.addalpha()
    tilted = image.premultiply().rotate(angle, interpolate=pyvips.Interpolate.new("bicubic"))
    tilted = tilted.unpremultiply().cast("uchar")
    if opaque or colour[-1]:
        return _over(tilted, colour, opaque=opaque)
    return tilted


def _over(image: Any, colour: list[int], *, opaque: bool) -> Any:
    """On a background; that keeps the transparency it has itself."""
    if opaque:
        return image.flatten(background=colour)
    ground = image.new_from_image(colour).copy(interpretation=image.interpretation)
    both = ground.composite2(image, "over", compositing_space=image.interpretation)
    return both.cast("uchar")
