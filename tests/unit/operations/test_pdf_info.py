from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name, String

from fileproc.operations.pdf_facts import _date
from pdfs import blank, book, reopened, saved
from samples import pdf, run


def info(folder: Path, data: bytes, **params: Any) -> dict[str, Any]:
    ran = run("pdf.info", folder, data, "paper.pdf", **params)
    assert ran.work.outputs[0].name == "paper.json"
    report: dict[str, Any] = json.loads(ran.data)
    return report


def test_plain_document(tmp_path: Path) -> None:
    assert info(tmp_path, pdf()) == {
        "page_count": 3,
        "page_sizes": [{"width_pt": 200.0, "height_pt": 100.0, "rotation": 0, "pages": 3}],
        "version": "1.4",
        "linearized": False,
        "tagged": False,
        "pdf_a": None,
        "encryption": None,
        "metadata": dict.fromkeys(("title", "author", "subject", "keywords", "creator", "producer"))
        | {"created": None, "modified": None, "language": None},
        "fonts": [{"name": "Helvetica", "type": "Type1", "embedded": False, "subset": False}],
        "attachments": [],
        "form": None,
        "signatures": [],
        "bookmarks": 0,
        "scripts": False,
    }


def test_everything_that_a_document_can_have(tmp_path: Path) -> None:
    document = book()
    signature = Dictionary(FT=Name.Sig, T=String("signed"))
    signature.V = Dictionary(
        Type=Name.Sig, SubFilter=Name("/adbe.pkcs7.detached"), Name=String("Anna"),
        M=String("D:20260102030405Z"),
    )  # fmt: skip
    document.Root.AcroForm.Fields.append(document.make_indirect(signature))
    document.Root.MarkInfo = Dictionary(Marked=True)
    document.Root.Lang = String("de-CH")
    xmp = b'<x pdfaid:part="2" pdfaid:conformance="b"/>'
    document.Root.Metadata = document.make_indirect(pikepdf.Stream(document, xmp))
    found = info(tmp_path, saved(document))
    assert found["metadata"]["title"] == "A book"
    assert found["metadata"]["created"] == "2026-11-22T06:30:00+02:00"
    assert found["metadata"]["language"] == "de-CH"
    assert (found["tagged"], found["pdf_a"], found["bookmarks"]) == (True, "2B", 3)
    assert found["attachments"] == [{"name": "data.csv", "size": 8}]
    assert found["form"] == {"fields": 2, "kinds": {"signature": 1, "text": 1}, "xfa": False}
    assert found["signatures"] == [
        {
            "name": "Anna",
            "reason": None,
            "signed": "2026-01-02T03:04:05+00:00",
            "kind": "adbe.pkcs7.detached",
        }
    ]
    assert found["scripts"] is True


def test_sizes_are_those_that_are_looked_at(tmp_path: Path) -> None:
    document = reopened(pdf(("One", "Two", "Three")))
    document.pages[0].rotate(90, relative=False)
    document.pages[1].cropbox = Array([10, 10, 60, 40])
    assert info(tmp_path, saved(document))["page_sizes"] == [
        {"width_pt": 100.0, "height_pt": 200.0, "rotation": 90, "pages": 1},
        {"width_pt": 50.0, "height_pt": 30.0, "rotation": 0, "pages": 1},
        {"width_pt": 200.0, "height_pt": 100.0, "rotation": 0, "pages": 1},
    ]


def test_encryption_and_what_it_allows(tmp_path: Path) -> None:
    data = run(
        "pdf.encrypt", tmp_path, pdf(), "a.pdf", user_password="u", owner_password="o", modify=False
    ).data
    found = info(tmp_path, data, password="u")["encryption"]
    assert (found["algorithm"], found["revision"], found["opened_as"]) == ("AES-256", 6, "user")
    assert found["allowed"]["print"] == "all"
    assert found["allowed"]["modify"] is False
    assert info(tmp_path, data, password="o")["encryption"]["opened_as"] == "owner"
    old = info(tmp_path, pdf(password="sesame"), password="sesame")["encryption"]
    assert old["algorithm"] == "RC4-40"


def test_outline_and_fields_in_a_ring_are_counted_once(tmp_path: Path) -> None:
    document, _ = blank()
    entry = document.make_indirect(Dictionary(Title=String("x")))
    entry.Next = entry.First = entry
    field = document.make_indirect(Dictionary(T=String("x"), FT=Name.Tx))
    field.Kids = Array([field])
    document.Root.Outlines = Dictionary(First=entry)
    document.Root.AcroForm = Dictionary(Fields=Array([field, field]))
    found = info(tmp_path, saved(document))
    assert found["bookmarks"] == 1
    assert found["form"]["fields"] <= 1


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("D:20261122", "2026-11-22T00:00:00+00:00"),
        ("D:20261122063001-05'30'", "2026-11-22T06:30:01-05:30"),
        ("20261122063001Z", "2026-11-22T06:30:01+00:00"),
        ("D:20261322", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates(text: str, date: str | None) -> None:
    assert _date(String(text)) == date
