from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

import papers
from fileproc.operations import BadInput, OutOfResources, Work, nesting
from fileproc.operations.document_to_pdf import ToPdf, _failure
from fileproc.operations.programs import Ended, Program, installed
from fileproc.operations.types import detect_file
from quines import quine
from samples import Ran, run

needs_office = pytest.mark.skipif(
    "soffice" not in installed(), reason="LibreOffice (Writer, Calc, Impress) is not installed"
)


def convert(folder: Path, data: bytes, name: str, **params: Any) -> Ran:
    folder.mkdir(exist_ok=True)
    return run("document.to_pdf", folder, data, name, **params)


def texts(ran: Ran) -> list[str]:
    with pypdfium2.PdfDocument(ran.path) as document:
        return [page.get_textpage().get_text_range().strip() for page in document]


def refused(folder: Path, data: bytes, name: str = "report") -> str:
    """The code; LibreOffice need not be there for it, as it is not started."""
    with pytest.raises(BadInput) as error:
        convert(folder, data, name)
    assert {path.name for path in folder.iterdir()} <= {"in", "out"}
    return error.value.job_code


@pytest.fixture(autouse=True)
def no_office_is_needed_to_refuse(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file must be refused before LibreOffice sees it, there is none to see it."""
    if request.node.get_closest_marker("skipif") is None:
        monkeypatch.setattr("samples.Work", without_office)


def without_office(*args: Any, **details: Any) -> Work:
    work = Work(*args, **details)
    work.programs = {"soffice": Program(Path("/nowhere/soffice.bin"))}
    return work


# --- content -----------------------------------------------------------------------------------


@needs_office
@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("Grüße.docx", papers.docx("words in a document"), "words in a document"),
        ("a.xlsx", papers.xlsx(("one", "two"), ("three", "four")), "one two\r\nthree four"),
        ("a.odt", papers.odf("odt", "an open text"), "an open text"),
        ("a.ods", papers.odf("ods", "an open cell"), "an open cell"),
        ("a.odp", papers.odf("odp", "an open slide"), "an open slide"),
        ("a.rtf", papers.rtf("a rich text"), "a rich text"),
    ],
)
def test_text_comes_out_as_it_went_in(name: str, data: bytes, text: str, tmp_path: Path) -> None:
    ran = convert(tmp_path, data, name)
    (page,) = texts(ran)
    assert page.endswith(text)  # of a sheet, a header comes first
    assert ran.work.outputs[0].name == Path(name).stem + ".pdf"
    assert detect_file(ran.path) == "application/pdf"
    assert ran.work.engine is not None
    assert ran.work.engine.startswith("LibreOffice ")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert ran.reports[-1] == ("done", 1, 1, "documents")


@needs_office
@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "source"), [("doc", "docx"), ("xls", "xlsx"), ("ppt", "odp")])
def test_documents_from_before_2007_are_told_by_their_streams(
    suffix: str, source: str, tmp_path: Path
) -> None:
    made = {
        "docx": papers.docx("from long ago"),
        "xlsx": papers.xlsx(("from long ago",)),
        "odp": papers.odf("odp", "from long ago"),
    }[source]
    (tmp_path / f"old.{source}").write_bytes(made)
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    to = ["--convert-to", suffix, "--outdir", str(tmp_path), str(tmp_path / f"old.{source}")]
    script = shutil.which("soffice")
    assert script is not None
    subprocess.run([script, profile, "--headless", *to], check=True, capture_output=True)
    data = (tmp_path / f"old.{suffix}").read_bytes()

    (tmp_path / "old").write_bytes(data)
    assert detect_file(tmp_path / "old") == "application/x-ole-storage"
    ran = convert(tmp_path / "work", data, f"old.{suffix}")
    assert texts(ran) == ["from long ago"]


@needs_office
def test_pages_are_chosen_and_others_are_not_there(tmp_path: Path) -> None:
    data = papers.docx("first", "second", "third", page_breaks=True)
    ran = convert(tmp_path / "a", data, "a.docx", pages="1,3", standard="pdf/a-2b")
    assert texts(ran) == ["first", "third"]
    assert b"pdfaid:part" in ran.data
    with pytest.raises(BadInput) as error:
        convert(tmp_path / "b", data, "a.docx", pages="5-6")
    assert error.value.job_code == "page_out_of_range"
    assert error.value.detail == "The document has no such pages: it has 3 pages."


@needs_office
@pytest.mark.parametrize(
    "data",
    [
        papers.zipped(papers.odf_parts("odt", "x") | {"content.xml": "<a"}),
        papers.zipped(papers.docx_parts("x") | {"_rels/.rels": "<a/>"}),
        b"{\\rtf1" + bytes(range(1, 255)) * 20,
    ],
)
def test_what_cannot_be_laid_out_is_damaged(data: bytes, tmp_path: Path) -> None:
    assert refused(tmp_path, data) == "corrupt_input"


# --- what LibreOffice never sees ---------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>'
XXE = '<!DOCTYPE a SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize("doctype", [BOMB, XXE, BOMB.lower()])
@pytest.mark.parametrize(
    "part", ["word/document.xml", "customXml/item1.xml", "docProps/x.bin", "_rels/.rels"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_xml_with_a_document_type_is_refused_wherever_it_is(
    doctype: str, part: str, encoding: str, tmp_path: Path
) -> None:
    for before in ("", '<?xml version="1.0"?>\n', f"<!--{'x' * 5_000}-->"):
        folder = tmp_path / str(len(before))
        data = papers.zipped(
            papers.docx_parts("x") | {part: f"{before}{doctype}<a/>".encode(encoding)}
        )
        assert refused(folder, data) == "xml_dtd"


def test_document_type_across_two_pieces_is_seen(tmp_path: Path) -> None:
    for shift in range(2**20 - 12, 2**20 + 2, 3):
        part = "<a>" + "".join(map(str, range(180_000)))[: shift - 3] + BOMB + "</a>"
        data = papers.zipped(papers.docx_parts("x") | {"word/document.xml": part})
        assert refused(tmp_path / str(shift), data) == "xml_dtd"


def test_document_inside_of_a_document_is_judged_as_well(tmp_path: Path) -> None:
    inner = papers.zipped({"xl/sheet.xml": f"{BOMB}<a/>"})
    for depth in range(3):
        data = papers.zipped(papers.docx_parts("x") | {"word/embeddings/inner.xlsx": inner})
        assert refused(tmp_path / str(depth), data) == "xml_dtd"
        inner = papers.zipped({"inner.xlsx": inner})
    data = papers.zipped(papers.docx_parts("x") | {"word/embeddings/inner.xlsx": inner})
    assert refused(tmp_path / "deep", data) == "archive_bomb"
    data = papers.zipped(papers.docx_parts("x") | {"word/embeddings/inner.zip": quine()})
    assert refused(tmp_path / "itself", data) == "archive_bomb"


def tables_in_tables(levels: int) -> str:
    return (
        "<w:tbl><w:tr><w:tc>" * levels + "<w:p/>" + "<w:p/></w:tc></w:tr></w:tbl>" * levels
    )  # each cell ends in a paragraph


def with_body(body: str, encoding: str = "utf-8", says: str = "") -> bytes:
    parts = papers.docx_parts("x")
    text = str(parts["word/document.xml"]).replace("</w:body>", f"{body}</w:body>")
    if says:
        text = text.replace('encoding="UTF-8"', f'encoding="{says}"')
    noise = random.Random(7).randbytes(9_000)  # what packs too well is refused for that
    return papers.zipped(parts | {"word/document.xml": text.encode(encoding), "a.bin": noise})


def test_tables_in_tables_without_end_are_refused(tmp_path: Path) -> None:
    """They are more than LibreOffice's stack holds, in whatever way they are written."""
    body = tables_in_tables(3_000)
    for number, data in enumerate(
        (
            with_body(body),
            with_body(f"<!-- {'</w:tbl>' * 9_000} -->{body}"),
            with_body(f'<w:p w:x="{">" * 99}"/><![CDATA[</a>]]>{body}'),
            with_body(body, "utf-16", "UTF-16"),
            with_body(body, "utf-8", "UTF-16"),  # which it is not
            with_body(f"<w:p>\xdf</w:p>{body}", "cp1252", "windows-1252"),
            papers.zipped(papers.docx_parts("x") | {"word/any": "<a>" * 201 + "</a>" * 201}),
            papers.zipped(papers.odf_parts("odt", "x") | {"content.xml": "<a>" * 5_000}),
            b"{\\rtf1 " + b"{\\b " * 600 + b"x" + b"}" * 601,
            b"{\\rtf1 {\\bin9 }}}}}}}}}" + b"{" * 600,
            b"{\\rtf1 \\pard\\intbl\\itap61 x}",
        )
    ):
        assert refused(tmp_path / str(number), data) == "document_too_complex", number
    with pytest.raises(BadInput) as error:
        convert(tmp_path / "said", with_body(body), "a.docx")
    assert error.value.detail == (
        "Elements of the part 'word/document.xml' lie within each other more than 200 levels deep,"
        " which is the most that is laid out; flatten the document."
    )


@needs_office
def test_tables_in_tables_as_people_make_them_are_laid_out(tmp_path: Path) -> None:
    assert convert(tmp_path / "a", with_body(tables_in_tables(12) + "<w:p/>"), "a").work.outputs


def test_braces_of_an_rtf_that_are_no_groups_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.rtf"
    path.write_bytes(rb"{\rtf1" + rb"\{" * 600 + rb"{\bin600 " + b"{" * 600 + b"}" + b"{}" * 600)
    nesting.check_rtf(path)
    path.write_bytes(rb"{\rtf1" + rb"\\{" * 600)
    with pytest.raises(BadInput):
        nesting.check_rtf(path)


def test_xml_in_an_encoding_that_hides_its_characters_is_refused(tmp_path: Path) -> None:
    hidden = '<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-<a/>'
    data = papers.zipped(papers.docx_parts("x") | {"word/document.xml": hidden})
    assert refused(tmp_path / "a", data) == "unsupported_variant"
    ebcdic = f'<?xml version="1.0"?>{BOMB}<a/>'.encode("cp037")
    data = papers.zipped(papers.docx_parts("x") | {"word/other": ebcdic})
    assert refused(tmp_path / "b", data) == "unsupported_variant"


@needs_office
def test_scripts_of_libreoffice_and_plain_drawings_do_no_harm(tmp_path: Path) -> None:
    """It gives its own scripts a document type; older programs give one to drawings."""
    drawing = (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/x.dtd">'
        '<svg xmlns="http://www.w3.org/2000/svg"/>'
    )
    script = '<!DOCTYPE library:libraries PUBLIC "-//x//EN" "libraries.dtd"><a/>'
    parts = {"Pictures/a.svg": drawing, "Basic/script-lc.xml": script}
    ran = convert(tmp_path, papers.zipped(papers.odf_parts("odt", "text", **parts)), "a.odt")
    assert texts(ran) == ["text"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (papers.encrypted_odt(), "password_required"),
        (papers.compound({"EncryptedPackage": b"x"}), "password_required"),
        (papers.compound({"WordDocument": bytes(11) + b"\x01"}), "password_required"),
        (
            papers.compound({"Workbook": b"\x09\x08\x02\x00\x00\x06\x2f\x00\x00\x00"}),
            "password_required",
        ),
        (
            papers.compound({"PowerPoint Document": b"x", "EncryptedSummary": b"x"}),
            "password_required",
        ),
        (papers.compound({"Something": b"x"}), "type_mismatch"),
        (papers.compound({})[:600], "corrupt_input"),
        (papers.compound({})[:512] + b"\xff" * 512, "corrupt_input"),
        (papers.docx("x")[:-100], "corrupt_input"),
        (papers.zipped({"a.txt": "x"}), "type_mismatch"),
        (papers.zipped(papers.docx_parts("x") | {"word/document.xml": "text"}), "corrupt_input"),
        (papers.zipped(papers.docx_parts("x") | {"../../etc/cron": "x"}), "unsafe_archive"),
        (papers.zipped(papers.docx_parts("x") | {"WORD/Document.xml": "<a/>"}), "unsafe_archive"),
        (papers.zipped(papers.docx_parts("x") | {"b.bin": bytes(50_000_000)}), "archive_bomb"),
    ],
)
def test_hostile_and_unlucky_files_are_refused(data: bytes, code: str, tmp_path: Path) -> None:
    assert refused(tmp_path, data) == code


def test_loops_in_a_compound_file_end(tmp_path: Path) -> None:
    data = bytearray(papers.compound({"A": b"x", "B": b"y"}))
    folder = 512 + 512
    data[folder + 128 + 68 : folder + 128 + 72] = (1).to_bytes(4, "little")  # left of A: itself
    assert refused(tmp_path / "tree", bytes(data)) == "type_mismatch"
    data[512 + 8 : 512 + 12] = (1).to_bytes(4, "little")  # the folder's second sector: its first
    assert refused(tmp_path / "chain", bytes(data)) == "corrupt_input"
    data[68:76] = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")  # a list of tables
    assert refused(tmp_path / "lists", bytes(data)) == "corrupt_input"


# --- how it ended ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (-6, "", "crashed"),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory"),
        (77, "", "crashed"),
        (1, "Unspecified Application Error", "crashed"),
        (-9, "", "killed"),
        (-25, "", "scratch_full"),
        (1, "terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory"),
        (127, "error while loading shared libraries: libfoo.so", "program_missing"),
        (0, "Error: source file could not be loaded", "corrupt_input"),
        (1, "", "corrupt_input"),
    ],
)
def test_every_end_without_a_pdf_has_a_code(code: int, said: str, expected: str) -> None:
    assert _failure(Ended(code, said), ToPdf()).job_code == expected
    assert isinstance(_failure(Ended(-9, ""), ToPdf()), OutOfResources)


@pytest.mark.parametrize("pages", ["", "0", "1-", "-1", "1,", "a", "1;2", '1"}', "1" * 8])
def test_pages_that_are_none_are_refused(pages: str) -> None:
    with pytest.raises(ValueError, match="pages"):
        ToPdf(pages=pages)
