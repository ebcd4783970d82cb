"""PDF documents that tests feed to operations: good ones with structure, and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, Stream
from PIL import Image

from fileproc.operations import Input, Work, find
from fileproc.operations.types import detect_file
from samples import Ran, pdf


def saved(document: Pdf) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer, compress_streams=False, static_id=True, fix_metadata_version=False)
    return buffer.getvalue()


def reopened(data: bytes, password: str = "") -> Pdf:
    return Pdf.open(io.BytesIO(data), password=password)


def blank() -> tuple[Pdf, Any]:
    document = Pdf.new()
    document.add_blank_page(page_size=(200, 100))
    return document, document.pages[0].obj


# --- drawing without end ---------------------------------------------------------------------


def form(document: Pdf, contents: bytes, **resources: Any) -> Any:
    made = Stream(document, contents, Type=Name.XObject, Subtype=Name.Form)
    made.BBox = Array([0, 0, 100, 100])
    if resources:
        made.Resources = Dictionary(**resources)
    return made


def drawn(document: Pdf, page: Any, part: Any, contents: bytes = b"/F Do") -> bytes:
    """The document, with a page that draws the form."""
    page.Resources = Dictionary(XObject=Dictionary(F=part))
    page.Contents = Stream(document, contents)
    return saved(document)


def form_that_draws_itself(call: bytes = b"/F Do /F Do ") -> bytes:
    document, page = blank()
    part = form(document, call)
    part.Resources = Dictionary(XObject=Dictionary(F=part))
    return drawn(document, page, part)


def form_that_draws_itself_by_the_page() -> bytes:
    """It has no resources of its own: names are looked up in those of the page."""
    document, page = blank()
    return drawn(document, page, form(document, b"/F Do /F Do "))


def forms_that_draw_each_other() -> bytes:
    document, page = blank()
    one, other = form(document, b"/B Do /B Do"), form(document, b"/F Do /F Do")
    one.Resources = Dictionary(XObject=Dictionary(B=other))
    other.Resources = Dictionary(XObject=Dictionary(F=one))
    return drawn(document, page, one)


def forms_in_forms(depth: int, width: int) -> bytes:
    """A billion squares, at 20 deep and 4 wide."""
    document, page = blank()
    part = form(document, b"0 0 10 10 re f ")
    for _ in range(depth):
        part = form(document, b"/F Do " * width, XObject=Dictionary(F=part))
    return drawn(document, page, part)


def _pattern(document: Pdf, contents: bytes) -> Any:
    made = Stream(document, contents, Type=Name.Pattern, PatternType=1, PaintType=1, TilingType=1)
    made.BBox, made.XStep, made.YStep = Array([0, 0, 10, 10]), 10, 10
    made.Resources = Dictionary(Pattern=Dictionary())
    return made


def _with_pattern(document: Pdf, page: Any, pattern: Any) -> bytes:
    page.Resources = Dictionary(Pattern=Dictionary(P=pattern))
    page.Contents = Stream(document, b"/Pattern cs /P scn 0 0 200 100 re f")
    return saved(document)


def pattern_of_itself() -> bytes:
    document, page = blank()
    pattern = _pattern(document, b"/Pattern cs /P scn 0 0 5 5 re f 1 1 5 5 re f")
    pattern.Resources.Pattern.P = pattern
    return _with_pattern(document, page, pattern)


def patterns_of_patterns(depth: int = 12, width: int = 6) -> bytes:
    document, page = blank()
    pattern = _pattern(document, b"1 0 0 rg 0 0 5 5 re f")
    for _ in range(depth):
        outer = _pattern(document, b"/Pattern cs /P scn " + b"0 0 5 5 re f " * width)
        outer.Resources.Pattern.P = pattern
        pattern = outer
    return _with_pattern(document, page, pattern)


def _group(document: Pdf, contents: bytes, **resources: Any) -> Any:
    made = form(document, contents, **resources)
    made.Group = Dictionary(S=Name.Transparency, CS=Name.DeviceGray)
    return made


def masks_of_masks(depth: int = 12, width: int = 6) -> bytes:
    document, page = blank()
    part = _group(document, b"0 0 50 50 re f")
    for _ in range(depth):
        mask = document.make_indirect(Dictionary(SMask=Dictionary(S=Name.Luminosity, G=part)))
        contents = b"/G gs " + b"0 0 50 50 re f " * width
        part = _group(document, contents, ExtGState=Dictionary(G=mask))
    return drawn(document, page, part)


def glyph_that_writes_itself(*, behind_a_harmless_one: bool = False) -> bytes:
    """Of a Type 3 font; the harmless one is written into the page's own dictionary."""
    document, page = blank()
    glyph = Stream(document, b"1000 0 0 0 750 750 d1 BT /T 1 Tf (aa) Tj ET")
    font = document.make_indirect(
        Dictionary(
            Type=Name.Font,
            Subtype=Name.Type3,
            FontBBox=Array([0, 0, 750, 750]),
            FontMatrix=Array([0.001, 0, 0, 0.001, 0, 0]),
            CharProcs=Dictionary(a=glyph),
            Encoding=Dictionary(Type=Name.Encoding, Differences=Array([97, Name.a])),
            FirstChar=97,
            LastChar=97,
            Widths=Array([1000]),
        )
    )
    font.Resources = Dictionary(Font=Dictionary(T=font))
    page.Resources = Dictionary(Font=Dictionary(T=font))
    page.Contents = Stream(document, b"BT /A 12 Tf (a) Tj /T 12 Tf (aaaa) Tj ET")
    if behind_a_harmless_one:
        glyphs = Dictionary(a=Stream(document, b"1000 0 0 0 750 750 d1 0 0 9 9 re f"))
        direct = Dictionary(Subtype=Name.Type3, CharProcs=glyphs, Resources=Dictionary())
        looped = Dictionary({key: font[key] for key in font.keys()})  # noqa: SIM118 - no dict
        page.Resources = Dictionary(Font=Dictionary(A=direct, T=looped))
    return saved(document)


def annotation_that_draws_itself() -> bytes:
    document, page = blank()
    look = form(document, b"/F Do /F Do")
    look.Resources = Dictionary(XObject=Dictionary(F=look))
    annotation = Dictionary(Type=Name.Annot, Subtype=Name.Stamp, Rect=Array([0, 0, 50, 50]))
    annotation.AP = Dictionary(N=look)
    page.Annots = Array([document.make_indirect(annotation)])
    return saved(document)


def packed_contents(times: int, size: int = 20_000_000) -> bytes:
    """Contents that unpack to 20 MB, packed once or several times over."""
    data = b"0 0 1 1 re f\n" * (size // 13)
    for _ in range(times):
        data = zlib.compress(data, 9)
    document, page = blank()
    page.Contents = Stream(document, data, Filter=Array([Name.FlateDecode] * times))
    return saved(document)


def lzw_contents() -> bytes:
    document, page = blank()
    page.Contents = Stream(document, b"\x80" * 300_000, Filter=Name.LZWDecode)
    return saved(document)


def picture_of(width: int, height: int) -> bytes:
    """A page with a picture that is said to be of this size."""
    document, page = blank()
    picture = Stream(
        document, zlib.compress(bytes(1000)), Subtype=Name.Image, Width=width, Height=height
    )
    picture.ColorSpace, picture.BitsPerComponent = Name.DeviceGray, 8
    picture.Filter = Name.FlateDecode
    return drawn(document, page, picture)


def tiles_without_end(step: float, box: int, times: int) -> bytes:
    """A pattern whose cells lie far closer than they are wide."""
    document, page = blank()
    pattern = _pattern(document, b"0 0 1 1 re f")
    pattern.XStep = pattern.YStep = step
    pattern.BBox = Array([0, 0, box, box])
    page.Resources = Dictionary(Pattern=Dictionary(P=pattern))
    page.Contents = Stream(document, b"/Pattern cs /P scn 0 0 200 100 re f\n" * times)
    return saved(document)


def _program(document: Pdf, steps: int, ranges: int) -> Any:
    made = Stream(document, zlib.compress(b"{" + b"dup mul sqrt " * steps + b"pop dup dup}"))
    made.Filter, made.FunctionType = Name.FlateDecode, 4
    made.Domain, made.Range = Array([0, 200, 0, 100]), Array([0, 1] * ranges)
    return made


def shading_by_a_program(steps: int = 30_000, *, as_pattern: bool = False) -> bytes:
    """A colour for each place, made out by a program that takes long."""
    document, page = blank()
    shading = Dictionary(ShadingType=1, ColorSpace=Name.DeviceRGB, Domain=Array([0, 200, 0, 100]))
    shading.Function = Array([_program(document, steps, 3)])
    page.Resources = Dictionary(Shading=Dictionary(S=shading))
    page.Contents = Stream(document, b"/S sh")
    if as_pattern:
        page.Resources.Pattern = Dictionary(P=Dictionary(PatternType=2, Shading=shading))
        page.Contents = Stream(document, b"/Pattern cs /P scn 0 0 200 100 re f")
    return saved(document)


def picture_in_colours_of_a_program(steps: int = 30_000) -> bytes:
    document, page = blank()
    data = zlib.compress(bytes(1_000_000), 9)
    picture = Stream(document, data, Subtype=Name.Image, Width=1000, Height=1000)
    tint = _program(document, steps, 3)
    picture.ColorSpace = Array([Name.Separation, Name("/Spot"), Name.DeviceRGB, tint])
    picture.BitsPerComponent, picture.Filter = 8, Name.FlateDecode
    return drawn(document, page, picture)


def packed_picture(data: bytes, *filters: str, array: bool = True) -> bytes:
    """A page with a picture whose dictionary says 9 x 9 pixels, whatever its data says."""
    document, page = blank()
    picture = Stream(document, data, Subtype=Name.Image, Width=9, Height=9, BitsPerComponent=8)
    picture.ColorSpace = Name.DeviceGray
    names = [Name("/" + name) for name in filters]
    picture.Filter = Array(names) if array else names[0]
    return drawn(document, page, picture)


def jpx(width: int, height: int, before: bytes = b"") -> bytes:
    """The head of a JPEG 2000 codestream of one channel."""
    size = struct.pack(">HHIIIIIIIIH", 41, 0, width, height, 0, 0, width, height, 0, 0, 1)
    return before + b"\xff\x4f\xff\x51" + size + b"\x07\x01\x01\xff\xd9"


def jbig2(width: int, height: int, regions: int) -> bytes:
    """A page, drawn over as a whole again and again; the coder takes zeros for ever."""

    def segment(number: int, kind: int, body: bytes) -> bytes:
        return struct.pack(">IBBBI", number, kind, 0, 1, len(body)) + body

    size = struct.pack(">II", width, height)
    nominal = bytes([0, 3, 255, 253, 255, 2, 254, 254, 254])
    return segment(0, 48, size + bytes(11)) + b"".join(
        segment(number, 38, size + bytes(9) + nominal + bytes(9)) for number in range(1, regions)
    )


# --- structure without end -------------------------------------------------------------------

_HEAD = b"%PDF-1.5\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
_PAGE = b"3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>\nendobj\n"


def same_page_often(count: int) -> bytes:
    """A list of pages that names one page `count` times, without a table of objects."""
    kids = b"2 0 obj\n<</Type/Pages/Kids[%s]/Count %d>>\nendobj\n" % (b"3 0 R " * count, count)
    return _HEAD + kids + _PAGE + b"trailer<</Root 1 0 R/Size 4>>\n%%EOF\n"


def many_pages(count: int) -> bytes:
    """A flat list of pages, all the same one, in a document that is well formed otherwise."""
    document, page = blank()
    document.Root.Pages.Kids = Array([page] * count)
    document.Root.Pages.Count = count
    return saved(document)


def ring_of_pages() -> bytes:
    return pdf(("One", "Two")).replace(b"/Kids [4 0 R 6 0 R]", b"/Kids [2 0 R 2 0 R]")


def packed_table(megabytes: int, times: int) -> bytes:
    """A table of objects (a cross-reference stream) that unpacks to so much."""
    data = bytes(megabytes << 20)
    for _ in range(times):
        data = zlib.compress(data, 9)
    body = _HEAD + b"2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n" + _PAGE
    filters = b"/FlateDecode " * times
    return (
        body
        + b"4 0 obj\n<</Type/XRef/Size 5/W[1 2 1]/Root 1 0 R/Filter[%s]/Length %d>>\nstream\n"
        % (filters, len(data))
        + data
        + b"\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(body)
    )


def many_objects(count: int) -> bytes:
    """So many numbers, packed into one stream of objects."""
    listed = b"".join(b"%d %d " % (10 + number, 2 * number) for number in range(count))
    packed = zlib.compress(listed + b"0 " * count)
    body = _HEAD + b"2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n"
    offsets = [0, body.index(b"1 0 obj"), body.index(b"2 0 obj"), len(body)]
    body += _PAGE
    offsets.append(len(body))
    held = b"4 0 obj\n<</Type/ObjStm/N %d/First %d/Filter/FlateDecode/Length %d>>\nstream\n"
    body += held % (count, len(listed), len(packed)) + packed + b"\nendstream\nendobj\n"
    plain = [(1, offset, 0) for offset in [*offsets, len(body), 0, 0, 0, 0]]
    rows = [*plain, *((2, 4, number) for number in range(count))]
    table = zlib.compress(b"".join(struct.pack(">BII", *row) for row in rows))
    said = b"5 0 obj\n<</Type/XRef/Size %d/W[1 4 4]/Root 1 0 R/Filter/FlateDecode/Length %d>>\n"
    tail = b"stream\n%s\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % (table, len(body))
    return body + said % (10 + count, len(table)) + tail


def painted_over(times: int) -> bytes:
    """A page that is painted over from corner to corner so many times; it packs well."""
    document, page = blank()
    page.MediaBox = Array([0, 0, 1400, 1400])
    packed = zlib.compress(b"0 0 1400 1400 re f\n" * times)
    page.Contents = Stream(document, packed, Filter=Name.FlateDecode)
    return saved(document)


def deep_arrays(depth: int = 100_000) -> bytes:
    return pdf(("One",), extra="/X " + "[" * depth + "]" * depth)


# What must be refused, whatever is to be done with it, and what must not be drawn.
ENDLESS_STRUCTURE: dict[str, Callable[[], bytes]] = {
    "one page a million times": lambda: same_page_often(1_000_000),
    "too many pages": lambda: many_pages(100_000),
    "too many objects": lambda: many_objects(510_000),
    "ring of pages": ring_of_pages,
    "packed table": lambda: packed_table(40, 1),
    "twice packed table": lambda: packed_table(40, 2),
}
ENDLESS_DRAWING: dict[str, Callable[[], bytes]] = {
    "form that draws itself": form_that_draws_itself,
    "form that draws itself once": lambda: form_that_draws_itself(b"/F Do"),
    "form that draws itself after a comment": lambda: form_that_draws_itself(b"/F%x\nDo /F%\nDo"),
    "form that draws itself by another spelling": lambda: form_that_draws_itself(b"/#46 Do/#46 Do"),
    "form that draws itself by the page": form_that_draws_itself_by_the_page,
    "forms that draw each other": forms_that_draw_each_other,
    "forms in forms": lambda: forms_in_forms(20, 4),
    "wide forms in forms": lambda: forms_in_forms(5, 30),
    "deep forms": lambda: forms_in_forms(60, 1),
    "pattern of itself": pattern_of_itself,
    "patterns of patterns": patterns_of_patterns,
    "masks of masks": masks_of_masks,
    "glyph that writes itself": glyph_that_writes_itself,
    "glyph behind a harmless one": lambda: glyph_that_writes_itself(behind_a_harmless_one=True),
    "annotation that draws itself": annotation_that_draws_itself,
    "packed contents": lambda: packed_contents(1),
    "twice packed contents": lambda: packed_contents(2),
    "lzw contents": lzw_contents,
    "tiles without end": lambda: tiles_without_end(0.000_1, 1, 1),
    "tiles over tiles": lambda: tiles_without_end(0.1, 100, 200),
    "shading by a program": shading_by_a_program,
    "pattern by a program": lambda: shading_by_a_program(as_pattern=True),
    "picture in colours of a program": picture_in_colours_of_a_program,
}


# --- good documents --------------------------------------------------------------------------


def book(texts: tuple[str, ...] = ("One", "Two", "Three", "Four")) -> Pdf:
    """With bookmarks (the second within the first), a link, a field, a layer and a title."""
    document = reopened(pdf(texts))
    pages = document.pages
    with document.open_outline() as outline:
        chapter = pikepdf.OutlineItem("Chapter", 0)
        chapter.children.append(pikepdf.OutlineItem("Part", 1))
        outline.root.extend([chapter, pikepdf.OutlineItem("End", len(pages) - 1)])
    link = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([0, 0, 50, 50]))
    link.Dest = Array([pages[-1].obj, Name.Fit])
    field = Dictionary(Type=Name.Annot, Subtype=Name.Widget, Rect=Array([100, 10, 190, 30]))
    field.FT, field.T, field.V = Name.Tx, pikepdf.String("name"), pikepdf.String("Anna")
    field = document.make_indirect(field)
    pages[0].obj.Annots = Array([document.make_indirect(link), field])
    document.Root.AcroForm = Dictionary(Fields=Array([field]))
    hidden = document.make_indirect(Dictionary(Type=Name.OCG, Name=pikepdf.String("Draft")))
    document.Root.OCProperties = Dictionary(
        OCGs=Array([hidden]), D=Dictionary(OFF=Array([hidden]), Order=Array([hidden]))
    )
    for page in pages:
        page.Resources.Properties = Dictionary(L=hidden)
        page.contents_add(b"/OC /L BDC 0 0 1 rg 150 50 40 40 re f EMC")
    document.docinfo["/Title"] = "A book"
    document.docinfo["/CreationDate"] = "D:20261122063000+02'00'"
    document.Root.Names = Dictionary(JavaScript=Dictionary(Names=Array([])))
    document.attachments["data.csv"] = b"a,b\n1,2\n"
    return document


def with_xmp(xmp: bytes) -> bytes:
    """A document whose metadata is this."""
    document = reopened(pdf(("One", "Two")))
    document.Root.Metadata = pikepdf.Stream(document, xmp, Type=Name.Metadata, Subtype=Name.XML)
    return saved(document)


def texts_of(data: bytes, password: str | None = None) -> list[str]:
    """What PDFium reads on each page."""
    import pypdfium2

    document = pypdfium2.PdfDocument(data, password=password)
    try:
        return [page.get_textpage().get_text_range().strip() for page in document]
    finally:
        document.close()


def pictures_of(data: bytes) -> list[Image.Image]:
    """Each page as PDFium draws it, at 72 dpi."""
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    try:
        return [page.render(scale=1).to_pil().convert("RGB") for page in document]
    finally:
        document.close()


Tree = list[tuple[str, int | None, "Tree"]]


def outline_of(data: bytes) -> Tree:
    """Titles, pages (from 1) and what is below."""
    document = reopened(data)
    places = {page.obj.objgen: number for number, page in enumerate(document.pages, 1)}

    def tree(items: list[Any]) -> Tree:
        return [
            (
                item.title,
                None if item.destination is None else places[item.destination[0].objgen],
                tree(item.children),
            )
            for item in items
        ]

    with document.open_outline() as outline:
        return tree(outline.root)


def run_many(operation: str, folder: Path, *files: bytes, **params: Any) -> Ran:
    """`samples.run` with several inputs, called 0.pdf, 1.pdf and so on."""
    inputs = []
    for number, data in enumerate(files):
        path = folder / f"in{number}"
        path.write_bytes(data)
        found = detect_file(path)
        inputs.append(Input(path, f"{number}.pdf", len(data), "0" * 64, found))
    ran = Ran(Work(inputs, folder))
    entry = find(operation)
    entry.run(ran.work, entry.params.model_validate(entry.parse(params)))
    return ran
