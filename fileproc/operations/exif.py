"""EXIF and colour profiles in a few words, for people and programs that look at pictures."""

from __future__ import annotations

import io
import math
import struct
import warnings
from typing import Any, Final

_MOST_CHARACTERS: Final = 200
_DETAILS: Final = 0x8769
_PLACE: Final = 0x8825
_TEXTS = {0x010F: "make", 0x0110: "model", 0x0131: "software", 0x013B: "artist",
          0x8298: "copyright", 0x010E: "description"}  # fmt: skip
_DETAIL_TEXTS = {0x9003: "taken_at", 0x9011: "utc_offset", 0xA434: "lens"}
_DETAIL_NUMBERS = {0x829A: "exposure_s", 0x829D: "f_number", 0x8827: "iso",
                   0x920A: "focal_length_mm"}  # fmt: skip
_FAILURES = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError, AttributeError),
    *(EOFError, OverflowError, ArithmeticError, struct.error),
)


def summary(blob: bytes) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The picture's data (None where they cannot be read), and where it was taken (if it says)."""
    from PIL import Image

    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            return _read(exif, blob)
    except _FAILURES:
        return None, None


def _read(exif: Any, blob: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    exif.load(blob)
    details, place = exif.get_ifd(_DETAILS), exif.get_ifd(_PLACE)
    found: dict[str, Any] = {name: _text(exif.get(tag)) for tag, name in _TEXTS.items()}
    found |= {name: _text(details.get(tag)) for tag, name in _DETAIL_TEXTS.items()}
    found |= {name: _number(details.get(tag)) for tag, name in _DETAIL_NUMBERS.items()}
    return found, _position(place) if place else None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    plain = "".join(char if char.isprintable() else " " for char in value)
    plain = plain.encode("utf-8", "replace").decode().strip()
    return plain[:_MOST_CHARACTERS] or None


def _number(value: Any) -> float | None:
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return round(number, 6) if math.isfinite(number) else None


def _position(place: dict[int, Any]) -> dict[str, Any]:
    return {
        "latitude": _degrees(place.get(2), place.get(1), "S"),
        "longitude": _degrees(place.get(4), place.get(3), "W"),
        "altitude_m": _number(place.get(6)),
    }


def _degrees(value: Any, reference: Any, negative: str) -> float | None:
    if not isinstance(value, tuple) or not value:
        return None
    parts = [_number(part) for part in value[:3]]
    if any(part is None for part in parts):
        return None
    angle: float = sum((part or 0) / 60**power for power, part in enumerate(parts))
    return round(-angle if _text(reference) == negative else angle, 6)


def profile_name(profile: bytes) -> str | None:
    """What an ICC profile calls itself."""
    from PIL import ImageCms

    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.profile_description
    except _FAILURES:
        return None
    return _text(found)
