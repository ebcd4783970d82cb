"""Makes `photo.jpg`, the picture that the demo sends: `python docs/samples/make_photo.py`.

A mountain lake in the evening, 12 megapixels, upright 3000 x 4000 but stored lying on its side with
EXIF orientation 6, as phones do. Ours: nothing in it is taken from anywhere. The same on every run;
the letters are drawn by hand, so no font is needed.
"""  # noqa: INP001 - a script

from __future__ import annotations

import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyvips

WIDTH, HEIGHT = 3000, 4000
SHORE = 2760  # where the water begins
TARGET = Path(__file__).with_name("photo.jpg")
QUALITY = 80

# Strokes on a grid of 4 x 6, from the upper left corner.
LETTERS = {
    "T": "M0,0 L4,0 M2,0 L2,6",
    "H": "M0,0 L0,6 M4,0 L4,6 M0,3 L4,3",
    "I": "M2,0 L2,6",
    "S": "M3.8,0.9 C3,-0.4 0.2,-0.4 0.2,1.5 C0.2,3.2 3.9,2.7 3.9,4.5 C3.9,6.4 1,6.4 0.1,5",
    "D": "M0.2,0 L0.2,6 L1.6,6 C5,6 5,0 1.6,0 Z",
    "E": "M3.8,0 L0.2,0 L0.2,6 L3.8,6 M0.2,3 L3,3",
    "U": "M0,0 L0,4 C0,6.7 4,6.7 4,4 L4,0",
    "P": "M0.2,6 L0.2,0 L2,0 C4.6,0 4.6,3.3 2,3.3 L0.2,3.3",
}


def ridge(chance: random.Random, base: float, rise: float, rough: float) -> list[tuple[int, float]]:
    """A skyline from the left edge to the right, by midpoint displacement."""
    heights = [base - rise * chance.random(), base - rise * chance.random()]
    reach = rise
    while len(heights) < 1025:  # noqa: PLR2004 - every three pixels
        middles = [
            (left + right) / 2 + chance.uniform(-reach, reach) for left, right in pairwise(heights)
        ]
        heights = [h for pair in zip(heights, middles, strict=False) for h in pair] + heights[-1:]
        reach *= rough
    step = WIDTH / (len(heights) - 1)
    return [(round(i * step), round(height, 1)) for i, height in enumerate(heights)]


def hills(chance: random.Random) -> str:
    """Ranges from far and pale to near and dark; the light comes from the left."""
    ranges = (
        (1900, 420, 0.52, "#b78f9f", "#d9a58f"),
        (2150, 330, 0.50, "#86708f", "#a98795"),
        (2400, 260, 0.49, "#574f74", "#7a6580"),
        (2640, 150, 0.47, "#2f3350", "#4a4561"),
    )
    parts = []
    for number, (base, rise, rough, top, foot) in enumerate(ranges):
        line = " ".join(f"{x},{y}" for x, y in ridge(chance, base, rise, rough))
        parts.append(
            f'<linearGradient id="h{number}" x1="0" y1="0" x2="0" y2="1">'
            f'<stop offset="0" stop-color="{top}"/><stop offset="1" stop-color="{foot}"/>'
            f'</linearGradient><polygon fill="url(#h{number})"'
            f' points="{line} {WIDTH},{SHORE} 0,{SHORE}"/>'
        )
    return "".join(parts)


def firs(chance: random.Random) -> str:
    """The dark wood along the shore."""
    trees = []
    for _ in range(420):
        x, tall = chance.uniform(-40, WIDTH + 40), chance.uniform(60, 170)
        tall *= 0.55 + abs(x / WIDTH - 0.5)
        left, right = [], []
        for level in range(4):  # each branch reaches out less than the one below it
            low, wide = SHORE - tall * 0.23 * level, tall * (0.26 - 0.055 * level)
            left += [f"{x - wide:.0f},{low:.0f}", f"{x - wide * 0.4:.0f},{low - tall * 0.2:.0f}"]
            right += [f"{x + wide:.0f},{low:.0f}", f"{x + wide * 0.4:.0f},{low - tall * 0.2:.0f}"]
        steps = [*left, f"{x:.0f},{SHORE - tall:.0f}", *reversed(right)]
        trees.append(f'<polygon fill="#1a2233" points="{" ".join(steps)}"/>')
    return "".join(trees)


def sky() -> str:
    return (
        '<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">'
        '<stop offset="0" stop-color="#20386b"/><stop offset="0.38" stop-color="#6c6fa6"/>'
        '<stop offset="0.66" stop-color="#e59a83"/><stop offset="0.9" stop-color="#ffd9a0"/>'
        "</linearGradient>"
        '<radialGradient id="glow"><stop offset="0" stop-color="#fff4d0"/>'
        '<stop offset="0.16" stop-color="#ffe6ae" stop-opacity="0.9"/>'
        '<stop offset="1" stop-color="#ffc98a" stop-opacity="0"/></radialGradient>'
        f'<rect width="{WIDTH}" height="{SHORE}" fill="url(#sky)"/>'
        '<circle cx="1020" cy="1560" r="1100" fill="url(#glow)"/>'
        '<circle cx="1020" cy="1560" r="120" fill="#fff8e2"/>'
    )


def birds(chance: random.Random) -> str:
    marks = []
    for _ in range(9):
        x, y, span = chance.uniform(1500, 2500), chance.uniform(850, 1300), chance.uniform(24, 52)
        marks.append(
            f'<path d="M{x - span:.0f},{y:.0f} q{span / 2:.0f},{-span / 2:.0f} {span:.0f},0'
            f' q{span / 2:.0f},{-span / 2:.0f} {span:.0f},0"/>'
        )
    return f'<g fill="none" stroke="#2b3050" stroke-width="7">{"".join(marks)}</g>'


def words(text: str, x: float, y: float, unit: float) -> str:
    """A line of letters; each is four units wide and has two to its right."""
    letters = (
        f'<path transform="translate({x + i * unit * 6:.0f} {y:.0f}) scale({unit})"'
        f' d="{LETTERS[letter]}"/>'
        for i, letter in enumerate(text)
        if letter != " "
    )
    return (
        '<g fill="none" stroke="#f6ead2" stroke-width="0.95" stroke-linecap="round"'
        f' stroke-linejoin="round">{"".join(letters)}</g>'
    )


def sign() -> str:
    """A board on two posts in the grass, with an arrow."""
    return (
        '<g fill="#3a2a24"><rect x="840" y="3420" width="70" height="560"/>'
        '<rect x="2090" y="3420" width="70" height="560"/></g>'
        '<linearGradient id="wood" x1="0" y1="0" x2="0" y2="1"><stop offset="0"'
        ' stop-color="#8a5f43"/><stop offset="1" stop-color="#5f3f2e"/></linearGradient>'
        '<rect x="640" y="3080" width="1720" height="480" rx="26" fill="url(#wood)"'
        ' stroke="#3a2a24" stroke-width="14"/>'
        '<g stroke="#6f4a35" stroke-width="6"><path d="M660,3240 L2340,3236"/>'
        '<path d="M660,3400 L2340,3404"/></g>'
        '<path d="M840,3180 L990,3330 L895,3330 L895,3470 L785,3470 L785,3330 L690,3330 Z"'
        ' fill="#f6ead2"/>' + words("THIS", 1090, 3150, 23) + words("SIDE", 1720, 3150, 23)
        + words("UP", 1560, 3350, 26)
    )  # fmt: skip


def grass(chance: random.Random) -> str:
    blades = []
    for _ in range(2600):
        x, y = chance.uniform(-30, WIDTH + 30), chance.uniform(3830, 4040)
        lean, tall = chance.uniform(-45, 45), chance.uniform(50, 190)
        shade = chance.choice(("#1f2d26", "#2b3b2c", "#394a32", "#4c5638"))
        blades.append(
            f'<path stroke="{shade}" d="M{x:.0f},{y:.0f}'
            f' q{lean * 0.2:.0f},{-tall * 0.6:.0f} {lean:.0f},{-tall:.0f}"/>'
        )
    return f'<g fill="none" stroke-width="8">{"".join(blades)}</g>'


def drawn(*parts: str) -> Any:
    """SVG as an image in memory, with transparency."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f"{''.join(parts)}</svg>"
    )
    return pyvips.Image.svgload_buffer(svg.encode(), unlimited=True).copy_memory()


def lake(land: Any) -> Any:
    """The land upside down, darker and bluer, shaken by ripples that grow towards us."""
    deep = HEIGHT - SHORE
    margin = 40  # ripples look past the edges
    mirror = land.crop(0, SHORE - deep, WIDTH, deep).flipver()
    mirror = mirror.embed(margin, margin, WIDTH + 2 * margin, deep + 2 * margin, extend="copy")
    grid = pyvips.Image.xyz(WIDTH, deep)
    near = grid[1] / deep
    wave = (grid[1] ** 0.72 * 57 + (grid[0] / 2.4 + grid[1]).sin() * 40).sin()
    shift = wave * (3 + near * 26) + margin
    moved = mirror.mapim((grid[0] + shift).bandjoin(grid[1] + shift * 0.7 + margin * 0.3))
    tinted = moved * [0.66, 0.70, 0.80] + [6, 14, 30] + (wave + 1) * near * 5
    return tinted.cast("uchar")


def painted() -> Any:
    """The picture, upright."""
    chance = random.Random(20261122)  # noqa: S311 - a landscape, not a secret
    behind = drawn(sky(), hills(chance), birds(chance), firs(chance)).flatten()
    water = lake(behind)
    front = drawn(sign(), grass(chance))
    whole = behind.insert(water, 0, SHORE).composite2(front, "over").flatten()
    grain = pyvips.Image.gaussnoise(WIDTH, HEIGHT, mean=0, sigma=1.6, seed=7)
    return (whole + grain).cast("uchar").copy(interpretation="srgb")


def main() -> None:
    image = painted().rot270()  # a quarter turn to the left; orientation 6 turns it back
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "fileproc")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-ImageDescription", "This side up")
    image.jpegsave(str(TARGET), Q=QUALITY, optimize_coding=True, keep="exif")
    megapixels = math.floor(WIDTH * HEIGHT / 1e6)
    print(f"{TARGET.name}: {megapixels} MP, {TARGET.stat().st_size:,} bytes")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
