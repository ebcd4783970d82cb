"""`pdf.to_images`: pages of a PDF as pictures."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fileproc.operations import documents, rasters, structures
from fileproc.operations.documents import POINTS_PER_INCH
from fileproc.operations.rasters import JPEG, PNG, WEBP
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

_TYPES = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
_QUALITY = {JPEG: 85, WEBP: 80}
_MOST = {PNG: 65_500, JPEG: 65_500, WEBP: 16_383}
_LARGE_PIXELS = 16_000_000
_PNG_EFFORT = 3  # measured on text: 1.7 times as fast as 6, 2 % larger


def _spelling(value: object) -> object:
    return "jpeg" if value == "jpg" else value


class ToImages(Params):
    pages: Annotated[str, AfterValidator(documents.check_pages)] = Field(
        "all",
        max_length=1000,
        description="Which pages, in this order: such as 1-3,7,last or 5- (from the fifth on).",
    )
    dpi: int = Field(150, ge=1, le=1200, description="Pixels per inch of the page.")
    format: Annotated[Literal["png", "jpeg", "webp"], BeforeValidator(_spelling)] = Field(
        "png", description="Format of the pictures."
    )
    quality: int | None = Field(
        None, ge=1, le=100, description="Quality of JPEG (default 85) and WebP (80)."
    )
    background: Literal["white", "transparent"] = Field(
        "white", description="What is behind the page; JPEG is always white."
    )
    password: str | None = structures.password_field()

    @model_validator(mode="after")
    def _has_transparency(self) -> Self:
        if self.format == "jpeg" and self.background == "transparent":
            raise ValueError("jpeg has no transparency: choose png or webp, or a white background")
        return self


@operation(
    "pdf.to_images",
    summary="Render pages of a PDF as images",
    params=ToImages,
    accepts=(PDF,),
    produces=(PNG, JPEG, WEBP),
    example={"pages": "1-3", "dpi": 150, "format": "png"},
    engines=("pypdfium2", "pikepdf", "pyvips"),
)
def to_images(work: Work, params: ToImages) -> None:
    """Draw each chosen page, with its form fields and annotations, into a picture of its own.

    The results are named after the document and the page: `report-001.png`. A page's size is
    judged before it is drawn, and so is how much there is to draw on it.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `image_too_large`, `output_too_large`,
            `page_out_of_range`, `password_required`, `too_many_outputs`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`.
    """
    work.engine = documents.engine()
    structures.check_is_pdf(work.input)
    with documents.opened(work.input.path, params.password) as document:
        pages = documents.chosen_pages(params.pages, len(document), most=work.limits.output_files)
        target = _TYPES[params.format]
        for index in pages:
            _check_size(document, index, params, target, work)
        documents.check_drawing(work, params.password, pages)
        digits = max(3, len(str(len(document))))
        with _Encoder(work, params, target, len(pages)) as encoder:
            for index in pages:
                name = f"{work.input.stem}-{index + 1:0{digits}}{extension_for_type(target)}"
                encoder.take(_drawn(document, index, params), work.output(name, target))


class _Encoder:
    """Encodes a picture in a thread of its own while PDFium, which knows one only, draws the next.

    There are two pictures in memory then; large ones are waited for.
    """

    def __init__(self, work: Work, params: ToImages, target: str, total: int) -> None:
        self._work, self._params, self._target, self._total = work, params, target, total
        self._thread = ThreadPoolExecutor(1)
        self._current: tuple[Any, Future[None]] | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        self._thread.shutdown()

    def take(self, bitmap: Any, path: Path) -> None:
        self._finish()
        saved = self._thread.submit(_save, bitmap, str(path), self._params, self._target)
        self._current = bitmap, saved
        if bitmap.width * bitmap.height > _LARGE_PIXELS:
            self._finish()

    def _finish(self) -> None:
        if self._current is None:
            return
        (bitmap, saved), self._current = self._current, None
        saved.result()
        bitmap.close()  # here: PDFium made it
        self._done += 1
        self._work.progress(self._done, self._total, unit="pages", phase="render")


def _check_size(document: Any, index: int, params: ToImages, target: str, work: Work) -> None:
    """Judge the picture from the page's box, before anything is drawn.

    Raises:
        BadInput: `corrupt_input`, `image_too_large` or `output_too_large`.
    """
    points = documents.page_size(document, index)
    scale = params.dpi / POINTS_PER_INCH
    width, height = (max(1, round(length * scale)) for length in points)
    if width * height > work.limits.pixels:
        raise BadInput(
            f"Page {index + 1} would have {width:,} x {height:,} pixels at {params.dpi} dpi;"
            f" at most {work.limits.pixels:,} pixels are drawn.",
            code="image_too_large",
        )
    if max(width, height) > _MOST[target]:
        raise BadInput(
            f"Page {index + 1} would have {width:,} x {height:,} pixels at {params.dpi} dpi;"
            f" {target} goes up to {_MOST[target]:,} on a side.",
            code="output_too_large",
        )


def _drawn(document: Any, index: int, params: ToImages) -> Any:
    import pypdfium2

    transparent = params.background == "transparent"
    try:
        page = document[index]
        try:
            return page.render(
                scale=params.dpi / POINTS_PER_INCH,
                rev_byteorder=True,
                fill_color=(255, 255, 255, 0 if transparent else 255),
                force_bitmap_format=_bitmap_format(transparent=transparent),
            )
        finally:
            page.close()
    except pypdfium2.PdfiumError as exc:
        raise documents.page_damaged(index) from exc


def _bitmap_format(*, transparent: bool) -> int:
    import pypdfium2.raw

    raw = pypdfium2.raw
    return int(raw.FPDFBitmap_BGRA if transparent else raw.FPDFBitmap_BGR)


def _save(bitmap: Any, path: str, params: ToImages, target: str) -> None:
    """Encode straight from the bitmap's memory."""
    import pyvips

    if bitmap.stride != bitmap.width * bitmap.n_channels:
        raise AssertionError("PDFium padded the lines of a bitmap that pypdfium2 laid out")
    image = pyvips.Image.new_from_memory(
        bitmap.buffer, bitmap.width, bitmap.height, bitmap.n_channels, "uchar"
    ).copy(interpretation="srgb", xres=params.dpi / 25.4, yres=params.dpi / 25.4)
    with rasters.decoding():
        if target == PNG:
            image.pngsave(path, compression=_PNG_EFFORT)
        else:
            quality = params.quality or _QUALITY[target]
            (image.jpegsave if target == JPEG else image.webpsave)(path, Q=quality)
