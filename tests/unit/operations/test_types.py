from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fileproc.operations import types
from fileproc.operations.types import classify_zip, detect, detect_file
from samples import BY_TYPE, archive, card, flac, jpeg, mp4, saved, wav

ODT = "application/vnd.oasis.opendocument.text"
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44,100 Hz
ADTS_FRAME = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)  # AAC, 16 bytes a frame

SIGNATURES = [
    (b"II*\x00\x08\x00\x00\x00", "image/tiff"),
    (b"MM\x00*\x00\x00\x00\x08", "image/tiff"),
    (b"\xff\x0a\xfa\x7f", "image/jxl"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
    (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00miafavif", "image/avif"),
    (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "video/quicktime"),
    (b"\x00\x00\x00\x14ftypM4A \x00\x00\x00\x00M4A ", "audio/mp4"),
    (mp4(), "video/mp4"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", "video/x-matroska"),
    (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
    (wav(), "audio/wav"),
    (flac(), "audio/flac"),
    (b"ID3\x04\x00\x00\x00\x00\x00\x00", "audio/mpeg"),
    (MP3_FRAME * 3, "audio/mpeg"),
    (ADTS_FRAME * 3, "audio/aac"),
    (b"OggS\x00\x02" + bytes(22) + b"\x01vorbis", "audio/ogg"),
    (b"\x1f\x8b\x08\x00" + bytes(6), "application/gzip"),
    (b"\x28\xb5\x2f\xfd\x04\x00", "application/zstd"),
    (b"BZh91AY&SY\x00\x00", "application/x-bzip2"),
    (b"\xfd7zXZ\x00\x00\x04", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c\x00\x04", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/vnd.rar"),
    (bytes(257) + b"ustar\x0000" + bytes(300), "application/x-tar"),
    (b"PAR1\x15\x04\x15\x10", "application/vnd.apache.parquet"),
    (b"ARROW1\x00\x00\xff\xff", "application/vnd.apache.arrow.file"),
    (b"\x7fELF\x02\x01\x01\x00", "application/x-elf"),
    (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe\x00\x00\x00\x41", "application/java-vm"),
    (b"MZ\x90\x00\x03" + bytes(80), "application/vnd.microsoft.portable-executable"),
    (b"junk before\n%PDF-1.7\n%\xe2\xe3", "application/pdf"),
]
TEXTS = [
    (b"hello", "text/plain"),
    (b"caf\xe9 au lait, s'il vous pla\xeet", "text/plain"),
    (b"\xff\xfea\x00b\x00", "text/plain"),
    (b"a,b\n1,2\n", "text/csv"),
    (b"a;b\r\n1;2\r\n", "text/csv"),
    (b"a\tb\n1\t2\n", "text/tab-separated-values"),
    (b"Dear you, how are you?\nWell, I am fine.\n", "text/plain"),
    (b'{"a": 1}', "application/json"),
    (b"[1, 2]", "application/json"),
    (b'{"a":1}\n{"a":2}\n', "application/x-ndjson"),
    (b"{not json", "text/plain"),
    (b"<!doctype html><p>x", "text/html"),
    (b"\n  <html><body>", "text/html"),
    (b"<script>alert(1)</script>", "text/html"),
    (b'<?xml version="1.0"?><a/>', "application/xml"),
    (b'<?xml version="1.0"?>\n<!-- c -->\n<svg xmlns="http://x.org/svg"/>', "image/svg+xml"),
    (b'<!DOCTYPE svg PUBLIC "x" "y"><svg></svg>', "image/svg+xml"),
    (b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    (b"MZ begins this note", "text/plain"),
    (b"BM is no bitmap", "text/plain"),
]  # fmt: skip
UNKNOWN = [b"", b"\x00\x01\x02\x03", b"abc\x00def", b"\x93\x81\x8d\xff\xfe\x90" * 20]


@pytest.mark.parametrize(("data", "expected"), [*SIGNATURES, *TEXTS])
def test_bytes_alone_say_the_type(data: bytes, expected: str) -> None:
    assert detect(data, name=None, declared=None, whole=True) == expected


BREAKS = b"id,city,note\n" + b"".join(b'%d,Oslo,"line\nbreak"\n' % n for n in range(40))
HUGE = b'id;note;size\r\n1;"' + b"word, word\r\n" * 9_000


@pytest.mark.parametrize("length", [*range(350, 390), len(BREAKS)])
def test_table_with_newlines_in_quotes_is_a_table_wherever_the_sample_ends(length: int) -> None:
    whole = length == len(BREAKS)
    assert detect(BREAKS[:length], name=None, declared=None, whole=whole) == "text/csv"


def test_table_is_known_by_its_head_and_a_cell_of_many_lines() -> None:
    assert detect(HUGE, name="a", declared=None, whole=False) == "text/csv"
    assert detect(HUGE + b'";9\r\n', name="a", declared=None, whole=True) == "text/csv"


@pytest.mark.parametrize(
    "dtd",
    [
        "[<!ENTITY a 'b'>]",
        "[ <!-- don't ]> --> <!ENTITY a ']><note>'> ] ",
        'PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/a.dtd" [<!ENTITY a "b">]',
        "SYSTEM 'a.dtd' [<!ENTITY % a SYSTEM 'b'> %a;]",
        "[<!ENTITY a 'b'> " + " " * 70_000,
        "[<!ENTITY a '" + "b" * 70_000,
        "",
    ],
)
def test_drawing_with_a_document_type_is_a_drawing(dtd: str) -> None:
    drawing = f"<?xml version='1.0'?>\n<!DOCTYPE svg {dtd}>\n<svg xmlns='x'>&a;</svg>".encode()
    cut = len(drawing) > 60_000
    assert detect(drawing, name=None, declared=None, whole=not cut) == "image/svg+xml"
    note = drawing.replace(b"svg", b"note")
    assert detect(note, name=None, declared=None, whole=not cut) == "application/xml"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        '"Well, hello," she said,\nand went.\n"No, really," said he, "no."\n',
        "Roses are red,\nviolets are blue,\n" * 9,
        "x = 1;\ny = 2;\nz = 3;\n",
        "| a | b |\n| - | - |\n| 1 | 2 |\n",
        '"a, b\nand c, d\n' * 9,
        "One thing,another\n" + "and so on\n" * 9_000,
        'One thing,another\n"And " so on\n' + "and so on\n" * 9_000,
    ],
)
def test_prose_and_programs_are_no_tables(text: str, whole: bool) -> None:
    assert detect(text.encode(), name=None, declared=None, whole=whole) == "text/plain"


@pytest.mark.parametrize("media_type", BY_TYPE)
def test_real_files_are_known_whatever_they_are_called(media_type: str, tmp_path: Path) -> None:
    data, name = BY_TYPE[media_type]()
    path = tmp_path / "f"
    path.write_bytes(data)
    assert detect_file(path, name) == media_type
    if not media_type.startswith("text/"):
        assert detect_file(path, "lie.txt", "text/csv") == media_type


@pytest.mark.parametrize("data", UNKNOWN)
@pytest.mark.parametrize("name", [None, "a.csv", "a.jpg", "a.json", "a.svg", "a.txt"])
def test_binary_never_becomes_text_or_a_picture_by_its_name(data: bytes, name: str | None) -> None:
    assert detect(data, name=name, declared="text/plain", whole=True) == types.UNKNOWN


@pytest.mark.parametrize(
    ("data", "name", "declared", "expected"),
    [
        (b"one column\nof words\n", "a.csv", None, "text/csv"),
        (b"one column\nof words\n", "a.CSV", None, "text/csv"),
        (b"one column\nof words\n", None, "text/csv; charset=utf-8", "text/csv"),
        (b"one column\nof words\n", "a.tsv", "text/csv", "text/tab-separated-values"),
        (b"one column\nof words\n", "a.jpg", "image/jpeg", "text/plain"),
        (b"a,b\n1,2\n", "a.txt", None, "text/plain"),
        (b"a,b\n1,2\n", "a.json", None, "text/csv"),
        (b'{"a":1}\n', "a.jsonl", None, "application/x-ndjson"),
        (b'{"a":1}\n', "a.json", None, "application/json"),
        (b'{"a":1}\n{"a":2}\n', "a.json", None, "application/x-ndjson"),
        (b"<svg></svg>", "a.csv", None, "image/svg+xml"),
        (b"<svg></svg>", "a.xml", None, "application/xml"),
        (b"# Title\n", "a.md", None, "text/markdown"),
        (b"GIF89a/*<script>alert(1)</script>*/", "a.html", "text/html", "image/gif"),
        (jpeg() + b"<html>", "a.html", None, "image/jpeg"),
        (b"%PDF-1.4\n" + archive("a"), "a.zip", None, "application/pdf"),
    ],
)
def test_name_and_declaration_choose_among_kinds_of_text_only(
    data: bytes, name: str | None, declared: str | None, expected: str
) -> None:
    assert detect(data, name=name, declared=declared, whole=True) == expected


def test_character_cut_at_the_end_of_the_head_does_not_make_text_binary() -> None:
    head = ("é" * 40_000).encode()[: types.HEAD_BYTES + 1]
    assert detect(head, name=None, declared=None, whole=False) == "text/plain"


@given(
    head=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    name=st.none() | st.text(max_size=20),
    declared=st.none() | st.text(max_size=20),
    whole=st.booleans(),
)
def test_any_bytes_have_a_type(
    head: bytes, name: str | None, declared: str | None, *, whole: bool
) -> None:
    assert "/" in detect(head, name=name, declared=declared, whole=whole)


@pytest.mark.parametrize(
    "unit", [b"[", b'{"a":', b"<", b"<!--", b"<?a?>", b'"', b'a,"', b"1", b" ", b"<!DOCTYPE "]
)
def test_hostile_repetitions_have_a_type(unit: bytes) -> None:
    head = (unit * types.HEAD_BYTES)[: types.HEAD_BYTES]
    for whole in (True, False):
        assert "/" in detect(head, name="a.json", declared=None, whole=whole)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("[Content_Types].xml", "word/document.xml"), types.DOCX),
        (("[Content_Types].xml", "xl/workbook.xml"), types.XLSX),
        (("[Content_Types].xml", "ppt/presentation.xml"), types.PPTX),
        (("[Content_Types].xml",), "application/zip"),
        (("word/document.xml",), "application/zip"),
        (("a.txt",), "application/zip"),
    ],
)
def test_zip_containers_are_told_apart(
    names: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(archive(*names))
    assert classify_zip(path) == expected
    path.write_bytes(archive(*names)[:-30])  # damaged, yet no crash
    assert classify_zip(path) == "application/zip"


@pytest.mark.parametrize("far", [0, 17 * 1024 * 1024])
def test_list_of_a_large_zip64_file_is_read_where_its_record_says(far: int, tmp_path: Path) -> None:
    data = archive("[Content_Types].xml", "word/document.xml")
    path = tmp_path / "file"
    path.write_bytes(as_zip64(bytes(far) + data))
    assert classify_zip(path) == types.DOCX


def test_list_that_only_one_of_two_records_calls_long_is_not_read(tmp_path: Path) -> None:
    """The library believes the record of zip64, whatever the usual one says."""
    path = tmp_path / "file"
    names = ("[Content_Types].xml", "word/document.xml")
    for size in (20 * 1024 * 1024, 2**62):
        padded = bytes(20 * 1024 * 1024) + archive(*names)
        path.write_bytes(as_zip64(padded, size=size))
        assert classify_zip(path) == "application/zip"


def as_zip64(data: bytes, size: int | None = None) -> bytes:
    """A ZIP file whose list is found by the records of zip64 only (APPNOTE.TXT, 4.3.14)."""
    assert data[-22:].startswith(b"PK\5\6")
    count, listed, start = struct.unpack("<10xHII2x", data[-22:])
    start += len(data) - 22 - start - listed  # zeros may stand before it
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count,
                      listed if size is None else size, start)  # fmt: skip
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22, 1)
    usual = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    return data[:-22] + end + locator + usual


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((("[Content_Types].xml", b"<a/>"), ("xl/workbook.xml", b"")), types.XLSX),
        ((("xl/worksheets/sheet1.xml", b"x" * 200_000),), types.XLSX),
        ((("_rels/.rels", b""), ("word/document.xml", b"")), types.DOCX),
        ((("docProps/app.xml", b""), ("ppt/slides/slide1.xml", b"")), types.PPTX),
        ((("mimetype", ODT.encode()), ("content.xml", b"")), ODT),
        ((("mimetype", b"application/epub+zip"),), "application/epub+zip"),
        ((("mimetype", b"text/html"),), "application/zip"),
        ((("mimetype", b"application/epub+zip" * 9),), "application/zip"),
        ((("xl/notes.xml", b""), ("word/list.xml", b"")), "application/zip"),
        ((("in.xlsx", archive("xl/workbook.xml")),), "application/zip"),  # not what lies inside
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_office_documents_are_known_by_their_first_entries(
    parts: tuple[tuple[str, bytes], ...], expected: str, *, streamed: bool
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer if not streamed else Unseekable(buffer), "w") as file:
        for name, data in parts:
            method = zipfile.ZIP_DEFLATED if "/" in name or "[" in name else zipfile.ZIP_STORED
            file.writestr(name, data, method)
    data = buffer.getvalue()
    found = detect(data, name=None, declared=None, whole=True)
    if streamed and expected in {ODT, "application/epub+zip"}:
        assert found == "application/zip"  # both demand a first entry of known size
    else:
        assert found == expected
    for end in range(0, min(len(data), 300), 7):
        assert "/" in detect(data[:end], name=None, declared=None, whole=False)


class Unseekable(io.RawIOBase):
    """What makes zipfile write the sizes behind the content."""

    def __init__(self, target: io.BytesIO) -> None:
        self.target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self.target.write(data)


def test_extensions_and_types_go_both_ways() -> None:
    assert types.type_for_extension(".JPG") == "image/jpeg"
    assert types.type_for_extension("jpeg") == "image/jpeg"
    assert types.type_for_extension(".exe") is None
    assert types.extension_for_type("image/jpeg") == ".jpg"
    assert types.extension_for_type("application/x-odd") == ".bin"


def test_bitmap_is_known_by_the_size_of_its_header() -> None:
    data = saved(card(8, 8), "BMP")
    assert detect(data, name=None, declared=None, whole=True) == "image/bmp"
