"""How much there is to draw on a page of a PDF, told before anything is drawn.

A page draws forms, which draw forms: a few hundred bytes can ask for more than a machine draws in
a year, by calling themselves or each other often. PDFium cannot be stopped while it draws, so the
calls are followed here first, each part read once. What counts is what the contents really call:
resources that merely list each other, as many good documents have them, are harmless.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

from fileproc.operations import picture_cost
from fileproc.operations.structures import (
    MAX_UNPACKED_BYTES,
    array,
    dictionary,
    is_stream,
    too_complex,
)
from fileproc.operations.work import BadInput

MAX_FREE_BYTES: Final = 8 * 1024 * 1024  # of contents, which any file may ask for
MAX_RATIO: Final = 100  # of what is drawn to the size of the file, beyond that
_MAX_DEPTH = 24  # of parts within parts; PDFium goes to 40
_CALL_BYTES = 100  # what a call costs by itself, in bytes of contents that take as long
_MAX_LZW_BYTES = 256 * 1024  # qpdf has no limit for LZW, which packs 1,000 to 1 at best
_MAX_READ_BYTES = 2 * 1024 * 1024  # half a second for qpdf
_MAX_ANNOTATIONS = 20_000
_CHUNK_BYTES = 4096
_MAX_FUNCTIONS = 1_000
_PROGRAM = 4  # the type of a function that is a program
# What the bytes of such a program cost, in bytes of contents that take as long: for all pixels of
# a page, for the steps of a gradient, and for the pixels of a picture by how many of them.
_PIXELS_OF_A_SHADING = 8_000
_STEPS_OF_A_SHADING = 20
_PIXELS_FOR_A_BYTE = 100
# And what a cell of a pattern costs by itself, and by its area in square points.
_BYTES_OF_A_CELL = 2
_AREA_FOR_A_BYTE = 12
_SMALLEST_STEP = 1e-9
_ENDLESS = 1 << 60
_UPRIGHT = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_LETTER = (0.0, 0.0, 612.0, 792.0)

_NAME = rb"/([^\x00\t\n\f\r ()<>\[\]{}/%]*)"
_GAP = rb"[\x00\t\n\f\r ]"
_END = rb"(?=[\x00\t\n\f\r ()<>\[\]{}/%]|\Z)"
# A comment may stand before the operator: then it can be any.
_CALL = re.compile(
    _NAME + rb"(?:%s*(%%)|%s+(?:[0-9.+-]+%s+)?(Do|gs|scn|SCN|sh|Tf)%s)" % (_GAP, _GAP, _GAP, _END)
)
_PAINT = re.compile(rb"(?<![^\x00\t\n\f\r \])>])(?:[fFBbSs]\*?|Do|Tj|TJ|sh|EI)" + _END)
_ESCAPE = re.compile(rb"#([0-9a-fA-F]{2})")
_GROUPS = {b"Do": "/XObject", b"gs": "/ExtGState", b"Tf": "/Font", b"sh": "/Shading"}
_ANY = (b"Do", b"gs", b"scn", b"sh", b"Tf")


class _Scope(NamedTuple):
    """Resources that names are looked up in, and whose they are."""

    resources: Any
    owner: Any


class _Call(NamedTuple):
    """A part that contents draw; `repeated`: anew for each shape that is painted with it."""

    part: Any
    scope: _Scope
    repeated: bool


def check(pdf: Any, indices: Iterable[int], *, file_bytes: int, pixels: int) -> None:
    """Refuse pages that ask for too much.

    Args:
        pdf: opened by `structures.opened`.
        indices: of the pages, from 0; one that is not there is called damaged.
        file_bytes: of the document; a large one may ask for more.
        pixels: how many the pictures of one page may have together.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex` or `image_too_large`.
    """
    parts = _Parts(MAX_FREE_BYTES + MAX_RATIO * file_bytes, pixels)
    count = len(pdf.pages)
    for index in indices:
        if index >= count:
            raise BadInput(f"Page {index + 1} is missing from the PDF.", code="corrupt_input")
        parts.check_page(pdf.pages[index].obj)


class _Parts:
    """The parts that a document's pages are drawn from, each weighed once.

    A weight is the number of bytes to interpret for one call, all further calls followed.
    """

    def __init__(self, budget: int, pixels: int) -> None:
        self._budget, self._pixels = budget, pixels
        self._weights: dict[Any, int] = {}
        self._open: set[Any] = set()
        self._callers: dict[Any, bool] = {}
        self._pictures: dict[Any, int] = {}
        self._area = 0.0

    def check_page(self, page: Any) -> None:
        self._pictures, self._area = {}, _area(page)
        scope = _Scope(_inherited(page, "/Resources"), page.objgen)
        total = self._contents_weight(_streams(page.get("/Contents")), scope, 0)
        for look in _appearances(page):
            total = self._sum(total, self._weight(look, scope, 1))

    def _sum(self, total: int, more: int) -> int:
        if total + more > self._budget:
            raise too_complex(
                "A page of the PDF asks for far more drawing than its size accounts for."
            )
        return total + more

    def _weight(self, stream: Any, around: _Scope, depth: int) -> int:
        own = dictionary(stream.get("/Resources"))
        scope = around if own is None else _Scope(own, stream.objgen)
        key = (stream.objgen, scope.owner)
        if key in self._weights:
            return self._weights[key]
        if key in self._open:
            raise too_complex("A part of the PDF draws itself.")
        if depth > _MAX_DEPTH:
            raise too_complex(f"Parts of the PDF are nested more than {_MAX_DEPTH} deep.")
        self._open.add(key)
        weight = self._contents_weight([stream], scope, depth)
        self._open.remove(key)
        self._weights[key] = weight
        return weight

    def _contents_weight(self, streams: list[Any], scope: _Scope, depth: int) -> int:
        data = b"\n".join(map(_unpacked, streams))
        weight = self._sum(0, len(data) + _CALL_BYTES)
        if not self._may_call(scope):
            return weight
        names: Counter[tuple[bytes, ...]] = Counter()
        for found in _CALL.finditer(data):
            names[found.groups(b"")] += 1
            weight = self._sum(weight, _CALL_BYTES)
        painted = 0
        for (name, comment, operator), times in names.items():
            for given in _ANY if comment else (operator,):
                weight = self._sum(weight, times * self._colour_weight(scope, name, given))
                for call in _called(scope, name, given):
                    if call.part.get("/Subtype") == "/Image":
                        self._see_picture(call.part)
                        continue
                    if call.repeated and depth and not painted:
                        painted = sum(1 for _ in _PAINT.finditer(data))
                    count = 1 if given == b"Tf" else max(times, painted * call.repeated)
                    one = self._weight(call.part, call.scope, depth + 1)
                    weight = self._sum(weight, count * one)
        return weight

    def _colour_weight(self, scope: _Scope, name: bytes, operator: bytes) -> int:
        """What it takes to make out the colours of a gradient, a pattern's cells or a picture."""
        entry = _named(scope, name, operator)
        if operator == b"sh":
            return _shading_weight(entry)
        if operator == b"Do":
            is_picture = is_stream(entry) and entry.get("/Subtype") == "/Image"
            size = _function_bytes(entry.get("/ColorSpace")) if is_picture else 0
            return size * picture_cost.pixels(entry) // _PIXELS_FOR_A_BYTE if size else 0
        if operator not in {b"scn", b"SCN"}:
            return 0
        if is_stream(entry):
            return _tiles_weight(entry, self._area)
        return _shading_weight(_get(entry, "/Shading"))

    def _may_call(self, scope: _Scope) -> bool:
        """Whether there is anything that contents could draw; mostly there are only fonts."""
        if scope.owner not in self._callers:
            self._callers[scope.owner] = any(
                dictionary(entry) is None or kind != "/Font" or entry.get("/Subtype") == "/Type3"
                for kind in ("/XObject", "/Pattern", "/ExtGState", "/Font", "/Shading")
                for entry in _values(_get(scope.resources, kind))
            )
        return self._callers[scope.owner]

    def _see_picture(self, picture: Any) -> None:
        """Add up the pixels of the page's pictures, each counted once.

        Raises:
            BadInput: `image_too_large`.
        """
        for part in (picture, picture.get("/SMask"), picture.get("/Mask")):
            if is_stream(part) and part.objgen not in self._pictures:
                self._pictures[part.objgen] = picture_cost.pixels(part)
        if (total := sum(self._pictures.values())) > self._pixels:
            raise BadInput(
                f"The pictures of a page have {total:,} pixels together; at most"
                f" {self._pixels:,} are decoded.",
                code="image_too_large",
            )


def _called(scope: _Scope, name: bytes, operator: bytes) -> Iterator[_Call]:
    """The parts that are drawn for this operator with this name."""
    entry = _named(scope, name, operator)
    if operator == b"gs":
        mask = _get(_get(entry, "/SMask"), "/G")
        parts = [_Call(mask, scope, repeated=True)]
    elif operator == b"Tf":
        parts = list(_glyphs(entry, scope, name))
    else:
        parts = [_Call(entry, scope, repeated=operator != b"Do")]
    yield from (call for call in parts if is_stream(call.part))


def _named(scope: _Scope, name: bytes, operator: bytes) -> Any:
    """What the resources have by this name, for this operator."""
    plain = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), name)
    group = _get(scope.resources, _GROUPS.get(operator, "/Pattern"))
    return _get(group, "/" + plain.decode("utf-8", "surrogateescape"))


def _glyphs(font: Any, scope: _Scope, name: bytes) -> Iterator[_Call]:
    """Those of a Type 3 font are contents as well; PDFium draws each once and keeps it."""
    if _get(font, "/Subtype") != "/Type3":
        return
    own = dictionary(font.get("/Resources"))
    owner = font.objgen if font.is_indirect else (scope.owner, name)
    inner = scope if own is None else _Scope(own, owner)
    for glyph in _values(font.get("/CharProcs")):
        yield _Call(glyph, inner, repeated=False)


def _appearances(page: Any) -> Iterator[Any]:
    """What the page's annotations and fields look like."""
    annotations = array(page.get("/Annots"))
    if len(annotations) > _MAX_ANNOTATIONS:
        raise too_complex(f"A page of the PDF has more than {_MAX_ANNOTATIONS:,} annotations.")
    for annotation in annotations:
        looks = _get(annotation, "/AP")
        normal = _get(looks, "/N")
        for look in [normal, *_values(normal)]:
            if is_stream(look):
                yield look


def _unpacked(stream: Any) -> bytes:
    """The contents that a stream holds; of a damaged one what comes before the damage.

    Raises:
        BadInput: `document_too_complex` or `corrupt_input`.
    """
    import pikepdf

    filters = [str(name) for name in array(stream.get("/Filter")) or [stream.get("/Filter")]]
    lzw = {"/LZWDecode", "/LZW"} & set(filters)
    if lzw and (len(filters) > 1 or len(stream.read_raw_bytes()) > _MAX_LZW_BYTES):
        raise too_complex("Contents of the PDF are packed in a way that has no bound.")
    try:
        return bytes(stream.read_bytes())
    except (pikepdf.PikepdfError, RuntimeError) as exc:
        if "limit" in str(exc).lower():
            raise too_complex("Contents of the PDF unpack to more than is taken.") from exc
        if filters not in (["/FlateDecode"], ["/Fl"]):
            raise BadInput("Contents of the PDF are damaged.", code="corrupt_input") from exc
    return _before_the_damage(stream.read_raw_bytes())


def contents(page: Any) -> bytes:
    """The contents of a page, unpacked.

    Raises:
        BadInput: `corrupt_input` or `document_too_complex`.
    """
    return b"\n".join(map(_unpacked, _streams(page.get("/Contents"))))


def has_bound(page: Any) -> bool:
    """Whether qpdf can unpack the contents of a page without using up the memory."""
    return all("LZW" not in str(part.get("/Filter")) for part in _streams(page.get("/Contents")))


def is_quickly_read(page: Any) -> bool:
    """Whether the contents of a page are sound, and small enough to be read sign by sign."""
    try:
        return has_bound(page) and len(contents(page)) <= _MAX_READ_BYTES
    except BadInput:
        return False


def _before_the_damage(packed: bytes) -> bytes:
    """As PDFium reads a stream that breaks off."""
    inflate, found, size = zlib.decompressobj(), [], 0
    for start in range(0, len(packed), _CHUNK_BYTES):
        try:
            found.append(inflate.decompress(packed[start : start + _CHUNK_BYTES]))
        except zlib.error:
            break
        size += len(found[-1])
        if size > MAX_UNPACKED_BYTES:
            raise too_complex("Contents of the PDF unpack to more than is taken.")
    return b"".join(found)


def _function_bytes(functions: Any) -> int:
    """Of the programs (PostScript calculators) that make out a colour; one may join others."""
    waiting, seen, total = [functions], set[Any](), 0
    while waiting and len(seen) < _MAX_FUNCTIONS:
        value = waiting.pop()
        waiting += array(value)
        held = dictionary(value)
        if held is not None:
            waiting += array(held.get("/Functions"))
        if is_stream(value) and value.objgen not in seen:
            seen.add(value.objgen)
            total += len(_unpacked(value)) if value.get("/FunctionType") == _PROGRAM else 0
    return total


def _shading_weight(shading: Any) -> int:
    """One that is a function of the place calls it for every pixel; others a few hundred times."""
    times = _PIXELS_OF_A_SHADING if _get(shading, "/ShadingType") == 1 else _STEPS_OF_A_SHADING
    return _function_bytes(_get(shading, "/Function")) * times


def _tiles_weight(pattern: Any, area: float) -> int:
    """Of all cells of a tiling on a page of this area, as small and as close as they may be."""
    a, b, c, d, *_ = [*_floats(pattern.get("/Matrix")), *_UPRIGHT][:6]
    scale = abs(a * d - b * c)
    step = abs(_float(pattern.get("/XStep")) * _float(pattern.get("/YStep"))) * scale
    left, bottom, right, top, *_ = [*_floats(pattern.get("/BBox")), 0.0, 0.0, 0.0, 0.0]
    cell = abs((right - left) * (top - bottom)) * scale
    cells = area / max(step, _SMALLEST_STEP)
    return int(min(cells * (_BYTES_OF_A_CELL + cell / _AREA_FOR_A_BYTE), _ENDLESS))


def _area(page: Any) -> float:
    """Of what is drawn, in square points, bounded."""
    left, bottom, right, top, *_ = [*_floats(_inherited_value(page, "/MediaBox")), *_LETTER][:4]
    return min(abs((right - left) * (top - bottom)) or _LETTER[2] * _LETTER[3], 1e8)


# --- objects of any kind ---------------------------------------------------------------------


def _get(value: Any, key: str) -> Any:
    found = dictionary(value)
    return None if found is None else found.get(key)


def _values(value: Any) -> list[Any]:
    found = dictionary(value)
    return [] if found is None else [found[key] for key in found.keys()]  # noqa: SIM118 - no dict


def _streams(value: Any) -> list[Any]:
    """The contents of a page: one stream, or an array of them."""
    return [value] if is_stream(value) else [item for item in array(value) if is_stream(item)]


def _float(value: Any) -> float:
    """A number of a document, also where it is none; nothing endless."""
    return min(max(float(value), -1e9), 1e9) if isinstance(value, int | float | Decimal) else 0.0


def _floats(value: Any) -> list[float]:
    return [_float(item) for item in array(value)[:6]]


def _inherited(page: Any, key: str) -> Any:
    return dictionary(_inherited_value(page, key))


def _inherited_value(page: Any, key: str) -> Any:
    """An entry of a page, or of the nearest node above that has it."""
    node = page
    for _ in range(_MAX_DEPTH * 4):
        if (found := _get(node, key)) is not None:
            return found
        node = _get(node, "/Parent")
    return None
