from __future__ import annotations

import base64
import codecs
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput, drawings, rasters
from samples import card, film, jpeg, png_that_claims, run, saved, svg

NS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def drawn(folder: Path, data: bytes, **params: Any) -> tuple[int, ...]:
    """The colour of the middle of the lower half: clear, unless something was drawn there."""
    ran = run(
        "image.convert", folder, data, "a.svg", media_type=rasters.SVG, format="png", **params
    )
    image = ran.image().convert("RGBA")
    pixel = image.getpixel((image.width // 2, image.height * 3 // 4))
    assert isinstance(pixel, tuple)
    return pixel


def refusal(folder: Path, data: bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        drawn(folder, data)
    return caught.value


def embedded(media_type: str, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return f'<image xlink:href="data:{media_type};base64,{text}" width="320" height="240"/>'


CLEAR = (0, 0, 0, 0)

# --- nothing is loaded from outside ----------------------------------------------------------


@pytest.mark.parametrize(
    "reference",
    ["{name}", "./{name}", "{path}", "file://{path}", "file:{path}", "FILE://localhost{path}",
     "../{folder}/{name}", "{path}#fragment", " {path}", "\n{name}"],
)  # fmt: skip
@pytest.mark.parametrize(
    "element",
    ['<image href="{0}" width="320" height="240"/>',
     '<image xlink:href="{0}" width="320" height="240"/>',
     '<use xlink:href="{0}#r"/>',
     ('<filter id="f" x="0" y="0" width="1" height="1"><feImage xlink:href="{0}"/></filter>'
      '<rect width="320" height="240" filter="url(#f)"/>'),
     '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{0}" parse="xml"/>',
     ('<text x="0" y="200" font-size="90"><xi:include parse="text" href="{0}"'
      ' xmlns:xi="http://www.w3.org/2001/XInclude"/></text>'),
     ('<style>@import url("{0}"); </style>'
      '<rect class="c" width="320" height="240" fill="none"/>')],
)  # fmt: skip
def test_files_beside_it_are_never_loaded(element: str, reference: str, tmp_path: Path) -> None:
    for name, data in (
        ("canary.png", saved(card(), "PNG")),
        ("canary.svg", f'<svg {NS}><rect id="r" width="320" height="240"/></svg>'.encode()),
        ("canary.css", b".c { fill: red !important }"),
    ):
        (tmp_path / name).write_bytes(data)
        address = reference.format(name=name, path=tmp_path / name, folder=tmp_path.name)
        assert drawn(tmp_path, svg(inside=element.format(address))) == CLEAR


def test_what_a_path_would_have_let_in(tmp_path: Path) -> None:
    """The control: librsvg does load a file beside a drawing that it opens by its path."""
    import pyvips

    (tmp_path / "canary.png").write_bytes(saved(card(), "PNG"))
    path = tmp_path / "drawing.svg"
    path.write_bytes(svg(inside='<image href="canary.png" width="320" height="240"/>'))
    with rasters.decoding():
        pyvips.block_untrusted_set(False)
        loaded = pyvips.Image.svgload(str(path)).getpoint(160, 180)
    assert loaded[3] == 255
    assert drawn(tmp_path, path.read_bytes()) == CLEAR


def test_libvips_loader_stays_blocked_but_for_the_moment(tmp_path: Path) -> None:
    import pyvips

    assert drawn(tmp_path, svg(inside='<rect y="120" width="320" height="120"/>')) == (0, 0, 0, 255)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: pyvips.Image.svgload(str(tmp_path / "in")),
        lambda: pyvips.Image.svgload_buffer(svg()),
        lambda: pyvips.Image.new_from_file(str(tmp_path / "in")),
        lambda: pyvips.Image.new_from_buffer(svg(), ""),
    )
    for call in calls:
        with pytest.raises(BadInput), rasters.decoding():
            call()


def test_loader_is_blocked_again_as_soon_as_the_drawing_is_open(tmp_path: Path) -> None:
    import pyvips

    path = tmp_path / "a.svg"
    path.write_bytes(svg())
    with rasters.decoding():
        for data in (svg(), b"<svg"):
            path.write_bytes(data)
            with suppress(BadInput):
                rasters.load(path, rasters.SVG)
            with pytest.raises(pyvips.Error, match="blocked"):
                pyvips.Image.svgload_buffer(svg())


# --- document types --------------------------------------------------------------------------

ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 9))


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE svg [<!ENTITY x "y">]>',
        f'<!DOCTYPE svg [<!ENTITY e0 "ha">{ENTITIES}]>',
        '<!DOCTYPE svg SYSTEM "evil.dtd" [ ]>',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "s.dtd" [<!ENTITY % p SYSTEM "x"> %p;]>',
        '<!DOCTYPE svg><!DOCTYPE svg [<!ENTITY x "y">]>',
        '<!doctype svg [<!entity x "y">]>',
        "<!DOCTYPE\nsvg\n[\n<!ATTLIST rect fill CDATA 'red'>\n]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-32"])
def test_document_type_is_refused_in_every_encoding(
    doctype: str, encoding: str, tmp_path: Path
) -> None:
    text = f'{doctype}<svg {NS} width="9" height="9"><text y="9">&x;</text></svg>'
    if encoding == "utf-16-le-bom":
        data = codecs.BOM_UTF16_LE + text.encode("utf-16-le")
    else:
        data = text.encode(encoding)
    assert refusal(tmp_path, data).job_code == "xml_dtd"


def test_encoding_that_hides_a_document_type_is_not_believed(tmp_path: Path) -> None:
    """In UTF-7 the tag has other bytes; it is read as what it is here, and refused."""
    inside = '<!DOCTYPE svg [<!ENTITY x "y">]>'.encode("utf-7").replace(b"<", b"+ADw-")
    data = b'<?xml version="1.0" encoding="utf-7"?>' + inside + svg()[38:]
    assert refusal(tmp_path, data).job_code == "corrupt_input"


def test_plain_document_type_of_older_programs_is_left_out(tmp_path: Path) -> None:
    head, body = svg(inside='<rect y="120" width="320" height="120"/>').split(b"?>", 1)
    for doctype in (
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"\n\t"http://www.w3.org/1.1/svg11.dtd">',
        b"<!DOCTYPE svg SYSTEM 'a.dtd'>",
        b"<!DOCTYPE svg>",
    ):
        assert drawn(tmp_path, head + b"?>" + doctype + body) == (0, 0, 0, 255)
        assert b"DOCTYPE" not in drawings.safe_text(tmp_path / "in")


# --- what is inside --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_picture_inside_is_drawn(kind: str, tmp_path: Path) -> None:
    data = saved(card(), kind)
    assert drawn(tmp_path, svg(inside=embedded(f"image/{kind.lower()}", data)))[3] == 255


@pytest.mark.parametrize("spelling", ["data:", "DATA:", "da\nta:", " data:", "&#100;ata:"])
@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
def test_flood_of_pixels_inside_is_refused(spelling: str, attribute: str, tmp_path: Path) -> None:
    text = base64.b64encode(png_that_claims(30_000, 30_000)).decode()
    inside = f'<image {attribute}="{spelling}image/png;base64,{text}" width="9" height="9"/>'
    assert refusal(tmp_path, svg(inside=inside)).job_code == "image_too_large"


def test_pixels_of_many_pictures_inside_add_up(tmp_path: Path) -> None:
    one = embedded("image/png", png_that_claims(5_000, 5_000))
    assert refusal(tmp_path, svg(inside=one * 3)).job_code == "image_too_large"


@pytest.mark.parametrize(
    "data",
    [svg(), zlib.compress(svg()), b"<!DOCTYPE svg [<!ENTITY x 'y'>]><svg/>", b"", b"%PDF-1.4",
     saved(card(), "TIFF")],
)  # fmt: skip
@pytest.mark.parametrize("media_type", ["image/svg+xml", "image/png", "text/xml"])
def test_other_files_inside_are_refused(data: bytes, media_type: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, svg(inside=embedded(media_type, data)))
    assert error.job_code == "unsupported_variant"


def test_damaged_picture_inside_is_an_error_or_left_out(tmp_path: Path) -> None:
    for data in (jpeg()[:30], film("GIF")[:40], png_that_claims(9, 9)[:30]):
        error = refusal(tmp_path, svg(inside=embedded("image/png", data)))
        assert error.job_code == "corrupt_input"


def test_deep_and_wide_drawings_are_refused(tmp_path: Path) -> None:
    deep = svg(inside="<g>" * 5_000 + "</g>" * 5_000)
    assert refusal(tmp_path, deep).job_code == "image_too_large"
    wide = svg(inside="<g/>" * (drawings.MAX_ELEMENTS + 1))
    assert refusal(tmp_path, wide).job_code == "image_too_large"
    assert refusal(tmp_path, b" " * drawings.MAX_BYTES + svg()).job_code == "image_too_large"


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        ("g", '<use href="#{}"/>'),
        ("g", '<use xlink:href="#{}"/>'),
        ("pattern", '<rect width="9" height="9" fill="url(#{})"/>'),
        ("mask", '<rect width="9" height="9" style="mask: url(&quot;#{}&quot;)"/>'),
    ],
)
def test_references_that_multiply_are_refused(kind: str, again: str, tmp_path: Path) -> None:
    levels = f'<{kind} id="g0"><rect width="9" height="9"/></{kind}>' + "".join(
        f'<{kind} id="g{i}">{again.format(f"g{i - 1}") * 10}</{kind}>' for i in range(1, 10)
    )
    assert refusal(tmp_path, svg(inside=levels)).job_code == "image_too_large"


def test_references_in_a_circle_or_a_long_chain_end(tmp_path: Path) -> None:
    circle = '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'
    assert drawn(tmp_path, svg(inside=circle)) == CLEAR
    chain = "".join(f'<g id="g{i}"><use href="#g{i + 1}"/></g>' for i in range(5_000))
    assert refusal(tmp_path, svg(inside=chain)).job_code == "image_too_large"


def test_many_shapes_of_one_gradient_are_no_flood(tmp_path: Path) -> None:
    gradient = f'<linearGradient id="g">{"<stop/>" * 20}</linearGradient>'
    shapes = '<rect y="120" width="320" height="120" fill="url(#g)"/>' * 50
    assert drawn(tmp_path, svg(inside=gradient + shapes))[3] == 255
    drawings.safe_text(tmp_path / "in")


@pytest.mark.parametrize(
    "size",
    [(1_000_000, 1_000), (30_000, 30_000), (10**9, 10**9), (10**9, 10)],
)
def test_size_of_a_drawing_is_judged(size: tuple[int, int], tmp_path: Path) -> None:
    assert refusal(tmp_path, svg(*size)).job_code == "image_too_large"


def test_smallest_drawing_is_no_flood(tmp_path: Path) -> None:
    assert drawn(tmp_path, svg(1, 1))


@pytest.mark.parametrize(
    "data",
    [b"<svg", b"<svg/><svg/>", svg()[:-3], svg().replace(b"</svg>", b"</g>"), b"no markup",
     svg().replace(b"UTF-8", b"utf-16"), svg() + b"\xff\xfe\x00", b"\xff\xfe" + svg()],
)  # fmt: skip
def test_damaged_drawing_is_corrupt(data: bytes, tmp_path: Path) -> None:
    if b'"utf-16"' in data:  # what it says is not what it is: it is read as what it is
        assert drawn(tmp_path, data) == CLEAR
        return
    assert refusal(tmp_path, data).job_code == "corrupt_input"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "koi8-r", "shift_jis"])
def test_encodings_of_old_files_are_read(encoding: str, tmp_path: Path) -> None:
    word = {"koi8-r": "Привет", "shift_jis": "こんにちは"}.get(encoding, "Grüße")
    text = f'<?xml version="1.0" encoding="{encoding}"?><svg {NS}><text>{word}</text></svg>'
    (tmp_path / "in").write_bytes(text.encode(encoding))
    assert word in drawings.safe_text(tmp_path / "in").decode()


def test_resize_draws_at_the_size_that_is_wanted(tmp_path: Path) -> None:
    thin = '<rect y="130" width="320" height="1" fill="#000"/>'
    image = run("image.resize", tmp_path, svg(inside=thin), "a.svg", width=1280).image()
    assert image.size == (1280, 960)
    assert image.getpixel((640, 519)) == CLEAR  # sharp: not a small one made larger
    assert image.getpixel((640, 522)) == (0, 0, 0, 255)
    assert image.getpixel((640, 525)) == CLEAR
