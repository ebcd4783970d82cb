"""Pictures that libvips, as it comes in its wheel, cannot decode: HEIC (no HEVC) and BMP.

Both decoders are named, as everywhere: pi-heif has none but HEVC, and Pillow is told that it is a
BMP. Size is judged from the header, before a pixel is decoded.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fileproc.operations.work import BadInput, OutOfResources

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_BANDS = {1: "b-w", 3: "srgb", 4: "srgb"}


_FAILURES = (OSError, ValueError, SyntaxError, IndexError, OverflowError, EOFError, struct.error)


def bmp_header(path: Path) -> tuple[int, int, str]:
    """Width, height and Pillow's mode of a BMP; nothing is decoded.

    Raises:
        BadInput: `corrupt_input`.
    """
    try:
        with _opened_bmp(path) as picture:
            return picture.width, picture.height, picture.mode
    except _FAILURES as exc:
        raise _damaged() from exc


def bmp_pixels(path: Path) -> Any:
    """The picture, for libvips.

    Raises:
        BadInput: `corrupt_input`.
        OutOfResources: `out_of_memory`.
    """
    try:
        with _opened_bmp(path) as picture:
            known = picture.mode in {"L", "RGB", "RGBA"}
            plain = picture if known else picture.convert("L" if picture.mode == "1" else "RGB")
            return _image(plain.tobytes(), plain.size, len(plain.getbands()))
    except _FAILURES as exc:
        raise _damaged() from exc
    except MemoryError as exc:
        raise _too_large() from exc


def _opened_bmp(path: Path) -> PilImage:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # we judge size ourselves, with an error instead of a warning
    return Image.open(path, formats=("BMP",))


def heic_pixels(path: Path, header: Any) -> Any:
    """The main picture of a HEIC file, upright, with what libvips read beside its pixels.

    Raises:
        BadInput: `corrupt_input`.
    """
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1
    try:
        picture = pi_heif.open_heif(path, convert_hdr_to_8bit=True)
        data, mode, size = bytes(picture.data), picture.mode, picture.size
        stride = picture.stride
    except MemoryError as exc:
        raise _too_large() from exc
    except (*_FAILURES, RuntimeError) as exc:
        raise _damaged() from exc
    bands = {"L": 1, "RGB": 3, "RGBA": 4}.get(mode)
    if bands is None or size != (header.width, header.height):
        raise _damaged()
    if stride != size[0] * bands:
        data = b"".join(data[y * stride : y * stride + size[0] * bands] for y in range(size[1]))
    image = _image(data, size, bands).copy()
    for name in header.get_fields():
        if name in {"icc-profile-data", "xmp-data", "exif-data"} or name.startswith("exif-ifd"):
            image.set_type(header.get_typeof(name), name, header.get(name))
    return image


def _image(data: bytes, size: tuple[int, int], bands: int) -> Any:
    import pyvips

    image = pyvips.Image.new_from_memory(data, *size, bands, "uchar")
    return image.copy(interpretation=_BANDS[bands])


def _damaged() -> BadInput:
    return BadInput("The image is damaged and cannot be decoded.", code="corrupt_input")


def _too_large() -> OutOfResources:
    return OutOfResources(
        "The image needs more memory than one attempt may use.", code="out_of_memory"
    )
