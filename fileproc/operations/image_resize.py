"""`image.resize`: thumbnails, crops and conversions of raster images."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fileproc.operations import rasters
from fileproc.operations.rasters import AVIF, GIF, JPEG, PNG, RASTERS, WEBP, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

_TYPES = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "avif": AVIF, "gif": GIF}
_NO_ALPHA = frozenset({JPEG})
_MOST = {JPEG: 65_500, PNG: 65_500, WEBP: 16_383, AVIF: 16_384, GIF: 65_500}
_QUALITY = {JPEG: 82, WEBP: 80, AVIF: 55}
# The share of the free space, left of and above the crop or the padded picture.
_COMPASS = {
    "centre": (0.5, 0.5),
    "north": (0.5, 0.0),
    "north_east": (1.0, 0.0),
    "east": (1.0, 0.5),
    "south_east": (1.0, 1.0),
    "south": (0.5, 1.0),
    "south_west": (0.0, 1.0),
    "west": (0.0, 0.5),
    "north_west": (0.0, 0.0),
}


def _spelling(value: object) -> object:
    """`Center`, `north-east` and `jpg` are understood; the schema names one spelling."""
    if not isinstance(value, str):
        return value
    value = value.lower().replace("-", "_")
    return {"center": "centre", "jpg": "jpeg"}.get(value, value)


Spelling = BeforeValidator(_spelling)
Gravity = Literal[
    "centre", "attention", "entropy", "north", "north_east", "east", "south_east",
    "south", "south_west", "west", "north_west",
]  # fmt: skip
Side = Annotated[int, Field(ge=1, le=65_500)]


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
    enlarge: bool = Field(False, description="Whether a picture may become larger than it is.")
    format: Annotated[Literal["keep", "jpeg", "png", "webp", "avif", "gif"], Spelling] = Field(
        "keep",
        description="Format of the result. keep: that of the input; what we do not write (TIFF)"
        " becomes PNG with transparency, else JPEG.",
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Quality of JPEG (default 82), WebP (80) and AVIF (55); PNG and GIF have none.",
    )
    background: str = Field(
        "auto",
        pattern=r"^(auto|white|black|transparent|#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|#[0-9a-fA-F]{8})$",
        description="Colour behind the picture, for pad and for formats without transparency:"
        " auto (transparent where the result can be, else white), white, black, transparent,"
        " #rgb, #rrggbb or #rrggbbaa.",
    )
    auto_orient: bool = Field(
        True, description="Turn the picture upright as its EXIF orientation says."
    )
    keep_metadata: bool = Field(
        False, description="Keep EXIF, XMP and IPTC; by default all of it goes, GPS included."
    )

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
    accepts=RASTERS,
    produces=(JPEG, PNG, WEBP, AVIF, GIF),
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
            `unsupported_variant`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        target = _target_type(params.format, source.type, header)
        box = _box(header.upright if params.auto_orient else (header.width, header.height), params)
        animated = header.animated and target in {WEBP, GIF}
        _check(box, target, header, work, frames=header.frames if animated else 1)
        if animated:
            image = _film(work, params, header, box, target)
        else:
            small = _scaled(_shrunk_load(opened, source, header, box, params), header, box, params)
            image = _framed(small, box, params, target)
        _save(image, work, params, target)


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


def _target_type(wanted: str, given: str, header: Header) -> str:
    if wanted != "keep":
        return _TYPES[wanted]
    if given in _TYPES.values():
        return given
    return PNG if header.alpha else JPEG


def _check(box: _Box, target: str, header: Header, work: Work, *, frames: int) -> None:
    """Judge from the header what would be decoded and written, before either.

    Raises:
        BadInput: `image_too_large` or `output_too_large`.
    """
    rasters.check_pixels(header.width, header.height, frames, work.limits)
    for width, height in (box.scaled, box.final):
        if width * height * frames > work.limits.pixels:
            raise BadInput(
                f"The result would have {width:,} x {height:,} pixels in {frames:,} frame(s);"
                f" at most {work.limits.pixels:,} pixels in all are made.",
                code="output_too_large",
            )
    if max(box.final) > _MOST[target]:
        raise BadInput(
            f"The result would be {box.final[0]:,} x {box.final[1]:,} pixels; {target} goes up to"
            f" {_MOST[target]:,} on a side.",
            code="output_too_large",
        )


def _shrunk_load(opened: Any, source: Any, header: Header, box: _Box, params: Resize) -> Any:
    """The image, decoded smaller where the format can (JPEG, WebP): far faster.

    At least a factor of two is left to the good resampler, as libvips' own thumbnailer does.
    """
    width, height = _stored(box.scaled, header, params)
    factor = min(header.width / width, header.height / height)
    if source.type == JPEG and (shrink := _power_below(factor / 2)) > 1:
        return rasters.load(source.path, JPEG, shrink=shrink)
    if source.type == WEBP and factor > 4:  # noqa: PLR2004 - below, it saves nothing
        return rasters.load(source.path, WEBP, scale=2 / factor)
    return opened


def _power_below(factor: float) -> int:
    return next(power for power in (8, 4, 2, 1) if factor >= power or power == 1)


def _stored(size: tuple[int, int], header: Header, params: Resize) -> tuple[int, int]:
    """A size of the upright picture as it lies in the file."""
    turned = params.auto_orient and header.upright != (header.width, header.height)
    return (size[1], size[0]) if turned or _quarter(header, params) else size


def _quarter(header: Header, params: Resize) -> bool:
    return params.auto_orient and header.orientation >= 5  # noqa: PLR2004 - EXIF quarter turns


def _scaled(image: Any, header: Header, box: _Box, params: Resize) -> Any:
    """Scaled to `box.scaled`, in sRGB, upright. Transparent pixels do not bleed into the rest."""
    width, height = _stored(box.scaled, header, params)
    alpha = image.hasalpha() and (image.width, image.height) != (width, height)
    if alpha:
        before = image.format
        image = image.premultiply()
    if (image.width, image.height) != (width, height):
        image = image.resize(width / image.width, vscale=height / image.height)
    if alpha:
        image = image.unpremultiply().cast(before)
    image = rasters.to_srgb(image)
    if params.auto_orient and header.orientation > 1:
        image = image.copy_memory().autorot()
    return image


def _framed(image: Any, box: _Box, params: Resize, target: str) -> Any:
    """Cut to the box or padded to it, and without transparency where the format has none."""
    if params.mode == "fill" and box.final != box.scaled:
        image = image.copy_memory()
        left, top = _crop_corner(image, box, params)
        image = image.crop(left, top, *box.final)
    background = _background(params.background, target)
    if params.mode == "pad" and box.final != box.scaled:
        image = _padded(image, box, params, background)
    if target in _NO_ALPHA and image.hasalpha():
        image = image.flatten(background=_channels(background[:3], image.bands - 1))
    return image


def _crop_corner(image: Any, box: _Box, params: Resize) -> tuple[int, int]:
    """Left and top of what `fill` keeps."""
    if params.gravity in _COMPASS:
        return _placed(params.gravity, box.scaled, box.final)
    cut = image.smartcrop(*box.final, interesting=params.gravity)
    return -cut.xoffset, -cut.yoffset


def _placed(gravity: str, outer: tuple[int, int], inner: tuple[int, int]) -> tuple[int, int]:
    across, down = _COMPASS.get(gravity, _COMPASS["centre"])
    return int((outer[0] - inner[0]) * across), int((outer[1] - inner[1]) * down)


def _padded(image: Any, box: _Box, params: Resize, background: tuple[int, ...]) -> Any:
    red, green, blue, alpha = background
    if image.bands < 3 and not red == green == blue:  # noqa: PLR2004 - a grey picture, a colour
        image = image.colourspace("srgb")
    if alpha < 255 and not image.hasalpha():  # noqa: PLR2004 - fully opaque
        image = image.addalpha()
    colours = image.bands - 1 if image.hasalpha() else image.bands
    colour = _channels((red, green, blue), colours) + ([alpha] if image.hasalpha() else [])
    left, top = _placed(params.gravity, box.final, box.scaled)
    return image.embed(left, top, *box.final, extend="background", background=colour)


def _channels(colour: tuple[int, ...], bands: int) -> list[int]:
    """A colour for a grey or an RGB picture; for grey its luma."""
    red, green, blue = colour
    return [red, green, blue] if bands > 1 else [round(0.299 * red + 0.587 * green + 0.114 * blue)]


def _background(colour: str, target: str) -> tuple[int, int, int, int]:
    """Red, green, blue, alpha, each 0 to 255; opaque where the format has no transparency."""
    if colour in {"auto", "transparent"}:
        return (255, 255, 255, 255) if target in _NO_ALPHA else (255, 255, 255, 0)
    digits = {"white": "ffffff", "black": "000000"}.get(colour, colour.lstrip("#"))
    if len(digits) == 3:  # noqa: PLR2004 - #rgb
        digits = re.sub("(.)", r"\1\1", digits)
    red, green, blue, alpha = bytes.fromhex((digits + "ff")[:8])
    return red, green, blue, alpha


def _film(work: Work, params: Resize, header: Header, box: _Box, target: str) -> Any:
    """Every frame by itself, so that none bleeds into the next; then stacked, as libvips wants."""
    source = work.input
    roll = rasters.load(source.path, source.type, n=-1, access="random")
    height = roll.get("page-height") if roll.get_typeof("page-height") else header.height
    frames, corner = [], None
    for index in range(roll.height // height):
        frame = roll.crop(0, index * height, roll.width, height)
        frame = _scaled(frame, header, box, params).copy_memory()
        if params.mode == "fill" and box.final != box.scaled:
            corner = corner or _crop_corner(frame, box, params)  # one cut for all, or it shakes
            frame = frame.crop(*corner, *box.final).copy_memory()
        else:
            frame = _framed(frame, box, params, target)
        frames.append(frame)
        work.progress(index + 1, header.frames, unit="frames", phase="resize")
    joined = type(roll).arrayjoin(frames, across=1).copy()
    for name in ("delay", "loop", "gif-delay", "background"):
        if roll.get_typeof(name):
            joined.set_type(roll.get_typeof(name), name, roll.get(name))
    joined.set_type(_INT, "page-height", box.final[1])
    return joined


_INT = 24  # GObject's fundamental type of an int, the same on every platform


def _save(image: Any, work: Work, params: Resize, target: str) -> None:
    options: dict[str, Any] = {"keep": "all" if params.keep_metadata else "none"}
    if quality := params.quality or _QUALITY.get(target):
        options["Q"] = quality
    if target == JPEG:
        options["optimize_coding"] = True
    elif target == AVIF:
        options |= {"compression": "av1", "effort": 3}
    elif target in {PNG, GIF}:
        options.pop("Q", None)
    saver = {JPEG: "jpegsave", PNG: "pngsave", WEBP: "webpsave", AVIF: "heifsave", GIF: "gifsave"}
    path = work.output(work.input.stem + extension_for_type(target), target)
    getattr(image, saver[target])(str(path), **options)
    work.progress(1, 1, phase="done")
