"""`file.probe`: what a file is, in one JSON document."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from fileproc.operations import (
    archives,
    columnar,
    compression,
    directories,
    documents,
    durations,
    rasters,
    rows,
    tars,
    texts,
    types,
)
from fileproc.operations.registry import Params, operation
from fileproc.operations.signatures import binary_type
from fileproc.operations.work import BadInput, Work

_CHUNK_BYTES = 1024 * 1024
_COUNTED_BYTES = 64 * 1024 * 1024  # rows of a larger text table are not counted
_NAMES = 200  # names of columns that are listed
_UNPACKED_BYTES = 64 * 1024 * 1024  # what unpacks to more is not counted: a second, of xz
_COMPRESSIONS = {
    compression.GZIP: "gzip",
    compression.BZIP2: "bzip2",
    compression.XZ: "xz",
    compression.ZSTD: "zstd",
}
_UNCOUNTED = {"entries": None, "unpacked_bytes": None, "encrypted": False}


class Probe(Params):
    details: bool = Field(
        True,
        description="Whether to open the file as well: dimensions, pages, columns, duration."
        " Otherwise only type, size and hashes are told.",
    )


@operation(
    "file.probe",
    summary="Tell what a file is: type, size, hashes and what is inside",
    params=Probe,
    accepts=("*/*",),
    produces=("application/json",),
    example={},
    engines=("pyvips", "pypdfium2", "duckdb"),
)
def probe(work: Work, params: Probe) -> None:
    """Read a file once for its hashes, and its header for what it holds.

    The result is `probe.json`: `name, size, type, sha256, md5, crc32`, and one of `image, pdf,
    table, text, media, archive` (the others are null). What would take long to count is null: rows
    of a large table, entries of a large compressed tar. A file that cannot be opened as what its
    first bytes say is no failure: `problem` then has a code and a sentence.
    """
    work.engine = f"{rasters.engine()}, {documents.engine()}, {columnar.engine()}"
    source = work.input
    media_type = source.type
    if media_type == "application/zip":
        media_type = types.classify_zip(source.path)
    report: dict[str, Any] = {"name": source.name, "size": 0, "type": media_type}
    report |= _hashes(work)
    report |= dict.fromkeys(("image", "pdf", "table", "text", "media", "archive", "problem"))
    if params.details and report["size"]:
        try:
            report |= _details(work, media_type, report["lines"])
        except BadInput as exc:
            report["problem"] = {"code": exc.job_code, "detail": exc.detail}
    del report["lines"]
    path = work.output("probe.json", "application/json")
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _hashes(work: Work) -> dict[str, Any]:
    """Size, digests and the number of newlines, in one pass."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    crc, size, lines = 0, 0, 0
    total = work.input.path.stat().st_size
    with work.input.path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
            crc = zlib.crc32(chunk, crc)
            size += len(chunk)
            lines += chunk.count(b"\n")
            work.progress(size, total, unit="bytes", phase="hash")
    return {
        "size": size,
        "sha256": sha256.hexdigest(),
        "md5": md5.hexdigest(),
        "crc32": f"{crc:08x}",
        "lines": lines,
    }


def _details(work: Work, media_type: str, lines: int) -> dict[str, Any]:
    path = work.input.path
    if media_type in rasters.PICTURES:
        return {"image": _image(path, media_type)}
    if media_type == documents.PDF:
        return {"pdf": _pdf(path)}
    if media_type in _TABLES:
        return {"table": _TABLES[media_type](work)}
    if media_type.startswith(("audio/", "video/")):
        return {"media": {"duration_s": durations.duration_s(path, media_type)}}
    if archive := _archive(work):
        return {"archive": archive}
    return {"text": _text(path, lines)}


def _image(path: Path, media_type: str) -> dict[str, Any]:
    with rasters.decoding():
        header, _ = rasters.read_header(path, media_type)
    width, height = header.upright
    return {
        "width": width,
        "height": height,
        "frames": header.frames,
        "animated": header.animated,
        "orientation": header.orientation,
        "stored_width": header.width,
        "stored_height": header.height,
        "alpha": header.alpha,
        "colour_space": header.colour_space,
        "bits": header.bits,
        "icc_profile": header.icc,
    }


def _pdf(path: Path) -> dict[str, Any]:
    import pypdfium2.raw

    try:
        with documents.opened(path, None) as document:
            width, height = document.get_page_size(0)
            handler = pypdfium2.raw.FPDF_GetSecurityHandlerRevision(document)
            return {
                "pages": len(document),
                "encrypted": handler != -1,
                "page_width_pt": round(width, 2),
                "page_height_pt": round(height, 2),
                "version": _version(document.get_version()),
            }
    except BadInput as exc:
        if exc.job_code != "password_required":
            raise
        return {
            "pages": None,
            "encrypted": True,
            "page_width_pt": None,
            "page_height_pt": None,
            "version": None,
        }


def _version(number: int | None) -> str | None:
    return None if number is None else f"{number // 10}.{number % 10}"


def _table(columns: list[str], count: int | None, **more: Any) -> dict[str, Any]:
    return {
        "columns": len(columns),
        "names": columns[:_NAMES],
        "types": None,
        "rows": count,
        "delimiter": None,
        **more,
    }


def _counted(work: Work, items: Callable[[], Iterator[Any]]) -> int | None:
    small = work.input.path.stat().st_size <= _COUNTED_BYTES
    return sum(1 for _ in items()) if small else None


def _cells(work: Work) -> dict[str, Any]:
    """A CSV or TSV, taken to have names in its first row."""
    path = work.input.path
    encoding = rows.encoding_of(path, "auto")
    fallback = "\t" if work.input.type == texts.TSV else ","
    dialect = rows.Dialect(rows.sniff_delimiter(path, encoding, fallback=fallback))

    def records() -> Iterator[list[str]]:
        return rows.records(rows.Lines(path, encoding), dialect)

    names = next(records(), [])
    counted = _counted(work, records)
    return _table(names, counted and counted - 1, delimiter=dialect.delimiter)


def _objects(work: Work) -> dict[str, Any]:
    path = work.input.path
    encoding = rows.encoding_of(path, "auto")

    def items() -> Iterator[dict[str, Any]]:
        return rows.objects(rows.Lines(path, encoding))

    names = dict.fromkeys(name for item in islice(items(), 1000) for name in item)
    return _table(list(names), _counted(work, items))


def _parquet(work: Work) -> dict[str, Any]:
    try:
        columns, count = columnar.summary(work, work.input.path)
    except columnar.Refused as exc:
        raise BadInput("The Parquet file is damaged.", code="corrupt_input") from exc
    return _table(
        [column.name for column in columns],
        count,
        types=[column.type for column in columns][:_NAMES],
    )


_TABLES: dict[str, Callable[[Work], dict[str, Any]]] = {
    texts.CSV: _cells,
    texts.TSV: _cells,
    texts.JSONL: _objects,
    types.PARQUET: _parquet,
}


def _archive(work: Work) -> dict[str, Any] | None:
    if work.input.type in {archives.TAR, *_COMPRESSIONS}:
        return _tar(work)
    with work.input.path.open("rb") as file:
        is_zip = binary_type(file.read(types.HEAD_BYTES)) == archives.ZIP
    return _zip(work) if is_zip else None


def _zip(work: Work) -> dict[str, Any]:
    """Of any file in this container: office documents are such, too."""
    found: dict[str, Any] = {"format": "zip", "compression": None, **_UNCOUNTED}
    try:
        with directories.opened(work.input.path) as archive:
            listed = archive.infolist()
    except directories.TooLong:
        return found
    except zipfile.BadZipFile as exc:
        raise BadInput("The ZIP file is damaged.", code="corrupt_input") from exc
    return found | {
        "entries": len(listed),
        "unpacked_bytes": sum(entry.file_size for entry in listed),
        "encrypted": any(entry.flag_bits & 1 for entry in listed),
    }


def _tar(work: Work) -> dict[str, Any]:
    """Of a tar, plain or compressed; or of a file that is compressed and no tar."""
    media_type = work.input.type
    found = {"format": "tar", "compression": _COMPRESSIONS.get(media_type), **_UNCOUNTED}
    meter = compression.Meter(work.input.path.stat().st_size, sys.maxsize)
    try:
        with work.input.path.open("rb") as file:
            return found | _tar_counted(tars.entries(file, media_type, meter), media_type)
    except BadInput as exc:
        if exc.job_code != "type_mismatch":
            raise
    return found | {"format": None, "unpacked_bytes": _unpacked(work)}


def _tar_counted(entries: archives.Entries, media_type: str) -> dict[str, Any]:
    most = sys.maxsize if media_type == archives.TAR else _UNPACKED_BYTES
    count = unpacked = 0
    for entry, _ in entries:
        count += 1
        unpacked += entry.size
        if unpacked > most or count > directories.MAX_ENTRIES:
            return {}
    return {"entries": count, "unpacked_bytes": unpacked}


def _unpacked(work: Work) -> int | None:
    meter = compression.Meter(work.input.path.stat().st_size, sys.maxsize)
    with work.input.path.open("rb") as file:
        for _ in compression.decompressed(file, work.input.type, meter):
            if meter.produced > _UNPACKED_BYTES:
                return None
    return meter.produced


def _text(path: Path, lines: int) -> dict[str, Any] | None:
    with path.open("rb") as file:
        head = file.read(types.HEAD_BYTES)
        decoded = texts.decode(head, whole=not file.read(1))
    if binary_type(head) is not None or decoded is None:
        return None
    return {"encoding": decoded[1], "lines": lines}
