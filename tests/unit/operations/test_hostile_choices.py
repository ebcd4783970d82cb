"""Parameters that are texts: each is one of few things, or none; what is free is only drawn."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from samples import jpeg, pdf, run

PIECES = [
    *("-i", "--", "-f", "@/etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/"),
    *("$(id)", "`id`", ";id", "|id", "&&id", "%s%n", "{0.__class__}", "{page!r}", "\x00", "\r\n"),
    *("../", "..\\", ",movie=/etc/passwd", ":v=1", "[0:v]", "='x'", "\\", '"', "'", "<b>", "&amp;"),
    *("\u202e", "\u2044", "\ufeff", "\U0001f4a9", "NaN", "1e999", "-1", "999999999", "null"),
]


def texts(seed: int = 38, count: int = 200) -> list[str]:
    chance = random.Random(seed)
    made = {"".join(chance.choices(PIECES, k=chance.randint(1, 4))) for _ in range(3 * count)}
    return sorted(made - {"null"})[:count]


# Of each: the other parameters that it needs.
CHOSEN: list[tuple[str, str, dict[str, Any]]] = [
    *(("image.convert", name, {"format": "png"}) for name in ("format", "background")),
    *(("image.resize", name, {"width": 9}) for name in ("mode", "gravity", "background")),
    ("image.crop", "aspect", {}),
    ("image.crop", "gravity", {"aspect": "1:1"}),
    *(("image.watermark", name, {"text": "x"}) for name in ("font", "colour", "position")),
    ("image.optimize", "format", {}),
    ("image.ocr", "languages", {}),
    ("image.ocr", "pages", {}),
    *(("pdf.stamp", name, {"text": "x"}) for name in ("pages", "colour", "position", "layer")),
    ("pdf.split", "ranges", {}),
    *(("pdf.pages", name, {}) for name in ("pages", "delete", "rotate_pages")),
    ("pdf.to_images", "pages", {}),
    ("document.to_pdf", "pages", {}),
    ("document.to_pdf", "standard", {}),
    *(("video.transcode", name, {}) for name in ("format", "effort", "width", "start_s", "fps")),
    ("video.thumbnails", "times", {}),
    *(("audio.convert", name, {}) for name in ("format", "sample_rate", "duration_s")),
    *(("audio.waveform", name, {}) for name in ("colour", "background")),
    ("audio.normalize", "target_lufs", {}),
]


@pytest.mark.parametrize(("operation", "name", "others"), CHOSEN)
def test_what_is_none_of_the_choices_is_refused(
    operation: str, name: str, others: dict[str, Any]
) -> None:
    every = texts()
    assert len(every) == 200
    taken = []
    for text in every:
        given = [text] if name == "languages" else text
        try:
            find(operation).parse({**others, name: given})
        except InvalidRequestError:
            continue
        taken.append(text)
    assert [text for text in taken if not text.isdigit()] == []


def test_free_texts_are_drawn_and_nothing_else_happens(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    for number, text in enumerate(texts()[::10]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for operation, data in (("pdf.stamp", pdf(("One",))), ("image.watermark", jpeg(64, 48))):
            try:
                run(operation, folder, data, "a.bin", text=text.replace("passwd", str(secret)))
            except (BadInput, InvalidRequestError):
                continue
            finally:
                assert {path.name for path in folder.iterdir()} <= {"in", "out"}
    assert {path.name for path in tmp_path.iterdir()} == {"secret", *map(str, range(20))}
