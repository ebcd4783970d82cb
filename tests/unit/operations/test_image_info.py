from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter

from fileproc.operations import BadInput, exif, fingerprints
from samples import card, film, heic, jpeg, png_that_claims, run, saved, svg


def told(folder: Path, data: bytes, name: str = "a.jpg", **params: Any) -> dict[str, Any]:
    report = json.loads(run("image.info", folder, data, name, **params).data)
    assert isinstance(report, dict)
    return report


def unlike(one: dict[str, Any], other: dict[str, Any]) -> int:
    """Bits in which two perceptual hashes differ."""
    return (int(one["perceptual_hash"], 16) ^ int(other["perceptual_hash"], 16)).bit_count()


def test_report_always_has_the_same_names(tmp_path: Path) -> None:
    names = set(told(tmp_path, jpeg()))
    for data in (film("GIF"), svg(), saved(card(), "BMP"), heic(), saved(card(mode="L"), "TIFF")):
        for colours in (0, 5):
            assert set(told(tmp_path, data, colours=colours, hashes=bool(colours))) == names


def test_dimensions_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    report = told(tmp_path, jpeg(orientation=6))
    assert (report["width"], report["height"]) == (320, 240)
    assert (report["stored_width"], report["stored_height"]) == (240, 320)
    assert report["orientation"] == 6


def test_film_has_frames_and_a_duration(tmp_path: Path) -> None:
    for kind in ("GIF", "WEBP"):
        report = told(tmp_path, film(kind))
        assert report["animated"]
        assert report["frames"] == 5
        assert report["duration_s"] == 0.4
        assert report["loop"] == 0


def test_drawing_and_bitmap_are_told(tmp_path: Path) -> None:
    drawing = told(tmp_path, svg(), "a.svg")
    assert drawing["vector"]
    assert drawing["alpha"]
    assert {one["colour"] for one in drawing["colours"]} == {"#ff0000", "#0000ff"}
    assert told(tmp_path, saved(card(), "BMP"), "a.bmp")["width"] == 320


# --- metadata --------------------------------------------------------------------------------


def photo() -> bytes:
    data = Image.Exif()
    data[0x010F], data[0x0110] = "Maker", "Model\x00 7\x1b[31m"
    gps = data.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "S", (52.0, 30.0, 36.0), "E", (13.0, 24.0, 0.0)
    detail = data.get_ifd(0x8769)
    detail[0x9003], detail[0x829A], detail[0x829D] = "2026:11:22 10:00:00", 0.004, 1.8
    detail[0x8827] = 200
    return saved(card(), "JPEG", exif=data)


def test_exif_is_told_in_plain_values(tmp_path: Path) -> None:
    found = told(tmp_path, photo())["exif"]
    assert found["make"] == "Maker"
    assert "\x1b" not in found["model"]
    assert found["taken_at"] == "2026:11:22 10:00:00"
    assert (found["exposure_s"], found["f_number"], found["iso"]) == (0.004, 1.8, 200)
    assert told(tmp_path, saved(card(), "PNG"))["exif"] is None


def test_place_is_told_only_where_that_is_asked_for(tmp_path: Path) -> None:
    assert told(tmp_path, photo())["gps"] == {"present": True}
    assert told(tmp_path, photo(), gps=True)["gps"] == {
        "present": True, "latitude": -52.51, "longitude": 13.4, "altitude_m": None,
    }  # fmt: skip
    assert told(tmp_path, saved(card(), "PNG"), gps=True)["gps"] == {"present": False}


def test_colour_profile_has_a_name(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    report = told(tmp_path, saved(card(), "JPEG", icc_profile=profile))
    assert report["icc_profile"] == {"bytes": len(profile), "name": "sRGB built-in"}
    broken = told(tmp_path, saved(card(), "JPEG", icc_profile=b"nonsense" * 40))
    assert broken["icc_profile"]["name"] is None


@pytest.mark.parametrize("seed", range(40))
def test_mutated_exif_is_told_or_left_out(seed: int) -> None:
    with Image.open(io.BytesIO(photo())) as image:
        blob = bytearray(image.info["exif"])
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 5, 30))):
        blob[chance.randrange(6, len(blob))] = chance.randrange(256)
    found = exif.summary(bytes(blob[: chance.choice((len(blob), len(blob) // 2))]))
    json.dumps(found, allow_nan=False)


# --- looks -----------------------------------------------------------------------------------


def test_dominant_colours_have_their_shares(tmp_path: Path) -> None:
    flag = Image.new("RGB", (400, 100), "#ffffff")
    flag.paste("#cc0000", (0, 0, 200, 100))
    flag.paste("#0000aa", (200, 0, 320, 100))
    colours = told(tmp_path, saved(flag, "PNG"), colours=3)["colours"]
    for one, expected in zip(colours, ("cc0000", "0000aa", "ffffff"), strict=True):
        pair = zip(bytes.fromhex(one["colour"][1:]), bytes.fromhex(expected), strict=True)
        assert all(abs(a - b) <= 2 for a, b in pair)  # edges of a small version ring a little
    assert [one["share"] for one in colours] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert len(told(tmp_path, saved(flag, "PNG"), colours=1)["colours"]) == 1


def test_what_is_clear_has_no_colour(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (50, 50), (255, 0, 0, 0))
    assert told(tmp_path, saved(clear, "PNG"))["colours"] == []
    clear.paste((0, 128, 0, 255), (0, 0, 10, 50))
    assert [one["colour"] for one in told(tmp_path, saved(clear, "PNG"))["colours"]] == ["#008000"]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        # By the reference implementation in Python, of the same pixels.
        (lambda: Image.new("RGB", (32, 24), "#ff8000"), "LDTNoS^2fQ^2}VoKfQoKfQfQfQfQ"),
        (lambda: card(64, 48), "LuIY8.5LwOvomB,Bk$$2Xez?xrv$"),
        (lambda: card(48, 64), "TxIhmU5Lw5mU,Bkib.z?xYo@#+kj"),
    ],
)
def test_blurhash_is_that_of_the_reference(picture: Any, expected: str) -> None:
    import pyvips

    image = picture()
    small = pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
    assert fingerprints.blurhash(small) == expected


@pytest.mark.parametrize("data", [jpeg(), saved(card(), "PNG"), film("GIF"), heic(), svg(3, 200)])
def test_blurhash_has_the_length_that_its_components_need(data: bytes, tmp_path: Path) -> None:
    report = told(tmp_path, data)
    assert len(report["blurhash"]) == 4 + 2 * 12
    assert report["blurhash"][0] == ("L" if report["width"] >= report["height"] else "T")


def test_perceptual_hash_stays_for_what_looks_alike(tmp_path: Path) -> None:
    first = told(tmp_path, saved(card(800, 600), "PNG"))
    for data in (
        jpeg(160, 120),
        saved(card(800, 600), "JPEG", quality=20),
        saved(card(800, 600).filter(ImageFilter.GaussianBlur(3)), "WEBP", quality=40),
        saved(card(800, 600).point(lambda value: int(value * 0.8)), "PNG"),
        jpeg(orientation=8),
    ):
        assert unlike(first, told(tmp_path, data)) <= 8
    for other in (card().rotate(90), Image.effect_noise((200, 150), 80), card().rotate(180)):
        assert unlike(first, told(tmp_path, saved(other, "PNG"))) >= 12


# --- refusals --------------------------------------------------------------------------------


def test_pixel_flood_and_cut_pictures_are_refused(tmp_path: Path) -> None:
    for data, code in (
        (png_that_claims(30_000, 30_000), "image_too_large"),
        (saved(card(800, 600), "PNG")[:3000], "corrupt_input"),
        (heic()[:-20], "corrupt_input"),
    ):
        with pytest.raises(BadInput) as caught:
            told(tmp_path, data)
        assert caught.value.job_code == code


def test_header_alone_is_enough_where_no_pixels_are_asked_for(tmp_path: Path) -> None:
    data = saved(card(800, 600), "PNG")[:3000]
    report = told(tmp_path, data, colours=0, hashes=False)
    assert (report["width"], report["colours"], report["blurhash"]) == (800, [], None)
