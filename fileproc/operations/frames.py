"""The frames of a picture, one after the other: one of a still, all of a film."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fileproc.operations import encoders, rasters
from fileproc.operations.rasters import Header
from fileproc.operations.work import BadInput, Work

_INT: Final = 24  # GObject's fundamental type of an int, the same on every platform
_TIMING = ("delay", "loop", "gif-delay", "background")
Change = Callable[[Any], Any]


def stays_film(header: Header, target: str) -> bool:
    """Whether all frames are kept: the result can be animated as well."""
    return header.animated and target in encoders.FILMS


def changed(
    work: Work,
    header: Header,
    opened: Any,
    target: str,
    change: Change,
    *,
    phase: str,
    page: int | None = None,
    auto_orient: bool = True,
) -> Any:
    """The picture or the film, in sRGB and upright, with `change` made to every frame of it.

    With a `page` only that frame. Raises as `still` does.
    """

    def each(frame: Any) -> Any:
        return change(upright(frame, header, auto_orient=auto_orient))

    if page is None and stays_film(header, target):
        return film(work, header, each, phase=phase)
    work.progress(0, 1, phase=phase)
    return each(still(work, header, opened, page))


def check(header: Header, target: str, work: Work, *, page: int | None = None) -> int:
    """How many frames are decoded, after judging their pixels by the header.

    Raises:
        BadInput: `image_too_large`.
    """
    count = header.frames if page is None and stays_film(header, target) else 1
    rasters.check_pixels(header.width, header.height, count, work.limits)
    return count


def film(work: Work, header: Header, change: Change, *, phase: str) -> Any:
    """Every frame by itself, so that none bleeds into the next; then stacked, as libvips wants.

    All of them have to come out of `change` with the same size.
    """
    source = work.input
    roll = rasters.load(source.path, source.type, n=-1, access="random")
    height = roll.get("page-height") if roll.get_typeof("page-height") else header.height
    changed = []
    for index in range(roll.height // height):
        frame = roll.crop(0, index * height, roll.width, height)
        changed.append(change(frame).copy_memory())
        work.progress(index + 1, header.frames, unit="frames", phase=phase)
    joined = type(roll).arrayjoin(changed, across=1).copy()
    for name in _TIMING:
        if roll.get_typeof(name):
            joined.set_type(roll.get_typeof(name), name, roll.get(name))
    joined.set_type(_INT, "page-height", changed[0].height)
    return joined


def still(work: Work, header: Header, opened: Any, page: int | None) -> Any:
    """One frame, decoded: the first, or the page that is asked for (from 1).

    Raises:
        BadInput: `page_out_of_range`.
    """
    source = work.input
    if page in {None, 1}:
        return rasters.pixels(source.path, source.type, opened)
    if page is None or page > header.frames:
        raise BadInput(
            f"The image has {header.frames:,} page(s) or frame(s); {page} is asked for.",
            code="page_out_of_range",
        )
    image = rasters.load(source.path, source.type, page=page - 1)
    rasters.check_pixels(image.width, image.height, 1, work.limits)
    return image


def upright(image: Any, header: Header, *, auto_orient: bool = True) -> Any:
    """In sRGB, and turned as the file says."""
    image = rasters.to_srgb(image)
    if auto_orient and header.orientation > 1:
        image = image.copy_memory().autorot()
    return image
