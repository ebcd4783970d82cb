"""ffmpeg, run on one file of ours: which demuxer, what it may open, how its end is to be read.

The demuxer follows from the type that we detected, and no other is allowed, so that a playlist by
another name is never one (HLS, DASH, concat name further files and addresses). What is opened is
the file itself. Sizes and numbers of streams are limited once more here: a header that lied to
the look before the work (`media.py`) ends the work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from fileproc.errors import JobError
from fileproc.operations import programs
from fileproc.operations.programs import Ended
from fileproc.operations.work import BadInput, OutOfResources, Work

NAME: Final = "ffmpeg"
MAX_STREAMS: Final = 50
MAX_FRAME_PIXELS: Final = 36_000_000  # 8K has 33 million; a decoder keeps a dozen frames and more
MAX_DURATION_S: Final = 24 * 3600
NO_METADATA: Final = ("-map_metadata", "-1", "-map_chapters", "-1")
_EVERY_S = "0.5"

DEMUXERS: Final = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/aac": "aac",
}


def source(work: Work, *options: str) -> list[str]:
    """The arguments that open the job's input; `options` are about it (`-ss`).

    Raises:
        BadInput: `type_mismatch`.
    """
    demuxer = DEMUXERS.get(work.input.type)
    if demuxer is None:
        raise BadInput(
            f"Files of type {work.input.type} cannot be read here.", code="type_mismatch"
        )
    return [
        *("-threads", str(work.limits.threads)),
        *("-protocol_whitelist", "file", "-format_whitelist", demuxer),
        # One more than are taken: that many are counted, and named in the refusal.
        *("-max_streams", str(MAX_STREAMS + 1), "-max_pixels", str(most_pixels(work))),
        *options,
        *("-f", demuxer, "-i", f"file:{work.input.path}"),
    ]


def most_pixels(work: Work) -> int:
    """Of one frame."""
    return min(MAX_FRAME_PIXELS, work.limits.pixels)


def run(
    work: Work,
    arguments: Sequence[str],
    heard: Callable[[bytes], object] = lambda _: None,
    *,
    level: str = "error",
    tail_bytes: int = 16 * 1024,
) -> str:
    """Run ffmpeg; `heard` gets its stdout. Returns what it said on stderr, the end of it at least.

    Raises:
        BadInput: `corrupt_input`, `too_many_streams`, `image_too_large` or `unsupported_variant`.
        OutOfResources: `out_of_memory`, `scratch_full` or `cpu_time`.
        Crashed: it died by a signal.
    """
    threads = str(work.limits.threads)
    ended = programs.run(
        work.programs[NAME],
        ["-nostdin", "-y", "-nostats", "-loglevel", level, "-filter_threads", threads, *arguments],
        work.folder,
        heard,
        tail_bytes=tail_bytes,
    )
    if ended.code:
        raise failure(ended)
    return ended.said


def encode(
    work: Work,
    arguments: Sequence[str],
    *,
    total_s: float | None,
    phase: str = "encode",
    level: str = "error",
) -> str:
    """Run ffmpeg with the job's progress in seconds, and an end to what has none.

    `arguments` are the input and one output. Returns what it said.

    Raises:
        BadInput: as `run`, and `media_too_long`.
        OutOfResources, Crashed: as `run`.
    """
    clock = Clock(work, total_s, phase)
    said = run(
        work,
        [
            *("-progress", "pipe:1", "-stats_period", _EVERY_S, "-abort_on", "empty_output"),
            *arguments,
        ],
        clock.heard,
        level=level,
    )
    if clock.reached_s >= MAX_DURATION_S - 1:
        raise too_long()
    return said


def too_long() -> BadInput:
    return BadInput(
        f"It lasts longer than {MAX_DURATION_S // 3600} hours; that is not processed here.",
        code="media_too_long",
    )


class Clock:
    """Reads `-progress`: lines of key=value, of which the time of the output is what we tell."""

    def __init__(self, work: Work, total_s: float | None, phase: str) -> None:
        self.reached_s = 0.0
        self._work, self._total_s, self._phase = work, total_s, phase
        self._rest = b""
        work.progress(0, total_s, unit="seconds", phase=phase)

    def heard(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[-1000:]
        for line in lines:
            found = re.fullmatch(rb"out_time_us=\s*(\d{1,15})", line)
            if found:
                self._reached(int(found[1]) / 1_000_000)

    def _reached(self, seconds: float) -> None:
        self.reached_s = max(self.reached_s, seconds)
        total = self._total_s
        done = self.reached_s if total is None else min(self.reached_s, total)
        self._work.progress(round(done, 3), total, unit="seconds", phase=self._phase)


# --- how it ended ------------------------------------------------------------------------------

# The first that is found in what it said counts.
_SAID: tuple[tuple[str, Callable[[], JobError]], ...] = (
    (
        r"exceeds max_streams",
        lambda: BadInput(f"The file has more than {MAX_STREAMS} streams.", code="too_many_streams"),
    ),
    (
        r"matches no streams",  # those that its own tags spoke of
        lambda: BadInput("The file is damaged and cannot be decoded.", code="corrupt_input"),
    ),
    (
        r"exceeds specified max pixel count",
        lambda: BadInput("Its pictures are larger than may be decoded.", code="image_too_large"),
    ),
    (
        r"cannot allocate|out of memory|malloc|failed to map|temporarily unavailable|generic error",
        lambda: OutOfResources(
            "The file needs more memory than one attempt may use.", code="out_of_memory"
        ),
    ),
    (
        r"no space left on device|file too large|disk quota",
        lambda: OutOfResources(
            "The result needs more space than one attempt may use.", code="scratch_full"
        ),
    ),
    (
        r"unknown encoder|encoder not found|no such filter|error while loading shared libraries",
        lambda: JobError(
            "The ffmpeg of this worker lacks what the result needs: a codec, or a library.",
            code="program_missing",
        ),
    ),
    (
        r"decoder (\([^)]*\) )?not found|but no decoder found|not implemented|patchwelcome",
        lambda: BadInput(
            "The file uses a codec, or a variant of its format, that cannot be decoded here.",
            code="unsupported_variant",
        ),
    ),
    (
        (
            r"channel layout|channel count|rematrix|sample ?rate.*(not|un)[ -]?supported|"
            r"(un|not )supported sample ?rate|invalid sample ?rate"
        ),
        lambda: BadInput(
            "The sound has channels, or a sample rate, that the result cannot have.",
            code="unsupported_variant",
        ),
    ),
)
_LAST_LINES = 3
# Nothing that a file could bring about: the arguments do not suit this ffmpeg.
_OUR_FAULT = re.compile(
    r"unrecognized option|option not found|error splitting the argument|error parsing (options|"
    r"filterchain)|no option name near|invalid argument for option|unable to parse option",
    re.IGNORECASE,
)


def failure(ended: Ended) -> JobError:
    """The job's error for a run that did not end well.

    Raises:
        RuntimeError: it was called in a way that this ffmpeg does not understand.
    """
    if ended.code < 0:
        return programs.death(-ended.code, "The decoder crashed.")
    # What it tells of the file is indented: nobody's title is a message.
    lines = [line for line in ended.said.split("\n") if line.strip() and line[:2] != "  "]
    said = "\n".join(lines)
    for pattern, error in _SAID:
        if re.search(pattern, said, re.IGNORECASE):
            return error()
    # Names of tags can have lines of their own. What it says last, no file can say for it.
    if _OUR_FAULT.search("\n".join(lines[-_LAST_LINES:])):
        raise RuntimeError(f"ffmpeg ended with {ended.code}: {ended.said[-2000:]}")
    return BadInput("The file is damaged and cannot be decoded.", code="corrupt_input")
