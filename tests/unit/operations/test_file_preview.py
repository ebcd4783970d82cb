from __future__ import annotations

import gzip
import io
import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find
from hostile_archives import BOMBS, packed, tar
from quines import quine
from samples import (
    archive,
    card,
    distance,
    film,
    jpeg,
    pdf,
    png_that_claims,
    run,
    saved,
    svg,
    transparent,
    xlsx,
)

FORMATS = {"webp": "WEBP", "jpeg": "JPEG", "png": "PNG"}
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def drawn(folder: Path, data: bytes, name: str = "file", **params: Any) -> Image.Image:
    ran = run("file.preview", folder, data, name, **params)
    image = ran.image()
    image.load()
    return image


def refusal(folder: Path, data: bytes, name: str = "file", **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("file.preview", folder, data, name, **params)
    return caught.value


def ink(image: Image.Image) -> int:
    """How many pixels are dark."""
    return sum(image.convert("L").histogram()[:120])


def column(image: Image.Image, x: int) -> Image.Image:
    return image.crop((x, 0, x + 1, image.height))


def docx(thumbnail: bytes | None, name: str = "docProps/thumbnail.jpeg") -> bytes:
    parts = [("[Content_Types].xml", b""), ("word/document.xml", b"<a/>")]
    if thumbnail is not None:
        parts.append((name, thumbnail))
    return packed(*parts)


# --- pictures and pages ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_picture_becomes_smaller_in_every_format(kind: str, tmp_path: Path) -> None:
    ran = run("file.preview", tmp_path, jpeg(800, 600), "photo.jpg", size=200, format=kind)
    image = ran.image()
    assert (image.format, image.size) == (FORMATS[kind], (200, 150))
    assert distance(image, card(800, 600)) < 0.03
    suffix = {"jpeg": "jpg"}.get(kind, kind)
    assert ran.work.outputs[0].name == f"photo-preview.{suffix}"
    assert ran.work.outputs[0].type == f"image/{kind}"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_upright_and_bare(orientation: int, tmp_path: Path) -> None:
    data = jpeg(640, 400, orientation=orientation)
    image = drawn(tmp_path, data, size=160, format="jpeg")
    assert image.size == (160, 100)
    assert distance(image, card(640, 400)) < 0.03
    assert not image.getexif()


def test_nothing_is_enlarged(tmp_path: Path) -> None:
    assert drawn(tmp_path, saved(card(60, 40), "PNG"), size=500).size == (60, 40)
    assert drawn(tmp_path, svg(30, 20), size=300).size == (300, 200)  # it has no size of its own


def test_film_shows_its_first_frame(tmp_path: Path) -> None:
    for kind in ("GIF", "WEBP"):
        image = drawn(tmp_path, film(kind), size=60)
        assert (getattr(image, "n_frames", 1), image.size) == (1, (60, 45))
        assert distance(image, card(120, 90)) < 0.05


def test_transparency_stays_or_becomes_white(tmp_path: Path) -> None:
    data = saved(transparent(), "PNG")
    assert drawn(tmp_path, data, format="webp").mode == "RGBA"
    flat = drawn(tmp_path, data, format="jpeg")
    top = flat.getpixel((160, 1))
    assert isinstance(top, tuple)
    assert min(top) > 240


def test_slim_pictures_keep_a_pixel(tmp_path: Path) -> None:
    assert drawn(tmp_path, saved(card(4000, 2), "PNG"), size=100).size == (100, 1)


def test_first_page_of_a_document_is_drawn(tmp_path: Path) -> None:
    image = drawn(tmp_path, pdf(("WWWW", "I"), size=(200, 100)), size=400, format="png")
    assert image.size == (400, 200)
    assert image.getpixel((20, 180)) == (255, 0, 0)
    assert ink(image) > 100


def test_locked_document_needs_its_password(tmp_path: Path) -> None:
    locked = pdf(("One",), password="sesame")
    assert refusal(tmp_path, locked).job_code == "password_required"
    assert refusal(tmp_path, locked, password="x").job_code == "wrong_password"
    assert drawn(tmp_path, locked, password="sesame", size=100).size == (100, 50)


def test_size_of_a_pixel_flood_is_judged_first(tmp_path: Path) -> None:
    assert refusal(tmp_path, png_that_claims(60_000, 60_000)).job_code == "image_too_large"


# --- texts, tables, archives -----------------------------------------------------------------


def test_more_text_is_more_ink(tmp_path: Path) -> None:
    inks = [
        ink(drawn(tmp_path, f"{'words ' * n}\n".encode() * n, "a.txt", size=560))
        for n in (1, 4, 10)
    ]
    assert 20 < inks[0] < inks[1] / 4
    assert inks[1] < inks[2] / 3


def test_markup_in_a_text_is_text(tmp_path: Path) -> None:
    """Pango would draw it large, or refuse it."""
    plain = ink(drawn(tmp_path, b"+span size='999999'*x+/span*", "a.txt", size=560))
    marked = ink(drawn(tmp_path, b"<span size='999999'>x</span>", "a.txt", size=560))
    assert 0.7 < marked / plain < 1.4
    for odd in (
        "</b>&&amp;<",
        "a\u202eb\x1b[1mc",
        "\ufffe",
        "👩‍🚀" * 1000,
        "e" + "\u0301" * 5000,
    ):
        drawn(tmp_path, odd.encode(), "a.txt", media_type="text/plain")


def test_text_without_ink_is_a_page_all_the_same(tmp_path: Path) -> None:
    for number, text in enumerate(("\u2800", "\u200b\n\u2800\u3164", "\u2800,\u2800\n1,\u2800\n")):
        for name in ("a.txt", "a.csv"):
            folder = tmp_path / f"{number}-{name}"
            folder.mkdir()
            assert run("file.preview", folder, text.encode(), name).image().width > 100


def test_table_is_drawn_in_columns(tmp_path: Path) -> None:
    """What is white in each row lies one below the other."""
    rows = b"".join(b"%d,%d\n" % (10 ** (n % 6), n) for n in range(30))
    image = drawn(tmp_path, b"one,two\n" + rows, "t.csv", size=560, format="png").convert("L")
    inked = [x for x in range(11, 300) if any(column(image, x).histogram()[:200])]
    gaps = [b - a for a, b in itertools.pairwise(inked)]
    assert sum(gap > 8 for gap in gaps) == 1
    assert ink(drawn(tmp_path, xlsx(), "t.xlsx", size=560)) > 100


def test_table_with_newlines_in_quotes_is_drawn_as_a_table(tmp_path: Path) -> None:
    one, other = (
        b"a,b\n" + b"".join(b'%d,"line%sbreak"\n' % (n, gap) for n in range(50))
        for gap in (b"\n", b" ")
    )
    assert drawn(tmp_path, one, "t.csv").tobytes() == drawn(tmp_path, other, "t.csv").tobytes()


def test_broken_table_is_drawn_as_text(tmp_path: Path) -> None:
    data = b'a,b\n"open,\n' + b"x,y,z\n" * 3
    assert ink(drawn(tmp_path, data, "t.csv", media_type="text/csv", size=560)) > 30


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_archive_shows_its_entries(pack: Any, tmp_path: Path) -> None:
    noise = random.Random(9).randbytes(300)
    few = pack(tar(("a.txt", b"x")))
    many = pack(tar(*((f"folder/file {i}.txt", noise[i : i + 100]) for i in range(200))))
    one, other = (ink(drawn(tmp_path, data, size=560)) for data in (few, many))
    assert 100 < one < other / 10
    assert ink(drawn(tmp_path, archive("a", "b"), size=560)) > 100


def test_archive_that_holds_itself_is_drawn_as_a_list_of_one(tmp_path: Path) -> None:
    lines = ink(drawn(tmp_path, quine(), size=560))
    assert 100 < lines < ink(drawn(tmp_path, packed(("quine.zip", b""), ("two", b"")), size=560))


def test_archive_of_hostile_names_is_drawn(tmp_path: Path) -> None:
    data = tar(("../../etc/passwd", b""), ("<b>\n\x1b[1m\u202e", b""), ("\udce9" * 90, b""))
    assert ink(drawn(tmp_path, data, size=560)) > 100


# --- documents with a picture inside ------------------------------------------------------------


def test_picture_in_an_office_file_is_taken(tmp_path: Path) -> None:
    for data in (
        docx(jpeg(256, 256)),
        docx(saved(card(256, 256), "PNG"), "Thumbnails/thumbnail.png"),
    ):
        image = drawn(tmp_path, data, "letter.docx", size=128)
        assert image.size == (128, 128)
        assert distance(image, card(256, 256)) < 0.03
        assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("thumbnail", "code"),
    [
        (None, "no_preview"),
        (b"no picture", "no_preview"),
        (svg(), "no_preview"),
        (jpeg()[:2000], "corrupt_input"),
        (png_that_claims(60_000, 60_000), "image_too_large"),
        (bytes(50_000_000), "archive_bomb"),
        (random.Random(4).randbytes(9_000_000), "archive_bomb"),
    ],
    ids=["none", "text", "svg", "cut", "flood", "bomb", "large"],
)
def test_office_file_without_a_good_picture_is_refused(
    thumbnail: bytes | None, code: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, docx(thumbnail), "letter.docx", media_type=DOCX).job_code == code
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


# --- refusals --------------------------------------------------------------------------------


def test_bomb_is_drawn_as_a_list_or_refused(tmp_path: Path) -> None:
    for bomb in ("tar.gz", "ratio", "many entries", "long header"):
        data, media_type = BOMBS[bomb]()
        try:
            run("file.preview", tmp_path, data, media_type=media_type)
        except BadInput as error:
            assert error.job_code == "archive_bomb", bomb  # noqa: PT017 - not all are refused


def test_other_types_have_no_preview(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"\0\1\2" * 100).job_code == "type_mismatch"


@pytest.mark.parametrize("params", [{"size": 15}, {"size": 2049}, {"format": "gif"}])
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("file.preview").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [f"/params/{next(iter(params))}"]


def test_preview_is_itself_a_picture_that_can_be_read(tmp_path: Path) -> None:
    ran = run("file.preview", tmp_path, pdf(), "paper.pdf")
    again = run("file.preview", tmp_path, ran.data, size=64).data
    assert Image.open(io.BytesIO(again)).size == (64, 32)
