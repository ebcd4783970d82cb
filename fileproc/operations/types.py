"""The type of a file: from its bytes, never from its name alone.

Binary types come from signatures. Among the kinds of text the name's extension (or the declared
type) chooses, if the bytes are consistent with it: nothing tells a CSV of one column from a note.
Binary data never becomes text by its name, and text never becomes binary. What a ZIP file holds is
told by the names of its first entries.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fileproc.operations import directories, texts
from fileproc.operations.signatures import binary_type

HEAD_BYTES: Final = 65_536
UNKNOWN: Final = "application/octet-stream"
PARQUET: Final = "application/vnd.apache.parquet"
_OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX: Final = _OFFICE + "wordprocessingml.document"
XLSX: Final = _OFFICE + "spreadsheetml.sheet"
PPTX: Final = _OFFICE + "presentationml.presentation"

# The first extension of a type is the one we write.
_EXTENSIONS: dict[str, tuple[str, ...]] = {
    "image/jpeg": ("jpg", "jpeg", "jpe"),
    "image/png": ("png",),
    "image/gif": ("gif",),
    "image/webp": ("webp",),
    "image/avif": ("avif",),
    "image/heic": ("heic", "heif"),
    "image/tiff": ("tif", "tiff"),
    "image/bmp": ("bmp",),
    "image/jxl": ("jxl",),
    "image/jp2": ("jp2", "j2k"),
    texts.SVG: ("svg",),
    "application/pdf": ("pdf",),
    "application/zip": ("zip",),
    "application/gzip": ("gz", "tgz"),
    "application/zstd": ("zst",),
    "application/x-bzip2": ("bz2",),
    "application/x-xz": ("xz",),
    "application/x-brotli": ("br",),
    "application/x-7z-compressed": ("7z",),
    "application/vnd.rar": ("rar",),
    "application/x-tar": ("tar",),
    DOCX: ("docx",),
    XLSX: ("xlsx",),
    PPTX: ("pptx",),
    "application/rtf": ("rtf",),
    "application/epub+zip": ("epub",),
    "application/vnd.oasis.opendocument.text": ("odt",),
    "application/vnd.oasis.opendocument.spreadsheet": ("ods",),
    "application/vnd.oasis.opendocument.presentation": ("odp",),
    "video/mp4": ("mp4", "m4v"),
    "video/quicktime": ("mov",),
    "video/webm": ("webm",),
    "video/x-matroska": ("mkv",),
    "video/x-msvideo": ("avi",),
    "video/ogg": ("ogv",),
    "audio/mpeg": ("mp3",),
    "audio/flac": ("flac",),
    "audio/ogg": ("ogg", "oga", "opus"),
    "audio/wav": ("wav",),
    "audio/aac": ("aac",),
    "audio/mp4": ("m4a",),
    PARQUET: ("parquet",),
    "application/vnd.apache.arrow.file": ("arrow", "feather"),
    texts.CSV: ("csv",),
    texts.TSV: ("tsv", "tab"),
    texts.JSONL: ("jsonl", "ndjson"),
    texts.JSON: ("json", "geojson"),
    texts.XML: ("xml",),
    texts.HTML: ("html", "htm"),
    texts.PLAIN: ("txt", "text", "log"),
    "text/markdown": ("md", "markdown"),
    "application/yaml": ("yaml", "yml"),
}
_TYPES = {extension: media for media, many in _EXTENSIONS.items() for extension in many}
_MOST_SAID = 100  # bytes of an entry `mimetype`
_LOCAL = struct.Struct("<6xHH8xI4xHH")  # flags, method, packed size, lengths of name and extra
_SIZE_FOLLOWS = 8  # the flag that the size stands behind the content
_OFFICE_PART = re.compile(
    rb"(xl)/(?:_rels/workbook\.xml\.rels"
    rb"|(?:workbook|styles|sharedStrings|theme/theme\d+|worksheets/sheet\d+)\.xml)"
    rb"|(word)/(?:_rels/document\.xml\.rels|(?:document|styles|settings|theme/theme\d+)\.xml)"
    rb"|(ppt)/(?:_rels/presentation\.xml\.rels"
    rb"|(?:presentation|presProps|theme/theme\d+|slides/slide\d+)\.xml)"
)
_TEXT_KINDS = frozenset(
    {
        texts.CSV,
        texts.TSV,
        texts.JSONL,
        texts.JSON,
        texts.XML,
        texts.HTML,
        texts.SVG,
        texts.PLAIN,
        "text/markdown",
        "application/yaml",
    }
)
# Types that are ZIP files, which the first entries may not show.
_ZIPS = frozenset({"docx", "xlsx", "pptx", "epub", "odt", "ods", "odp"})
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/x-flac": "audio/flac",
    "application/jsonl": texts.JSONL,
    "application/json-lines": texts.JSONL,
    "application/x-jsonlines": texts.JSONL,
    "application/csv": texts.CSV,
    "text/xml": texts.XML,
}


def detect(head: bytes, *, name: str | None, declared: str | None, whole: bool) -> str:
    """The media type of a file, in time linear in `head`.

    Args:
        head: its first bytes, at most 64 KiB are looked at.
        name: the client's name for it; chooses among the kinds of text only.
        declared: the client's Content-Type; does so where the name has no extension we know.
        whole: `head` is the whole file.
    """
    whole = whole and len(head) <= HEAD_BYTES
    head = head[:HEAD_BYTES]
    if not head:
        return UNKNOWN
    if found := binary_type(head):
        return _container_type(head) if found == "application/zip" else found
    decoded = texts.decode(head, whole=whole)
    if decoded is None:
        return UNKNOWN
    return texts.kind(decoded[0], wanted=_wanted(name, declared), whole=whole)


def detect_file(path: Path, name: str | None = None, declared: str | None = None) -> str:
    """`detect` for a file on disk; ZIP containers are told apart."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        whole = not file.read(1)
    found = detect(head, name=name, declared=declared, whole=whole)
    return classify_zip(path) if found == "application/zip" else found


def _wanted(name: str | None, declared: str | None) -> str | None:
    by_name = type_for_extension(Path(name).suffix) if name else None
    said = (declared or "").partition(";")[0].strip().lower()
    for media_type in (by_name, _ALIASES.get(said, said)):
        if media_type in _TEXT_KINDS:
            return media_type
    return None


def agrees(declared: str, detected: str) -> bool:
    """Whether a file that is said to be `declared` may be what was detected.

    What we could have recognised must have been; of other types we can only tell that they are no
    picture, no film, nor anything else that has a signature. Containers tell little of themselves,
    and what a film without pictures is called is a matter of taste.
    """
    said = declared.partition(";")[0].strip().lower()
    said = _ALIASES.get(said, said)
    if said in {UNKNOWN, "binary/octet-stream", detected}:
        return True
    if detected == "application/zip":
        return said not in _EXTENSIONS or _EXTENSIONS[said][0] in _ZIPS
    if said not in _EXTENSIONS:
        return detected == UNKNOWN or detected in _TEXT_KINDS
    kinds = {said.partition("/")[0], detected.partition("/")[0]}
    return kinds == {"audio", "video"} and said.partition("/")[2] == detected.partition("/")[2]


def type_for_extension(extension: str) -> str | None:
    """The media type that goes by this extension (with or without the dot), if we know it."""
    return _TYPES.get(extension.lower().lstrip("."))


def extension_for_type(media_type: str) -> str:
    """The extension that we write for a type, with its dot; `.bin` where we know none."""
    return "." + _EXTENSIONS.get(media_type, ("bin",))[0]


def classify_zip(path: Path) -> str:
    """What a ZIP file holds: docx, xlsx, pptx, epub, OpenDocument, or just files.

    Only the list of entries is read (and an entry `mimetype` that is stored as it is), no XML.
    """
    try:
        with directories.opened(path) as archive:
            return _whole_container(archive)
    except (directories.TooLong, zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return "application/zip"


def _whole_container(archive: zipfile.ZipFile) -> str:
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        for marker, media_type in (
            ("word/document.xml", DOCX),
            ("xl/workbook.xml", XLSX),
            ("ppt/presentation.xml", PPTX),
        ):
            if marker in names:
                return media_type
    if "mimetype" in names:
        info = archive.getinfo("mimetype")
        if info.compress_type == zipfile.ZIP_STORED and info.file_size < _MOST_SAID:
            return _said_type(archive.read(info))
    return "application/zip"


def _said_type(said: bytes) -> str:
    """What an entry `mimetype` says, if it is of a kind that says so."""
    text = said.decode("ascii", "replace").strip()
    known = text == "application/epub+zip" or text.startswith("application/vnd.oasis.opendocument.")
    return text if known else "application/zip"


def _container_type(head: bytes) -> str:
    """What a ZIP file holds, by the entries at its beginning: all that there is of an upload."""
    for name, method, body in _first_entries(head):
        if name == b"mimetype" and method == zipfile.ZIP_STORED and len(body) < _MOST_SAID:
            return _said_type(body)
        if found := _OFFICE_PART.fullmatch(name):
            return {b"xl": XLSX, b"word": DOCX, b"ppt": PPTX}[found[1] or found[2] or found[3]]
    return "application/zip"


def _first_entries(head: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, method and packed content (as far as it is there) of one entry after the other.

    What is inside of an entry is skipped, as that may be another ZIP file (APPNOTE.TXT, 4.3.7).
    """
    at = 0
    while head.startswith(b"PK\x03\x04", at) and at + _LOCAL.size <= len(head):
        flags, method, size, name_bytes, extra_bytes = _LOCAL.unpack_from(head, at)
        start = at + _LOCAL.size
        body = start + name_bytes + extra_bytes
        yield head[start : start + name_bytes], method, head[body : body + size]
        at = body + size
        if flags & _SIZE_FOLLOWS and not size:
            if method == zipfile.ZIP_STORED:
                return
            at = max(head.find(b"PK\x03\x04", body), body)
