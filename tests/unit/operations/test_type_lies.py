"""Files that are called, or say they are, something else: what they are is what their bytes say."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from fileproc.operations import BadInput, find
from fileproc.operations.types import detect_file, extension_for_type
from samples import BY_TYPE, card, jpeg, pdf, run, saved

BINARY = sorted(kind for kind in BY_TYPE if not kind.startswith("text/") and "json" not in kind)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "inside")
    return file.getvalue()


def pairs() -> list[tuple[str, str]]:
    """What a file is, and what it says it is."""
    every = [(real, said) for real in BINARY for said in BINARY if real != said]
    return random.Random(15).sample(every, 60)


@pytest.mark.parametrize(("real", "said"), pairs())
def test_bytes_decide_whatever_name_and_declaration_say(
    real: str, said: str, tmp_path: Path
) -> None:
    data, _ = BY_TYPE[real]()
    path = tmp_path / f"file{extension_for_type(said)}"
    path.write_bytes(data)
    assert detect_file(path, path.name, said) == real


HTML = b"<html><script>alert(1)</script></html>"
GIF = saved(card(9, 9, "P"), "GIF")
POLYGLOTS = {
    "gif and javascript": (b"GIF89a/*" + GIF[8:] + b"*/=1;alert(1)", "image/gif"),
    "gif and zip": (GIF + zipped(), "image/gif"),
    "jpeg and html": (jpeg() + HTML, "image/jpeg"),
    "jpeg and zip": (jpeg() + zipped(), "image/jpeg"),
    "png and html": (saved(card(9, 9), "PNG") + HTML, "image/png"),
    "pdf and zip": (pdf() + zipped(), "application/pdf"),
    "bmp and html": (saved(card(9, 9), "BMP") + HTML, "image/bmp"),
    "webp and pdf": (saved(card(9, 9), "WEBP") + pdf(), "image/webp"),
    "zip and pdf": (zipped() + pdf(), "application/zip"),
    "tiff and javascript": (saved(card(9, 9), "TIFF") + b"/*alert(1)*/", "image/tiff"),
}


@pytest.mark.parametrize("what", POLYGLOTS)
def test_file_that_is_two_is_the_first_and_its_decoder_is_pinned(what: str, tmp_path: Path) -> None:
    data, real = POLYGLOTS[what]
    for name in ("a.html", "a.pdf", "a.zip", "a.png", "a.svg"):
        path = tmp_path / name
        path.write_bytes(data)
        assert detect_file(path, name, "text/html") == real
    if not find("image.convert").takes(real):
        with pytest.raises(BadInput) as caught:
            run("image.convert", tmp_path, data, "a.html", format="png")
        assert caught.value.job_code == "type_mismatch"
        return
    try:
        made = run("image.convert", tmp_path, data, "a.html", format="png").data
    except BadInput as refused:
        code = refused.job_code
    else:
        code = "corrupt_input"
        assert Image.open(io.BytesIO(made)).format == "PNG"
        assert b"alert" not in made
    assert code == "corrupt_input"
