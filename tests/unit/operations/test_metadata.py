from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.operations import find, metadata
from samples import card, distance, jpeg, run, saved

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {}/>'
    "</rdf:RDF></x:xmpmeta>"
)
PLACE = 'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,30.5N"'
RATING = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"'
# Each operation that writes pictures, with parameters of a small job.
WRITERS: dict[str, dict[str, Any]] = {
    "image.resize": {"width": 100},
    "image.convert": {},
    "image.crop": {"aspect": "1:1"},
    "image.rotate": {"angle": 90},
    "image.optimize": {},
    "image.watermark": {"text": "mark"},
}
FORMATS = ["jpeg", "png", "webp", "avif", "tiff"]


def photo(xmp: str = PLACE, **more: Any) -> bytes:
    """A JPEG that tells who made it, and in every way that there is where."""
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (52.0, 30.0, 0.0), "E", (13.0, 24.0, 0.0)
    gps[27] = b"ASCII\0\0\0CELLID"
    detail = exif.get_ifd(0x8769)
    detail[0x927C] = b"MAKERNOTE taken in Musterstadt"
    return saved(card(), "JPEG", exif=exif, xmp=XMP.format(xmp).encode(), **more)


def places(data: bytes) -> list[str]:
    """Every trace of the place in a result."""
    image = Image.open(io.BytesIO(data))
    found = [f"tag {tag}" for tag in image.getexif().get_ifd(0x8825)]
    marks = (b"GPSLat", b"CELLID", b"Musterstadt")
    return found + [str(mark) for mark in marks if mark in data]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_kept_by_default(name: str, kind: str, tmp_path: Path) -> None:
    ran = run(name, tmp_path, photo(), "a.jpg", format=kind, **WRITERS[name])
    assert b"Maker of cameras" not in ran.data
    assert places(ran.data) == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("name", WRITERS)
def test_place_goes_even_where_metadata_is_kept(name: str, kind: str, tmp_path: Path) -> None:
    ran = run(name, tmp_path, photo(), "a.jpg", format=kind, keep_metadata=True, **WRITERS[name])
    assert ran.image().getexif()[0x010F] == "Maker of cameras"
    assert places(ran.data) == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("name", WRITERS)
def test_place_is_kept_where_that_is_asked_for(name: str, kind: str, tmp_path: Path) -> None:
    params = WRITERS[name] | {"format": kind, "keep_metadata": True, "keep_gps": True}
    ran = run(name, tmp_path, photo(), "a.jpg", **params)
    gps = ran.image().getexif().get_ifd(0x8825)
    assert gps[2] == (52.0, 30.0, 0.0)
    assert b"Musterstadt" in ran.data


def test_place_in_xmp_goes_and_other_xmp_stays(tmp_path: Path) -> None:
    for kind in ("jpeg", "tiff", "webp"):
        params: dict[str, Any] = {"format": kind, "keep_metadata": True}
        assert b"GPSLat" not in run("image.convert", tmp_path, photo(), "a.jpg", **params).data
        kept = run("image.convert", tmp_path, photo(RATING), "a.jpg", **params)
        assert b"Rating" in kept.data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_place_is_found_in_xmp_of_any_encoding(encoding: str) -> None:
    assert metadata.has_place(XMP.format(PLACE).encode(encoding))
    assert not metadata.has_place(XMP.format(RATING).encode(encoding))


def test_second_exif_in_photoshops_block_goes(tmp_path: Path) -> None:
    nested = b"Photoshop 3.0\x008BIM\x04\x22\0\0\0\0\0\x10CELLID in nested"
    plain = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x10caption of a pho"
    for block, stays in ((nested, False), (plain, True)):
        data = photo()
        segment = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
        data = data[:2] + segment + data[2:]
        ran = run("image.convert", tmp_path, data, "a.jpg", format="jpeg", keep_metadata=True)
        assert (block[-8:] in ran.data) == stays


def test_texts_of_png_go_with_the_place(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("Raw profile type exif", "CELLID")
    data = saved(card(), "PNG", pnginfo=texts)
    for keep in (False, True):
        ran = run("image.convert", tmp_path, data, "a.png", format="png", keep_metadata=keep)
        assert b"CELLID" not in ran.data


def test_small_picture_of_the_whole_goes_with_the_crop(tmp_path: Path) -> None:
    """EXIF holds a thumbnail: of what was there before the crop."""
    import pyvips

    (tmp_path / "card.png").write_bytes(saved(card(), "PNG"))
    image = pyvips.Image.pngload(str(tmp_path / "card.png")).copy()
    small = saved(card(32, 24), "JPEG")
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", small)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "Maker (Maker, ASCII, 6 components)")
    data = image.jpegsave_buffer(keep="all")
    assert data.count(b"\xff\xd8\xff") == 2
    ran = run("image.crop", tmp_path, data, "a.jpg", aspect="1:1", keep_metadata=True)
    assert ran.data.count(b"\xff\xd8\xff") == 1


def test_orientation_is_not_told_twice(tmp_path: Path) -> None:
    """HEIF turns the picture itself; a tag that says so again would turn it once more."""
    import pyvips

    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg(orientation=6))
    data = pyvips.Image.jpegload(str(path)).heifsave_buffer(compression="av1", keep="all")
    assert pyvips.Image.heifload_buffer(data).get_typeof("orientation") == 0
    ran = run("image.convert", tmp_path, data, "a.avif", format="jpeg", keep_metadata=True)
    assert ran.image().getexif()[0x010F] == "Maker of cameras"
    assert ran.image().getexif().get(0x0112, 1) == 1
    assert ran.image().size == (320, 240)
    assert distance(ran.image(), card()) < 0.06


def test_every_operation_that_writes_pictures_is_tried_here() -> None:
    from fileproc.operations import catalogue

    writers = {
        entry.name for entry in catalogue().values()
        if entry.name.startswith("image.") and "image/jpeg" in entry.produces
    }  # fmt: skip
    assert writers == set(WRITERS)
    for name in writers:
        assert {"keep_metadata", "keep_gps"} <= set(find(name).params.model_fields)
