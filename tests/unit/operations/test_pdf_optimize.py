from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import pikepdf
from pikepdf import Name, Stream

from pdfs import blank, book, lzw_contents, packed_contents, pictures_of, reopened, saved, texts_of
from samples import distance, pdf, run


def optimized(folder: Path, data: bytes, **params: Any) -> bytes:
    ran = run("pdf.optimize", folder, data, "paper.pdf", **params)
    assert ran.work.outputs[0].name == "paper.pdf"
    return ran.data


def wordy(packed: int | None) -> bytes:
    """A page with a long text, packed badly or not at all."""
    document, page = blank()
    chance = random.Random(1)
    text = b"\n".join(
        b"%d %d m" % (chance.randrange(99), chance.randrange(99)) for _ in range(9000)
    )
    page.Contents = Stream(document, text if packed is None else zlib.compress(text, packed))
    if packed is not None:
        page.Contents.Filter = Name.FlateDecode
    return saved(document)


def test_streams_are_packed_and_packed_better(tmp_path: Path) -> None:
    best = len(optimized(tmp_path, wordy(None)))
    assert best < len(wordy(None)) / 2
    assert len(optimized(tmp_path, wordy(1))) < len(wordy(1))
    loose = optimized(tmp_path, wordy(1), recompress=False, linearize=False)
    assert len(loose) > best


def test_result_looks_and_reads_the_same(tmp_path: Path) -> None:
    data = saved(book())
    made = optimized(tmp_path, data)
    assert texts_of(made) == texts_of(data)
    for before, after in zip(pictures_of(data), pictures_of(made), strict=True):
        assert distance(before, after) == 0
    document = reopened(made)
    assert document.attachments["data.csv"].get_file().read_bytes() == b"a,b\n1,2\n"


def test_result_is_linear_if_asked(tmp_path: Path) -> None:
    for linear in (True, False):
        document = reopened(optimized(tmp_path, wordy(None), linearize=linear))
        assert document.is_linearized == linear
    linear_one = reopened(optimized(tmp_path, wordy(None)))
    assert linear_one.check_linearization() is True


def test_what_cannot_get_smaller_is_given_back(tmp_path: Path) -> None:
    once = optimized(tmp_path, wordy(None))
    assert optimized(tmp_path, once) == once


def test_bombs_stay_packed_as_they_are(tmp_path: Path) -> None:
    for data in (packed_contents(2, 100_000_000), lzw_contents()):
        made = reopened(optimized(tmp_path, data))
        given = reopened(data)
        contents = [document.pages[0].obj.Contents for document in (given, made)]
        assert len(contents[1].read_raw_bytes()) <= len(contents[0].read_raw_bytes()) + 100


def test_encrypted_document_is_freed(tmp_path: Path) -> None:
    made = optimized(tmp_path, pdf(("One",), password="sesame"), password="sesame")
    assert texts_of(made) == ["One"]
    document: pikepdf.Pdf = reopened(made)
    assert not document.is_encrypted
