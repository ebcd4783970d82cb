"""Sound and film: what a file says about itself, asked of ffmpeg before any work on it.

ffprobe would say it in JSON, but not everybody who has ffmpeg has it, and the libraries that read
the same formats in our own process are linked with GPL code. What ffmpeg writes about its input is
the view of the very decoder that does the work afterwards, and has kept its form for many years.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from fileproc.operations import ffmpeg
from fileproc.operations.work import BadInput, Work

VIDEO: Final = (
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "video/x-msvideo",
    "video/ogg",
)
AUDIO: Final = (
    "audio/mpeg",
    "audio/mp4",
    "audio/aac",
    "audio/flac",
    "audio/ogg",
    "audio/wav",
)
_SAID_BYTES = 1024 * 1024
_TAGS_BYTES = 1024 * 1024
_QUARTER = 90
_NTSC = {"23.98": 24, "29.97": 30, "47.95": 48, "59.94": 60, "119.88": 120}


@dataclass(slots=True)
class Stream:
    """One stream of a file; what its kind has not, or the file does not say, is None.

    Attributes:
        kind: video, audio, subtitle, data or attachment.
        cover: a picture that belongs to the sound, not a film.
        width, height: of a frame as it is stored, in pixels.
        aspect: width of a pixel by its height.
        rotation: degrees clockwise that a player turns the frame by.
        bit_rate: bits per second.
    """

    index: int
    kind: str
    codec: str
    profile: str | None = None
    language: str | None = None
    default: bool = False
    cover: bool = False
    width: int | None = None
    height: int | None = None
    aspect: Fraction = Fraction(1)
    rotation: int = 0
    fps: float | None = None
    pixel_format: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    layout: str | None = None
    bit_rate: int | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as a player shows it, in square pixels."""
        width, height = max(1, round((self.width or 1) * self.aspect)), self.height or 1
        turned = self.rotation % (2 * _QUARTER) == _QUARTER
        return (height, width) if turned else (width, height)


@dataclass(frozen=True, slots=True)
class Chapter:
    start_s: float
    end_s: float
    title: str | None


@dataclass(slots=True)
class Media:
    """A file as ffmpeg sees it.

    Attributes:
        duration_s: None where neither header nor size tells.
        estimated: the duration was worked out from size and bit rate.
        engine: name and version of ffmpeg.
    """

    engine: str
    duration_s: float | None = None
    estimated: bool = False
    bit_rate: int | None = None
    streams: list[Stream] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    chapters: list[Chapter] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Stream]:
        return [stream for stream in self.streams if stream.kind == kind]

    @property
    def film(self) -> Stream | None:
        """The stream of pictures that a player would show."""
        films = [stream for stream in self.of_kind("video") if not stream.cover]
        return next((stream for stream in films if stream.default), films[0] if films else None)

    @property
    def sound(self) -> Stream | None:
        """The stream of sound that a player would play."""
        sounds = self.of_kind("audio")
        return next((stream for stream in sounds if stream.default), sounds[0] if sounds else None)


def probe(work: Work) -> Media:
    """Read the headers of the job's input, and refuse what is too much before it is decoded.

    Sets `work.engine`.

    Raises:
        BadInput: `type_mismatch`, `corrupt_input`, `media_too_long`, `too_many_streams` or
            `image_too_large`.
        OutOfResources: as `ffmpeg.run`.
    """
    tags = bytearray()

    def heard(chunk: bytes) -> None:
        tags.extend(chunk[: _TAGS_BYTES - len(tags)])

    said = ffmpeg.run(
        work,
        [*ffmpeg.source(work), "-f", "ffmetadata", "pipe:1"],
        heard,
        level="info",
        tail_bytes=_SAID_BYTES,
    )
    media = parsed(said)
    media.tags, media.chapters = parsed_tags(tags.decode("utf-8", "replace"))
    work.engine = media.engine
    _check(media, work)
    return media


def _check(media: Media, work: Work) -> None:
    if not any(stream.width or stream.sample_rate for stream in media.streams):
        raise BadInput("The file has no streams that could be read.", code="corrupt_input")
    if len(media.streams) > ffmpeg.MAX_STREAMS:
        raise BadInput(
            f"The file has {len(media.streams):,} streams; at most {ffmpeg.MAX_STREAMS} are taken.",
            code="too_many_streams",
        )
    if media.duration_s is not None and media.duration_s > ffmpeg.MAX_DURATION_S:
        raise ffmpeg.too_long()
    for stream in media.streams:
        if (stream.width or 0) * (stream.height or 0) > ffmpeg.most_pixels(work):
            raise BadInput(
                f"Its pictures have {stream.width:,} x {stream.height:,} pixels; at most"
                f" {ffmpeg.most_pixels(work):,} pixels are taken.",
                code="image_too_large",
            )


def film_of(media: Media) -> Stream:
    """The stream of pictures, for what cannot do without.

    Raises:
        BadInput: `stream_missing`.
    """
    if (film := media.film) is None or film.width is None:
        raise BadInput("The file has no moving picture.", code="stream_missing")
    return film


def sound_of(media: Media) -> Stream:
    """The stream of sound, for what cannot do without.

    Raises:
        BadInput: `stream_missing`.
    """
    if (sound := media.sound) is None:
        raise BadInput("The file has no sound.", code="stream_missing")
    return sound


def measured_s(work: Work, stream: Stream) -> float:
    """How long a stream lasts, from its packets: the whole file is read, and nothing decoded.

    Raises:
        BadInput, OutOfResources: as `ffmpeg.encode`.
    """
    clock = ffmpeg.Clock(work, None, "measure")
    output = ["-map", f"0:{stream.index}", "-c", "copy", "-f", "null", "-"]
    ffmpeg.run(work, ["-progress", "pipe:1", *ffmpeg.source(work), *output], clock.heard)
    return clock.reached_s


# --- what ffmpeg says --------------------------------------------------------------------------

_VERSION = re.compile(r"^ffmpeg version (?:\d:)?n?([\w.]{1,40})", re.MULTILINE)
_INPUT = re.compile(r"^Input #0, (\S+), from ", re.MULTILINE)
_END = re.compile(r"^(Output #0|Stream mapping)", re.MULTILINE)
# Digits are counted: a tag whose name has a newline in it can look like any of these lines.
_DURATION = re.compile(r"^  Duration: (\d{1,18}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.MULTILINE)
_BIT_RATE = re.compile(r"^  Duration: .*bitrate: (\d{1,9}) kb/s", re.MULTILINE)
_STREAM = re.compile(
    r"^  Stream #0:(\d{1,5})(?:\[0x[0-9a-f]+\])?(?:\((\w+)\))?: (\w+): ?(.*)$", re.MULTILINE
)
_ROTATION = re.compile(
    r"display ?matrix: rotation of (-?\d{1,6}(?:\.\d{1,9})?) degrees", re.IGNORECASE
)
_NAME = re.compile(r"((?:[^=\\]|\\.)+)=", re.DOTALL)
_COMMA = re.compile(r", (?![^(\[]*[)\]])")  # outside of brackets


def parsed(said: str) -> Media:
    """What ffmpeg wrote about its input.

    Raises:
        BadInput: `corrupt_input`, where it wrote nothing of it.
    """
    version = _VERSION.search(said)
    begun = _INPUT.search(said)
    if begun is None:
        raise BadInput("The file is damaged and cannot be read.", code="corrupt_input")
    end = _END.search(said, begun.end())
    text = said[begun.start() : end.start() if end else len(said)]
    media = Media(f"ffmpeg {version[1]}" if version else "ffmpeg")
    if found := _DURATION.search(text):
        media.duration_s = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    if found := _BIT_RATE.search(text):
        media.bit_rate = int(found[1]) * 1000
    media.estimated = "Estimating duration from bitrate" in said
    media.streams = list(_streams(text))
    return media


def _streams(text: str) -> Iterator[Stream]:
    """Each line about a stream, with those below it up to the next."""
    lines = list(_STREAM.finditer(text))
    for place, line in enumerate(lines):
        end = lines[place + 1].start() if place + 1 < len(lines) else len(text)
        yield _stream(line, text[line.end() : end])


def _stream(line: re.Match[str], below: str) -> Stream:
    said = line[4]
    first, *parts = _COMMA.split(said)
    codec, *notes = re.findall(r"[^\s()]+|\([^)]*\)", first) or ["unknown"]
    # Behind the codec: its profile (`High`), the decoder (`mp3float`), the tag (`avc1 / 0x31`).
    profiles = [note.strip("()") for note in notes if re.fullmatch(r"\([A-Z0-9][^/]*\)", note)]
    stream = Stream(
        index=int(line[1]),
        kind=line[3].lower(),
        codec=codec,
        profile=profiles[0] if profiles else None,
        language=line[2] if line[2] not in {None, "und"} else None,
        default="(default)" in said,
        cover="(attached pic)" in said,
    )
    if rate := re.search(r"(?:^|, )(\d{1,9}) kb/s", said):
        stream.bit_rate = int(rate[1]) * 1000
    if stream.kind == "video":
        _picture(stream, parts, said, below)
    elif stream.kind == "audio":
        _sound(stream, parts)
    return stream


def _picture(stream: Stream, parts: list[str], said: str, below: str) -> None:
    if size := re.search(r", (\d{1,6})x(\d{1,6})(?=[, ]|$)", said):
        stream.width, stream.height = int(size[1]), int(size[2])
        stream.pixel_format = re.split(r"[(\s]", parts[0])[0] if parts else None
    aspect = re.search(r"SAR (\d{1,9}):(\d{1,9})", said)
    if aspect and int(aspect[1]) and int(aspect[2]):
        stream.aspect = Fraction(int(aspect[1]), int(aspect[2]))
    if rate := re.search(r", (\d{1,9}(?:\.\d{1,9})?)(k?) fps", said):
        thousand = 1000 if rate[2] else 1
        ntsc = _NTSC.get(rate[1])
        stream.fps = round(ntsc * 1000 / 1001, 3) if ntsc else float(rate[1]) * thousand
    if turn := _ROTATION.search(below):
        stream.rotation = round(-float(turn[1])) % 360


def _sound(stream: Stream, parts: list[str]) -> None:
    if parts and (rate := re.fullmatch(r"(\d{1,10}) Hz", parts[0])):
        stream.sample_rate = int(rate[1])
        layout = parts[1] if len(parts) > 1 else ""
        stream.channels = _channels(layout)
        stream.layout = layout or None


def _channels(layout: str) -> int | None:
    """`stereo` is 2, `5.1(side)` 6, `7 channels` 7."""
    named = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}
    word = re.split(r"[(\s]", layout)[0]
    if word in named:
        return named[word]
    if re.fullmatch(r"\d{1,2}(\.\d){1,3}", word):
        return sum(map(int, word.split(".")))
    return int(word) if re.fullmatch(r"\d{1,3}", word) else None


def parsed_tags(text: str) -> tuple[dict[str, str], list[Chapter]]:
    """A document of ffmpeg's metadata format: the tags of the whole file, and its chapters.

    Source: ffmpeg-formats(1), "Metadata". Names come in lower case; what says no more than the type
    of the file goes, as does `encoder`, which is ffmpeg's own.
    """
    tags: dict[str, str] = {}
    chapters: list[dict[str, str]] = []
    section = tags
    for line in re.split(r"(?<!\\)\n", text):
        line = line.removesuffix("\n")  # noqa: PLW2901 - as it was meant
        if line.startswith("["):
            section = {}
            if line == "[CHAPTER]":
                chapters.append(section)
        elif not line.startswith(";") and (
            found := re.match(r"((?:[^=\\]|\\.)+)=", line, re.DOTALL)
        ):
            section[_unescaped(found[1]).lower()] = _unescaped(line[found.end() :])
    for name in ("encoder", "major_brand", "minor_version", "compatible_brands"):
        tags.pop(name, None)
    return tags, [made for chapter in chapters if (made := _chapter(chapter))]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _chapter(fields: dict[str, str]) -> Chapter | None:
    try:
        base = Fraction(fields.get("timebase", "1/1000000000"))
        start, end = (float(int(fields[name]) * base) for name in ("start", "end"))
    except (KeyError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return Chapter(round(start, 3), round(end, 3), fields.get("title"))
