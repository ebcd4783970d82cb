"""`image.convert`: an image in another format."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import encoders, frames, rasters
from fileproc.operations.picture_params import (
    AUTO_ORIENT,
    BACKGROUND,
    KEEP_GPS,
    KEEP_METADATA,
    QUALITY,
    Spelling,
)
from fileproc.operations.rasters import PICTURES, SVG, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work


class Convert(Params):
    format: Annotated[Literal["jpeg", "png", "webp", "avif", "gif", "tiff"], Spelling] = Field(
        description="Format of the result."
    )
    quality: int | None = QUALITY
    lossless: bool = Field(
        False, description="WebP and AVIF: every pixel as it is; PNG and TIFF always are."
    )
    background: str = BACKGROUND
    page: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Take only this page of a TIFF or frame of an animation, counted from 1.",
    )
    scale: float = Field(1, gt=0, le=100, description="Draw an SVG at so many times its own size.")
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.lossless and self.format in {"jpeg", "gif"}:
            raise ValueError(f"{self.format} cannot be lossless: choose webp, avif, png or tiff")
        if self.lossless and self.quality is not None:
            raise ValueError("lossless has no quality: give one of them")
        return self


@operation(
    "image.convert",
    summary="Convert an image to JPEG, PNG, WebP, AVIF, GIF or TIFF",
    params=Convert,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"format": "webp", "quality": 80},
    engines=("pyvips",),
)
def convert(work: Work, params: Convert) -> None:
    """Write a picture in another format, in its own size.

    Colours are converted to sRGB, 8 bits a channel, by the embedded profile (CMYK too); metadata
    is left out. Animated GIF and WebP stay animated where the result is GIF or WebP; otherwise the
    first frame or page is taken, or the one that `page` names. What an SVG refers to outside of
    itself is never loaded.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `output_too_large`, `page_out_of_range`,
            `type_mismatch`, `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    target = encoders.TYPES[params.format]
    with rasters.decoding():
        header, opened = _opened(work, params)
        count = frames.check(header, target, work, page=params.page)
        size = header.upright if params.auto_orient else (header.width, header.height)
        encoders.check_size(size, target, work, frames=count)
        behind = encoders.background(params.background, target)

        def change(image: Any) -> Any:
            return encoders.flat(image, target, behind)

        image = frames.changed(
            work, header, opened, target, change,
            phase="convert", page=params.page, auto_orient=params.auto_orient,
        )  # fmt: skip
        encoders.save(image, work, params, target, lossless=params.lossless)


def _opened(work: Work, params: Convert) -> tuple[Header, Any]:
    source = work.input
    if source.type == SVG:
        return rasters.read_header(source.path, SVG, scale=params.scale)
    return rasters.read_header(source.path, source.type)
