"""Raster images in: the decoder is named by the type that we detected, never guessed from bytes.

libvips would otherwise pick a loader by content, which let files choose dangerous ones
(CVE-2026-66066). So each file is opened by one named loader, everything libvips calls untrusted
stays blocked (but SVG, for a moment: see `drawings`), and size is judged from the header, before
a pixel is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fileproc.operations import drawings, texts, visitors
from fileproc.operations.work import BadInput, Limits, OutOfResources

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
WEBP: Final = "image/webp"
AVIF: Final = "image/avif"
GIF: Final = "image/gif"
TIFF: Final = "image/tiff"
HEIC: Final = "image/heic"
BMP: Final = "image/bmp"
SVG: Final = texts.SVG

# All that can be read. JPEG XL and JPEG 2000 are not in the wheel of libvips.
PICTURES: Final = (JPEG, PNG, WEBP, AVIF, GIF, TIFF, HEIC, BMP, SVG)
_LOADERS = {
    JPEG: "jpegload",
    PNG: "pngload",
    WEBP: "webpload",
    AVIF: "heifload",
    HEIC: "heifload",  # the header only: see `pixels`
    GIF: "gifload",
    TIFF: "tiffload",
}
_ANIMATED = frozenset({WEBP, GIF})
MAX_FRAMES: Final = 5_000


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself before anything is decoded.

    Attributes:
        width, height: of one frame as stored, in pixels, before orientation.
        frames: pages of the file; 1 for a still.
        orientation: EXIF, 1 to 8; 5 to 8 swap width and height.
        animated: the frames are a film, not the pages of a document.
        vector: has no pixels of its own; width and height are what it says it is.
        alpha: has a channel of transparency.
        colour_space: libvips' name of it: srgb, b-w, cmyk, rgb16, ...
    """

    width: int
    height: int
    frames: int
    orientation: int
    animated: bool
    alpha: bool
    colour_space: str
    bits: int
    icc: bool
    vector: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        turned = self.orientation >= 5  # noqa: PLR2004 - EXIF: 5 to 8 are quarter turns
        return (self.height, self.width) if turned else (self.width, self.height)


def engine() -> str:
    """Name and version, for `Work.engine`."""
    import pyvips

    version = ".".join(str(pyvips.version(part)) for part in range(3))
    return f"pyvips {pyvips.__version__} (libvips {version})"


@contextmanager
def decoding() -> Iterator[None]:
    """Around every call that may decode: what libvips says becomes a clear error, without paths.

    Raises:
        BadInput: `corrupt_input`.
        OutOfResources: `out_of_memory`.
    """
    import pyvips

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    try:
        yield
    except pyvips.Error as exc:
        raise _translated(str(exc)) from exc


def _translated(message: str) -> BadInput | OutOfResources:
    said = message.lower()
    if "out of memory" in said or "unable to allocate" in said or "malloc" in said:
        return OutOfResources(
            "The image needs more memory than one attempt may use.", code="out_of_memory"
        )
    cut = any(sign in said for sign in ("premature", "truncat", "unexpected end", "end of stream"))
    if cut:
        return BadInput(
            "The image is cut off: the file ends before the picture does.", code="corrupt_input"
        )
    if "unsupported" in said or "not supported" in said or "is blocked" in said:
        return BadInput(
            "The image uses a variant of its format that cannot be decoded here.",
            code="unsupported_variant",
        )
    return BadInput("The image is damaged and cannot be decoded.", code="corrupt_input")


def load(path: Path, media_type: str, **options: Any) -> Any:
    """Open an image with the loader of its type; nothing is decoded yet.

    Raises:
        BadInput: `type_mismatch` if we have no loader for the type; for SVG see `drawings.load`.
        pyvips.Error: see `decoding`.
    """
    import pyvips

    if media_type == SVG:
        return drawings.load(path, **options)
    if media_type not in _LOADERS:
        raise BadInput(f"Files of type {media_type} cannot be read here.", code="type_mismatch")
    options.setdefault("access", "sequential")
    return getattr(pyvips.Image, _LOADERS[media_type])(str(path), fail_on="error", **options)


def load_bytes(data: bytes, media_type: str, *, film: bool = False) -> Any:
    """Open what we encoded ourselves; with `film` all frames, one above the other."""
    import pyvips

    pages = {"n": -1} if film and media_type in _ANIMATED else {}
    return getattr(pyvips.Image, _LOADERS[media_type] + "_buffer")(data, **pages)


def read_header(path: Path, media_type: str, **options: Any) -> tuple[Header, Any]:
    """The header, and the opened image (first frame, full size): give that to `pixels`.

    Judge it with `check_pixels` before a pixel is asked for. `options` are those of the loader.
    """
    if media_type == BMP:
        return _bmp_header(path), None
    if media_type == WEBP:
        _check_webp_frames(path)
    image = load(path, media_type, **options)
    frames = _number(image, "n-pages", 1)
    orientation = _number(image, "orientation", 1)
    header = Header(
        width=image.width,
        height=image.height,
        frames=frames,
        orientation=orientation if orientation in range(1, 9) else 1,
        animated=media_type in _ANIMATED and frames > 1,
        alpha=bool(image.hasalpha()),
        colour_space=image.interpretation,
        bits=_number(image, "bits-per-sample", 8),
        icc=bool(image.get_typeof("icc-profile-data")),
        vector=media_type == SVG,
    )
    return header, image


def _check_webp_frames(path: Path) -> None:
    """Count the frames before libwebp does: its time grows with their square.

    Raises:
        BadInput: `image_too_large`.
    """
    chunks = frames = 0
    with path.open("rb") as file:
        end, at = file.seek(0, 2), 12
        while at + 8 <= end:
            file.seek(at)
            name, size = struct.unpack("<4sI", file.read(8))
            at += 8 + size + size % 2
            chunks += 1
            frames += name == b"ANMF"
            if frames > MAX_FRAMES or chunks > 2 * MAX_FRAMES:  # other chunks are few
                raise _too_many(frames)


def _number(image: Any, name: str, otherwise: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else otherwise


def _bmp_header(path: Path) -> Header:
    width, height, mode = visitors.bmp_header(path)
    return Header(
        width=width,
        height=height,
        frames=1,
        orientation=1,
        animated=False,
        alpha=mode == "RGBA",
        colour_space="b-w" if mode in {"1", "L"} else "srgb",
        bits=1 if mode == "1" else 8,
        icc=False,
    )


def pixels(path: Path, media_type: str, opened: Any, *, factor: float = 1.0) -> Any:
    """The image that `read_header` opened, with a decoder behind it (sequential, if it can be).

    Where `factor` is above 1 it may come smaller, at most by half of that, so that the good
    resampler has the rest: JPEG and WebP are decoded smaller, which is far faster. A drawing is
    drawn exactly so much smaller, or larger.

    Raises:
        BadInput: `corrupt_input`.
        OutOfResources: `out_of_memory`.
    """
    if media_type == JPEG and (shrink := _power_below(factor / 2)) > 1:
        return load(path, JPEG, shrink=shrink)
    if media_type == WEBP and factor > 4:  # noqa: PLR2004 - below, it saves nothing
        return load(path, WEBP, scale=2 / factor)
    if media_type == SVG and factor != 1:
        return load(path, SVG, scale=1 / factor)
    if media_type == BMP:
        return visitors.bmp_pixels(path)
    if media_type == HEIC:
        return visitors.heic_pixels(path, opened)
    return opened


def _power_below(factor: float) -> int:
    return next(power for power in (8, 4, 2, 1) if factor >= power or power == 1)


def check_pixels(width: int, height: int, frames: int, limits: Limits) -> None:
    """Refuse what would decode to more than the limit.

    Raises:
        BadInput: `image_too_large`.
    """
    if frames > MAX_FRAMES:
        raise _too_many(frames)
    if width * height * frames > limits.pixels:
        many = f" in {frames:,} frames" if frames > 1 else ""
        raise BadInput(
            f"The image has {width:,} x {height:,} pixels{many}; at most {limits.pixels:,}"
            " pixels in all are taken.",
            code="image_too_large",
        )


def scaled(image: Any, width: int, height: int) -> Any:
    """In another size. Transparent pixels do not bleed into the rest."""
    if (image.width, image.height) == (width, height):
        return image
    before, alpha = image.format, image.hasalpha()
    if alpha:
        image = image.premultiply()
    image = image.resize(width / image.width, vscale=height / image.height)
    return image.unpremultiply().cast(before) if alpha else image


def _too_many(frames: int) -> BadInput:
    return BadInput(
        f"The image has {frames:,} frames or more, or as many chunks; at most {MAX_FRAMES:,} are"
        " taken.",
        code="image_too_large",
    )


def to_srgb(image: Any) -> Any:
    """8 bits a channel, sRGB or grey, by the embedded profile where there is a good one."""
    import pyvips

    if image.get_typeof("icc-profile-data"):
        try:
            image = image.icc_transform("srgb", embedded=True, intent="relative", depth=8)
        except pyvips.Error:  # a broken profile, or one for another kind of colour
            image = image.copy()
            image.remove("icc-profile-data")
    inks = image.interpretation == "cmyk"
    if image.interpretation in {"grey16", "b-w"}:
        image = image.colourspace("b-w")
    elif inks and image.bands >= 4:  # noqa: PLR2004 - one for each ink
        # Not `colourspace`: that of libvips 8.18 leaves the profile of the inks in the picture, in
        # memory that is given back with the operation; who reads it crashes.
        image = image.icc_transform("srgb", input_profile="cmyk", intent="relative", depth=8)
    elif inks or image.interpretation == "multiband":
        image = _guessed(image)
    elif image.interpretation != "srgb":
        image = image.colourspace("srgb")
    return image if image.format == "uchar" else image.cast("uchar")


def _guessed(image: Any) -> Any:
    """Channels of no stated meaning (odd TIFFs): the first is grey, or the first three are RGB."""
    few = image.bands < 3  # noqa: PLR2004 - red, green, blue
    return image[0].copy(interpretation="b-w") if few else image[0:3].copy(interpretation="srgb")
