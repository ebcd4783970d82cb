from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from pikepdf import Stream
from PIL import Image, ImageCms

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find, jpegs
from pdfs import blank, book, drawn, form, pictures_of, reopened, run_many, saved, texts_of
from samples import card, distance, jpeg, pdf, run
from samples import saved as picture_bytes

SIZE = (200, 100)
Box = tuple[int, int, int, int]


def stamped(folder: Path, data: bytes, *more: bytes, **params: Any) -> bytes:
    return run_many("pdf.stamp", folder, data, *more, **params).data


def marked(data: bytes, page: int = 0) -> Box | None:
    """The box (left, top, right, bottom) of what is green on a page, in points."""
    red, green, _ = pictures_of(data)[page].split()
    mask = Image.eval(red, lambda v: 255 if v < 120 else 0)
    light = Image.eval(green, lambda v: 255 if v > 120 else 0)
    return Image.composite(light, Image.new("L", light.size), mask).getbbox()


def green(width: int, height: int, alpha: int = 255) -> bytes:
    return picture_bytes(Image.new("RGBA", (width, height), (0, 200, 0, alpha)), "PNG")


def test_page_numbers_are_text_that_is_found(tmp_path: Path) -> None:
    made = stamped(
        tmp_path, pdf(("A", "B")), text="Page {page} of {pages}", font_size=8, position="south_east"
    )
    assert [text.split("\r\n") for text in texts_of(made)] == [
        ["A", "Page 1 of 2"],
        ["B", "Page 2 of 2"],
    ]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("position", "corner"),
    [("north_west", (0, 0)), ("north_east", (1, 0)), ("south_east", (1, 1)), ("centre", None)],
)
def test_stamp_stands_upright_where_it_is_put(
    position: str, corner: tuple[int, int] | None, rotation: int, tmp_path: Path
) -> None:
    data = pdf(("",), extra=f"/Rotate {rotation}")
    made = stamped(tmp_path, data, green(40, 20), position=position, margin=5)
    width, height = SIZE if rotation % 180 == 0 else SIZE[::-1]
    across, down = 40 * 72 / 150, 20 * 72 / 150
    found = marked(made)
    assert found is not None
    left, top = (width - across) / 2, (height - down) / 2
    if corner is not None:
        left = width - 5 - across if corner[0] else 5
        top = height - 5 - down if corner[1] else 5
    assert found == pytest.approx((left, top, left + across, top + down), abs=1.1)


def test_stamp_lies_within_the_crop_box(tmp_path: Path) -> None:
    data = pdf(("",), extra="/CropBox [50 20 150 80]")
    made = stamped(tmp_path, data, green(30, 30), position="north_east", margin=0)
    assert marked(made) == pytest.approx((100 - 14.4, 0, 100, 14.4), abs=1.1)


def test_width_and_turn(tmp_path: Path) -> None:
    half = stamped(tmp_path, pdf(("",)), green(300, 30), width_percent=50)
    assert marked(half) == pytest.approx((50, 45, 150, 55), abs=1.1)
    turned = stamped(tmp_path, pdf(("",)), green(100, 20), rotate=90)
    assert marked(turned) == pytest.approx((95.2, 26, 104.8, 74), abs=1.1)


def test_stamp_is_never_larger_than_the_page(tmp_path: Path) -> None:
    assert marked(stamped(tmp_path, pdf(("",)), green(4000, 500))) == pytest.approx(
        (0, 37.5, 200, 62.5), abs=1.1
    )


def test_opacity_lets_the_page_show_through(tmp_path: Path) -> None:
    for made in (
        stamped(tmp_path, pdf(("",)), green(200, 100), opacity=0.5),
        stamped(tmp_path, pdf(("",)), green(200, 100, alpha=128)),
    ):
        assert pictures_of(made)[0].getpixel((100, 50)) == pytest.approx((127, 227, 127), abs=3)


def test_layer_decides_what_hides_what(tmp_path: Path) -> None:
    over = stamped(tmp_path, pdf(("",)), green(600, 300), layer="over")
    under = stamped(tmp_path, pdf(("",)), green(600, 300), layer="under")
    assert pictures_of(over)[0].getpixel((20, 80)) == (0, 200, 0)
    assert pictures_of(under)[0].getpixel((20, 80)) == (255, 0, 0)  # the page's own square
    assert pictures_of(under)[0].getpixel((100, 20)) == (0, 200, 0)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, True),
        ({"progressive": True}, True),
        ({"comment": b"secret"}, True),
        ({"orientation": 6}, False),
        (
            {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()},
            False,
        ),
    ],
)
def test_jpeg_that_needs_no_change_is_put_on_the_page_as_it_is(
    options: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    data = jpeg(**options)
    made = stamped(tmp_path, pdf(("",)), data + b"what follows", opacity=0.999)
    document = reopened(made)
    found = [
        each for each in document.objects
        if isinstance(each, Stream) and each.get("/Subtype") == "/Image"
    ]  # fmt: skip
    assert [each.Filter == "/DCTDecode" for each in found] == [kept]
    raw = found[0].read_raw_bytes()
    for private in (b"Maker of cameras", b"secret", b"what follows"):
        assert private not in raw
    if kept:
        assert len(raw) < len(data)
        assert Image.open(io.BytesIO(raw)).tobytes() == Image.open(io.BytesIO(data)).tobytes()
    flat = stamped(tmp_path, pdf(("",)), picture_bytes(card(), "PNG"))
    assert distance(pictures_of(made)[0], pictures_of(flat)[0]) < 0.02


def test_jpeg_that_is_broken_is_bare_or_none_soon() -> None:
    data = jpeg(32, 24)
    whole = jpegs.bare(data)
    assert whole is not None
    assert jpegs.bare(whole) == whole
    assert all(jpegs.bare(data[:length]) is None for length in range(len(data)))
    for filling in (b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xda\x00\x02", b"\x00"):
        jpegs.bare(data[:-2] + filling * 2_000_000 + data[-2:])
    assert jpegs.bare(saved_grey := picture_bytes(card(mode="L"), "JPEG")) is not None
    assert jpegs.bare(saved_grey.replace(b"\xff\xc0", b"\xff\xc3")) is None  # lossless


def test_page_of_another_document_is_laid_over_as_it_looks(tmp_path: Path) -> None:
    letterhead = pdf(("Head",), extra="/Rotate 180")
    made = stamped(tmp_path, pdf(("",)), letterhead, layer="over")
    plain = stamped(tmp_path, saved(blank()[0]), letterhead)
    assert distance(pictures_of(plain)[0], pictures_of(letterhead)[0]) < 0.001
    assert "Head" in texts_of(made)[0]


def test_states_that_the_page_leaves_open_do_not_move_the_stamp(tmp_path: Path) -> None:
    document, page = blank()
    sloppy = drawn(document, page, form(document, b""), b"q q 3 0 0 3 40 40 cm")
    made = stamped(tmp_path, sloppy, green(30, 30), position="north_west", margin=0)
    assert marked(made) == pytest.approx((0, 0, 14.4, 14.4), abs=1.1)


def test_only_chosen_pages_are_stamped_even_if_they_share_resources(tmp_path: Path) -> None:
    document = reopened(pdf(("A", "B", "C")))
    shared = document.make_indirect(document.pages[0].Resources)
    for each in document.pages:
        each.obj.Resources = shared
    made = stamped(tmp_path, saved(document), green(30, 30), pages="1,3")
    assert [marked(made, page) is not None for page in range(3)] == [True, False, True]


def test_accents_and_other_scripts_are_drawn(tmp_path: Path) -> None:
    for text, least in (("ÄÖÜ", 40), ("žluť", 40), ("a\nb", 20)):
        made = stamped(tmp_path, saved(blank()[0]), text=text, colour="#00c800", font_size=40)
        found = marked(made)
        assert found is not None
        assert found[2] - found[0] > least / 2
    flat, accented = (
        marked(stamped(tmp_path, saved(blank()[0]), text=text, colour="#00c800", font_size=40))
        for text in ("AOU", "ÄÖÜ")
    )
    assert flat is not None
    assert accented is not None
    assert flat[3] - flat[1] < accented[3] - accented[1]  # the dots are not cut off


def test_text_that_no_font_draws_is_said_to_be_one(tmp_path: Path) -> None:
    for text in ("\u2800", "\u200b"):
        with pytest.raises(BadInput) as caught:
            stamped(tmp_path, pdf(), text=text)
        assert caught.value.job_code == "undrawable_text"


def test_character_that_no_font_has_is_named_instead_of_drawn_as_a_box(tmp_path: Path) -> None:
    for odd in ("\u0378", "\U0001fffe", "Жук \u0378 \u25a1"):
        with pytest.raises(
            BadInput, match=r"no font of this server has \S \(U\+\w+\)\.$"
        ) as caught:
            stamped(tmp_path, pdf(), text=odd)
        assert caught.value.job_code == "undrawable_text"
    stamped(tmp_path, pdf(), text="Жук \u25a1\u25af e\u0301\u200d")


@pytest.mark.parametrize("text", ["\u0416" * 500, "a\u0300" * 250, "\u0416\n" * 250])
def test_longest_text_in_the_largest_letters_is_drawn(text: str, tmp_path: Path) -> None:
    made = stamped(tmp_path, pdf(("",)), text=text, font_size=1000, colour="#00c800", margin=0)
    page = pictures_of(made)[0].convert("L")
    assert page.histogram()[255] < page.width * page.height


def test_all_else_stays(tmp_path: Path) -> None:
    document = reopened(stamped(tmp_path, saved(book()), text="x"))
    assert document.attachments["data.csv"].get_file().read_bytes() == b"a,b\n1,2\n"
    assert str(document.Root.AcroForm.Fields[0].V) == "Anna"


def test_page_of_no_size_is_damaged(tmp_path: Path) -> None:
    data = pdf(("One",)).replace(b"[0 0 200.0 100.0]", b"[0 0 %s.0 100]" % (b"9" * 400))
    data = data.replace(b"[0 0 200 100]", b"[0 0 %s.0 100]" % (b"9" * 400))
    for operation in ("pdf.info", "pdf.stamp"):
        params: dict[str, Any] = {"text": "x"} if operation == "pdf.stamp" else {}
        with pytest.raises(BadInput) as caught:
            run(operation, tmp_path, data, "a.pdf", **params)
        assert caught.value.job_code == "corrupt_input"


def test_inputs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def code(*files: bytes, **params: Any) -> str:
        with pytest.raises(BadInput) as caught:
            stamped(tmp_path, *files, **params)
        return caught.value.job_code

    assert code(pdf()) == "count_mismatch"
    assert code(pdf(), green(9, 9), text="x") == "count_mismatch"
    assert code(green(9, 9), pdf()) == "type_mismatch"
    assert code(pdf(), b"a,b\n1,2\n") == "type_mismatch"
    assert code(pdf(), green(9, 9)[:60]) == "corrupt_input"
    assert code(pdf(), pdf(password="x")) == "password_required"
    assert code(pdf(), pdf(password="x"), stamp_password="y") == "wrong_password"
    assert code(pdf(), text="x", pages="9") == "page_out_of_range"


@pytest.mark.parametrize(
    "params", [{"text": ""}, {"text": "a\x00b"}, {"colour": "red"}, {"opacity": 2}, {"margin": -1}]
)
def test_parameters_that_do_not_hold_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("pdf.stamp").parse(params)


def test_progress_counts_pages(tmp_path: Path) -> None:
    ran = run("pdf.stamp", tmp_path, pdf(("A", "B")), "a.pdf", text="x")
    assert ran.reports[:2] == [("stamp", 1, 2, "pages"), ("stamp", 2, 2, "pages")]
