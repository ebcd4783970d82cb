"""`image.crop`: a part of an image."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from fileproc.operations import encoders, frames, picture_params, rasters
from fileproc.operations.picture_params import (
    AUTO_ORIENT,
    BACKGROUND,
    COMPASS,
    FORMAT,
    KEEP_GPS,
    KEEP_METADATA,
    QUALITY,
    Format,
    Gravity,
    Side,
    Spelling,
)
from fileproc.operations.rasters import PICTURES
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work

Offset = Annotated[int, Field(ge=0, le=1_000_000)]
_Area = tuple[int, int, int, int]


class Crop(Params):
    """A box (`width`, `height`, and `left`, `top` or `gravity`), an `aspect`, or `trim`."""

    width: Side | None = Field(None, description="Width of the part in pixels.")
    height: Side | None = Field(None, description="Height of the part in pixels.")
    left: Offset | None = Field(
        None, description="Pixels between the picture's left edge and the part."
    )
    top: Offset | None = Field(
        None, description="Pixels between the picture's upper edge and the part."
    )
    gravity: Annotated[Gravity, Spelling] = Field(
        "centre",
        description="Where the part is, without left and top. attention takes what catches the"
        " eye, entropy what has most detail.",
    )
    aspect: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$",
        description="The largest part with this ratio of width to height, such as 16:9.",
    )
    trim: bool = Field(False, description="Cut off the border that has the colour of the corner.")
    tolerance: int = Field(
        10, ge=0, le=255, description="How far a channel may be from that colour, for trim."
    )
    format: Annotated[Format, Spelling] = FORMAT
    quality: int | None = QUALITY
    background: str = BACKGROUND
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        box = self.width is not None or self.height is not None
        if box + (self.aspect is not None) + self.trim != 1:
            raise ValueError("give width and height, or aspect, or trim")
        if box and (self.width is None or self.height is None):
            raise ValueError("give both width and height")
        if (self.left is None) != (self.top is None):
            raise ValueError("give both left and top, or a gravity")
        if self.left is not None and not box:
            raise ValueError("left and top need width and height")
        return self


@operation(
    "image.crop",
    summary="Cut a part out of an image, or its border off",
    params=Crop,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"aspect": "1:1", "gravity": "attention"},
    engines=("pyvips",),
)
def crop(work: Work, params: Crop) -> None:
    """Keep a part of a picture: a box in pixels, the largest of a ratio, or all but the border.

    Positions are those of the upright picture. A box has to lie within it. Of an animation, every
    frame is cut to the same part; metadata is left out.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `output_too_large`, `outside_image`,
            `type_mismatch`, `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        target = encoders.target_type(params.format, source.type, header)
        count = frames.check(header, target, work)
        upright = header.upright if params.auto_orient else (header.width, header.height)
        wanted = _wanted(upright, params)
        if wanted is not None:
            encoders.check_size(wanted, target, work, frames=count)
        image = frames.changed(
            work, header, opened, target, _Cut(params, wanted, target),
            phase="crop", auto_orient=params.auto_orient,
        )  # fmt: skip
        encoders.check_size((image.width, image.height // count), target, work, frames=count)
        encoders.save(image, work, params, target)


def _wanted(size: tuple[int, int], params: Crop) -> tuple[int, int] | None:
    """Width and height of the part; None where the pixels decide.

    Raises:
        BadInput: `outside_image`.
    """
    if params.trim:
        return None
    if params.aspect is not None:
        across, down = (int(part) for part in params.aspect.split(":"))
        return max(1, min(size[0], size[1] * across // down)), max(
            1, min(size[1], size[0] * down // across)
        )
    width, height = params.width or 0, params.height or 0
    if (params.left or 0) + width > size[0] or (params.top or 0) + height > size[1]:
        raise BadInput(
            f"The image has {size[0]:,} x {size[1]:,} pixels; the part that is asked for does not"
            " lie within it.",
            code="outside_image",
        )
    return width, height


class _Cut:
    """Cuts frames, each to the part that the first one decides."""

    def __init__(self, params: Crop, wanted: tuple[int, int] | None, target: str) -> None:
        self._params, self._wanted, self._target = params, wanted, target
        self._area: _Area | None = None

    def __call__(self, image: Any) -> Any:
        if self._area is None:
            if self._wanted is None or self._params.gravity not in COMPASS:
                image = image.copy_memory()  # looked at first, then cut
            self._area = self._found(image)
        behind = encoders.background(self._params.background, self._target)
        return encoders.flat(image.crop(*self._area), self._target, behind)

    def _found(self, image: Any) -> _Area:
        params, size = self._params, (image.width, image.height)
        if self._wanted is None:
            return _inner(image, params.tolerance)
        if params.left is not None and params.top is not None:
            return params.left, params.top, *self._wanted
        if params.gravity in COMPASS:
            return *picture_params.placed(params.gravity, size, self._wanted), *self._wanted
        cut = image.smartcrop(*self._wanted, interesting=params.gravity)
        return -cut.xoffset, -cut.yoffset, *self._wanted


def _inner(image: Any, tolerance: int) -> _Area:
    """All but the border; the whole where there is nothing but border."""
    *corner, alpha = image.getpoint(0, 0) if image.hasalpha() else (*image.getpoint(0, 0), 255)
    if image.hasalpha():  # what is clear is border, whatever colour it has
        image = image.flatten(background=corner) if alpha else image[-1]
    left, top, width, height = image.find_trim(
        threshold=tolerance, background=corner if alpha else [0], line_art=True
    )
    return (left, top, width, height) if width and height else (0, 0, image.width, image.height)
