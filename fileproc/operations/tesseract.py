"""Tesseract, run on one picture of ours: in which languages, and how what it writes is read."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fileproc.errors import JobError
from fileproc.operations import programs
from fileproc.operations.programs import Ended, Program
from fileproc.operations.work import BadInput, OutOfResources, Work

NAME: Final = "tesseract"
MAX_SIDE: Final = 32_767  # of a picture; Tesseract counts in 16 bits
MAX_PIXELS: Final = 100_000_000  # of a page: it holds several copies. A2 at 400 dpi has 62 million
_NO_LANGUAGES = {"osd", "equ"}  # data for the orientation and for formulas
_WORD = "5"  # the level of a row that is a word


def engine(work: Work) -> str:
    """Name and version, for `Work.engine`; asks the program."""
    heard = bytearray()
    ended = programs.run(work.programs[NAME], ["--version"], work.folder, heard.extend)
    found = re.search(
        r"tesseract v?(\d[\w.-]{0,30})", heard.decode("utf-8", "replace") + ended.said
    )
    return f"Tesseract {found[1]}" if found else "Tesseract"


def languages(program: Program) -> list[str]:
    """The languages that are installed, by their names; scripts as `script/Latin`."""
    folder = program.reads[0]
    found = (path for path in folder.rglob("*.traineddata") if os.access(path, os.R_OK))
    paths = (path.relative_to(folder) for path in found)
    return sorted({str(path.with_suffix("")) for path in paths} - _NO_LANGUAGES)


def check_languages(wanted: Sequence[str], program: Program) -> None:
    """Refuse languages that are not installed, and tell those that are.

    Raises:
        BadInput: `language_missing`.
    """
    there = languages(program)
    if absent := [name for name in wanted if name not in there]:
        raise BadInput(
            f"There is no data here for {', '.join(absent)}; installed are: {', '.join(there)}.",
            code="language_missing",
        )


def read(
    work: Work, picture: Path, kind: str, *, wanted: Sequence[str], mode: int, dpi: int
) -> Path:
    """Read a picture; returns the file of this kind (`txt`, `tsv`, `hocr` or `pdf`) that is made.

    A `pdf` has the text only, to be laid over a page.

    Raises:
        OutOfResources: `out_of_memory`, `scratch_full` or `cpu_time`.
        Crashed: it died, or could not read a picture that we made.
    """
    program = work.programs[NAME]
    base = picture.with_suffix("")
    threads = str(work.limits.threads)
    ended = programs.run(
        program,
        [
            *(str(picture), str(base)),
            *("--tessdata-dir", str(program.reads[0]), "-l", "+".join(wanted)),
            *("--psm", str(mode), "--dpi", str(dpi)),
            *("-c", f"tessedit_create_{kind}=1", "-c", "textonly_pdf=1"),
        ],
        work.folder,
        lambda _: None,
        environment={"OMP_THREAD_LIMIT": threads, "OMP_NUM_THREADS": threads},
    )
    made = base.with_suffix(f".{kind}")
    if ended.code or not made.is_file():
        raise _failure(ended)
    return made


def _failure(ended: Ended) -> JobError:
    if ended.code < 0:
        return programs.death(-ended.code, "Tesseract crashed.")
    if re.search(r"bad_alloc|out of memory|cannot allocate|malloc", ended.said, re.IGNORECASE):
        return OutOfResources(
            "The page needs more memory than one attempt may use.", code="out_of_memory"
        )
    if "loading shared libraries" in ended.said:
        return JobError("The Tesseract of this worker lacks a library.", code="program_missing")
    return programs.death(0, "Tesseract could not read the page.")


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a `tsv`, each with its words; boxes are left, top, width and height in pixels.

    Confidences go from 0 to 100; a line has that of its least certain word.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row[:1] != [_WORD] or len(row) < 12 or not row[11].strip():  # noqa: PLR2004 - columns
                continue
            word = {
                "text": row[11],
                "confidence": round(float(row[10]), 1),
                "box": [int(value) for value in row[6:10]],
            }
            found.setdefault(tuple(row[1:5]), []).append(word)
    return [_line(words) for words in found.values()]


def _line(words: list[dict[str, Any]]) -> dict[str, Any]:
    boxes = [word["box"] for word in words]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right = max(box[0] + box[2] for box in boxes)
    bottom = max(box[1] + box[3] for box in boxes)
    return {
        "text": " ".join(word["text"] for word in words),
        "confidence": min(word["confidence"] for word in words),
        "box": [left, top, right - left, bottom - top],
        "words": words,
    }


_BODY = re.compile(r"<body>(.*)</body>", re.DOTALL)
_ID = re.compile(r"(\bid=['\"](?:page|block|par|line|word)_)1(?=[_'\"])")
_SOURCE = re.compile(r"image (?:&quot;|\")[^'\"]*?(?:&quot;|\");")


def hocr_page(path: Path, number: int) -> str:
    """The element of the page in an `hocr`, numbered among its like, and without our path."""
    text = path.read_text(encoding="utf-8", errors="replace")
    found = _BODY.search(text)
    body = found[1] if found else ""
    body = _ID.sub(rf"\g<1>{number}", _SOURCE.sub("", body))
    return body.replace("ppageno 0", f"ppageno {number - 1}").strip("\n")


def hocr_document(pages: Sequence[str], said: str) -> str:
    """An hOCR document (version 1.2 of its specification) of these pages."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<title>OCR</title>\n'
        '<meta charset="utf-8"/>\n'
        f'<meta name="ocr-system" content="{said}"/>\n'
        '<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word'
        ' ocrp_wconf"/>\n</head>\n<body>\n' + "\n".join(pages) + "\n</body>\n</html>\n"
    )
