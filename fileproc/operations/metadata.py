"""What a picture says beside its pixels: left out by default, and where it was taken even then.

A place hides in more than the GPS tags of EXIF: in XMP, in the Photoshop blocks that carry IPTC
(they may hold a second EXIF), in notes of the camera's maker, in texts of PNG files. What cannot
be cleaned goes as a whole.
"""

from __future__ import annotations

from typing import Any

_INT = 24  # GObject's fundamental type of an int, the same on every platform
_GPS_IFD = "exif-ifd3-"
_MAKER_NOTE = "exif-ifd2-MakerNote"  # some makers write the place, even its name, into it
# Pictures of the picture, which a crop or a watermark would leave as they were.
_STALE = ("jpeg-thumbnail-data", "gainmap", "gainmap-data")
# Photoshop's image resources: EXIF (two of them) and XMP.
_NESTED = (b"8BIM\x04\x22", b"8BIM\x04\x23", b"8BIM\x04\x24")


def reduced(image: Any, *, keep: bool, gps: bool) -> tuple[Any, str]:
    """The image with what may stay, and libvips' word (`keep`) for the saver.

    `keep` leaves EXIF, XMP and IPTC in, `gps` with it the place.
    """
    if not keep:
        return image, "none"
    image = image.copy()
    gone = [name for name in image.get_fields() if name.startswith(_STALE)]
    if not gps:
        gone += [name for name in image.get_fields() if _tells_place(image, name)]
    for name in gone:
        image.remove(name)
    if not image.get_typeof("orientation"):  # it was turned; HEIF files keep the tag all the same
        image.set_type(_INT, "orientation", 1)
    return image, "all"


def _tells_place(image: Any, name: str) -> bool:
    if name.startswith((_GPS_IFD, _MAKER_NOTE, "photoshop-data", "png-comment-", "gif-comment")):
        return True
    if name == "xmp-data":
        return has_place(image.get(name))
    return name == "iptc-data" and any(sign in image.get(name) for sign in _NESTED)


def has_place(xmp: bytes) -> bool:
    """Whether an XMP packet, in UTF-8, UTF-16 or UTF-32, has a name with GPS in it."""
    return b"gps" in xmp.replace(b"\0", b"").lower()
