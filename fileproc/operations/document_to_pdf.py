"""`document.to_pdf`: an office document as PDF."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fileproc.errors import JobError
from fileproc.operations import compound, nesting, offices, programs, types
from fileproc.operations.offices import OFFICE, RTF
from fileproc.operations.programs import Ended, Program
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import BadInput, OutOfResources, Work

NAME: Final = "soffice"
_RESTART = 81  # EXITHELPER_NORMAL_RESTART, in desktop/source/app/app.cxx of LibreOffice
_CRASHED = {77, 79}  # a fatal error (333, as a byte), and EXITHELPER_CRASH_WITH_RESTART
_STARTS = 3
_RANGE = re.compile(r"[1-9][0-9]{0,5}(-[1-9][0-9]{0,5})?")
_STANDARDS = {"pdf": 0, "pdf/a-1b": 1, "pdf/a-2b": 2, "pdf/a-3b": 3}


class _Filter(NamedTuple):
    """LibreOffice's names for what reads a type, and for what writes PDF from it."""

    reads: str
    writes: str
    suffix: str


_FILTERS: dict[str, _Filter] = {
    types.DOCX: _Filter("MS Word 2007 XML", "writer_pdf_Export", ".docx"),
    types.XLSX: _Filter("Calc MS Excel 2007 XML", "calc_pdf_Export", ".xlsx"),
    types.PPTX: _Filter("Impress MS PowerPoint 2007 XML", "impress_pdf_Export", ".pptx"),
    offices.ODT: _Filter("writer8", "writer_pdf_Export", ".odt"),
    offices.ODS: _Filter("calc8", "calc_pdf_Export", ".ods"),
    offices.ODP: _Filter("impress8", "impress_pdf_Export", ".odp"),
    RTF: _Filter("Rich Text Format", "writer_pdf_Export", ".rtf"),
    compound.DOC: _Filter("MS Word 97", "writer_pdf_Export", ".doc"),
    compound.XLS: _Filter("MS Excel 97", "calc_pdf_Export", ".xls"),
    compound.PPT: _Filter("MS PowerPoint 97", "impress_pdf_Export", ".ppt"),
}


def _check_pages(text: str) -> str:
    text = text.replace(" ", "")
    if text != "all" and not all(map(_RANGE.fullmatch, text.split(","))):
        raise ValueError("give pages and ranges of them, such as 1-3,7, or all")
    return text


class ToPdf(Params):
    pages: Annotated[str, AfterValidator(_check_pages)] = Field(
        "all", max_length=200, description="Which pages, such as 1-3,7; of slides, which slides."
    )
    standard: Literal["pdf", "pdf/a-1b", "pdf/a-2b", "pdf/a-3b"] = Field(
        "pdf", description="Plain PDF (1.7), or PDF/A for archives."
    )
    quality: int = Field(90, ge=1, le=100, description="Quality of pictures, which become JPEG.")
    picture_dpi: Literal[75, 150, 300, 600, 1200] | None = Field(
        300, description="Finer pictures are reduced to so many pixels per inch; null: they stay."
    )
    comments: bool = Field(False, description="Whether comments become notes in the PDF.")
    single_page_sheets: bool = Field(
        False, description="Whether each sheet of a workbook becomes one page, however large."
    )


@operation(
    "document.to_pdf",
    summary="Convert office documents to PDF: Word, Excel, PowerPoint, OpenDocument, RTF",
    params=ToPdf,
    accepts=OFFICE,
    produces=(PDF,),
    example={"pages": "1-3"},
    lane="heavy",
    engines=("isal.igzip_lib",),
    programs=(NAME,),
)
def to_pdf(work: Work, params: ToPdf) -> None:
    """Have LibreOffice lay out a document and print it to PDF.

    Takes DOCX, XLSX, PPTX, ODT, ODS, ODP, RTF and the older DOC, XLS and PPT. Macros are left out
    and never run; links to other files and addresses are not followed. Fonts that the server does
    not have are replaced by others, so lines may break elsewhere.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `document_too_complex`, `page_out_of_range`,
            `password_required`, `type_mismatch`, `unsafe_archive`, `unsupported_variant`,
            `xml_dtd`.
        OutOfResources: `cpu_time`, `killed`, `out_of_memory`, `scratch_full`.
    """
    program = work.programs[NAME]
    work.engine = engine(program)
    media_type = offices.type_of(work)
    folder = work.folder / "office"
    folder.mkdir()
    try:
        source = work.input.path
        if media_type in offices.MODERN:
            source = folder / f"source{_FILTERS[media_type].suffix}"
            offices.unpack(work, source)
        elif media_type == RTF:
            nesting.check_rtf(source)
        made = _convert(work, folder, source, _FILTERS[media_type], params)
        made.rename(work.output(f"{work.input.stem}.pdf", PDF))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    work.progress(1, 1, unit="documents", phase="done")


def _convert(work: Work, folder: Path, source: Path, kind: _Filter, params: ToPdf) -> Path:
    """Run LibreOffice; returns what it made.

    Raises:
        BadInput, OutOfResources, Crashed: see `_failure`.
    """
    _make_profile(folder / "profile", work.programs[NAME])
    work.progress(0, 1, unit="documents", phase="convert")
    made = folder / "made" / f"{source.stem}.pdf"
    ended = _run(work, folder, source, kind, params)
    if not ended.code and _is_pdf(made):
        return made
    failure = _failure(ended, params)
    if failure.job_code == "page_out_of_range":  # once more with all, to tell how many there are
        _run(work, folder, source, kind, params.model_copy(update={"pages": "all"}))
        if _is_pdf(made):
            failure = BadInput(_too_few(made), code="page_out_of_range")
    raise failure


def _run(work: Work, folder: Path, source: Path, kind: _Filter, params: ToPdf) -> Ended:
    program = work.programs[NAME]
    arguments = [
        f"-env:UserInstallation={(folder / 'profile').as_uri()}",
        *("--headless", "--norestore", "--nolockcheck", "--nologo", "--nodefault"),
        "--nofirststartwizard",
        f"--infilter={kind.reads}",
        *("--convert-to", f"pdf:{kind.writes}:{_options(params)}"),
        *("--outdir", str(folder / "made")),
        str(source),
    ]
    for _ in range(_STARTS):
        ended = programs.run(program, arguments, folder, lambda _: None)
        if ended.code != _RESTART:
            break
    return ended


def _too_few(path: Path) -> str:
    import pikepdf

    with pikepdf.open(path) as pdf:
        count = len(pdf.pages)
    return f"The document has no such pages: it has {count:,} page{'' if count == 1 else 's'}."


def _is_pdf(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(5) == b"%PDF-"


def _options(params: ToPdf) -> str:
    """The options of LibreOffice's PDF filter, as JSON (since 7.4)."""
    options: dict[str, tuple[str, Any]] = {
        "SelectPdfVersion": ("long", _STANDARDS[params.standard]),
        "Quality": ("long", params.quality),
        "ReduceImageResolution": ("boolean", params.picture_dpi is not None),
        "ExportNotes": ("boolean", params.comments),
        "SinglePageSheets": ("boolean", params.single_page_sheets),
    }
    if params.picture_dpi is not None:
        options["MaxImageResolution"] = ("long", params.picture_dpi)
    if params.pages != "all":
        options["PageRange"] = ("string", params.pages)
    return json.dumps(
        {
            name: {"type": kind, "value": str(value).lower()}
            for name, (kind, value) in options.items()
        },
        separators=(",", ":"),
    )


def _failure(ended: Ended, params: ToPdf) -> JobError:
    """The job's error for a run without a PDF."""
    # It aborts where memory is out, and says why before.
    if re.search(r"bad_alloc|out of memory|cannot allocate|temporarily", ended.said, re.IGNORECASE):
        return OutOfResources(
            "The document needs more memory than one attempt may use.", code="out_of_memory"
        )
    if ended.code < 0:
        return programs.death(-ended.code, "LibreOffice crashed.")
    if ended.code in _CRASHED or "Unspecified Application Error" in ended.said:
        return programs.death(signal.SIGABRT, "LibreOffice crashed.")
    if "loading shared libraries" in ended.said:
        return JobError("The LibreOffice of this worker lacks a library.", code="program_missing")
    if params.pages != "all" and "could not be loaded" not in ended.said:
        return BadInput("The document has no such pages.", code="page_out_of_range")
    return BadInput("The document is damaged and cannot be laid out.", code="corrupt_input")


# --- the profile -------------------------------------------------------------------------------

# (path, property, value): no macros, nothing from elsewhere, no locks, no looking for Java.
_SETTINGS: tuple[tuple[str, str, str], ...] = (
    ("Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Office.Writer/Content/Update", "Link", "0"),  # never
    ("Office.Calc/Content/Update", "Link", "1"),  # never
    ("Office.Calc/Formula/Load", "OOXMLRecalcMode", "1"),  # never: what the file says is printed
    ("Office.Calc/Formula/Load", "ODFRecalcMode", "1"),
    ("Office.Common/Misc", "UseDocumentOOoLockFile", "false"),
    ("Office.Common/Misc", "UseDocumentSystemFileLocking", "false"),
    ("Office.Java/VirtualMachine", "Enable", "false"),
)


def _make_profile(folder: Path, program: Program) -> None:
    """A user's folder as LibreOffice would make it, with our settings.

    It starts twice where it does not find that the extensions have been looked through.
    """
    user = folder / "user"
    (user / "extensions").mkdir(parents=True)
    items = "".join(
        f'<item oor:path="/org.openoffice.{path}">'
        f'<prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for path, name, value in _SETTINGS
    )
    (user / "registrymodifications.xcu").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<oor:items xmlns:oor="http://openoffice.org/2001/registry">' + items + "</oor:items>",
        encoding="utf-8",
    )
    if build := _said_in(program, "versionrc").get("buildid"):
        (user / "extensions" / "buildid").write_text(build, encoding="utf-8")


def _said_in(program: Program, name: str) -> dict[str, str]:
    """The lines of a file of settings beside the program."""
    try:
        text = program.path.with_name(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def engine(program: Program) -> str:
    """Name and version, such as LibreOffice 7.4, for `Work.engine`; without starting it."""
    return _said_in(program, "bootstraprc").get("ProductKey", "LibreOffice")
