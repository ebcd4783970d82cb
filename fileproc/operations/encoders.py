"""Raster images out: which format, whether it can hold the picture, and how it is written."""

from __future__ import annotations

from typing import Any, Final

from fileproc.operations import metadata, picture_params
from fileproc.operations.picture_params import Saving
from fileproc.operations.rasters import AVIF, GIF, JPEG, PNG, TIFF, WEBP, Header
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

WRITTEN: Final = (JPEG, PNG, WEBP, AVIF, GIF, TIFF)
TYPES: Final = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "avif": AVIF, "gif": GIF, "tiff": TIFF}
QUALITIES: Final = {JPEG: 82, WEBP: 80, AVIF: 55}
NO_ALPHA: Final = frozenset({JPEG})
FILMS: Final = frozenset({WEBP, GIF})
_MOST = {JPEG: 65_500, PNG: 65_500, WEBP: 16_383, AVIF: 16_384, GIF: 65_500, TIFF: 65_500}
SAVERS: Final = {
    JPEG: "jpegsave",
    PNG: "pngsave",
    WEBP: "webpsave",
    AVIF: "heifsave",
    GIF: "gifsave",
    TIFF: "tiffsave",
}


def target_type(wanted: str, given: str, header: Header) -> str:
    """The media type of the result."""
    if wanted != "keep":
        return TYPES[wanted]
    if given in WRITTEN:
        return given
    return PNG if header.alpha else JPEG


def check_size(size: tuple[int, int], target: str, work: Work, *, frames: int = 1) -> None:
    """Judge the result before it is made.

    Raises:
        BadInput: `output_too_large`.
    """
    width, height = size
    if width * height * frames > work.limits.pixels:
        raise BadInput(
            f"The result would have {width:,} x {height:,} pixels in {frames:,} frame(s);"
            f" at most {work.limits.pixels:,} pixels in all are made.",
            code="output_too_large",
        )
    if max(size) > _MOST[target]:
        raise BadInput(
            f"The result would be {width:,} x {height:,} pixels; {target} goes up to"
            f" {_MOST[target]:,} on a side.",
            code="output_too_large",
        )


def background(name: str, target: str) -> tuple[int, int, int, int]:
    """Red, green, blue, alpha of what is behind; opaque where the format has no transparency."""
    red, green, blue, alpha = picture_params.colour(name)
    return red, green, blue, 255 if target in NO_ALPHA else alpha


def channels(colour: tuple[int, ...], bands: int) -> list[int]:
    """A colour for a grey or an RGB picture; for grey its luma."""
    red, green, blue = colour
    return [red, green, blue] if bands > 1 else [round(0.299 * red + 0.587 * green + 0.114 * blue)]


def backed(image: Any, colour: tuple[int, ...]) -> tuple[Any, list[int]]:
    """The image made able to show a background (red, green, blue, alpha), and that in its bands."""
    red, green, blue, alpha = colour
    if image.bands < 3 and not red == green == blue:  # noqa: PLR2004 - a grey picture, a colour
        image = image.colourspace("srgb")
    if alpha < 255 and not image.hasalpha():  # noqa: PLR2004 - fully opaque
        image = image.addalpha()
    colours = image.bands - 1 if image.hasalpha() else image.bands
    return image, channels(colour[:3], colours) + ([alpha] if image.hasalpha() else [])


def flat(image: Any, target: str, behind: tuple[int, ...]) -> Any:
    """Without transparency where the format has none."""
    if target not in NO_ALPHA or not image.hasalpha():
        return image
    return image.flatten(background=channels(behind[:3], image.bands - 1))


def save(image: Any, work: Work, params: Saving, target: str, *, lossless: bool = False) -> None:
    """Write the one output of a job, named after its input."""
    image, keep = metadata.reduced(image, keep=params.keep_metadata, gps=params.keep_gps)
    path = work.output(work.input.stem + extension_for_type(target), target)
    quality = params.quality or QUALITIES.get(target)
    getattr(image, SAVERS[target])(
        str(path), keep=keep, **_options(target, quality, lossless=lossless)
    )
    work.progress(1, 1, phase="done")


def _options(target: str, quality: int | None, *, lossless: bool) -> dict[str, Any]:
    if target == JPEG:
        return {"Q": quality, "optimize_coding": True}
    if target == WEBP:
        return {"lossless": True} if lossless else {"Q": quality}
    if target == AVIF:
        shrunk = {"lossless": True} if lossless else {"Q": quality}
        return {"compression": "av1", "effort": 3, **shrunk}
    if target == TIFF:
        return {"compression": "lzw", "predictor": "horizontal"}
    return {}
