from __future__ import annotations

from pathlib import Path

import pytest

from fileproc.operations import BadInput
from pdfs import Tree, book, outline_of, pictures_of, reopened, run_many, saved, texts_of
from samples import distance, pdf


def test_pages_come_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    ran = run_many("pdf.merge", tmp_path, pdf(("A", "B")), pdf(("C",)), pdf(("D", "E", "F")))
    assert texts_of(ran.data) == ["A", "B", "C", "D", "E", "F"]
    assert ran.work.outputs[0].name == "0-merged.pdf"


def test_pages_are_chosen_for_each_input(tmp_path: Path) -> None:
    ran = run_many(
        "pdf.merge", tmp_path, pdf(("A", "B", "C")), pdf(("D", "E")), pages=["3,1", "last"]
    )
    assert texts_of(ran.data) == ["C", "A", "E"]


def test_each_file_has_a_bookmark_with_its_own_below(tmp_path: Path) -> None:
    data = saved(book())
    ran = run_many("pdf.merge", tmp_path, pdf(("A",)), data)
    own: Tree = [("Chapter", 2, [("Part", 3, [])]), ("End", 5, [])]
    assert outline_of(ran.data) == [("0", 1, []), ("1", 2, own)]
    kept = run_many("pdf.merge", tmp_path, pdf(("A",)), data, bookmarks="keep")
    assert outline_of(kept.data) == own
    none = run_many("pdf.merge", tmp_path, pdf(("A",)), data, bookmarks="none")
    assert outline_of(none.data) == []


def test_links_lead_to_their_pages_in_the_result(tmp_path: Path) -> None:
    ran = run_many("pdf.merge", tmp_path, pdf(("A",)), saved(book()))
    merged = reopened(ran.data)
    link = next(item for item in merged.pages[1].obj.Annots if item.Subtype == "/Link")
    assert link.Dest[0].objgen == merged.pages[4].obj.objgen


def test_fields_of_one_name_stay_two_fields(tmp_path: Path) -> None:
    ran = run_many("pdf.merge", tmp_path, saved(book()), saved(book()))
    merged = reopened(ran.data)
    fields = merged.Root.AcroForm.Fields
    assert len({str(field.T) for field in fields}) == 2
    assert [str(field.V) for field in fields] == ["Anna", "Anna"]


def test_layers_stay_hidden(tmp_path: Path) -> None:
    data = saved(book(("One", "Two")))
    ran = run_many("pdf.merge", tmp_path, data, data)
    for before, after in zip(pictures_of(data) * 2, pictures_of(ran.data), strict=True):
        assert distance(before, after) == 0
        assert after.getpixel((170, 30)) == (255, 255, 255)


def test_passwords_open_the_inputs_they_belong_to(tmp_path: Path) -> None:
    locked = pdf(("Secret",), password="sesame")
    ran = run_many("pdf.merge", tmp_path, pdf(("A",)), locked, passwords=["", "sesame"])
    assert texts_of(ran.data) == ["A", "Secret"]
    for passwords, code in ((None, "password_required"), (["", "x"], "wrong_password")):
        with pytest.raises(BadInput) as caught:
            run_many("pdf.merge", tmp_path, pdf(("A",)), locked, passwords=passwords)
        assert caught.value.job_code == code
        assert caught.value.detail.startswith("Input 2 (1.pdf): ")


def test_entries_that_do_not_fit_the_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run_many("pdf.merge", tmp_path, pdf(), pdf(), pages=["1"])
    assert caught.value.job_code == "count_mismatch"
    with pytest.raises(BadInput) as caught:
        run_many("pdf.merge", tmp_path, pdf(), pdf(), pages=["1", "9"])
    assert caught.value.job_code == "page_out_of_range"
