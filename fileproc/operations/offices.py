"""Office documents, judged and unpacked before LibreOffice sees them.

A ZIP container is unpacked by our own bounded reader and packed anew, without compression: two
readers of ZIP can see two files in one. On the way every part that is XML is searched for a
document type (DTD) and for elements that lie too deep, also in documents inside the document;
macros are left out.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from fileproc.operations import archives, compound, nesting, types, zips
from fileproc.operations.archives import Content, Entry, Kind
from fileproc.operations.compression import Meter
from fileproc.operations.work import BadInput, Work

RTF: Final = "application/rtf"
_ODF = "application/vnd.oasis.opendocument."
ODT: Final = _ODF + "text"
ODS: Final = _ODF + "spreadsheet"
ODP: Final = _ODF + "presentation"
MODERN: Final = (types.DOCX, types.XLSX, types.PPTX, ODT, ODS, ODP)
OFFICE: Final = (*MODERN, RTF, compound.OLE)

_DEPTH = 3  # documents in documents in documents
_LOOK_BYTES = 1024  # of a part, to tell whether it is XML
_OVERLAP = 64  # bytes of a chunk that are searched again with the next one
_DTD = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
# Pictures name the standard's definition, as older programs write it. It is never fetched.
_PLAIN_SVG = re.compile(
    rb"<!DOCTYPE\s+svg(?:\s+(?:PUBLIC|SYSTEM)(?:\s+(?:\"[^\"<>\[]*\"|'[^'<>\[]*')){1,2})?\s*>"
)
_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
# Those in which the characters of a declaration are the bytes of ASCII, with or without NULs.
_ENCODINGS = re.compile(
    rb"utf-?8|utf-?16(le|be)?|us-ascii|ascii|iso-8859-\d{1,2}|windows-125\d|cp125\d", re.IGNORECASE
)
_EBCDIC = b"\x4c\x6f\xa7\x94"  # "<?xm", by which libxml2 knows it
# Folders of scripts, in OpenDocument; LibreOffice gives them a DTD as well.
_SCRIPTS = re.compile(r"(?:Basic|Dialogs|Scripts|Configurations2)/.*")
_MACROS = re.compile(r"(?:\w+/)*vba(?:Project\.bin|Data\.xml)", re.IGNORECASE)


def type_of(work: Work) -> str:
    """What the input is, of the types that can be converted.

    Raises:
        BadInput: `corrupt_input`, `password_required` or `type_mismatch`.
    """
    found = work.input.type
    if found == compound.OLE:
        kind = compound.kind_of(work.input.path)
        if kind.encrypted:
            raise _encrypted()
        found = kind.type or found
    if found not in {*MODERN, RTF, compound.DOC, compound.XLS, compound.PPT}:
        raise BadInput(f"Files of type {found} cannot be converted here.", code="type_mismatch")
    return found


def _encrypted() -> BadInput:
    return BadInput(
        "The document is encrypted; save it without a password first.", code="password_required"
    )


def unpack(work: Work, target: Path) -> None:
    """Copy the input, a ZIP container, without compression, without macros, every part judged.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `document_too_complex`, `password_required`,
            `unsafe_archive`, `unsupported_variant` or `xml_dtd`.
    """
    meter = Meter.of(work)
    with zips.opened(work.input.path) as source, zipfile.ZipFile(target, "w") as copy:
        for done, (entry, content) in enumerate(_parts(source, meter), 1):
            work.progress(done, len(source.infolist()), unit="parts", phase="check")
            if _is_left_out(entry):
                _read(content)
                continue
            with copy.open(zipfile.ZipInfo(entry.path), "w", force_zip64=True) as part:
                judge = _Judge(entry)
                for piece in content():
                    judge.see(piece)
                    part.write(piece)
                judge.end()
            if judge.is_zip:
                _judge_inner(work, entry, content, meter, _DEPTH)


def _parts(source: zipfile.ZipFile, meter: Meter) -> Iterator[tuple[Entry, Content]]:
    """The files of a container, their names judged.

    Raises:
        BadInput: `archive_bomb`, `password_required` or `unsafe_archive`.
    """
    names = archives.Names()
    for entry, content in zips.entries(source, meter, None):
        if entry.encrypted:
            raise _encrypted()
        if entry.kind is Kind.DIRECTORY:
            continue
        names.take(entry)
        yield entry, content


def _is_left_out(entry: Entry) -> bool:
    return bool(_SCRIPTS.fullmatch(entry.path) or _MACROS.fullmatch(entry.path))


def _read(content: Content) -> None:
    for _ in content():
        pass


def _judge_inner(work: Work, entry: Entry, content: Content, meter: Meter, depth: int) -> None:
    """Judge a document inside of the document as the document itself.

    Raises:
        BadInput: as `unpack`.
    """
    if not depth:
        raise BadInput(
            f"The entry {entry.shown} is a document in a document, too deep to be looked at.",
            code="archive_bomb",
        )
    path = work.folder / f"inner-{depth}"
    try:
        with path.open("wb") as file:
            _write(content, file)
        with zips.opened(path) as source:
            for inner, inside in _parts(source, meter):
                judge = _Judge(inner)
                for piece in inside():
                    judge.see(piece)
                judge.end()
                if judge.is_zip:
                    _judge_inner(work, inner, inside, meter, depth - 1)
    finally:
        path.unlink(missing_ok=True)


def _write(content: Content, file: IO[bytes]) -> None:
    for piece in content():
        file.write(piece)


class _Judge:
    """Sees the pieces of one part, and raises for what must not reach LibreOffice.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`,
            `unsupported_variant` or `xml_dtd`.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._is_manifest = entry.path == "META-INF/manifest.xml"
        self._head: bytes | None = b""  # None: it was looked at
        self._tail = b""
        self._elements: nesting.Elements | None = None  # None: it is no XML
        self.is_zip = False

    def see(self, piece: bytes) -> None:
        if self._head is None:
            self._search(piece, piece)
            return
        self._head += piece
        if len(self._head) >= _LOOK_BYTES:
            self.end()

    def end(self) -> None:
        """There is no more of it, or enough to tell what it is."""
        if self._head is None:
            return
        head, self._head = self._head, None
        self.is_zip = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
        plain = head.replace(b"\0", b"").removeprefix(b"\xef\xbb\xbf")
        plain = plain.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").lstrip()
        is_xml = plain.startswith(b"<")
        declared = _ENCODING.match(plain)
        if head.startswith(_EBCDIC) or (declared and not _ENCODINGS.fullmatch(declared[1])):
            raise BadInput(
                f"The part {self._entry.shown} is XML in an encoding that is not read here.",
                code="unsupported_variant",
            )
        if head and not is_xml and self._entry.path.endswith((".xml", ".rels")):
            raise BadInput(  # LibreOffice would make an empty page of it
                f"The part {self._entry.shown} is not the XML that it should be.",
                code="corrupt_input",
            )
        if is_xml:
            # What has NULs is told from its first bytes. What has none is no UTF-16, say what it
            # may: LibreOffice knows that too.
            says = declared[1].decode() if declared else "utf-8"
            eight_bits = "utf-8" if says.lower().startswith("utf") else says
            encoding = None if b"\0" in head else eight_bits
            self._elements = nesting.Elements(self._entry.shown, encoding)
        self._search(_PLAIN_SVG.sub(b"", plain, count=1), head)

    def _search(self, shown: bytes, piece: bytes) -> None:
        """Look at what comes next: `piece`, without what may stand at the beginning in `shown`."""
        if self._elements is None:
            return
        text = self._tail + shown.replace(b"\0", b"")
        if _DTD.search(text):
            raise BadInput(
                f"The part {self._entry.shown} declares a document type (DTD); such XML is not"
                " parsed.",
                code="xml_dtd",
            )
        if self._is_manifest and b"encryption-data" in text:
            raise _encrypted()
        self._tail = text[-_OVERLAP:]
        self._elements.see(piece)
