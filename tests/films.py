"""Films and sounds for tests, made by ffmpeg from its own test sources, and what is in them."""

from __future__ import annotations

import re
import struct
import subprocess
from array import array
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from fileproc.operations.programs import installed

COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
_UPRIGHT = struct.pack(">9i", 65_536, 0, 0, 0, 65_536, 0, 0, 0, 1 << 30)
_TURNED = struct.pack(">9i", 0, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30)


def ffmpeg(*arguments: str, folder: Path | None = None) -> bytes:
    """Run it; returns stdout."""
    return subprocess.run(
        [installed()["ffmpeg"].path, "-nostdin", "-v", "error", "-y", *arguments],
        check=True,
        capture_output=True,
        cwd=folder,
    ).stdout


@cache
def made(suffix: str, *arguments: str) -> bytes:
    """The file that these arguments give."""
    with TemporaryDirectory() as folder:
        ffmpeg(*arguments, f"made.{suffix}", folder=Path(folder))
        return Path(folder, f"made.{suffix}").read_bytes()


def film(
    suffix: str = "mp4",
    *more: str,
    size: str = "64x48",
    fps: int = 25,
    sound: bool = True,
    second_s: float = 1.0,
) -> bytes:
    """Red, then green, then blue, each for a second; with a tone. `more` are output options."""
    parts = [f"color={name}:s={size}:r={fps}:d={second_s}[{name}]" for name in COLOURS]
    graph = ";".join(parts) + ";" + "".join(f"[{name}]" for name in COLOURS) + "concat=n=3"
    tone = ["-f", "lavfi", "-i", f"sine=440:d={3 * second_s}"] if sound else []
    codecs = {"webm": ["-c:v", "libvpx", "-b:v", "200k", "-c:a", "libopus"]}.get(suffix, [])
    if suffix == "avi":
        codecs = ["-c:v", "mpeg4", "-c:a", "pcm_s16le"]
    if suffix in {"mp4", "mov", "mkv"}:
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-c:a", "aac"]
    return made(suffix, "-f", "lavfi", "-i", graph, *tone, *codecs, "-pix_fmt", "yuv420p", *more)


def turned(data: bytes) -> bytes:
    """An MP4 that a player turns by a quarter to the right: its track has such a matrix."""
    at = data.index(_UPRIGHT, data.index(b"tkhd"))
    return data[:at] + _TURNED + data[at + len(_TURNED) :]


def tone(
    suffix: str = "wav", *more: str, seconds: float = 3.0, channels: int = 2, db: float = -20
) -> bytes:
    """A tone of 440 Hz; `db` is its peak below full scale."""
    wave = f"{10 ** (db / 20):.9f}*sin(2*PI*440*t)"
    source = f"aevalsrc={'|'.join([wave] * channels)}:s=44100:d={seconds}"
    return made(suffix, "-f", "lavfi", "-i", source, *more)


def frames(path: Path, kind: str = "v", demuxer: str | None = None) -> list[tuple[float, float]]:
    """When each frame of the first stream of a kind is shown, and for how long, in seconds."""
    chosen = ["-f", demuxer] if demuxer else []
    out = ffmpeg(*chosen, "-i", str(path), "-map", f"0:{kind}:0", "-f", "framecrc", "-").decode()
    base = re.search(r"#tb 0: (\d+)/(\d+)", out)
    assert base is not None
    unit = int(base[1]) / int(base[2])
    rows = [line.split(",") for line in out.splitlines() if not line.startswith("#")]
    return [(int(row[2]) * unit, int(row[3]) * unit) for row in rows]


def duration_s(path: Path, kind: str = "v") -> float:
    """From the beginning to the end of the last frame."""
    at_s, for_s = frames(path, kind)[-1]
    return at_s + for_s


def picture(path: Path, at_s: float) -> bytes:
    """One pixel, the mean of the picture that is shown at a time: red, green, blue."""
    scale = "scale=1:1:flags=area,format=rgb24"
    out = ffmpeg(
        *("-ss", str(at_s), "-i", str(path), "-frames:v", "1", "-vf", scale),
        *("-f", "rawvideo", "-"),
    )
    assert len(out) == 3
    return out


def colour(pixel: bytes | tuple[int, ...]) -> str:
    """The name of the colour that this is nearest to."""
    return min(
        COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(pixel, COLOURS[name], strict=True))
    )


def samples(path: Path) -> list[int]:
    """The sound mixed to mono, 8,000 numbers of 16 bits a second."""
    raw = ffmpeg("-i", str(path), "-ac", "1", "-ar", "8000", "-f", "s16le", "-")
    return list(array("h", raw))


def loudness_lufs(path: Path) -> float:
    """Integrated loudness by ITU-R BS.1770, as ffmpeg's meter has it."""
    done = subprocess.run(
        [
            *(installed()["ffmpeg"].path, "-nostdin", "-nostats", "-i", path),
            *("-af", "ebur128", "-f", "null", "-"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(re.findall(r"I: +(-?[\d.]+) LUFS", done.stderr)[-1])
