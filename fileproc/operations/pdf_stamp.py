"""`pdf.stamp`: watermarks, letterheads and page numbers."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fileproc.operations import documents, drawing_cost, stamps, structures
from fileproc.operations.rasters import AVIF, GIF, JPEG, PNG, TIFF, WEBP
from fileproc.operations.registry import Params, operation
from fileproc.operations.stamps import Matrix, Stamp
from fileproc.operations.structures import MAX_PAGES, PDF, dictionary
from fileproc.operations.work import BadInput, Work

_PICTURES = (JPEG, PNG, WEBP, AVIF, GIF, TIFF)
_ROOM = {"west": 0.0, "east": 1.0, "south": 0.0, "north": 1.0}
_NUMBERS = re.compile(r"\{(page|pages)\}")
_SAVE = re.compile(rb"(?<![^\x00\t\n\f\r \])>])([qQ])(?=[\x00\t\n\f\r (<\[/%]|\Z)")

Position = Literal[
    "centre", "north", "north_east", "east", "south_east", "south", "south_west", "west",
    "north_west",
]  # fmt: skip


class StampParams(Params):
    """`text`, or a second input with the stamp: a picture or a PDF."""

    text: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$",
        description="Text to write, in several lines if it has newlines. {page} stands for the"
        " number of the page, {pages} for how many there are.",
    )
    pages: Annotated[str, AfterValidator(documents.check_pages)] = Field(
        "all", max_length=1000, description="Which pages to stamp, such as 1-3,7,last or 5-."
    )
    position: Position = Field("centre", description="Where on the page, as it is looked at.")
    margin: float = Field(
        36, ge=0, le=1000, description="Points between the stamp and the edges it stands at."
    )
    width_percent: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Width of the stamp in percent of the page's. Not given: text as large as"
        " font_size, a PDF as it is, a picture with 150 pixels to the inch; none beyond the page.",
    )
    rotate: float = Field(
        0, ge=-360, le=360, description="Degrees to turn the stamp anticlockwise."
    )
    opacity: float = Field(1, ge=0, le=1, description="0 cannot be seen, 1 hides what is below.")
    layer: Literal["over", "under"] = Field(
        "over", description="Whether the stamp lies over the page's contents, or under them."
    )
    font_size: float = Field(24, ge=1, le=1000, description="Size of the text in points.")
    colour: str = Field(
        "#000000",
        pattern=r"^#[0-9a-fA-F]{6}$",
        description="Colour of the text, as #rrggbb.",
    )
    password: str | None = structures.password_field()
    stamp_password: str | None = structures.password_field("Opens an encrypted PDF as the stamp.")


def _misfit(params: StampParams, count: int) -> str | None:
    if params.text is None and count == 1:
        return "There is no stamp: give the parameter text, or a picture or PDF as a second file."
    if params.text is not None and count > 1:
        return "There are two stamps: give the parameter text or a second file, not both."
    return None


@operation(
    "pdf.stamp",
    summary="Put text, page numbers, a picture or a letterhead on pages of a PDF",
    params=StampParams,
    accepts=(PDF,),
    accepts_later=_PICTURES,
    produces=(PDF,),
    example={"text": "Page {page} of {pages}", "position": "south", "font_size": 10},
    engines=("pikepdf", "pypdfium2", "pyvips"),
    judge=_misfit,
    max_inputs=2,
)
def stamp(work: Work, params: StampParams) -> None:
    """Draw a stamp on the chosen pages: a text, or the second input.

    The first input is the document, the second a picture (JPEG, PNG, WebP, AVIF, GIF, TIFF) or a
    PDF, of which the first page is taken, as far as its TrimBox goes if it has one. Stamps stand
    upright on pages that are turned, and inside the part that is shown of pages that are cropped.
    Text of the Latin alphabet is written in Helvetica and can be searched; other scripts become
    pictures, drawn with the server's fonts: with a character that none of them has, the job fails.
    All else in the document stays as it is, scripts included. The result is not encrypted;
    signatures no longer hold.

    Raises:
        BadInput: `corrupt_input`, `count_mismatch`, `document_too_complex`, `image_too_large`,
            `page_out_of_range`, `password_required`, `type_mismatch`, `undrawable_text`,
            `unsupported_variant`, `wrong_password`.
        OutOfResources: `out_of_memory`, `scratch_full`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    if (misfit := _misfit(params, len(work.inputs))) is not None:
        raise BadInput(misfit, code="count_mismatch")
    with ExitStack() as stack:
        pdf = stack.enter_context(structures.opened(work.input.path, params.password))
        chosen = documents.chosen_pages(params.pages, len(pdf.pages), most=MAX_PAGES)
        stamper = _Stamper(pdf, params)
        shared = None if params.text is not None else _given(work, params, pdf, stack)
        for done, index in enumerate(chosen, 1):
            stamper.put(index, shared or stamper.of_text(index))
            work.progress(done, len(chosen), unit="pages", phase="stamp")
        structures.save(pdf, work, work.output(work.input.stem + ".pdf", PDF))


def _given(work: Work, params: StampParams, pdf: Any, stack: ExitStack) -> Stamp:
    """The stamp that is the second input."""
    source = work.inputs[1]
    if source.type in _PICTURES:
        return stamps.of_picture(pdf, source, work.limits, opacity=params.opacity)
    structures.check_is_pdf(source)
    other = stack.enter_context(structures.opened(source.path, params.stamp_password))
    return stamps.of_page(pdf, other, opacity=params.opacity)


class _View(NamedTuple):
    """A page as it is looked at: its size, and the way from there to its own coordinates."""

    width: float
    height: float
    matrix: Matrix


class _Stamper:
    """Puts stamps on pages; a text that comes on every page is made once."""

    def __init__(self, pdf: Any, params: StampParams) -> None:
        self._pdf, self._params = pdf, params
        self._texts: dict[str, Stamp] = {}
        self._names: dict[tuple[Any, Any], Any] = {}
        red, green, blue = bytes.fromhex(params.colour[1:])
        self._colour = (red, green, blue)

    def of_text(self, index: int) -> Stamp:
        said = {"page": str(index + 1), "pages": str(len(self._pdf.pages))}
        text = _NUMBERS.sub(lambda found: said[found[1]], self._params.text or "")
        if text not in self._texts:
            made = stamps.of_text(
                self._pdf,
                text,
                size=self._params.font_size,
                colour=self._colour,
                opacity=self._params.opacity,
            )
            self._texts[text] = Stamp(self._pdf.make_indirect(made.form), made.box)
        return self._texts[text]

    def put(self, index: int, stamp: Stamp) -> None:
        page = self._pdf.pages[index]
        view = _view(page)
        matrix = stamps.times(self._placed(stamp, view), view.matrix)
        name = self._name(page, stamp)
        drawing = (
            b"/Artifact <</Type /Pagination /Subtype /Watermark>> BDC\n"
            b"q %s cm %s Do Q\nEMC\n" % (stamps.numbers(matrix).encode(), str(name).encode())
        )
        if self._params.layer == "under":
            page.contents_add(drawing, prepend=True)
            return
        open_states = _left_open(drawing_cost.contents(page.obj))
        page.contents_add(b"q\n", prepend=True)
        page.contents_add(b"\n" + b"Q " * (1 + open_states) + b"\n" + drawing)

    def _placed(self, stamp: Stamp, view: _View) -> Matrix:
        params = self._params
        width, height = stamps.turned_size(stamp.size, params.rotate)
        scale = min(1.0, view.width / width, view.height / height)
        if params.width_percent is not None:
            scale = view.width * params.width_percent / 100 / width
        room = (view.width - width * scale, view.height - height * scale)
        left, bottom = (
            _aside(part, params.margin, share)
            for part, share in zip(room, _shares(params.position), strict=True)
        )
        centre = (left + width * scale / 2, bottom + height * scale / 2)
        return stamps.placed(stamp, centre, scale, params.rotate)

    def _name(self, page: Any, stamp: Stamp) -> Any:
        """The stamp's name among the page's resources; where pages share those, it is shared."""
        import pikepdf

        resources = dictionary(page.resources)
        if resources is None:
            page.obj["/Resources"] = resources = pikepdf.Dictionary()
        key = (resources.objgen if resources.is_indirect else page.obj.objgen, stamp.form.objgen)
        if key not in self._names:
            forms = dictionary(resources.get("/XObject"))
            if forms is None:
                resources["/XObject"] = pikepdf.Dictionary()
                forms = resources["/XObject"]
            number = len(forms)
            while f"/Stamp{number}" in forms:
                number += 1
            self._names[key] = pikepdf.Name(f"/Stamp{number}")
            forms[self._names[key]] = stamp.form
        return self._names[key]


def _shares(position: str) -> tuple[float, float]:
    """Of the free room, the share to the left of the stamp and the share below it."""
    sides = position.split("_")
    across = next((_ROOM[side] for side in sides if side in {"west", "east"}), 0.5)
    up = next((_ROOM[side] for side in sides if side in {"north", "south"}), 0.5)
    return across, up


def _aside(room: float, margin: float, share: float) -> float:
    """How far from the left or lower edge, a margin away from the edge that it stands at."""
    margin = min(margin, max(room, 0) / 2)
    return {0.0: margin, 0.5: room / 2, 1.0: room - margin}[share]


def _view(page: Any) -> _View:
    left, bottom, right, top = _shown(page)
    width, height = right - left, top - bottom
    matrices: dict[int, Matrix] = {
        0: (1, 0, 0, 1, left, bottom),
        90: (0, 1, -1, 0, right, bottom),
        180: (-1, 0, 0, -1, right, top),
        270: (0, -1, 1, 0, left, top),
    }
    turned = int(page.rotation) % 360
    if turned in {90, 270}:
        width, height = height, width
    return _View(width, height, matrices.get(turned, matrices[0]))


def _shown(page: Any) -> tuple[float, float, float, float]:
    """What is shown of a page: its crop box, as far as that lies on it."""
    crop, media = (_upright(box) for box in (page.cropbox, page.mediabox))
    left, bottom = max(crop[0], media[0]), max(crop[1], media[1])
    right, top = min(crop[2], media[2]), min(crop[3], media[3])
    if right - left < 1 or top - bottom < 1:
        return media if media[2] - media[0] >= 1 and media[3] - media[1] >= 1 else (0, 0, 612, 792)
    return left, bottom, right, top


def _upright(box: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = structures.sides(box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _left_open(contents: bytes) -> int:
    """How many graphics states the contents save and do not restore; sloppy ones leave some."""
    depth = 0
    for found in _SAVE.finditer(contents):
        depth = max(0, depth + (1 if found[1] == b"q" else -1))
    return min(depth, 1000)
