"""`image.watermark`: a text or another picture on top of an image."""

from __future__ import annotations

import html
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from fileproc.operations import encoders, frames, glyphs, picture_params, rasters
from fileproc.operations.picture_params import (
    AUTO_ORIENT,
    BACKGROUND,
    FORMAT,
    KEEP_GPS,
    KEEP_METADATA,
    QUALITY,
    Format,
    Position,
    Spelling,
)
from fileproc.operations.rasters import PICTURES, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Input, Work

_FONTS = {"sans": "sans bold", "serif": "serif bold", "mono": "monospace bold"}
_DRAFT_DPI: Final = 72  # a first drawing only tells how wide the text runs
_SHADOW: Final = 0.6  # how dark it is at most
_MOST_LINES: Final = 20
_JOINERS: Final = {0x200C: None, 0x200D: None}  # Persian, the scripts of India and emoji need them


def _drawable(text: str) -> str:
    """Refuse what no font draws: control characters, or nothing but space."""
    if text.count("\n") >= _MOST_LINES:
        raise ValueError(f"the text has more than {_MOST_LINES} lines")
    seen = text.translate(_JOINERS)
    if not seen.strip() or not all(line.isprintable() for line in seen.split("\n")):
        raise ValueError("give a text without control characters")
    return text


class Watermark(Params):
    """A `text`, or a second input: a picture."""

    text: Annotated[str, AfterValidator(_drawable)] | None = Field(
        None, max_length=500, description="What to write; without it, the second input is the mark."
    )
    font: Literal["sans", "serif", "mono"] = Field("sans", description="Kind of font of the text.")
    colour: str = Field(
        "white",
        pattern=r"^(white|black|#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6})$",
        description="Colour of the text: white, black, #rgb or #rrggbb.",
    )
    shadow: bool = Field(
        True, description="A soft shadow under the text, so that it shows on any ground."
    )
    position: Annotated[Position, Spelling] = Field("south_east", description="Where the mark is.")
    scale: float = Field(
        0.25, ge=0.01, le=1, description="Width of the mark as a share of the picture's."
    )
    margin: int = Field(
        16, ge=0, le=10_000, description="Pixels between the mark and the edge, and between tiles."
    )
    opacity: float = Field(0.6, ge=0.01, le=1, description="1 covers what is below, 0.01 hardly.")
    angle: float = Field(0, ge=-360, le=360, description="Degrees clockwise to turn the mark by.")
    tiled: bool = Field(False, description="Repeat the mark all over the picture.")
    format: Annotated[Format, Spelling] = FORMAT
    quality: int | None = QUALITY
    background: str = BACKGROUND
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS


def _misfit(params: Watermark, count: int) -> str | None:
    if params.text is None and count == 1:
        return "There is no mark: give the parameter text, or a picture as a second file."
    if params.text is not None and count > 1:
        return "There are two marks: give the parameter text or a second file, not both."
    return None


@operation(
    "image.watermark",
    summary="Put a text or another picture on top of an image",
    params=Watermark,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"text": "© Example", "position": "south_east"},
    engines=("pyvips",),
    judge=_misfit,
    max_inputs=2,
)
def watermark(work: Work, params: Watermark) -> None:
    """Mark a picture, once or all over: with a text, or with the picture that is the second input.

    The mark keeps its shape and is made smaller where it would not fit between the margins. Of an
    animation every frame is marked. A text needs a font on the server for each of its characters,
    else the job fails. Metadata is left out.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `mark_missing`, `output_too_large`,
            `type_mismatch`, `undrawable_text`, `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    if (misfit := _misfit(params, len(work.inputs))) is not None:
        raise BadInput(misfit, code="mark_missing")
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        target = encoders.target_type(params.format, source.type, header)
        count = frames.check(header, target, work)
        size = header.upright if params.auto_orient else (header.width, header.height)
        encoders.check_size(size, target, work, frames=count)
        layer, corner = _layer(work, params, size)
        behind = encoders.background(params.background, target)

        def change(image: Any) -> Any:
            return encoders.flat(_marked(image, layer, corner), target, behind)

        image = frames.changed(
            work, header, opened, target, change,
            phase="mark", auto_orient=params.auto_orient,
        )  # fmt: skip
        encoders.save(image, work, params, target)


def _marked(image: Any, layer: Any, corner: tuple[int, int]) -> Any:
    if image.bands < 3:  # noqa: PLR2004 - grey
        image = image.colourspace("srgb")
    marked = image.composite2(layer, "over", x=corner[0], y=corner[1]).cast("uchar")
    return marked if image.hasalpha() else marked[0:3]


def _layer(work: Work, params: Watermark, size: tuple[int, int]) -> tuple[Any, tuple[int, int]]:
    """What is laid over every frame (RGBA, in memory), and where its left upper corner is."""
    room = (max(1, size[0] - 2 * params.margin), max(1, size[1] - 2 * params.margin))
    width = max(1.0, min(size[0] * params.scale, room[0]))
    if params.text is not None:
        mark = _written(params.text, params, width, room[1])
    else:
        mark = _picture(work, work.inputs[1], width)
    if params.angle % 360:
        mark = mark.premultiply().rotate(params.angle).unpremultiply().cast("uchar")
    shrink = min(1.0, room[0] / mark.width, room[1] / mark.height)
    if shrink < 1:
        mark = rasters.scaled(
            mark, max(1, int(mark.width * shrink)), max(1, int(mark.height * shrink))
        )
    faded = (mark[3] * params.opacity).cast("uchar")
    mark = mark[0:3].bandjoin(faded).copy(interpretation="srgb").copy_memory()
    if params.tiled:
        return _tiles(mark, size, params.margin), (0, 0)
    left, top = picture_params.placed(params.position, room, (mark.width, mark.height))
    return mark, (left + (size[0] - room[0]) // 2, top + (size[1] - room[1]) // 2)


def _tiles(mark: Any, size: tuple[int, int], gap: int) -> Any:
    """The mark again and again, `gap` apart, over the whole size."""
    tile = mark.embed(gap // 2, gap // 2, mark.width + gap, mark.height + gap)
    across, down = -(-size[0] // tile.width), -(-size[1] // tile.height)
    return tile.replicate(across, down).crop(0, 0, *size)


# --- a text ----------------------------------------------------------------------------------


def _written(text: str, params: Watermark, width: float, height: float) -> Any:
    """The text in its colour, with or without a shadow, as large as fits into the box."""
    glyphs.check(text)
    draft = _mask(text, params.font, _DRAFT_DPI)
    factor = min(width / draft.width, height / draft.height)
    mask = _mask(text, params.font, max(1, int(_DRAFT_DPI * factor)))
    red, green, blue, _ = picture_params.colour(params.colour)
    if not params.shadow:
        return _coloured(mask, [red, green, blue])
    blur = max(1, round(mask.height / len(text.split("\n")) / 16))
    mask = mask.embed(2 * blur, 2 * blur, mask.width + 4 * blur, mask.height + 4 * blur)
    dark = _coloured((mask.gaussblur(blur) * _SHADOW).cast("uchar"), [0, 0, 0])
    return dark.composite2(_coloured(mask, [red, green, blue]), "over").cast("uchar")


def _mask(text: str, font: str, dpi: int) -> Any:
    """White where there is ink.

    Raises:
        BadInput: `undrawable_text`.
    """
    import pyvips

    try:  # libvips takes Pango's markup: what is meant as text must not be read as such
        return pyvips.Image.text(html.escape(text, quote=False), font=f"{_FONTS[font]} 32", dpi=dpi)
    except pyvips.Error as exc:
        raise BadInput(
            "The text cannot be drawn: no font here has a glyph for it.", code="undrawable_text"
        ) from exc


def _coloured(mask: Any, colour: list[int]) -> Any:
    ground = mask.new_from_image(colour).copy(interpretation="srgb")
    return ground.bandjoin(mask).copy(interpretation="srgb")


# --- a picture -------------------------------------------------------------------------------


def _picture(work: Work, source: Input, width: float) -> Any:
    """The second input, upright, in sRGB with transparency, `width` pixels wide."""
    header, opened = rasters.read_header(source.path, source.type)
    rasters.check_pixels(header.width, header.height, 1, work.limits)
    factor = header.upright[0] / width
    _check_mark(header, factor, work)
    image = rasters.pixels(source.path, source.type, opened, factor=factor)
    stored = _rounded(header.width / factor), _rounded(header.height / factor)
    image = frames.upright(rasters.scaled(image, *stored), header)
    if image.bands < 3:  # noqa: PLR2004 - grey
        image = image.colourspace("srgb")
    return image if image.hasalpha() else image.addalpha()


def _check_mark(header: Header, factor: float, work: Work) -> None:
    """A thin mark made wide may become very high."""
    width, height = _rounded(header.width / factor), _rounded(header.height / factor)
    if width * height > work.limits.pixels:
        raise BadInput(
            f"The mark would have {width:,} x {height:,} pixels; at most {work.limits.pixels:,}"
            " are made.",
            code="output_too_large",
        )


def _rounded(length: float) -> int:
    return max(1, round(length))
