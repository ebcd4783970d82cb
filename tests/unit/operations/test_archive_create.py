from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import Input, Work, find
from fileproc.operations.compression import zstd
from fileproc.operations.types import detect_file
from samples import Ran, jpeg, run

FILES = [
    ("a.txt", b"hello\n" * 5000),
    ("A.txt", b"other"),
    ("a.txt", b"third"),
    ("photo.jpg", jpeg(640, 480)),
    ("Grüße 世界 🚀.csv", b"a,b\n1,2\n"),
    ("noise", random.Random(3).randbytes(2_500_000)),
    ("a-2.txt", b""),
]
NAMES = ["a.txt", "A-2.txt", "a-3.txt", "photo.jpg", "Grüße 世界 🚀.csv", "noise", "a-2-2.txt"]


def created(folder: Path, files: list[tuple[str, bytes]] = FILES, **params: Any) -> Ran:
    """The operation, run over many inputs."""
    folder.mkdir(exist_ok=True)
    inputs = []
    for number, (name, data) in enumerate(files):
        path = folder / f"in-{number}"
        path.write_bytes(data)
        inputs.append(Input(path, name, len(data), "0" * 64, detect_file(path, name)))
    work = Work(inputs, folder)
    ran = Ran(work)
    work.report = lambda *report: ran.reports.append(report)
    entry = find("archive.create")
    entry.run(work, entry.params.model_validate(entry.parse(params)))
    return ran


def members_of_zip(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
            yield info.filename, archive.read(info)


def members_of_tar(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)
            file = archive.extractfile(info)
            assert file is not None
            yield info.name, file.read()


READERS: dict[str, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    "zip": members_of_zip,
    "tar.gz": lambda data: members_of_tar(gzip.decompress(data)),
    "tar.zst": lambda data: members_of_tar(zstd().decompress(data)),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("effort", ["fast", "balanced", "small"])
def test_other_programs_find_every_file(kind: str, effort: str, tmp_path: Path) -> None:
    ran = created(tmp_path, format=kind, effort=effort)
    assert ran.work.outputs[0].name == f"a.{kind}"
    assert detect_file(ran.path) == ran.work.outputs[0].type
    assert list(READERS[kind](ran.data)) == [
        (name, data) for name, (_, data) in zip(NAMES, FILES, strict=True)
    ]
    total = sum(len(data) for _, data in FILES)
    assert list(ran.reports[-1]) == ["pack", total, total, "bytes"]
    assert ran.work.engine


@pytest.mark.parametrize("kind", READERS)
def test_same_files_give_the_same_archive(kind: str, tmp_path: Path) -> None:
    one, other = (created(tmp_path / str(i), format=kind) for i in range(2))
    assert one.data == other.data


@pytest.mark.parametrize("kind", READERS)
def test_effort_pays(kind: str, tmp_path: Path) -> None:
    text = [("t.txt", Path(zipfile.__file__).read_bytes())]
    sizes = [
        len(created(tmp_path / effort, text, format=kind, effort=effort).data)
        for effort in ("small", "fast")
    ]
    assert sizes[0] < 0.97 * sizes[1]


def test_pictures_are_stored_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(created(tmp_path).data)) as archive:
        methods = {info.filename: info.compress_type for info in archive.infolist()}
    assert methods["photo.jpg"] == zipfile.ZIP_STORED
    assert methods["a.txt"] == zipfile.ZIP_DEFLATED


def test_archive_is_named_as_asked(tmp_path: Path) -> None:
    for name, given in (("all", "all.zip"), ("../../etc/x", "x.zip"), ("v1.2", "v1.2.zip")):
        assert created(tmp_path, name=name).work.outputs[0].name == given


@pytest.mark.parametrize("kind", READERS)
def test_what_is_created_can_be_extracted(kind: str, tmp_path: Path) -> None:
    made = created(tmp_path, format=kind).data
    outputs = run("archive.extract", tmp_path, made).work.outputs
    assert [out.name for out in outputs] == NAMES
    assert [out.path.read_bytes() for out in outputs] == [data for _, data in FILES]


@pytest.mark.parametrize("params", [{"format": "rar"}, {"effort": 9}, {"name": ""}])
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("archive.create").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [f"/params/{next(iter(params))}"]
