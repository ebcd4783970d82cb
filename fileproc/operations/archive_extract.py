"""`archive.extract`: the files of an archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from fileproc.operations import archives, types
from fileproc.operations.archives import ARCHIVES, Content, Entry, Kind, Names, Unlike
from fileproc.operations.patterns import Choice, Patterns
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work, clean_name


class Extract(Params):
    include: Patterns = Field(
        [],
        description="Only entries whose path fits one of these patterns: such as *.jpg or"
        " photos/*. A star also crosses folders. None: all.",
    )
    exclude: Patterns = Field(
        [], description="Not the entries whose path fits one of these patterns, such as *.exe."
    )
    folders: Literal["drop", "join"] = Field(
        "drop",
        description="What becomes of the folders, since results have none. drop: a/b.txt becomes"
        " b.txt (or b-2.txt, where that is taken). join: it becomes a-b.txt.",
    )
    manifest: bool = Field(
        False,
        description="Whether manifest.json is made as well, as the last result: the path in the"
        " archive, name, size and type of each file.",
    )
    password: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="Opens an encrypted ZIP file.",
        json_schema_extra={"format": "password", "writeOnly": True},
    )


@operation(
    "archive.extract",
    summary="Unpack the files of a ZIP or tar archive",
    params=Extract,
    accepts=ARCHIVES,
    produces=("*/*",),
    example={"folders": "join"},
    engines=("isal.igzip_lib", "isal.isal_zlib", "tarfile"),
)
def extract(work: Work, params: Extract) -> None:
    """Unpack ZIP (also encrypted), tar, tar.gz, tar.bz2, tar.xz and tar.zst; a file a result.

    Types are told from the bytes of each file, not by its name. Archives in the archive are
    files like others. Only files come out, folders do not.

    Of the chosen entries none may climb out (`..`, absolute paths), be a link or a device, or
    have the name of another, letters' case and normal forms apart: exclude what does. Refused as
    a bomb is what unpacks to more than 100 times its size (beyond 100 KB) or to more than there
    is room for, has more than 20,000 entries or 64 levels of folders, or entries that share bytes.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `nothing_matches`, `password_required`,
            `too_many_outputs`, `type_mismatch`, `unsafe_archive`, `unsupported_variant`,
            `wrong_password`.
    """
    work.engine = archives.engine(work.input.type)
    unlike, told, done = Unlike(), list[dict[str, object]](), 0
    with archives.opened(work, params.password) as entries:
        for entry, content in _chosen(entries, params):
            _write(work, unlike.name(_name(entry, params)), content)
            done += 1
            work.progress(done, unit="files", phase="unpack")
            if params.manifest:
                told.append(_told(work, entry))
    if not done:
        raise BadInput("No file of the archive is chosen.", code="nothing_matches")
    if params.manifest:
        path = work.output("manifest.json", "application/json")
        path.write_text(json.dumps({"files": told}, indent=2) + "\n", encoding="ascii")


def _chosen(entries: archives.Entries, params: Extract) -> Iterator[tuple[Entry, Content]]:
    """The files that the patterns choose, each judged."""
    choice, names = Choice(params.include, params.exclude), Names()
    for entry, content in entries:
        if choice.takes(entry.parts):
            names.take(entry)
            if entry.kind is Kind.FILE:
                yield entry, content


def _name(entry: Entry, params: Extract) -> str:
    parts = entry.parts if params.folders == "join" else entry.parts[-1:]
    return clean_name("-".join(parts))


def _write(work: Work, name: str, content: Content) -> None:
    path = work.output(name, types.UNKNOWN)
    with path.open("wb") as file:
        for piece in content():
            file.write(piece)
    found = types.detect_file(path, name)
    work.outputs[-1] = replace(work.outputs[-1], type=found)


def _told(work: Work, entry: Entry) -> dict[str, object]:
    made = work.outputs[-1]
    return {
        "path": entry.path,
        "name": made.name,
        "size": made.path.stat().st_size,
        "type": made.type,
        "modified": entry.modified,
    }
