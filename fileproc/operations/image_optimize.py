"""`image.optimize`: an image in as few bytes as possible, or within a given number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import encoders, frames, metadata, rasters
from fileproc.operations.picture_params import (
    AUTO_ORIENT,
    BACKGROUND,
    KEEP_GPS,
    KEEP_METADATA,
    Spelling,
)
from fileproc.operations.rasters import AVIF, BMP, GIF, JPEG, PICTURES, PNG, SVG, TIFF, WEBP, Header
from fileproc.operations.registry import Params, operation
from fileproc.operations.types import extension_for_type
from fileproc.operations.work import BadInput, Work

# Above, the file grows and nobody sees a difference.
_HIGHEST: Final = {JPEG: 95, WEBP: 95, AVIF: 80}
_LOSSY: Final = frozenset({JPEG, WEBP, AVIF})
# What makes files smaller at the same quality, at a price in time.
_JPEG: Final = {
    "optimize_coding": True,
    "interlace": True,
    "trellis_quant": True,
    "overshoot_deringing": True,
    "optimize_scans": True,
}
_WEBP: Final = {"effort": 5, "smart_subsample": True}
# Measured on 1.3 megapixels: 3 takes three times as long as 2 and saves 5 %, 4 twenty times.
_AVIF: Final = {"compression": "av1", "effort": 2}
_PNG: Final = {"compression": 9, "effort": 7}
_TIFF: Final = {"compression": "deflate", "predictor": "horizontal"}
_BITS: Final = (8, 4, 2, 1)  # of a PNG's palette
# Of a GIF: bits of its palette, and how much frames may differ unseen (libvips' measure).
_GIF_STEPS: Final = ((8, 0), (8, 4), (7, 4), (6, 8), (5, 8), (4, 12), (3, 16), (2, 24))

Options = dict[str, Any]


class Optimize(Params):
    """A `quality`, or `max_bytes`, or neither."""

    quality: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Quality on the scale of JPEG; by default 82. PNG and GIF lose colours below"
        " 100. By default they lose nothing.",
    )
    max_bytes: int | None = Field(
        None,
        ge=100,
        le=1 << 40,
        description="Size of the result in bytes, at most: the best quality that fits is taken.",
    )
    min_quality: int = Field(
        20, ge=1, le=95, description="With max_bytes: rather fail than go below this quality."
    )
    format: Annotated[
        Literal["keep", "best", "jpeg", "png", "webp", "avif", "gif", "tiff"], Spelling
    ] = Field(
        "keep",
        description="Format of the result. best: tries those that can hold the picture, and takes"
        " the smallest; with max_bytes the one that looks most like the original.",
    )
    background: str = BACKGROUND
    auto_orient: bool = AUTO_ORIENT
    keep_metadata: bool = KEEP_METADATA
    keep_gps: bool = KEEP_GPS

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.quality is not None and self.max_bytes is not None:
            raise ValueError("give quality or max_bytes: one follows from the other")
        return self


@operation(
    "image.optimize",
    summary="Make an image file smaller: by quality, or to fit a size",
    params=Optimize,
    accepts=PICTURES,
    produces=encoders.WRITTEN,
    example={"max_bytes": 100_000, "format": "best"},
    engines=("pyvips",),
)
def optimize(work: Work, params: Optimize) -> None:
    """Encode a picture anew, in its size, with every effort that the format offers.

    With `max_bytes` the quality is found by bisection. Without, a JPEG, WebP or AVIF that stays
    one never becomes larger than it was, down to `min_quality`. Animations stay animated where
    the result is GIF or WebP. Metadata is left out.

    Raises:
        BadInput: `corrupt_input`, `image_too_large`, `output_too_large`, `type_mismatch`,
            `unsupported_variant`, `xml_dtd`.
    """
    work.engine = rasters.engine()
    source = work.input
    with rasters.decoding():
        header, opened = rasters.read_header(source.path, source.type)
        targets = _targets(params, source.type, header)
        counts = [frames.check(header, target, work) for target in targets]
        size = header.upright if params.auto_orient else (header.width, header.height)
        targets = _holding(targets, size, work, max(counts))
        image = _decoded(work, header, opened, params, film=max(counts) > 1)
        trials = _Trials(work, params, image, len(targets))
        results = [found for target in targets if (found := trials.best(target)) is not None]
        if not results:
            raise _none_fits(trials, params, targets)
        chosen = _chosen(results, trials, params)
        path = work.output(source.stem + extension_for_type(chosen.target), chosen.target)
        path.write_bytes(chosen.data)
        work.progress(1, 1, phase="done")


def _targets(params: Optimize, given: str, header: Header) -> list[str]:
    if params.format != "best":
        return [encoders.target_type(params.format, given, header)]
    if header.animated:
        return [WEBP, GIF]
    drawn = given in {PNG, GIF, BMP, SVG}  # flat colours, which PNG is good at
    return [WEBP, AVIF, *([] if header.alpha else [JPEG]), *([PNG] if drawn else [])]


def _holding(targets: list[str], size: tuple[int, int], work: Work, count: int) -> list[str]:
    """Those that can hold the picture.

    Raises:
        BadInput: `output_too_large` if none can.
    """
    fitting, refusal = [], None
    for target in targets:
        try:
            encoders.check_size(size, target, work, frames=count)
        except BadInput as exc:
            refusal = exc
        else:
            fitting.append(target)
    if refusal is not None and not fitting:
        raise refusal
    return fitting


def _decoded(work: Work, header: Header, opened: Any, params: Optimize, *, film: bool) -> Any:
    """The picture (of a film all frames), in memory: it is encoded more than once."""
    image = frames.changed(
        work, header, opened, GIF if film else JPEG, lambda frame: frame,
        phase="decode", auto_orient=params.auto_orient,
    )  # fmt: skip
    image, _ = metadata.reduced(image, keep=params.keep_metadata, gps=params.keep_gps)
    return image.copy_memory()


# --- trials ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Result:
    target: str
    data: bytes


class _Trials:
    """Encodes one picture again and again."""

    def __init__(self, work: Work, params: Optimize, image: Any, targets: int) -> None:
        self._work, self._params, self._image = work, params, image
        self._keep = "all" if params.keep_metadata else "none"
        self._targets, self._done = targets, 0
        self.smallest: int | None = None

    def best(self, target: str) -> _Result | None:
        """The result in this format; None if none is small enough."""
        flat = encoders.flat(
            self._image, target, encoders.background(self._params.background, target)
        )
        steps, most = self._ladder(target)

        def encode(options: Options) -> bytes:
            data = self._encoded(flat, target, options)
            self.smallest = min(len(data), self.smallest or len(data))
            return data

        self._done += 1
        data = encode(steps[0])
        if most is not None and len(data) > most:
            fitting = bisect(steps[1:], encode, most)
            if fitting is None and self._params.max_bytes is not None:
                return None
            data = fitting or data
        return _Result(target, data)

    def _ladder(self, target: str) -> tuple[list[Options], int | None]:
        """Settings from the best to the smallest, and how many bytes the result may have."""
        params = self._params
        if params.max_bytes is not None:
            return _steps(target, _HIGHEST.get(target, 100), params.min_quality), params.max_bytes
        if params.quality is not None:
            return [_settings(target, params.quality)], None
        usual = encoders.QUALITIES.get(target, 100)
        if target in _LOSSY and target == self._work.input.type:
            return _steps(target, usual, params.min_quality), self._work.input.size
        return _steps(target, usual, usual)[:1], None

    def _encoded(self, image: Any, target: str, options: Options) -> bytes:
        self._work.progress(self._done - 1, self._targets, unit="formats", phase="encode")
        saver = getattr(image, encoders.SAVERS[target] + "_buffer")
        data = bytes(saver(keep=self._keep, **options))
        if target != PNG:
            return data
        # Filters help photographs and harm drawings: nothing but trying tells.
        return min(data, bytes(saver(keep=self._keep, filter="all", **options)), key=len)

    def error(self, result: _Result) -> float:
        """Mean squared difference to the original, as both look on white."""
        loaded = rasters.load_bytes(result.data, result.target, film=self._is_film())
        pair = [_on_white(image) for image in (loaded, self._image)]
        if (pair[0].width, pair[0].height) != (pair[1].width, pair[1].height):
            return float("inf")
        return float(((pair[0] - pair[1]) ** 2).avg())

    def _is_film(self) -> bool:
        return bool(self._image.get_typeof("page-height"))


def bisect(steps: Sequence[Options], encode: Callable[[Options], bytes], most: int) -> bytes | None:
    """The first of the steps whose result has at most so many bytes, if the last one has.

    They go from large to small. Where they do not quite, it is one that fits all the same.
    """
    if not steps or len(found := encode(steps[-1])) > most:
        return None
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        data = encode(steps[middle])
        if len(data) <= most:
            found, high = data, middle
        else:
            low = middle + 1
    return found


def _none_fits(trials: _Trials, params: Optimize, targets: list[str]) -> BadInput:
    smallest, most = trials.smallest or 0, params.max_bytes or 0
    floor, way_out = "", "Try"
    if _LOSSY.intersection(targets) and params.min_quality > 1:
        floor = f" at the lowest quality that min_quality allows ({params.min_quality})"
        way_out = "Lower min_quality, try"
    return BadInput(
        f"The smallest result{floor} would have {smallest:,} bytes; at most {most:,} are asked for."
        f" {way_out} another format, or resize it first.",
        code="output_too_large",
    )


def _chosen(results: list[_Result], trials: _Trials, params: Optimize) -> _Result:
    if params.max_bytes is None or len(results) == 1:
        return min(results, key=lambda result: len(result.data))
    return min(results, key=trials.error)


def _on_white(image: Any) -> Any:
    image = rasters.to_srgb(image)
    if image.hasalpha():
        image = image.flatten(background=[255] * (image.bands - 1))
    return image.colourspace("srgb").cast("float")


# --- settings --------------------------------------------------------------------------------


def _steps(target: str, highest: int, lowest: int) -> list[Options]:
    """From the best to the smallest; `lowest` on the scale of JPEG."""
    if target == JPEG:
        return [{**_JPEG, "Q": quality} for quality in range(highest, min(highest, lowest) - 1, -1)]
    if target in _LOSSY:
        least = min(highest, _like_jpeg(target, lowest))
        return [_lossy(target, quality) for quality in range(highest, least - 1, -1)]
    if target == PNG:
        return [_PNG, *({**_PNG, "palette": True, "bitdepth": bits} for bits in _BITS)]
    if target == GIF:
        return [_gif(*step) for step in _GIF_STEPS]
    return [_TIFF]


def _settings(target: str, quality: int) -> Options:
    """The settings of one quality on the scale of JPEG."""
    if target in _LOSSY:
        return _lossy(target, quality if target == JPEG else _like_jpeg(target, quality))
    if target == TIFF or (target == PNG and quality == 100):  # noqa: PLR2004 - nothing is lost
        return _TIFF if target == TIFF else _PNG
    steps = _steps(target, 100, 1)[target == PNG :]
    return steps[min(len(steps) - 1, (100 - quality) * len(steps) // 100)]


def _lossy(target: str, quality: int) -> Options:
    usual: dict[str, Options] = {JPEG: _JPEG, WEBP: _WEBP, AVIF: _AVIF}
    return {**usual[target], "Q": quality}


def _like_jpeg(target: str, quality: int) -> int:
    """The quality that looks about like this one of JPEG: 82 is 80 in WebP and 55 in AVIF."""
    usual = encoders.QUALITIES[JPEG]
    there = encoders.QUALITIES[target]
    if quality <= usual:
        return max(1, round(quality * there / usual))
    return round(there + (quality - usual) * (100 - there) / (100 - usual))


def _gif(bits: int, difference: int) -> Options:
    return {"bitdepth": bits, "interframe_maxerror": difference, "effort": 7}
