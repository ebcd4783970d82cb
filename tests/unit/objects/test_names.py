from __future__ import annotations

import email.message
import re

import pytest
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from fileproc.objects import content_disposition
from fileproc.objects.names import clean_name, may_show

# Nothing in it needs an escape, or could be taken for another parameter, by whoever reads it.
FORM = re.compile(
    r"""attachment; filename="[^"\\%;]+"; """
    r"""filename\*=UTF-8''(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+"""
)


def parsed(header: str) -> str | None:
    kind, params = parse_content_disposition(header)
    assert kind == "attachment"
    return content_disposition_filename(params)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.webp", "photo.webp"),
        ("Prüfung 漢字 🙂.pdf", "Prüfung 漢字 🙂.pdf"),
        ('a"b\\c.txt', 'a"b_c.txt'),
        ("a;b=c, d%20e.txt", "a;b=c, d%20e.txt"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("evil\r\nSet-Cookie: a=b", "evil Set-Cookie: a=b"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\ud800.png", "png"),
        ("", "download"),
        (" .. ", "download"),
        ("nul\x00byte", "nulbyte"),
    ],
)
def test_a_header_parses_back_to_the_cleaned_name(name: str, expected: str) -> None:
    assert clean_name(name) == expected
    assert parsed(content_disposition(name)) == expected


def test_a_long_name_is_shortened_and_keeps_its_suffix() -> None:
    name = clean_name("ü" * 5000 + ".tiff")
    assert len(name.encode()) <= 200
    assert name.endswith("ü.tiff")
    assert len(clean_name("x." + "y" * 5000).encode()) <= 200


@settings(database=None)  # the clone may not be writable
@given(st.text(st.characters(), max_size=400))
def test_no_name_breaks_the_header(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert FORM.fullmatch(header)
    assert parsed(header) == clean_name(name)
    assert clean_name(clean_name(name)) == clean_name(name)
    message = email.message.Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("image/png", True),
        ("application/pdf", True),
        ("text/plain; charset=utf-8", True),
        ("video/mp4", True),
        ("image/svg+xml", False),
        ("IMAGE/SVG+XML", False),
        ("text/html", False),
        ("application/xhtml+xml", False),
        ("application/octet-stream", False),
    ],
)
def test_only_types_that_run_nothing_may_be_shown(content_type: str, shown: bool) -> None:
    assert may_show(content_type) is shown
