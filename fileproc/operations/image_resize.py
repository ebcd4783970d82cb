"""`image.resize`: thumbnails, crops and conversions of images."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

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
from fileproc.operations.rasters import PICTURES, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work


class Resize(Params):
    """At least one of `width` and `height`; `fill`, `pad` and `exact` need both."""

    width: Side | None = Field(None, description="Width of the result in pixels.")
    height: Side | None = Field(None, description="Height of the result in pixels.")
    mode: Annotated[Literal["fit", "fill", "pad", "exact"], Spelling] = Field(
        "fit",
        description="fit: as large as fits in the box. fill: fills the box, what sticks out is cut"
        " off. pad: fits, with background around it. exact: stretched to the box.",
    )
    gravity: Annotated[Gravity, Spelling] = Field(
        "centre",
        description="Which part fill keeps, and where pad puts the picture. attention keeps what"
        " catches the eye, entropy what has most detail; for pad both mean centre.",
    )
    enlarge: bool = Field(
        False,
        description="Whether a picture may become larger than it is; an SVG always may.",
    )
    format: Annotated[Format, Spelling] = FORMAT
    quality: int | None = QUALITY
    background: str = BACKGROUND
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS

    @model_validator(mode="after")
    def _has_a_box(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("give width, height or both")
        if self.mode != "fit" and (self.width is None or self.height is None):
            raise ValueError(f"mode {self.mode} needs both width and height")
        return self


@operation(
    "image.resize",
    summary="Resize, crop, pad or convert an image",
    params=Resize,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"width": 800, "format": "webp"},
    engines=("pyvips",),
)
def resize(work: Work, params: Resize) -> None:
    """Make a smaller (or, with `enlarge`, larger) version of a picture.

    Colours are converted to sRGB, 8 bits a channel, by the embedded profile (CMYK too); metadata
    is left out. Animated GIF and WebP stay animated where the result is GIF or WebP, else the
    first frame is taken; of a TIFF with several pages the first. With `enlarge` off, `fill` and
    `exact` give less than the box where the picture is smaller.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `output_too_large`, `type_mismatch`,
            `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        if header.vector:
            params = params.model_copy(update={"enlarge": True})
        target = encoders.target_type(params.format, source.type, header)
        box = _box(header.upright if params.auto_orient else (header.width, header.height), params)
        animated = frames.stays_film(header, target)
        _check(box, target, header, work, frames=header.frames if animated else 1)
        if animated:
            image = _film(work, params, header, box, target)
        else:
            small = _scaled(_shrunk_load(opened, source, header, box, params), header, box, params)
            image = _framed(small, box, params, target)
        encoders.save(image, work, params, target)


class _Box:
    """What becomes of the picture: first scaled to `scaled`, then cut or padded to `final`."""

    __slots__ = ("final", "scaled")

    def __init__(self, scaled: tuple[int, int], final: tuple[int, int]) -> None:
        self.scaled, self.final = scaled, final


def _box(size: tuple[int, int], params: Resize) -> _Box:
    """The sizes, from the upright size of the source; never less than a pixel."""
    width, height = size
    across = (params.width or 0) / width
    down = (params.height or 0) / height
    if params.mode == "exact":
        if not params.enlarge:
            across, down = min(across, 1.0), min(down, 1.0)
        exact = _rounded(width * across), _rounded(height * down)
        return _Box(exact, exact)
    given = [scale for scale in (across, down) if scale]
    scale = max(given) if params.mode == "fill" else min(given)
    if not params.enlarge:
        scale = min(scale, 1.0)
    scaled = _rounded(width * scale), _rounded(height * scale)
    if params.mode == "fit":
        return _Box(scaled, scaled)
    asked = params.width or scaled[0], params.height or scaled[1]
    if params.mode == "pad":
        return _Box(scaled, asked)
    return _Box(scaled, (min(asked[0], scaled[0]), min(asked[1], scaled[1])))


def _rounded(length: float) -> int:
    return max(1, int(length + 0.5))


def _check(box: _Box, target: str, header: Header, work: Work, *, frames: int) -> None:
    """Judge from the header what would be decoded and written, before either.

    Raises:
        BadInput: `image_too_large` or `output_too_large`.
    """
    rasters.check_pixels(header.width, header.height, frames, work.limits)
    for size in (box.scaled, box.final):
        encoders.check_size(size, target, work, frames=frames)


def _shrunk_load(opened: Any, source: Any, header: Header, box: _Box, params: Resize) -> Any:
    """The image, decoded smaller where the format can."""
    width, height = _stored(box.scaled, header, params)
    factor = min(header.width / width, header.height / height)
    return rasters.pixels(source.path, source.type, opened, factor=factor)


def _stored(size: tuple[int, int], header: Header, params: Resize) -> tuple[int, int]:
    """A size of the upright picture as it lies in the file."""
    turned = params.auto_orient and header.upright != (header.width, header.height)
    return (size[1], size[0]) if turned or _quarter(header, params) else size


def _quarter(header: Header, params: Resize) -> bool:
    return params.auto_orient and header.orientation >= 5  # noqa: PLR2004 - EXIF quarter turns


def _scaled(image: Any, header: Header, box: _Box, params: Resize) -> Any:
    """Scaled to `box.scaled`, in sRGB, upright."""
    image = rasters.scaled(image, *_stored(box.scaled, header, params))
    return frames.upright(image, header, auto_orient=params.auto_orient)


def _framed(image: Any, box: _Box, params: Resize, target: str) -> Any:
    """Cut to the box or padded to it, and without transparency where the format has none."""
    if params.mode == "fill" and box.final != box.scaled:
        image = image.copy_memory()
        left, top = _crop_corner(image, box, params)
        image = image.crop(left, top, *box.final)
    background = encoders.background(params.background, target)
    if params.mode == "pad" and box.final != box.scaled:
        image = _padded(image, box, params, background)
    return encoders.flat(image, target, background)


def _crop_corner(image: Any, box: _Box, params: Resize) -> tuple[int, int]:
    """Left and top of what `fill` keeps."""
    if params.gravity in COMPASS:
        return picture_params.placed(params.gravity, box.scaled, box.final)
    cut = image.smartcrop(*box.final, interesting=params.gravity)
    return -cut.xoffset, -cut.yoffset


def _padded(image: Any, box: _Box, params: Resize, background: tuple[int, ...]) -> Any:
    image, colour = encoders.backed(image, background)
    left, top = picture_params.placed(params.gravity, box.final, box.scaled)
    return image.embed(left, top, *box.final, extend="background", background=colour)


def _film(work: Work, params: Resize, header: Header, box: _Box, target: str) -> Any:
    corner: tuple[int, int] | None = None

    def change(frame: Any) -> Any:
        nonlocal corner
        frame = _scaled(frame, header, box, params).copy_memory()
        if params.mode != "fill" or box.final == box.scaled:
            return _framed(frame, box, params, target)
        corner = corner or _crop_corner(frame, box, params)  # one cut for all, or it shakes
        return frame.crop(*corner, *box.final)

    return frames.film(work, header, change, phase="resize")
