"""`pdf.optimize`: the same PDF in fewer bytes, or ready for the web."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from fileproc.operations import structures
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import Work

_BEST_FLATE: Final = 9
_MAX_LZW_BYTES = 1024 * 1024  # more may unpack to gigabytes, and qpdf has no limit for LZW


class Optimize(Params):
    linearize: bool = Field(
        True,
        description="Order the file so that a browser shows the first page before the rest is"
        " there (fast web view); costs a little size.",
    )
    recompress: bool = Field(
        True, description="Pack streams anew, and as well as Flate can; slower. Nothing is lost."
    )
    object_streams: bool = Field(
        True,
        description="Pack objects together (PDF 1.5): much smaller where there are many of them.",
    )
    password: str | None = structures.password_field()


@operation(
    "pdf.optimize",
    summary="Make a PDF smaller without loss, and linearize it for the web",
    params=Optimize,
    accepts=(PDF,),
    produces=(PDF,),
    example={"linearize": True},
    engines=("pikepdf",),
)
def optimize(work: Work, params: Optimize) -> None:
    """Pack a document better; nothing in it changes, scripts included, and no picture loses detail.

    What nothing refers to is left out. A document that cannot be made smaller is given back byte
    for byte, unless it is to be linearized and is not. The result of an encrypted document is not
    encrypted. A signature no longer holds, unless the bytes stay the same.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    import pikepdf

    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    source = work.input.path
    with structures.opened(source, params.password) as pdf:
        path = work.output(work.input.stem + ".pdf", PDF)
        pikepdf.settings.set_flate_compression_level(_BEST_FLATE)
        structures.save(pdf, work, path, linearize=params.linearize, **_packing(pdf, params))
        good_as_it_is = not pdf.is_encrypted and (pdf.is_linearized or not params.linearize)
    if good_as_it_is and path.stat().st_size >= source.stat().st_size:
        _give_back(source, path)


def _packing(pdf: Any, params: Optimize) -> dict[str, Any]:
    import pikepdf

    mode, level = pikepdf.ObjectStreamMode, pikepdf.StreamDecodeLevel
    recompress = params.recompress and not _holds_endless_lzw(pdf)
    return {
        "compress_streams": True,
        "recompress_flate": recompress,
        "stream_decode_level": level.generalized if recompress else level.none,
        "object_stream_mode": mode.generate if params.object_streams else mode.preserve,
    }


def _holds_endless_lzw(pdf: Any) -> bool:
    import pikepdf

    with structures.reading():
        return any(
            isinstance(found, pikepdf.Stream)
            and "LZW" in str(found.get("/Filter"))
            and len(found.read_raw_bytes()) > _MAX_LZW_BYTES
            for found in pdf.objects
        )


def _give_back(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)
