from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations import BadInput
from samples import pdf, run


def text_of(folder: Path, data: bytes, **params: Any) -> str:
    ran = run("pdf.to_text", folder, data, "paper.pdf", **params)
    assert ran.work.outputs[0].name == "paper.txt"
    return ran.data.decode()


def refusal(folder: Path, data: bytes, **params: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run("pdf.to_text", folder, data, "paper.pdf", **params)
    return caught.value


def test_pages_are_told_apart_by_a_form_feed(tmp_path: Path) -> None:
    assert text_of(tmp_path, pdf(("One", "Two", "Three"))) == "One\n\fTwo\n\fThree\n"


def test_pages_are_chosen_and_come_in_the_order_asked_for(tmp_path: Path) -> None:
    assert text_of(tmp_path, pdf(("One", "Two", "Three")), pages="3,1") == "Three\n\fOne\n"
    assert refusal(tmp_path, pdf(), pages="4").job_code == "page_out_of_range"


def test_json_has_an_entry_for_each_page(tmp_path: Path) -> None:
    data = pdf(("One", "Two"), extra="/Rotate 90")
    ran = run("pdf.to_text", tmp_path, data, "paper.pdf", format="json", pages="2")
    assert ran.work.outputs[0].name == "paper.json"
    assert json.loads(ran.data) == {
        "page_count": 2,
        "pages": [{"page": 2, "width_pt": 100.0, "height_pt": 200.0, "text": "Two"}],
    }
    assert ran.reports == [("read", 1, 1, "pages")]


def test_page_without_text_is_empty_and_no_error(tmp_path: Path) -> None:
    assert text_of(tmp_path, pdf(("", "Two"))) == "\n\fTwo\n"


def test_locked_document_needs_its_password(tmp_path: Path) -> None:
    locked = pdf(("Secret",), password="sesame")
    assert refusal(tmp_path, locked).job_code == "password_required"
    assert refusal(tmp_path, locked, password="simsalabim").job_code == "wrong_password"
    assert text_of(tmp_path, locked, password="sesame") == "Secret\n"


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\n", pdf()[:60], b"%PDF-1.4\n" + bytes(2000)])
def test_damaged_document_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run("pdf.to_text", tmp_path, data, "paper.pdf", media_type="application/pdf")
    assert caught.value.job_code == "corrupt_input"
