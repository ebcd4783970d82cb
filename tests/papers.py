"""Office documents for tests, written by hand as small as the formats allow."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    ' xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
)
_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_TYPE = "application/vnd.openxmlformats-officedocument."

Parts = Mapping[str, str | bytes]


def zipped(parts: Parts) -> bytes:
    """A ZIP file; an entry `mimetype` is stored."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            method = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def relations(*targets: tuple[str, str], external: bool = False) -> str:
    """Of (kind, target), with the ids r1, r2 and so on."""
    mode = ' TargetMode="External"' if external else ""
    items = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/{kind}" Target="{target}"{mode}/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'{_XML}<Relationships xmlns="{_PACKAGE}relationships">{items}</Relationships>'


def _content_types(**overrides: str) -> str:
    items = "".join(
        f'<Override PartName="/{name}" ContentType="{_TYPE}{kind}+xml"/>'
        for name, kind in overrides.items()
    )
    return (
        f'{_XML}<Types xmlns="{_PACKAGE}content-types">'
        '<Default Extension="xml" ContentType="application/xml"/><Default Extension="rels"'
        f' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{items}</Types>'
    )


def docx_parts(*paragraphs: str, page_breaks: bool = False) -> dict[str, str | bytes]:
    """Parts of a DOCX; with `page_breaks` each paragraph is on a page of its own."""
    before = "<w:pPr><w:pageBreakBefore/></w:pPr>" if page_breaks else ""
    body = "".join(f"<w:p>{before}<w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return {
        "[Content_Types].xml": _content_types(
            **{"word/document.xml": "wordprocessingml.document.main"}
        ),
        "_rels/.rels": relations(("officeDocument", "word/document.xml")),
        "word/document.xml": f"{_XML}<w:document {_W}><w:body>{body}</w:body></w:document>",
    }


def docx(*paragraphs: str, page_breaks: bool = False) -> bytes:
    return zipped(docx_parts(*paragraphs, page_breaks=page_breaks))


def linked_docx(address: str) -> bytes:
    """With a picture, a template and a field for a text, all of them at this address."""
    parts = docx_parts("words of its own")
    picture = (
        '<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/'
        'wordprocessingDrawing"><wp:extent cx="900000" cy="900000"/><wp:docPr id="1" name="x"/>'
        '<a:graphic xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData'
        ' uri="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:pic xmlns:pic='
        '"http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:nvPicPr><pic:cNvPr id="1"'
        ' name="x"/><pic:cNvPicPr/></pic:nvPicPr><pic:blipFill><a:blip xmlns:r="'
        f'{_OFFICE}" r:link="r1"/></pic:blipFill><pic:spPr/></pic:pic></a:graphicData></a:graphic>'
        "</wp:inline></w:drawing></w:r></w:p>"
        f'<w:p><w:fldSimple w:instr=" INCLUDETEXT &quot;{address}&quot; "/></w:p>'
    )
    document = str(parts["word/document.xml"]).replace("</w:body>", f"{picture}</w:body>")
    parts["word/document.xml"] = document
    parts["word/_rels/document.xml.rels"] = relations(
        ("image", address), ("attachedTemplate", address), external=True
    )
    return zipped(parts)


def xlsx(*rows: tuple[str, ...]) -> bytes:
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    return zipped(
        {
            "[Content_Types].xml": _content_types(
                **{
                    "xl/workbook.xml": "spreadsheetml.sheet.main",
                    "xl/worksheets/sheet1.xml": "spreadsheetml.worksheet",
                }
            ),
            "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": (
                f'{_XML}<workbook {_S} xmlns:r="{_OFFICE}"><sheets>'
                '<sheet name="One" sheetId="1" r:id="r1"/></sheets></workbook>'
            ),
            "xl/_rels/workbook.xml.rels": relations(("worksheet", "worksheets/sheet1.xml")),
            "xl/worksheets/sheet1.xml": (
                f"{_XML}<worksheet {_S}><sheetData>{cells}</sheetData></worksheet>"
            ),
        }
    )


_MIMES = {"odt": "text", "ods": "spreadsheet", "odp": "presentation"}


def odf_parts(kind: str, text: str, **others: str) -> dict[str, str | bytes]:
    """Parts of an `odt`, `ods` or `odp` with one text, and others that the list of parts names."""
    mime = f"application/vnd.oasis.opendocument.{_MIMES[kind]}"
    spaces = " ".join(
        f'xmlns:{short}="{_ODF}{name}:1.0"'
        for short, name in (
            ("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
            ("svg", "svg-compatible"), ("presentation", "presentation"),
        )
    )  # fmt: skip
    paragraph = f"<text:p>{text}</text:p>"
    body = {
        "odt": paragraph,
        "ods": (
            '<table:table table:name="One"><table:table-row><table:table-cell'
            f' office:value-type="string">{paragraph}</table:table-cell></table:table-row>'
            "</table:table>"
        ),
        "odp": (
            '<draw:page draw:name="1" draw:master-page-name="m"><draw:frame svg:x="1cm" svg:y="1cm"'
            f' svg:width="20cm" svg:height="3cm"><draw:text-box>{paragraph}</draw:text-box>'
            "</draw:frame></draw:page>"
        ),
    }[kind]
    tag = f"office:{_MIMES[kind]}"
    listed = "".join(
        f'<manifest:file-entry manifest:full-path="{name}" manifest:media-type="text/xml"/>'
        for name in others
    )
    return {
        "mimetype": mime,
        "content.xml": (
            f'{_XML}<office:document-content {spaces} office:version="1.2"><office:body>'
            f"<{tag}>{body}</{tag}></office:body></office:document-content>"
        ),
        "META-INF/manifest.xml": (
            f'{_XML}<manifest:manifest xmlns:manifest="{_ODF}manifest:1.0">'
            f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{mime}"/>'
            '<manifest:file-entry manifest:full-path="content.xml"'
            f' manifest:media-type="text/xml"/>{listed}</manifest:manifest>'
        ),
        **others,
    }


def odf(kind: str, text: str) -> bytes:
    return zipped(odf_parts(kind, text))


def encrypted_odt() -> bytes:
    parts = odf_parts("odt", "secret")
    entry = '<manifest:file-entry manifest:full-path="content.xml"'
    parts["META-INF/manifest.xml"] = str(parts["META-INF/manifest.xml"]).replace(
        f'{entry} manifest:media-type="text/xml"/>',
        f'{entry} manifest:size="9"><manifest:encryption-data manifest:checksum="x"/>'
        "</manifest:file-entry>",
    )
    return zipped(parts)


def rtf(text: str) -> bytes:
    return rf"{{\rtf1\ansi {text}\par}}".encode("ascii")


def compound(streams: Mapping[str, bytes]) -> bytes:
    """A compound file (OLE storage) of version 3, its streams in the root folder."""
    end, free, table = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
    chains, sectors = [table, end, end], [b"", b"", b""]  # the table, and a folder of two sectors
    chains[1] = 2
    starts = []
    for data in streams.values():
        padded = data.ljust(4096, b"\0")
        padded += b"\0" * (-len(padded) % 512)
        starts.append((len(chains), len(padded)))
        count = len(padded) // 512
        chains += [*range(len(chains) + 1, len(chains) + count), end]
        sectors += [padded[at : at + 512] for at in range(0, len(padded), 512)]
    names = list(streams)
    entries = [_entry("Root Entry", 5, child=1 if names else free)]
    for number, (name, (start, size)) in enumerate(zip(names, starts, strict=True), 1):
        right = number + 1 if number < len(names) else free
        entries.append(_entry(name, 2, right=right, start=start, size=size))
    folder = b"".join(entries).ljust(1024, b"\0")
    sectors[0] = struct.pack("<128I", *chains, *([free] * (128 - len(chains))))
    sectors[1:3] = [folder[:512], folder[512:1024]]
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII109I",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        *(0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, 4096, end, 0, end, 0),
        *(0, *([free] * 108)),
    )
    return header + b"".join(sectors)


def _entry(
    name: str, kind: int, *, child: int = 0xFFFFFFFF, right: int = 0xFFFFFFFF,
    start: int = 0xFFFFFFFE, size: int = 0,
) -> bytes:  # fmt: skip
    text = name.encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBBIII36xIQ", text, len(text), kind, 1, 0xFFFFFFFF, right, child, start, size
    )
