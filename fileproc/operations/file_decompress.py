"""`file.decompress`: one compressed file, unpacked."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from fileproc.operations import compression, types
from fileproc.operations.compression import BROTLI, BZIP2, GZIP, XZ, ZSTD, Meter
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Work

_SIGNED = (GZIP, ZSTD, BZIP2, XZ)  # their first bytes tell them; Brotli's do not
_EXTENSIONS = {
    GZIP: (".gz", ".gzip"),
    ZSTD: (".zst", ".zstd"),
    BZIP2: (".bz2",),
    XZ: (".xz",),
    BROTLI: (".br",),
}
_SHORT = {".tgz": ".tar", ".tbz2": ".tar", ".tbz": ".tar", ".txz": ".tar", ".tzst": ".tar"}


class Decompress(Params):
    format: Literal["auto", "brotli"] = Field(
        "auto",
        description="auto: told by the first bytes, and Brotli, which has no sign, by the"
        " extension .br. brotli: it is Brotli, whatever its name.",
    )


@operation(
    "file.decompress",
    summary="Unpack a gzip, zstd, Brotli, bzip2 or xz file",
    params=Decompress,
    accepts=(*_SIGNED, BROTLI, types.UNKNOWN),
    produces=("*/*",),
    example={},
    engines=("isal.igzip_lib", "brotli"),
)
def decompress(work: Work, params: Decompress) -> None:
    """Unpack one layer: `report.csv.gz` becomes `report.csv`, and `all.tar.gz` becomes `all.tar`.

    Files that were joined (as parallel compressors write them) come out joined. The type of the
    result is told from its bytes. Refused as a bomb is what unpacks to more than 100 times its
    size (beyond 100 KB), or to more than there is room for.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input`, `type_mismatch`, `unsupported_variant`.
    """
    kind = _kind(work, params)
    work.engine = compression.engine(kind)
    name, meter = _name(work.input.name, kind), Meter.of(work)
    path = work.output(name, types.UNKNOWN)
    with work.input.path.open("rb") as file, path.open("wb") as result:
        for piece in compression.decompressed(file, kind, meter):
            result.write(piece)
            work.progress(meter.consumed, meter.size, unit="bytes", phase="decompress")
    work.outputs[-1] = replace(work.outputs[-1], type=types.detect_file(path, name))


def _kind(work: Work, params: Decompress) -> str:
    source = work.input
    if params.format == "brotli" or source.type == BROTLI:
        return BROTLI
    if source.type in _SIGNED:
        return source.type
    if source.type == types.UNKNOWN and source.name.lower().endswith(_EXTENSIONS[BROTLI]):
        return BROTLI
    raise BadInput(
        f"Files of type {source.type} are not compressed in a way that is known here; for Brotli"
        " give format=brotli.",
        code="type_mismatch",
    )


def _name(name: str, kind: str) -> str:
    lower = name.lower()
    for extension in _EXTENSIONS[kind]:
        if lower.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)]
    for short, long in _SHORT.items():
        if lower.endswith(short) and len(name) > len(short):
            return name[: -len(short)] + long
    return name
