"""`file.preview`: a small picture of nearly any file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from fileproc.operations import (
    archives,
    compression,
    documents,
    encoders,
    frames,
    lettering,
    rasters,
    structures,
    texts,
    types,
    workbooks,
    zips,
)
from fileproc.operations.archives import ARCHIVES, Entry
from fileproc.operations.rasters import JPEG, PICTURES, PNG, WEBP
from fileproc.operations.registry import Params, operation
from fileproc.operations.work import BadInput, Input, Work

_TYPES = {"jpeg": JPEG, "png": PNG, "webp": WEBP}
_TEXTS: Final = (
    *(texts.PLAIN, texts.JSON, texts.JSONL, texts.XML, texts.HTML),
    *("text/markdown", "application/yaml"),
)
_ODF = "application/vnd.oasis.opendocument."
_OFFICE: Final = (
    types.DOCX,
    types.PPTX,
    _ODF + "text",
    _ODF + "spreadsheet",
    _ODF + "presentation",
)
# Where office programs put a picture of the first page.
_INSIDE = (
    *("docProps/thumbnail.jpeg", "docProps/thumbnail.jpg", "docProps/thumbnail.png"),
    "Thumbnails/thumbnail.png",
)
_MOST_INSIDE = 8 * 1024 * 1024  # bytes; a picture of a page is far smaller


def _spelling(value: object) -> object:
    return "jpeg" if value == "jpg" else value


class Preview(Params):
    size: int = Field(
        512, ge=16, le=2048, description="Longest side of the picture in pixels; never enlarged."
    )
    format: Annotated[Literal["webp", "jpeg", "png"], BeforeValidator(_spelling)] = Field(
        "webp", description="Format of the picture; jpeg has no transparency, white is behind."
    )
    password: str | None = structures.password_field("Opens an encrypted PDF.")


@operation(
    "file.preview",
    summary="Make a thumbnail of a picture, PDF, table, text or archive",
    params=Preview,
    accepts=(
        *PICTURES, documents.PDF, texts.CSV, texts.TSV, *_TEXTS, types.XLSX, *_OFFICE, *ARCHIVES,
    ),
    produces=(WEBP, JPEG, PNG),
    example={"size": 512, "format": "webp"},
    engines=("pyvips", "pypdfium2", "pikepdf", "isal.igzip_lib"),
)  # fmt: skip
def preview(work: Work, params: Preview) -> None:
    """Make one small picture, upright and without metadata, of what a file holds.

    Of a picture its first frame or page, of a PDF the first page, of a table (CSV, TSV, XLSX) its
    first rows, of a text its first lines, of an archive the list of its entries. Documents and
    slides (DOCX, PPTX, OpenDocument) have a preview if the program that wrote them put one in.

    Raises:
        BadInput: `archive_bomb`, `archive_too_large`, `bad_encoding`, `corrupt_input`,
            `document_too_complex`, `image_too_large`, `no_preview`, `password_required`,
            `table_too_large`, `too_many_columns`, `type_mismatch`, `unsupported_variant`,
            `wrong_password`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    draw = _DRAWN.get(work.input.type)
    if draw is None:
        raise BadInput(
            f"Files of type {work.input.type} have no preview here.", code="type_mismatch"
        )
    work.progress(0, 1, phase="draw")
    image = draw(work, params)
    target = _TYPES[params.format]
    with rasters.decoding():
        scale = min(1.0, params.size / max(image.width, image.height))
        width, height = (max(1, round(side * scale)) for side in (image.width, image.height))
        image = rasters.scaled(image, width, height)
        if target == JPEG and image.hasalpha():
            image = image.flatten(background=255)
        image = image.copy_memory()
    name = f"{work.input.stem}-preview{types.extension_for_type(target)}"
    _save(image, str(work.output(name, target)), target)
    work.progress(1, 1, phase="draw")


def _save(image: Any, path: str, target: str) -> None:
    quality = {"Q": encoders.QUALITIES[target]} if target in encoders.QUALITIES else {}
    with rasters.decoding():
        getattr(image, encoders.SAVERS[target])(path, keep="none", **quality)


def _of_picture(work: Work, params: Preview) -> Any:
    return _picture(work, work.input, params)


def _picture(work: Work, source: Input, params: Preview) -> Any:
    """The first frame, decoded near the size that is wanted, or exactly so if it is a drawing."""
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        rasters.check_pixels(header.width, header.height, 1, work.limits)
        factor = max(header.width, header.height) / params.size
        if not header.vector:
            factor = max(1.0, factor)
        image = rasters.pixels(source.path, source.type, opened, factor=factor)
        width, height = (max(1, round(side / factor)) for side in (header.width, header.height))
        image = rasters.scaled(image, width, height)
        return frames.upright(image, header).copy_memory()


def _of_pdf(work: Work, params: Preview) -> Any:
    import pypdfium2
    import pyvips

    work.engine = f"{documents.engine()}, {rasters.engine()}"
    with documents.opened(work.input.path, params.password) as document:
        documents.check_drawing(work, params.password, [0])
        try:
            longest = max(*documents.page_size(document, 0), 1.0)
            page = document[0]
            bitmap = page.render(scale=params.size / longest, rev_byteorder=True)
            page.close()
        except pypdfium2.PdfiumError as exc:
            raise BadInput("The first page is damaged.", code="corrupt_input") from exc
        array = pyvips.Image.new_from_memory(
            bytes(bitmap.buffer), bitmap.stride // bitmap.n_channels, bitmap.height,
            bitmap.n_channels, "uchar",
        )  # fmt: skip
        size = bitmap.width, bitmap.height
        bitmap.close()
    bands = min(3, array.bands)
    return array[:bands].crop(0, 0, *size).copy(interpretation="b-w" if bands == 1 else "srgb")


def _head(work: Work) -> tuple[str, bool]:
    """The first 64 KiB as text, and whether that is all."""
    with work.input.path.open("rb") as file:
        head = file.read(types.HEAD_BYTES)
        whole = not file.read(1)
    decoded = texts.decode(head, whole=whole)
    if decoded is None:
        raise BadInput("The text is in no encoding that is known here.", code="bad_encoding")
    return decoded[0], whole


def _of_text(work: Work, params: Preview) -> Any:
    del params
    return lettering.page(_head(work)[0].splitlines()[: lettering.MAX_LINES])


def _of_cells(work: Work, params: Preview) -> Any:
    """As a table, or as text if it is none."""
    text, whole = _head(work)
    delimiters = "\t" if work.input.type == texts.TSV else ",;\t|"
    found = [
        texts.rows_of(text, delimiter, whole=whole, most=lettering.MAX_LINES)
        for delimiter in delimiters
    ]
    table = max(found, key=lambda rows: len(rows[0]) if rows else 0)
    if not table:
        return _of_text(work, params)
    return lettering.page(lettering.aligned(table))


def _of_workbook(work: Work, params: Preview) -> Any:
    del params
    work.engine = f"{workbooks.engine()}, {rasters.engine()}"
    rows = islice(workbooks.rows(work, None), lettering.MAX_LINES)
    return lettering.page(lettering.aligned([cells for _, cells in rows]))


def _of_archive(work: Work, params: Preview) -> Any:
    del params
    work.engine = f"{archives.engine(work.input.type)}, {rasters.engine()}"
    with archives.opened(work) as entries:
        listed = [_line(entry) for entry, _ in islice(entries, lettering.MAX_LINES)]
    return lettering.page(listed)


def _line(entry: Entry) -> str:
    return f"{entry.size:>15,}  {(entry.modified or '')[:10]:10}  {entry.path}"


def _of_office(work: Work, params: Preview) -> Any:
    """The picture that is in the file, unpacked under the caps of archives."""
    meter = compression.Meter.of(work)
    meter.most = min(meter.most, _MOST_INSIDE)
    path = work.folder / "thumbnail"
    try:
        with zips.opened(work.input.path) as archive:
            for entry, content in zips.entries(archive, meter, None):
                if entry.path in _INSIDE:
                    path.write_bytes(b"".join(content()))
                    found = types.detect_file(path, entry.path)
                    if found in {JPEG, PNG}:
                        inside = Input(path, entry.path, entry.size, "", found)
                        return _picture(work, inside, params)
    finally:
        path.unlink(missing_ok=True)
    raise BadInput(
        "The document holds no picture of itself: convert it to PDF, and that has a preview.",
        code="no_preview",
    )


_Draw = Callable[[Work, Preview], Any]
# How each type is drawn, as an image of libvips in sRGB or grey, upright, of about the size that
# is wanted or larger. Another kind of file is another line here.
_DRAWN: dict[str, _Draw] = {
    **dict.fromkeys(PICTURES, _of_picture),
    documents.PDF: _of_pdf,
    texts.CSV: _of_cells,
    texts.TSV: _of_cells,
    **dict.fromkeys(_TEXTS, _of_text),
    types.XLSX: _of_workbook,
    **dict.fromkeys(_OFFICE, _of_office),
    **dict.fromkeys(ARCHIVES, _of_archive),
}
