"""`archive.list`: what an archive holds, as JSON."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from fileproc.operations import archives
from fileproc.operations.archives import ARCHIVES, Entry, Kind
from fileproc.operations.patterns import Choice, Patterns
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import Work

_REPORTED = 500  # entries between two words on the progress


class List(Params):
    include: Patterns = Field(
        [], description="Only entries whose path fits one of these patterns: such as *.jpg."
    )
    exclude: Patterns = Field(
        [], description="Not the entries whose path fits one of these patterns."
    )


@operation(
    "archive.list",
    summary="List what a ZIP or tar archive holds",
    params=List,
    accepts=ARCHIVES,
    produces=("application/json",),
    example={},
    engines=("isal.igzip_lib", "isal.isal_zlib", "tarfile"),
)
def list_entries(work: Work, params: List) -> None:
    """Tell what an archive says of its entries: path, kind, sizes, time; no password is needed.

    The result has `entries`, and over them `count, files, bytes, encrypted`. Each entry has
    `path, kind` (file, directory, symlink, hardlink, special), `size, packed` (bytes, null in a
    tar), `modified, encrypted, crc32` and `problem`: a sentence where `archive.extract` would
    refuse it. Of a ZIP file nothing is unpacked; a compressed tar is, as it has no list, within
    the limits of `archive.extract`, and nothing is kept.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `type_mismatch`, `unsupported_variant`.
    """
    work.engine = archives.engine(work.input.type)
    choice = Choice(params.include, params.exclude)
    found: list[dict[str, Any]] = []
    with archives.opened(work) as entries:
        for number, (entry, _) in enumerate(entries):
            if number % _REPORTED == 0:
                work.progress(number, unit="entries", phase="list")
            if choice.takes(entry.parts):
                found.append(_told(entry))
    path = work.output(f"{work.input.stem}-entries.json", "application/json")
    path.write_text(json.dumps(_summary(found), indent=1) + "\n", encoding="ascii")
    work.progress(len(found), len(found), unit="entries", phase="list")


def _told(entry: Entry) -> dict[str, Any]:
    fault = archives.fault_of(entry)
    return {
        "path": entry.path,
        "kind": entry.kind,
        "size": entry.size,
        "packed": entry.packed,
        "modified": entry.modified,
        "encrypted": entry.encrypted,
        "crc32": entry.crc32,
        "problem": fault and f"It {fault}.",
    }


def _summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    files = [entry for entry in found if entry["kind"] == Kind.FILE]
    return {
        "count": len(found),
        "files": len(files),
        "bytes": sum(entry["size"] for entry in files),
        "encrypted": any(entry["encrypted"] for entry in found),
        "entries": found,
    }
