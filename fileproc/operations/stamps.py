"""Stamps for the pages of a PDF: a text, a picture or a page, as a form that pages draw."""

from __future__ import annotations

import ctypes
import html
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from fileproc.operations import drawing_cost, glyphs, jpegs, rasters
from fileproc.operations.structures import too_complex
from fileproc.operations.work import MIB, BadInput, Input, Limits

_PICTURE_DPI: Final = 150  # what a picture's pixels are taken for, where no width is asked for
_MAX_SIDE = 3_000  # pixels of a picture; more is not seen on a page
_MOST_JPEG_BYTES: Final = 32 * MIB  # it is read as a whole
_TEXT_DPI = 300
_MAX_TEXT_SIDE = 16_000  # pixels; cairo draws to twice that
_LINE = 1.2  # of the size of the font
_ASCENT, _DESCENT = 0.95, 0.25  # room for accents and tails

Matrix = tuple[float, float, float, float, float, float]


class Stamp(NamedTuple):
    """A form of a document, and where it draws: left, bottom, right and top in points."""

    form: Any
    box: tuple[float, float, float, float]

    @property
    def size(self) -> tuple[float, float]:
        left, bottom, right, top = self.box
        return right - left, top - bottom


def times(first: Matrix, then: Matrix) -> Matrix:
    """One transformation after the other (ISO 32000-2, 8.3.4)."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = then
    return (
        a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k,
        e * h + f * j + m,
    )  # fmt: skip


def numbers(values: Iterable[float]) -> str:
    """As they stand in contents."""
    return " ".join(f"{value:.5f}".rstrip("0").rstrip(".") for value in values)


# --- text ------------------------------------------------------------------------------------


def of_text(
    pdf: Any, text: str, *, size: float, colour: tuple[int, int, int], opacity: float
) -> Stamp:
    """Lines of text, each centred.

    In Helvetica, which every reader has, where its characters suffice; other scripts are drawn
    with the fonts of this machine, as a picture.
    """
    lines = text.split("\n")
    try:
        encoded = [line.encode("cp1252") for line in lines]
    except UnicodeEncodeError:
        return _drawn_text(pdf, text, size=size, colour=colour, opacity=opacity)
    return _written_text(pdf, encoded, size=size, colour=colour, opacity=opacity)


def _written_text(
    pdf: Any, lines: list[bytes], *, size: float, colour: tuple[int, int, int], opacity: float
) -> Stamp:
    import pikepdf

    widths = _widths([line.decode("cp1252") for line in lines], size)
    width = max(widths)
    height = size * (_ASCENT + _DESCENT + _LINE * (len(lines) - 1))
    parts = ["BT", f"/F {numbers([size])} Tf", f"{numbers(c / 255 for c in colour)} rg"]
    for number, (line, own) in enumerate(zip(lines, widths, strict=True)):
        left, down = (width - own) / 2, height - size * (_ASCENT + _LINE * number)
        parts.append(f"1 0 0 1 {numbers([left, down])} Tm <{line.hex()}> Tj")
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font,
        Subtype=pikepdf.Name.Type1,
        BaseFont=pikepdf.Name.Helvetica,
        Encoding=pikepdf.Name.WinAnsiEncoding,
    )
    box = (0.0, 0.0, width, height)
    resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=pdf.make_indirect(font)))
    return _faded(pdf, _form(pdf, "\n".join([*parts, "ET"]), box, resources), box, opacity)


def _widths(lines: list[str], size: float) -> list[float]:
    """Widths in points, as PDFium knows them of its own Helvetica."""
    import pypdfium2
    from pypdfium2 import raw

    document = pypdfium2.PdfDocument.new()
    try:
        font = raw.FPDFText_LoadStandardFont(document, b"Helvetica")
        width, known = ctypes.c_float(), {}
        for char in set("".join(lines)):
            raw.FPDFFont_GetGlyphWidth(font, ord(char), size, width)
            known[char] = float(width.value)
        raw.FPDFFont_Close(font)
    finally:
        document.close()
    return [max(sum(known[char] for char in line), 1.0) for line in lines]


def _drawn_text(
    pdf: Any, text: str, *, size: float, colour: tuple[int, int, int], opacity: float
) -> Stamp:
    """The text as a picture; of a very long or large one with fewer pixels.

    Raises:
        BadInput: `undrawable_text`.
    """
    import pyvips

    glyphs.check(text)
    lines = text.split("\n")
    ems = max(*map(len, lines), _LINE * len(lines))  # no character is wider than two of them
    dpi = max(1, min(_TEXT_DPI, int(72 * _MAX_TEXT_SIDE / (2 * ems * size))))
    try:
        mask = pyvips.Image.text(html.escape(text), font=f"sans {size:g}", dpi=dpi, align="centre")
        shape = mask.write_to_memory()
    except pyvips.Error as exc:
        raise BadInput(
            "The text cannot be drawn: no font here has a glyph for it.", code="undrawable_text"
        ) from exc
    across, down = mask.width, mask.height
    plain = bytes(colour) * (across * down)
    box = (0.0, 0.0, across * 72 / dpi, down * 72 / dpi)
    return _pictured(pdf, _Pixels(plain, across, down, 3, shape), box, opacity)


# --- pictures --------------------------------------------------------------------------------


class _Pixels(NamedTuple):
    """Samples of a picture, one byte each, its transparency, and the JPEG that says the same."""

    data: bytes
    width: int
    height: int
    bands: int
    alpha: bytes | None
    jpeg: bytes | None = None


def of_picture(pdf: Any, source: Input, limits: Limits, *, opacity: float) -> Stamp:
    """A picture (the first frame of an animation), upright, in sRGB or grey.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `type_mismatch`, `unsupported_variant`.
    """
    with rasters.decoding():
        pixels = _decoded(source.path, source.type, limits)
    scale = 72 / _PICTURE_DPI
    box = (0.0, 0.0, pixels.width * scale, pixels.height * scale)
    return _pictured(pdf, pixels, box, opacity)


def _decoded(path: Path, media_type: str, limits: Limits) -> _Pixels:
    header, image = rasters.read_header(path, media_type)
    rasters.check_pixels(header.width, header.height, 1, limits)
    image = rasters.to_srgb(image)
    if max(header.width, header.height) > _MAX_SIDE:
        image = image.thumbnail_image(_MAX_SIDE, height=_MAX_SIDE, no_rotate=True, size="down")
    image = image.copy_memory()
    if header.orientation > 1:
        image = image.autorot().copy_memory()
    alpha = image[image.bands - 1].write_to_memory() if image.hasalpha() else None
    colours = image[: image.bands - 1] if image.hasalpha() else image
    jpeg = _as_it_is(path, header) if media_type == rasters.JPEG else None
    return _Pixels(colours.write_to_memory(), image.width, image.height, colours.bands, alpha, jpeg)


def _as_it_is(path: Path, header: rasters.Header) -> bytes | None:
    """A JPEG whose samples are what a page is to show; None where they had to be changed."""
    changed = header.icc or header.orientation > 1 or max(header.width, header.height) > _MAX_SIDE
    if changed or header.colour_space not in {"srgb", "b-w"}:
        return None
    if path.stat().st_size > _MOST_JPEG_BYTES:
        return None
    return jpegs.bare(path.read_bytes())


def _pictured(
    pdf: Any, pixels: _Pixels, box: tuple[float, float, float, float], opacity: float
) -> Stamp:
    import pikepdf

    spaces = {1: pikepdf.Name.DeviceGray, 3: pikepdf.Name.DeviceRGB}
    picture = _image(pdf, pixels.data, pixels, spaces[pixels.bands])
    if pixels.jpeg is not None:
        picture.write(pixels.jpeg, filter=pikepdf.Name.DCTDecode)
    if pixels.alpha is not None:
        picture.SMask = _image(pdf, pixels.alpha, pixels, pikepdf.Name.DeviceGray)
    resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=picture))
    drawing = f"{numbers([box[2], 0, 0, box[3], 0, 0])} cm /I Do"
    return _faded(pdf, _form(pdf, drawing, box, resources), box, opacity)


def _image(pdf: Any, data: bytes, pixels: _Pixels, space: Any) -> Any:
    import pikepdf

    return pikepdf.Stream(
        pdf,
        zlib.compress(data),
        Type=pikepdf.Name.XObject,
        Subtype=pikepdf.Name.Image,
        Width=pixels.width,
        Height=pixels.height,
        ColorSpace=space,
        BitsPerComponent=8,
        Filter=pikepdf.Name.FlateDecode,
    )


# --- pages of another document ---------------------------------------------------------------


def of_page(pdf: Any, other: Any, *, opacity: float) -> Stamp:
    """The first page of another document, as it is looked at; it must stay open until the save.

    Raises:
        BadInput: `document_too_complex`.
    """
    page = other.pages[0]
    if not drawing_cost.has_bound(page.obj):
        raise too_complex("The contents of the stamp are packed in a way that has no bound.")
    form = pdf.copy_foreign(page.as_form_xobject())
    matrix = tuple(float(value) for value in form.get("/Matrix", [1, 0, 0, 1, 0, 0]))
    left, bottom, right, top = (float(value) for value in form.BBox)
    corners = [(x, y) for x in (left, right) for y in (bottom, top)]
    a, b, c, d, e, f = matrix
    across = [a * x + c * y + e for x, y in corners]
    up = [b * x + d * y + f for x, y in corners]
    return _faded(pdf, form, (min(across), min(up), max(across), max(up)), opacity)


# --- forms -----------------------------------------------------------------------------------


def _form(pdf: Any, drawing: str, box: tuple[float, ...], resources: Any) -> Any:
    import pikepdf

    return pikepdf.Stream(
        pdf,
        drawing.encode("ascii"),
        Type=pikepdf.Name.XObject,
        Subtype=pikepdf.Name.Form,
        BBox=pikepdf.Array([round(side, 5) for side in box]),
        Resources=resources,
    )


def _faded(pdf: Any, form: Any, box: tuple[float, float, float, float], opacity: float) -> Stamp:
    """A form that draws another as one, so that its parts do not show through each other."""
    import pikepdf

    if opacity >= 1:
        return Stamp(form, box)
    if "/Group" not in form:
        form.Group = pikepdf.Dictionary(S=pikepdf.Name.Transparency)
    state = pikepdf.Dictionary(ca=opacity, CA=opacity)
    resources = pikepdf.Dictionary(
        XObject=pikepdf.Dictionary(S=form), ExtGState=pikepdf.Dictionary(G=state)
    )
    return Stamp(_form(pdf, "/G gs /S Do", box, resources), box)


def turned_size(size: tuple[float, float], degrees: float) -> tuple[float, float]:
    """Width and height of the upright box around a turned one."""
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = size
    return width * cosine + height * sine, width * sine + height * cosine


def placed(stamp: Stamp, centre: tuple[float, float], scale: float, degrees: float) -> Matrix:
    """Scales a stamp and turns it, anticlockwise, about its middle, which comes to `centre`."""
    left, bottom, right, top = stamp.box
    cosine, sine = (
        scale * math.cos(math.radians(degrees)),
        scale * math.sin(math.radians(degrees)),
    )
    to_middle: Matrix = (1, 0, 0, 1, -(left + right) / 2, -(bottom + top) / 2)
    return times(to_middle, (cosine, sine, -sine, cosine, *centre))
