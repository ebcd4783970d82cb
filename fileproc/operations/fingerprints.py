"""What a picture looks like, in a few characters: BlurHash, perceptual hash, dominant colours.

All of them are counted from a small version of it. Sources: the description of BlurHash's
algorithm (woltapp/blurhash, Algorithm.md); the perceptual hash by the cosine transform as Zauner
describes it (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, 3.2.1);
colour differences are Euclidean in CIELAB (CIE 1976).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

_BASE83: Final = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
)
_HASH_SIDE: Final = 32
_LOW: Final = 8  # frequencies kept on each side
_ALIKE: Final = 14.0  # colours closer than this in CIELAB are one
_OPAQUE: Final = 128
Colour = tuple[float, float, float]


# --- BlurHash --------------------------------------------------------------------------------


def blurhash(small: Any) -> str:
    """Of an RGB picture of 8 bits a channel; the longer side gets four components, at least."""
    width, height = small.width, small.height
    across, down = (4, 3) if width >= height else (3, 4)
    data = bytes(small.write_to_memory())
    linear = [_linear(value) for value in range(256)]
    pixels = [
        (linear[data[at]], linear[data[at + 1]], linear[data[at + 2]])
        for at in range(0, len(data), 3)
    ]
    factors = [_factor(pixels, (width, height), i, j) for j in range(down) for i in range(across)]
    return _packed(factors, across, down)


def _factor(pixels: Sequence[Colour], size: tuple[int, int], i: int, j: int) -> Colour:
    """How much of one cosine wave is in the picture, for each channel."""
    width, height = size
    rows = [math.cos(math.pi * j * y / height) for y in range(height)]
    columns = [math.cos(math.pi * i * x / width) for x in range(width)]
    waves = [row * column for row in rows for column in columns]
    scale = (1 if i == j == 0 else 2) / (width * height)
    red, green, blue = (
        scale * sum(map(float.__mul__, waves, channel)) for channel in zip(*pixels, strict=True)
    )
    return red, green, blue


def _packed(factors: list[Colour], across: int, down: int) -> str:
    constant, *waves = factors
    largest = max(abs(value) for wave in waves for value in wave)
    step = max(0, min(82, int(largest * 166 - 0.5)))
    scale = (step + 1) / 166
    parts = [_base83(across - 1 + (down - 1) * 9, 1), _base83(step, 1)]
    red, green, blue = (_encoded(value) for value in constant)
    parts.append(_base83(red << 16 | green << 8 | blue, 4))
    for wave in waves:
        red, green, blue = (_quantised(value / scale) for value in wave)
        parts.append(_base83(red * 361 + green * 19 + blue, 2))
    return "".join(parts)


def _quantised(value: float) -> int:
    root = math.copysign(math.sqrt(abs(value)), value)
    return max(0, min(18, int(root * 9 + 9.5)))


def _base83(value: int, length: int) -> str:
    return "".join(_BASE83[value // 83**at % 83] for at in range(length - 1, -1, -1))


def _linear(value: int) -> float:
    """Light, of a value in sRGB (IEC 61966-2-1)."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - the standard's


def _encoded(light: float) -> int:
    share = max(0.0, min(1.0, light))
    if share <= 0.0031308:  # noqa: PLR2004 - the standard's
        return int(share * 12.92 * 255 + 0.5)
    return int((1.055 * share ** (1 / 2.4) - 0.055) * 255 + 0.5)


# --- perceptual hash -------------------------------------------------------------------------


def perceptual_hash(grey: Any) -> str:
    """64 bits as 16 hexadecimal digits, of a grey picture of 32 x 32 pixels.

    Pictures that look alike differ in few bits (up to about 10), others in about 32.
    """
    data = bytes(grey.write_to_memory())
    rows = [data[at : at + _HASH_SIDE] for at in range(0, len(data), _HASH_SIDE)]
    waves = [
        [math.cos(math.pi * (2 * x + 1) * f / (2 * _HASH_SIDE)) for x in range(_HASH_SIDE)]
        for f in range(_LOW)
    ]
    across = [[sum(map(float.__mul__, wave, map(float, row))) for wave in waves] for row in rows]
    low = [
        sum(map(float.__mul__, wave, (row[f] for row in across)))
        for wave in waves
        for f in range(_LOW)
    ]
    middle = median(low)
    bits = "".join("1" if value > middle else "0" for value in low)
    return f"{int(bits, 2):016x}"


# --- colours ---------------------------------------------------------------------------------


def dominant_colours(small: Any, most: int) -> list[dict[str, Any]]:
    """The colours that take most room, as `#rrggbb` with their share; of an RGBA picture.

    Pixels of about one colour are counted together; clear ones are not counted.
    """
    rgba = bytes(small.write_to_memory())
    space = memoryview(bytes(small[0:3].colourspace("lab").write_to_memory())).cast("f")
    bins: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for at in range(len(rgba) // 4):
        if rgba[4 * at + 3] >= _OPAQUE:
            bins[tuple(value >> 4 for value in rgba[4 * at : 4 * at + 3])].append(at)
    groups: list[_Group] = []
    for pixels in sorted(bins.values(), key=len, reverse=True):
        first = 3 * pixels[len(pixels) // 2]
        lab = (space[first], space[first + 1], space[first + 2])
        near = min(groups, key=lambda group: math.dist(group.lab, lab), default=None)
        if near is not None and math.dist(near.lab, lab) < _ALIKE:
            near.count += len(pixels)
        else:
            groups.append(_Group(lab, _mean(rgba, pixels), len(pixels)))
    counted = sum(group.count for group in groups)
    groups.sort(key=lambda group: group.count, reverse=True)
    return [
        {"colour": group.colour, "share": round(group.count / counted, 4)}
        for group in groups[:most]
    ]


@dataclass(slots=True)
class _Group:
    """Pixels of about one colour; `colour` is the mean of the most frequent shade."""

    lab: Colour
    colour: str
    count: int


def _mean(rgba: bytes, pixels: list[int]) -> str:
    return "#" + "".join(
        f"{round(sum(rgba[4 * at + band] for at in pixels) / len(pixels)):02x}" for band in range(3)
    )
