"""`pdf.encrypt` and `pdf.decrypt`: each is the test of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import BadInput, find, secret_params
from pdfs import book, reopened, saved, texts_of
from samples import pdf, run


def encrypted(folder: Path, data: bytes, **params: Any) -> bytes:
    return run("pdf.encrypt", folder, data, "paper.pdf", **params).data


def refusal(operation: str, folder: Path, data: bytes, **params: Any) -> str:
    with pytest.raises(BadInput) as caught:
        run(operation, folder, data, "paper.pdf", **params)
    return caught.value.job_code


def test_it_is_aes_with_256_bits(tmp_path: Path) -> None:
    data = encrypted(tmp_path, pdf(("One",)), user_password="sesame")
    document = reopened(data, "sesame")
    found = document.encryption
    assert (found.R, found.V, found.bits) == (6, 5, 256)
    assert {found.stream_method.name, found.string_method.name} == {"aesv3"}
    assert b"One" not in data
    assert texts_of(data, "sesame") == ["One"]


@pytest.mark.parametrize("password", ["sesame", "žluťoučký 世界", "x" * 127])
def test_only_the_password_opens_it(password: str, tmp_path: Path) -> None:
    data = encrypted(tmp_path, pdf(("One",)), user_password=password)
    for operation in ("pdf.decrypt", "pdf.to_text", "pdf.info", "pdf.stamp"):
        params = {"text": "x"} if operation == "pdf.stamp" else {}
        assert refusal(operation, tmp_path, data, **params) == "password_required"
        assert refusal(operation, tmp_path, data, password="no", **params) == "wrong_password"
    plain = run("pdf.decrypt", tmp_path, data, "paper.pdf", password=password).data
    assert texts_of(plain) == ["One"]
    document = reopened(plain)
    assert not document.is_encrypted


def test_restrictions_hold_for_users_and_not_for_the_owner(tmp_path: Path) -> None:
    params = {"print": "low_resolution", "copy_text": False, "modify": False, "assemble": False}
    data = encrypted(tmp_path, pdf(), owner_password="owner", **params)
    document = reopened(data)
    allowed = document.allow
    assert (allowed.print_lowres, allowed.print_highres) == (True, False)
    assert not any((allowed.extract, allowed.modify_other, allowed.modify_assembly))
    assert allowed.modify_annotation
    assert allowed.modify_form
    assert allowed.accessibility
    assert not document.owner_password_matched
    assert reopened(data, "owner").owner_password_matched


def test_without_an_owner_nobody_is(tmp_path: Path) -> None:
    data = encrypted(tmp_path, pdf(), user_password="sesame")
    assert not reopened(data, "sesame").owner_password_matched


def test_restricted_document_is_freed_without_a_password(tmp_path: Path) -> None:
    data = encrypted(tmp_path, pdf(("One",)), owner_password="owner", modify=False)
    plain = run("pdf.decrypt", tmp_path, data, "paper.pdf").data
    assert texts_of(plain) == ["One"]
    document = reopened(plain)
    assert not document.is_encrypted


def test_new_passwords_replace_the_old(tmp_path: Path) -> None:
    old = pdf(("One",), password="old")
    data = encrypted(tmp_path, old, user_password="new", password="old")
    assert texts_of(data, "new") == ["One"]
    assert refusal("pdf.decrypt", tmp_path, data, password="old") == "wrong_password"


def test_all_else_stays(tmp_path: Path) -> None:
    data = encrypted(tmp_path, saved(book()), user_password="sesame")
    plain = run("pdf.decrypt", tmp_path, data, "paper.pdf", password="sesame").data
    document = reopened(plain)
    assert document.attachments["data.csv"].get_file().read_bytes() == b"a,b\n1,2\n"
    assert texts_of(plain) == ["One", "Two", "Three", "Four"]


def test_passwords_are_secret() -> None:
    assert secret_params("pdf.encrypt") == {"user_password", "owner_password", "password"}
    assert secret_params("pdf.merge") == {"passwords"}
    assert secret_params("pdf.stamp") == {"password", "stamp_password"}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"user_password": ""},
        {"user_password": "ü" * 64},
        {"user_password": "same", "owner_password": "same"},
    ],
)
def test_passwords_that_do_not_protect_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        find("pdf.encrypt").parse(params)
