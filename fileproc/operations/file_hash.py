"""`file.hash`: digests of files."""

from __future__ import annotations

import hashlib
import json
import platform
import zlib
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import BeforeValidator, Field

from fileproc.operations import lists
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import MIB, Input, Work

Algorithm = Literal["sha256", "sha512", "sha1", "md5", "blake2b", "blake3", "crc32"]
MAX_INPUTS: Final = 1_000
_CHUNK_BYTES = MIB


class Hash(Params):
    algorithms: Annotated[
        list[Algorithm], BeforeValidator(lists.split), Field(min_length=1, max_length=7)
    ] = Field(
        ["sha256"],
        description="Which digests: sha256, sha512, sha1, md5, blake2b (512 bits), blake3, crc32.",
    )
    format: Literal["json", "text"] = Field(
        "json",
        description="json, or text: lines as sha256sum writes them, which sha256sum -c takes; for"
        " several algorithms with their names (BSD style).",
    )


@operation(
    "file.hash",
    summary="Compute SHA-256 and other digests of files",
    params=Hash,
    accepts=("*/*",),
    produces=("application/json", "text/plain"),
    max_inputs=MAX_INPUTS,
    example={"format": "text"},
    engines=("blake3",),
)
def hash_files(work: Work, params: Hash) -> None:
    """Read each file once, for all the digests that are asked for.

    The JSON has `files`: `name, size` and a member of its name for each algorithm, hexadecimal.
    MD5, SHA-1 and CRC-32 find accidents only, no forgeries.
    """
    work.engine = f"hashlib of Python {platform.python_version()}, {_blake3_version()}"
    algorithms = list(dict.fromkeys(params.algorithms))
    total = sum(item.path.stat().st_size for item in work.inputs)
    done = 0
    files = []
    for item in work.inputs:
        digests = {algorithm: _digest(algorithm) for algorithm in algorithms}
        size = 0
        for chunk in _chunks(item):
            size += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
            work.progress(done + size, total, unit="bytes", phase="hash")
        done += size
        found = {str(algorithm): digest.hexdigest() for algorithm, digest in digests.items()}
        files.append({"name": item.name, "size": size, **found})
    if params.format == "json":
        path = work.output(f"{work.input.name}.digests.json", "application/json")
        path.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="ascii")
        return
    extension = algorithms[0] if len(algorithms) == 1 else "digests.txt"
    path = work.output(f"{work.input.name}.{extension}", "text/plain")
    path.write_text(_lines(files, algorithms), encoding="utf-8")


def _blake3_version() -> str:
    import blake3

    return f"blake3 {blake3.__version__}"


def _chunks(item: Input) -> Iterator[bytes]:
    with item.path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _digest(algorithm: Algorithm) -> _Digest:
    if algorithm == "crc32":
        return _Crc32()
    if algorithm == "blake3":
        import blake3

        return blake3.blake3()
    return hashlib.new(algorithm, usedforsecurity=False)


def _lines(files: list[dict[str, Any]], algorithms: list[Algorithm]) -> str:
    """Names have no newline or backslash, they were cleaned: nothing is to be escaped."""
    if len(algorithms) == 1:
        return "".join(f"{found[algorithms[0]]}  {found['name']}\n" for found in files)
    return "".join(
        f"{algorithm.upper()} ({found['name']}) = {found[algorithm]}\n"
        for found in files
        for algorithm in algorithms
    )
