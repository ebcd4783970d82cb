from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.operations import Input, Work, find
from samples import run

DATA = bytes(range(256)) * 9000
# Known answers, from the algorithms' own papers or test vectors: of "abc".
OF_ABC = {
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "crc32": "352441c2",
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}


def hashed(folder: Path, data: bytes, name: str = "a.bin", **params: Any) -> dict[str, Any]:
    ran = run("file.hash", folder, data, name, **params)
    (file,) = json.loads(ran.data)["files"]
    return dict(file)


def test_digests_are_those_of_the_standards(tmp_path: Path) -> None:
    found = hashed(tmp_path, b"abc", algorithms=list(OF_ABC))
    assert found == {"name": "a.bin", "size": 3, **OF_ABC}


def test_digests_of_a_longer_file_agree_with_the_library(tmp_path: Path) -> None:
    found = hashed(tmp_path, DATA, algorithms=["sha512", "blake2b", "crc32"])
    assert found["sha512"] == hashlib.sha512(DATA).hexdigest()
    assert found["blake2b"] == hashlib.blake2b(DATA).hexdigest()
    assert found["crc32"] == f"{zlib.crc32(DATA):08x}"


def test_sha256_is_the_default_and_order_is_kept(tmp_path: Path) -> None:
    assert list(hashed(tmp_path, DATA)) == ["name", "size", "sha256"]
    asked = hashed(tmp_path, DATA, algorithms="md5,sha1,md5")
    assert list(asked) == ["name", "size", "md5", "sha1"]


def test_empty_file_has_a_digest(tmp_path: Path) -> None:
    assert hashed(tmp_path, b"")["sha256"] == hashlib.sha256(b"").hexdigest()


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no coreutils to check with")
@pytest.mark.parametrize("algorithms", [["sha256"], ["sha256", "sha512"]])
def test_text_is_what_sha256sum_checks(algorithms: list[str], tmp_path: Path) -> None:
    names = ["a b.txt", "Grüße.txt", "-n", "x"]
    inputs = []
    for name in names:
        path = tmp_path / name
        path.write_bytes(name.encode())
        inputs.append(Input(path, name, len(name), "0" * 64, "text/plain"))
    work = Work(inputs, tmp_path)
    entry = find("file.hash")
    params = entry.parse({"algorithms": algorithms, "format": "text"})
    entry.run(work, entry.params.model_validate(params))
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--warn", work.outputs[0].path],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if len(algorithms) == 1:
        assert (done.returncode, done.stdout.count(": OK")) == (0, 4), done
    assert work.outputs[0].path.read_text(encoding="utf-8").count("\n") == 4 * len(algorithms)


def test_text_is_named_after_the_file_and_its_algorithm(tmp_path: Path) -> None:
    ran = run("file.hash", tmp_path, b"abc", "a.iso", format="text")
    assert ran.work.outputs[0].name == "a.iso.sha256"
    assert ran.data == f"{OF_ABC['sha256']}  a.iso\n".encode()
    both = run("file.hash", tmp_path, b"abc", "a.iso", format="text", algorithms="md5,blake3")
    assert both.data == (
        f"MD5 (a.iso) = {OF_ABC['md5']}\nBLAKE3 (a.iso) = {OF_ABC['blake3']}\n".encode()
    )


def test_progress_covers_all_bytes(tmp_path: Path) -> None:
    ran = run("file.hash", tmp_path, DATA)
    assert list(ran.reports[-1]) == ["hash", len(DATA), len(DATA), "bytes"]
    assert len(ran.reports) > 1


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"algorithms": []}, "/params/algorithms"),
        ({"algorithms": "sha3"}, "/params/algorithms/0"),
        ({"format": "xml"}, "/params/format"),
    ],
)
def test_parameters_that_do_not_hold_are_pointed_at(params: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find("file.hash").parse(params)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
