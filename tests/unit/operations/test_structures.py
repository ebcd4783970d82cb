from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput, catalogue
from pdfs import (
    ENDLESS_DRAWING,
    ENDLESS_STRUCTURE,
    deep_arrays,
    jbig2,
    jpx,
    many_pages,
    packed_picture,
    picture_in_colours_of_a_program,
    picture_of,
    reopened,
    ring_of_pages,
    shading_by_a_program,
    tiles_without_end,
    with_xmp,
)
from samples import pdf, run

ALL = sorted(name for name, entry in catalogue().items() if entry.accepts == ("application/pdf",))
PARAMS: dict[str, dict[str, Any]] = {
    "pdf.encrypt": {"user_password": "u"},
    "pdf.pages": {"rotate": 90},
    "pdf.stamp": {"text": "x"},
}
DRAWING = ["pdf.to_images", "pdf.to_text"]
ROOT = Path(__file__).parents[3]


def ending(operation: str, folder: Path, data: bytes) -> str:
    """The code of the error, or an empty text."""
    folder.mkdir(exist_ok=True)
    params = PARAMS.get(operation, {})
    try:
        run(operation, folder, data, "hostile.pdf", media_type="application/pdf", **params)
    except BadInput as caught:
        error = caught
    else:
        return ""
    assert re.fullmatch(r"[^\n]+\.", error.detail)
    return error.job_code


@pytest.mark.parametrize("what", ENDLESS_STRUCTURE)
def test_endless_structure_is_refused(what: str, tmp_path: Path) -> None:
    code = ending("pdf.decrypt", tmp_path / "a", ENDLESS_STRUCTURE[what]())
    assert code == ("corrupt_input" if "ring" in what else "document_too_complex")


@pytest.mark.parametrize("operation", ALL)
def test_endless_structure_is_refused_by_all(operation: str, tmp_path: Path) -> None:
    assert ending(operation, tmp_path / "a", many_pages(100_000)) == "document_too_complex"
    assert ending(operation, tmp_path / "b", ring_of_pages()) == "corrupt_input"


@pytest.mark.parametrize("what", ENDLESS_DRAWING)
@pytest.mark.parametrize("operation", DRAWING)
def test_endless_drawing_is_refused_before_it_is_begun(
    operation: str, what: str, tmp_path: Path
) -> None:
    assert ending(operation, tmp_path / "a", ENDLESS_DRAWING[what]()) == "document_too_complex"


@pytest.mark.parametrize("what", ENDLESS_DRAWING)
def test_what_does_not_draw_is_done_with_endless_drawing_or_refuses_it(
    what: str, tmp_path: Path
) -> None:
    data = ENDLESS_DRAWING[what]()
    for operation in sorted({*ALL} - {*DRAWING}):
        assert ending(operation, tmp_path / operation, data) in {"", "document_too_complex"}


def test_picture_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    data = picture_of(60_000, 60_000)
    assert ending("pdf.to_images", tmp_path / "a", data) == "image_too_large"
    assert ending("pdf.to_images", tmp_path / "b", picture_of(40, 25)) == ""


SMALL_JPX = jpx(9, 9)[2:]  # without the marker before it, it is no codestream


@pytest.mark.parametrize(
    "data",
    [
        packed_picture(jpx(60_000, 60_000), "JPXDecode", array=False),
        packed_picture(jpx(60_000, 60_000), "JPXDecode"),
        packed_picture(jpx(60_000, 60_000, SMALL_JPX), "JPXDecode"),
        packed_picture(jpx(9, 9) + jpx(60_000, 60_000), "JPXDecode"),
        packed_picture(zlib.compress(jpx(60_000, 60_000)), "FlateDecode", "JPXDecode"),
        packed_picture(jbig2(30_000, 30_000, 1), "JBIG2Decode"),
        packed_picture(jbig2(10_000, 10_000, 30), "JBIG2Decode", array=False),
        packed_picture(zlib.compress(jbig2(10_000, 10_000, 30)), "FlateDecode", "JBIG2Decode"),
    ],
)
def test_picture_whose_data_says_more_than_its_dictionary_is_refused(
    data: bytes, tmp_path: Path
) -> None:
    assert ending("pdf.to_images", tmp_path / "a", data) == "image_too_large"


@pytest.mark.parametrize(
    "data",
    [
        packed_picture(jpx(9, 9), "JPXDecode"),
        packed_picture(zlib.compress(jpx(9, 9)), "FlateDecode", "JPXDecode"),
        packed_picture(jbig2(900, 900, 3), "JBIG2Decode"),
        tiles_without_end(1, 1, 1),
        tiles_without_end(5, 10, 20),
        shading_by_a_program(5),
        shading_by_a_program(5, as_pattern=True),
        picture_in_colours_of_a_program(5),
    ],
)
def test_pictures_patterns_and_gradients_of_usual_size_are_drawn(
    data: bytes, tmp_path: Path
) -> None:
    assert ending("pdf.to_images", tmp_path / "a", data) == ""


def test_picture_that_hides_its_size_is_refused(tmp_path: Path) -> None:
    endless = bytearray(jbig2(900, 900, 2))
    endless[37:41] = b"\xff" * 4  # the length of the region
    lzw = packed_picture(bytes(100), "LZWDecode", "JPXDecode")
    for data in (packed_picture(bytes(endless), "JBIG2Decode"), lzw):
        assert ending("pdf.to_images", tmp_path / "a", data) == "document_too_complex"


def test_deep_nesting_ends_in_a_clear_error_or_a_result(tmp_path: Path) -> None:
    for operation in ALL:
        assert ending(operation, tmp_path / operation, deep_arrays()) in {
            *("", "corrupt_input", "document_too_complex", "page_out_of_range")
        }


def test_encryption_by_certificates_is_told_apart(tmp_path: Path) -> None:
    locked = pdf(("One",), password="sesame").replace(b"/Filter /Standard", b"/Filter /Adobe.PS")
    assert {ending(operation, tmp_path / operation, locked) for operation in ALL} == {
        "unsupported_variant"
    }


def test_metadata_is_carried_along_and_never_parsed(tmp_path: Path) -> None:
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(12))
    xmp = b'<!DOCTYPE x [<!ENTITY l0 "ha">' + laughs + b"]><x>&l12;</x>"
    for operation in sorted({*ALL} - {"pdf.info", "pdf.merge", *DRAWING}):
        folder = tmp_path / operation
        folder.mkdir()
        params = PARAMS.get(operation, {}) | ({"every": 9} if operation == "pdf.split" else {})
        made = run(operation, folder, with_xmp(xmp), "a.pdf", **params).data
        document = reopened(made, "u" if operation == "pdf.encrypt" else "")
        assert document.Root.Metadata.read_bytes() == xmp, operation


def test_bombs_are_refused_within_little_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak tells."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fileproc.operations import structures, drawing_cost, BadInput\n"
        "for number, path in enumerate(sys.argv[1:]):\n"
        "    try:\n"
        "        with structures.opened(Path(path), None) as pdf:\n"
        "            size = Path(path).stat().st_size\n"
        "            drawing_cost.check(pdf, [0], file_bytes=size, pixels=10**8)\n"
        "    except BadInput: pass\n"
        "    else: raise SystemExit(f'{number} was not refused')\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"  # ru_maxrss begins with the parent's
    )
    paths = []
    for number, make in enumerate([*ENDLESS_STRUCTURE.values(), *ENDLESS_DRAWING.values()]):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert int(done.stdout) < 256 * 1024
