"""Kinds of text: whether bytes are text at all, in which encoding, and which kind they look like.

Every check is linear in the bytes given; JSON is parsed with numbers left alone, so that a
thousand digits cost a thousand steps.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from typing import Any

CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSONL = "application/x-ndjson"
XML = "application/xml"
HTML = "text/html"
SVG = "image/svg+xml"
PLAIN = "text/plain"

# Bytes that text does not have: C0 controls but tab, newline, formfeed, return and escape; DEL.
_CONTROLS = bytes(i for i in range(32) if i not in {9, 10, 12, 13, 27}) + b"\x7f"
_UNDEFINED_1252 = b"\x81\x8d\x8f\x90\x9d"
_HIGH = bytes(range(128, 256))
_HIGH_SHARE = 0.3  # more bytes beyond ASCII than this, and it is no Western text
_SAMPLE_ROWS = 20
_CUT_IN_QUOTES = "unexpected end of data"  # as the csv module says it
_HTML_TAGS = frozenset(
    [
        "html",
        "head",
        "body",
        "script",
        "iframe",
        "h1",
        "h2",
        "div",
        "font",
        "table",
        "a",
        "style",
        "title",
        "b",
        "br",
        "p",
        "meta",
        "link",
    ]
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_DOCTYPE = re.compile(
    r"""<!doctype\s{1,9}(?:[\w.-]{1,60}:)?([\w.-]{1,60})[^\[>"']{0,99}"""
    r"""(?:"[^"]{0,999}"\s{0,99}|'[^']{0,999}'\s{0,99}){0,2}\[""",
    re.IGNORECASE,
)
_SUBSET = re.compile(r"""["'\]]|<!--""")


def decode(head: bytes, *, whole: bool) -> tuple[str, str] | None:
    """The text and the name of its encoding, or None where the bytes are not text.

    `whole` says that the file ends here; otherwise a character cut at the end is left out.
    """
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return _decoded(head, encoding, whole=whole)
    if head.translate(None, _CONTROLS) != head:
        return None
    return _decoded(head, "utf-8", whole=whole) or _western(head)


def _decoded(head: bytes, encoding: str, *, whole: bool) -> tuple[str, str] | None:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=whole)
    except UnicodeDecodeError:
        return None
    if encoding == "utf-16" and any(ord(char) < 9 for char in text[:4096]):  # noqa: PLR2004 - tab
        return None  # two bytes that happen to be a byte order mark, then binary
    return text, encoding


def _western(head: bytes) -> tuple[str, str] | None:
    high = len(head) - len(head.translate(None, _HIGH))
    if high > _HIGH_SHARE * len(head) or head.translate(None, _UNDEFINED_1252) != head:
        return None
    return head.decode("windows-1252"), "windows-1252"


def kind(text: str, *, wanted: str | None, whole: bool) -> str:
    """Which kind of text it is; `wanted` (by name or declaration) is taken if it is consistent."""
    found = _markup(text) or _json(text, whole=whole)
    if found in {JSON, JSONL} and wanted in {JSON, JSONL} and _both(text, whole=whole):
        return wanted
    if found is not None:
        return XML if (found, wanted) == (SVG, XML) else found
    if wanted in {JSON, JSONL, SVG, XML, HTML}:  # the bytes say no
        wanted = None
    return wanted or _table(text, whole=whole) or PLAIN


def _markup(text: str) -> str | None:
    """SVG, HTML or XML by the root element, with the prolog skipped."""
    at, xml, declared = 0, False, None
    while True:
        at += len(text[at : at + 4096]) - len(text[at : at + 4096].lstrip())
        if text.startswith("<?", at):
            xml, at = True, _after(text, "?>", at)
        elif text.startswith("<!--", at):
            at = _after(text, "-->", at)
        elif text[at : at + 9].lower() == "<!doctype":
            if text[at + 9 : at + 15].strip().lower().startswith("html"):
                return HTML
            xml, declared = True, _DOCTYPE.match(text, at)
            at = _after(text, ">", _after_subset(text, declared.end()) if declared else at)
        else:
            break
        if at < 0:  # the root is not in sight, but a DTD names it
            named = declared is not None and declared[1].lower() == "svg"
            return SVG if named else XML if xml else None
    root = re.match(r"<(?:[\w.-]{1,60}:)?([A-Za-z_][\w.-]{0,60})[\s/>]", text[at : at + 130])
    if root is None:
        return XML if xml else None
    name = root[1].lower()
    if name == "svg":
        return SVG
    if name in _HTML_TAGS and not xml:
        return HTML
    return XML if xml or _closed(text, root[1]) else None


def _after(text: str, end: str, at: int) -> int:
    found = text.find(end, at) if at >= 0 else -1
    return found + len(end) if found >= 0 else -1


def _after_subset(text: str, at: int) -> int:
    """Where the declarations of a DTD end that stands in the file; below zero: beyond the text."""
    while at >= 0 and (found := _SUBSET.search(text, at)) is not None:
        if found[0] == "]":
            return found.end()
        at = _after(text, "-->" if found[0] == "<!--" else found[0], found.end())
    return -1


def _closed(text: str, name: str) -> bool:
    return f"</{name}>" in text or "xmlns" in text[:4096]


def _json(text: str, *, whole: bool) -> str | None:
    """A JSON document or JSON lines; numbers, strings and the like alone are plain text."""
    start = text[:4096].lstrip()[:1]
    if start not in {"{", "["} or not start:
        return None
    if start == "{" and _lines_of_json(text, whole=whole) > 1:
        return JSONL
    if whole:
        return JSON if _parses(text) else None
    opening = re.match(r'\s*(?:\{\s*["}]|\[\s*["\d\[{\]tfn-])', text[:4096])
    return JSON if opening else None


def _lines_of_json(text: str, *, whole: bool) -> int:
    """How many of the first lines are JSON objects; 0 if one of them is not."""
    lines = [line for line in _lines(text, whole=whole) if line.strip()]
    good = all(line.lstrip().startswith("{") and _parses(line) for line in lines)
    return len(lines) if good else 0


def _both(text: str, *, whole: bool) -> bool:
    """Whether it is as well one document as one line of JSON lines."""
    return _lines_of_json(text, whole=whole) == 1 or not _lines(text, whole=whole)


def _lines(text: str, *, whole: bool) -> list[str]:
    lines = text.split("\n", _SAMPLE_ROWS)
    if len(lines) > _SAMPLE_ROWS or not whole:
        lines.pop()  # the rest, or a line that may be cut
    return lines


def _parses(text: str) -> bool:
    try:
        json.loads(text, parse_int=_ignored, parse_float=_ignored)
    except (ValueError, RecursionError):
        return False
    return True


def _ignored(digits: str) -> Any:
    del digits


def _table(text: str, *, whole: bool) -> str | None:
    """CSV or TSV, where the first rows have the same number of columns, at least two."""
    for delimiter, media_type in (("\t", TSV), (",", CSV), (";", CSV), ("|", CSV)):
        rows = rows_of(text, delimiter, whole=whole, most=_SAMPLE_ROWS)
        widths = {len(row) for row in rows}
        if len(widths) != 1 or widths == {1} or _is_prose(rows):
            continue
        if len(rows) > 1 or (not whole and _opens_cell(text, delimiter, *widths)):
            return media_type
    return None


def _is_prose(rows: list[list[str]]) -> bool:
    """Whether what separates them always stands before a blank, or at the end of a line."""
    return all(cell[:1] in {"", " "} for row in rows for cell in row[1:])


def _opens_cell(text: str, delimiter: str, width: int) -> bool:
    """Whether all that follows the first row is the begin of another, cut within quotes."""
    closed = rows_of(text + '"', delimiter)
    return not rows_of(text, delimiter) and len(closed) == 2 and len(closed[1]) <= width  # noqa: PLR2004 - the first and another


def rows_of(
    text: str, delimiter: str, *, whole: bool = True, most: int | None = None
) -> list[list[str]]:
    """The rows of a sample, blank ones left out; none where it is not CSV with this delimiter.

    Of a sample that is not `whole` the last row may be cut, and is left out. A row is no line:
    there may be newlines within quotes.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        for row in filter(None, reader):
            if len(rows) == most:
                return rows
            rows.append(row)
    except csv.Error as exc:
        cut = not whole and str(exc) == _CUT_IN_QUOTES
        return rows if cut or len(rows) == most else []
    return rows if whole else rows[:-1]
