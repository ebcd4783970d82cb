"""`file.compress`: one file, made smaller by gzip, zstd or Brotli."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import compression
from fileproc.operations.compression import BROTLI, GZIP, LEVELS, ZSTD, Compressing
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import MIB, Work

_KINDS = {"gzip": (GZIP, ".gz"), "zstd": (ZSTD, ".zst"), "brotli": (BROTLI, ".br")}
_CHUNK_BYTES = MIB


class Compress(Params):
    format: Literal["gzip", "zstd", "brotli"] = Field("zstd", description="Kind of the result.")
    level: int | None = Field(
        None,
        ge=0,
        le=19,
        description="From fast to small: gzip 1 to 9 (default 2), zstd 1 to 19 (3), brotli 0 to 11"
        " (5).",
    )

    @model_validator(mode="after")
    def _has_that_level(self) -> Self:
        least, most, _ = LEVELS[_KINDS[self.format][0]]
        if self.level is not None and not least <= self.level <= most:
            raise ValueError(f"{self.format} has levels from {least} to {most}")
        return self


@operation(
    "file.compress",
    summary="Compress a file with gzip, zstd or Brotli",
    params=Compress,
    accepts=("*/*",),
    produces=(GZIP, ZSTD, BROTLI),
    example={"format": "zstd"},
    engines=("isal.isal_zlib", "brotli"),
)
def compress(work: Work, params: Compress) -> None:
    """Compress a file as it is, byte for byte; `report.csv` becomes `report.csv.zst`.

    The same file gives the same result at any time: neither its name nor a time is in it. Levels
    1 to 3 of gzip are made by ISA-L, several times as fast as zlib, which makes the others.
    """
    kind, extension = _KINDS[params.format]
    work.engine = compression.engine(kind)
    source = work.input.path
    total, done = source.stat().st_size, 0
    path = work.output(work.input.name + extension, kind)
    with source.open("rb") as file, path.open("wb") as result:
        target = Compressing(result, kind, params.level)
        while chunk := file.read(_CHUNK_BYTES):
            done += target.write(chunk)
            work.progress(done, total, unit="bytes", phase="compress")
        target.finish()
