from __future__ import annotations

from pathlib import Path

import pytest

from fileproc.operations import BadInput, Input, Limits, Work, clean_name
from fileproc.operations.registry import Params, operation


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/absolute/path.txt", "path.txt"),
        ("a\u2215b\uff0fc.txt", "c.txt"),
        ("a\x00b\r\nc.txt", "abc.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("", "file"),
        ("...", "file"),
        ("///", "file"),
        (" spaced .txt ", "spaced .txt"),
        ("Grüße 世界.pdf", "Grüße 世界.pdf"),
        ("CON", "CON"),
    ],
)
def test_names_lose_what_could_hurt(given: str, cleaned: str) -> None:
    assert clean_name(given) == cleaned


def test_long_names_are_cut_between_characters_and_keep_their_extension() -> None:
    name = clean_name("世" * 5000 + ".jpg")
    assert name.endswith("世.jpg")
    assert len(name.encode()) <= 200


def test_outputs_are_paths_of_ours_whatever_they_are_called(tmp_path: Path) -> None:
    work = Work([], tmp_path, limits=Limits(output_files=2))
    assert work.output("../x.txt", "text/plain") == tmp_path / "out" / "0"
    assert work.output("x.txt", "text/plain") == tmp_path / "out" / "1"
    assert [out.name for out in work.outputs] == ["x.txt", "x.txt"]
    with pytest.raises(BadInput) as caught:
        work.output("y.txt", "text/plain")
    assert caught.value.job_code == "too_many_outputs"


def test_stem_is_never_empty(tmp_path: Path) -> None:
    for name, stem in [("a.tar.gz", "a.tar"), (".jpg", ".jpg"), ("", "file")]:
        assert Input(tmp_path, name, 0, "", "text/plain").stem == stem


def test_reserved_names_are_refused_when_an_operation_is_made() -> None:
    class Greedy(Params):
        wait: int = 1

    with pytest.raises(AssertionError, match="wait"):
        operation("greedy.one", summary="Takes a name that is the api's", params=Greedy)(print)
