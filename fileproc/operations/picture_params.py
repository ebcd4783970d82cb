"""Parameters that operations on pictures share, spelled and described once."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import BeforeValidator, Field

# The share of the free space that lies left of and above what is placed.
COMPASS: Final = {
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
    return {"center": "centre", "jpg": "jpeg", "tif": "tiff"}.get(value, value)


Spelling = BeforeValidator(_spelling)
Side = Annotated[int, Field(ge=1, le=65_500)]
Gravity = Literal[
    "centre", "attention", "entropy", "north", "north_east", "east", "south_east",
    "south", "south_west", "west", "north_west",
]  # fmt: skip
Position = Literal[
    "centre", "north", "north_east", "east", "south_east", "south", "south_west", "west",
    "north_west",
]  # fmt: skip
Format = Literal["keep", "jpeg", "png", "webp", "avif", "gif", "tiff"]

FORMAT: Any = Field(
    "keep",
    description="Format of the result. keep: that of the input; what we do not write (HEIC, BMP,"
    " SVG) becomes PNG with transparency, else JPEG.",
)
QUALITY: Any = Field(
    None,
    ge=1,
    le=100,
    description="Quality of JPEG (default 82), WebP (80) and AVIF (55); PNG, GIF and TIFF have"
    " none.",
)
_COLOUR = r"^(auto|white|black|transparent|#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|#[0-9a-fA-F]{8})$"
BACKGROUND: Any = Field(
    "auto",
    pattern=_COLOUR,
    description="Colour behind the picture, where there is room around it and for formats without"
    " transparency: auto (transparent where the result can be, else white), white, black,"
    " transparent, #rgb, #rrggbb or #rrggbbaa.",
)
AUTO_ORIENT: Any = Field(True, description="Turn the picture upright as its EXIF says.")
KEEP_METADATA: Any = Field(
    False,
    description="Keep EXIF, XMP and IPTC but for the place it was taken at; by default all goes.",
)
KEEP_GPS: Any = Field(
    False,
    description="With keep_metadata: keep also the place, and notes of the camera's maker. Without"
    " keep_metadata nothing is kept.",
)


class Saving(Protocol):
    """What the encoders ask of an operation's parameters."""

    @property
    def format(self) -> Format: ...
    @property
    def quality(self) -> int | None: ...
    @property
    def background(self) -> str: ...
    @property
    def keep_metadata(self) -> bool: ...
    @property
    def keep_gps(self) -> bool: ...


def placed(gravity: str, outer: tuple[int, int], inner: tuple[int, int]) -> tuple[int, int]:
    """Left and top of what is put into (or cut out of) a larger one."""
    across, down = COMPASS.get(gravity, COMPASS["centre"])
    return int((outer[0] - inner[0]) * across), int((outer[1] - inner[1]) * down)


def colour(name: str) -> tuple[int, int, int, int]:
    """Red, green, blue, alpha, each 0 to 255; `auto` and `transparent` are clear white."""
    if name in {"auto", "transparent"}:
        return 255, 255, 255, 0
    digits = {"white": "ffffff", "black": "000000"}.get(name, name.lstrip("#"))
    if len(digits) == 3:  # noqa: PLR2004 - #rgb
        digits = re.sub("(.)", r"\1\1", digits)
    red, green, blue, alpha = bytes.fromhex((digits + "ff")[:8])
    return red, green, blue, alpha
