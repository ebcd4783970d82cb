"""`image.info`: what an image is and looks like, in one JSON document."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import Field

from fileproc.operations import exif, fingerprints, frames, metadata, rasters
from fileproc.operations.rasters import PICTURES, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_SIDE: Final = 64  # of the small picture that colours and BlurHash are counted from
_HASH_SIDE: Final = 32


class Info(Params):
    colours: int = Field(
        5, ge=0, le=16, description="How many dominant colours to tell, at most; 0 for none."
    )
    hashes: bool = Field(
        True, description="Whether to tell BlurHash and perceptual hash, which needs its pixels."
    )
    gps: bool = Field(
        False, description="Tell the place it was taken at; otherwise only whether it says so."
    )


@operation(
    "image.info",
    summary="Tell dimensions, metadata, colours and hashes of an image",
    params=Info,
    accepts=PICTURES,
    produces=("application/json",),
    example={"colours": 5},
    engines=("pyvips",),
)
def info(work: Work, params: Info) -> None:
    """Read a picture's header, and its first frame, into a JSON document.

    `width` and `height` are those of the upright picture, `duration_s` that of an animation.
    `exif` has make, model, lens, time and exposure; `gps.present` says whether the place is in it.
    `blurhash` is a placeholder of some thirty characters. `perceptual_hash` has 64 bits: pictures
    that look alike differ in few of them.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `type_mismatch`, `unsupported_variant`,
            `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        rasters.check_pixels(header.width, header.height, 1, work.limits)
        report = {"name": source.name, "size": source.size, "type": source.type}
        report |= _dimensions(header)
        report |= _timing(opened, header) | _metadata(opened, gps=params.gps)
        report |= {"colours": [], "blurhash": None, "perceptual_hash": None}
        work.progress(0, 1, phase="look")
        if params.colours or params.hashes:
            report |= _looks(work, header, opened, params)
    path = work.output(f"{source.stem}.json", "application/json")
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    work.progress(1, 1, phase="done")


def _dimensions(header: Header) -> dict[str, Any]:
    width, height = header.upright
    return {
        "width": width,
        "height": height,
        "stored_width": header.width,
        "stored_height": header.height,
        "orientation": header.orientation,
        "frames": header.frames,
        "animated": header.animated,
        "vector": header.vector,
        "alpha": header.alpha,
        "colour_space": header.colour_space,
        "bits": header.bits,
    }


def _timing(opened: Any, header: Header) -> dict[str, Any]:
    if not header.animated or not opened.get_typeof("delay"):
        return {"duration_s": None, "loop": None}
    delays = opened.get("delay")
    loop = opened.get("loop") if opened.get_typeof("loop") else None
    return {"duration_s": round(sum(delays[: header.frames]) / 1000, 3), "loop": loop}


def _metadata(opened: Any, *, gps: bool) -> dict[str, Any]:
    """EXIF, the place, and what else there is; a BMP (opened later) has nothing of it."""
    blobs = {name: _blob(opened, f"{name}-data") for name in ("exif", "xmp", "iptc")}
    profile = _blob(opened, "icc-profile-data")
    found, place = exif.summary(blobs["exif"]) if blobs["exif"] else (None, None)
    present = place is not None or (blobs["xmp"] is not None and metadata.has_place(blobs["xmp"]))
    return {
        "icc_profile": {"bytes": len(profile), "name": exif.profile_name(profile)}
        if profile
        else None,
        "exif": found,
        "gps": {"present": present, **(place or {} if gps else {})},
        "xmp": blobs["xmp"] is not None,
        "iptc": blobs["iptc"] is not None,
    }


def _blob(opened: Any, name: str) -> bytes | None:
    return opened.get(name) if opened is not None and opened.get_typeof(name) else None


def _looks(work: Work, header: Header, opened: Any, params: Info) -> dict[str, Any]:
    """What needs pixels, all of it from one small picture (RGBA) of the first frame."""
    source = work.input
    factor = max(1.0, max(header.width, header.height) / _SIDE)
    image = rasters.pixels(source.path, source.type, opened, factor=factor)
    size = (max(1, round(header.width / factor)), max(1, round(header.height / factor)))
    small = frames.upright(rasters.scaled(image, *size), header)
    if small.bands < 3:  # noqa: PLR2004 - grey
        small = small.colourspace("srgb")
    small = (small if small.hasalpha() else small.addalpha()).copy_memory()
    looks: dict[str, Any] = {"colours": fingerprints.dominant_colours(small, params.colours)}
    if params.hashes:
        flat = small.flatten(background=[255, 255, 255])
        looks["blurhash"] = fingerprints.blurhash(flat)
        grey = rasters.scaled(flat.colourspace("b-w"), _HASH_SIDE, _HASH_SIDE).cast("uchar")
        looks["perceptual_hash"] = fingerprints.perceptual_hash(grey)
    return looks
