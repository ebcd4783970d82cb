"""SVG in: drawn by librsvg, from text that we have read first.

libvips counts its SVG loader among the untrusted ones, and blocks it with them. It is let through
for a file that was detected as SVG, in the sandbox, and for the moment of opening only, because:

- it is given text, never a path. Without a base address librsvg resolves no reference to a file,
  and it never speaks to a network;
- the text is decoded here and handed over as UTF-8, so that what was checked is what is parsed;
- a document type definition is refused, so there are no entities;
- pictures inside (`data:` references) are of a type that we know, and their pixels are counted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from fileproc.operations import texts
from fileproc.operations.signatures import binary_type
from fileproc.operations.work import BadInput

MAX_BYTES: Final = 16 * 1024 * 1024  # the tree of a larger one takes a gigabyte
MAX_ELEMENTS: Final = 250_000
MAX_DRAWN: Final = 500_000  # with what is drawn again for every reference to it
MAX_DEPTH: Final = 200  # libxml2 stops at 256
MAX_EMBEDDED_PIXELS: Final = 64_000_000  # of all pictures inside, 4 bytes each
_LOADER = "VipsForeignLoadSvgBuffer"
_EMBEDDED = {
    "image/png": "pngload_buffer",
    "image/jpeg": "jpegload_buffer",
    "image/gif": "gifload_buffer",
    "image/webp": "webpload_buffer",
}
_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
_ENCODINGS = re.compile(
    r"us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]|gbk|gb2312|gb18030|big5|shift_jis|euc-\w\w"
)
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
# One that names a definition elsewhere, as older programs write it. It is never fetched.
_PLAIN_DOCTYPE = re.compile(
    r"<!DOCTYPE\s+[\w:.-]{1,60}(?:\s+(?:PUBLIC|SYSTEM)(?:\s+(?:\"[^\"<>\[]*\"|'[^'<>\[]*')){1,2})?\s*>"
)
_REFERENCE = re.compile(r"#([^\s)\"']{1,200})")
_DTD = re.compile(r"<!\s*(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)


def load(path: Path, *, scale: float = 1.0) -> Any:
    """Open a drawing at `scale` times its own size; no pixel is drawn yet.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `unsupported_variant` or `xml_dtd`.
        pyvips.Error: as `rasters.decoding` translates it.
    """
    import pyvips

    text = safe_text(path)
    with _let_through():
        image = pyvips.Image.svgload_buffer(text, scale=scale)
        if 1 in {image.width, image.height} and not _is_small(image, text, scale):
            raise BadInput("The SVG is larger than can be drawn.", code="image_too_large")
    return image


def _is_small(image: Any, text: bytes, scale: float) -> bool:
    """Whether a side of 1 is that: libvips leaves it at 1 where it cannot count so far."""
    import pyvips

    try:
        larger = pyvips.Image.svgload_buffer(text, scale=scale * 1000)
    except pyvips.Error:
        return False
    return (image.width, larger.width) != (1, 1) and (image.height, larger.height) != (1, 1)


@contextmanager
def _let_through() -> Iterator[None]:
    import pyvips

    pyvips.operation_block_set(_LOADER, False)
    try:
        yield
    finally:
        pyvips.operation_block_set(_LOADER, True)


def safe_text(path: Path) -> bytes:
    """The drawing in UTF-8, without a document type, read as far as XML.

    Raises:
        BadInput: see `load`.
    """
    if path.stat().st_size > MAX_BYTES:
        raise _too_large(f"more than {MAX_BYTES:,} bytes")
    text = _PLAIN_DOCTYPE.sub("", _decoded(path.read_bytes()), count=1)
    if _DTD.search(text):
        raise BadInput(
            "The SVG declares a document type of its own; files with a DTD are not parsed.",
            code="xml_dtd",
        )
    data = _DECLARATION.sub("", text).encode()
    _Reader().read(data)
    return data


def _decoded(data: bytes) -> str:
    said = _ENCODING.match(data.lstrip()[:300])
    name = said[1].decode("ascii").lower() if said else ""
    try:
        if _ENCODINGS.fullmatch(name):
            return data.decode(name)
    except (LookupError, UnicodeDecodeError) as exc:
        raise _damaged() from exc
    decoded = texts.decode(data, whole=True)
    if decoded is None:
        raise _damaged()
    return decoded[0]


def _damaged() -> BadInput:
    return BadInput("The SVG is damaged: it cannot be read as XML.", code="corrupt_input")


def _too_large(what: str) -> BadInput:
    return BadInput(f"The SVG has {what}; it is not drawn.", code="image_too_large")


class _Scope:
    """What is drawn below an element with an id: elements, and references to other ids."""

    __slots__ = ("elements", "references", "weight")

    def __init__(self) -> None:
        self.elements = 0
        self.references: list[str] = []
        self.weight: int | None = None


class _Reader:
    """One pass over the elements, before the one that draws them."""

    def __init__(self) -> None:
        self.elements, self.pixels = 0, 0
        self.scopes: dict[str, _Scope] = {"": _Scope()}  # the root has no id that one could name
        self.open: list[str] = [""]  # the id of each open element's scope

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as exc:
            raise _damaged() from exc
        if self._weight("", 0) > MAX_DRAWN:
            raise _too_large(f"more than {MAX_DRAWN:,} elements, with those drawn repeatedly")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        scope = attributes.get("id") or self.open[-1]
        if scope != self.open[-1]:
            self.scopes[self.open[-1]].references.append(scope)
        self.open.append(scope)
        if self.elements > MAX_ELEMENTS or len(self.open) > MAX_DEPTH:
            raise _too_large(f"more than {MAX_ELEMENTS:,} elements, or {MAX_DEPTH} within another")
        within = self.scopes.setdefault(scope, _Scope())
        if not name.endswith(("Gradient", "stop")):  # looked up, not drawn
            within.elements += 1
        for attribute, value in attributes.items():
            if "#" in value:
                within.references += _REFERENCE.findall(value)
            if attribute.rpartition(":")[2].lower() == "href":
                self._judge(value)

    def _end(self, name: str) -> None:
        del name
        self.open.pop()

    def _weight(self, name: str, depth: int) -> int:
        """Elements that are drawn for this one, as often as they are."""
        scope = self.scopes.get(name)
        if scope is None or depth > 2 * MAX_DEPTH:
            return 0 if scope is None else MAX_DRAWN + 1
        if scope.weight is None:
            weight, scope.weight = scope.elements, 0  # one that refers to itself is not drawn
            for other in scope.references:  # a loop: one frame of Python's stack for a level
                weight += self._weight(other, depth + 1)
            scope.weight = min(MAX_DRAWN + 1, weight)
        return scope.weight

    def _judge(self, reference: str) -> None:
        """Count the pixels of a picture inside; other references lead nowhere, and may stay."""
        plain = "".join(char for char in reference if char > " ")
        if plain[:5].lower() != "data:":
            return
        head, _, body = plain.partition(",")
        try:
            data = unquote_to_bytes(body)
            if head.lower().endswith(";base64"):
                data = base64.b64decode(data + b"==")
        except binascii.Error as exc:
            raise _damaged() from exc
        width, height = _size_of_embedded(data)
        self.pixels += width * height
        if self.pixels > MAX_EMBEDDED_PIXELS:
            raise _too_large(f"pictures inside of more than {MAX_EMBEDDED_PIXELS:,} pixels")


def _size_of_embedded(data: bytes) -> tuple[int, int]:
    """Width and height by the header; with frames one above the other."""
    import pyvips

    loader = _EMBEDDED.get(binary_type(data[:65_536]) or "")
    if loader is None:
        raise BadInput(
            "The SVG has a file inside that is no JPEG, PNG, GIF or WebP picture.",
            code="unsupported_variant",
        )
    image = getattr(pyvips.Image, loader)(data)
    return image.width, image.height
