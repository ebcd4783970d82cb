"""What hostile sounds and films can do to us: nothing but fail with a code."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fileproc.errors import Crashed, JobError
from fileproc.operations import BadInput, Input, Limits, OutOfResources, Work, ffmpeg, media
from fileproc.operations.programs import Ended
from films import film, tone
from samples import run

CANARY = "a secret that no result may have"
TYPES = list(ffmpeg.DEMUXERS)


def work_on(folder: Path, data: bytes, media_type: str, limits: Limits | None = None) -> Work:
    path = folder / "in"
    path.write_bytes(data)
    return Work([Input(path, "x", len(data), "0" * 64, media_type)], folder, limits or Limits())


def refusal(work: Work) -> JobError:
    with pytest.raises((BadInput, OutOfResources)) as caught:
        media.probe(work)
    assert re.fullmatch(r"[^\n]+\.", caught.value.detail)
    assert str(work.folder) not in caught.value.detail
    return caught.value


# --- files that name other files and addresses ---------------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, int]]:
    """Nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server, server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


def playlists(canary: Path, port: int) -> Iterator[str]:
    web = f"http://127.0.0.1:{port}/x.ts"
    for target in (str(canary), f"file://{canary}", f"file:{canary}", web):
        yield f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
        yield f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n"
        yield f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\n{target}\n'
        yield f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXTINF:9,\n{target}\n'
        yield f"ffconcat version 1.0\nfile '{target}'\n"
        yield f"file '{target}'\n"
        yield (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
            f"<BaseURL>{target}</BaseURL><Period><AdaptationSet><Representation id='1'>"
            "<SegmentList><SegmentURL media='x'/></SegmentList></Representation></AdaptationSet>"
            "</Period></MPD>"
        )
    yield f"#EXTM3U\n#EXTINF:9,\nconcat:{canary}|{canary}\n"
    yield f"#EXTM3U\n#EXTINF:9,\nsubfile,,start,0,end,20,,:{canary}\n"
    yield f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n"
    yield f"concat:{canary}"
    yield "[playlist]\nFile1=" + web
    yield f"rtsp://127.0.0.1:{port}/x"


@pytest.mark.parametrize("media_type", ["video/mp4", "video/webm", "audio/mpeg", "audio/wav"])
def test_no_playlist_is_read_by_another_name(
    media_type: str, listener: tuple[socket.socket, int], tmp_path: Path
) -> None:
    canary = tmp_path / "canary.wav"
    canary.write_bytes(tone(seconds=0.1) + CANARY.encode())
    every = list(playlists(canary, listener[1]))
    assert len(every) >= 30
    for number, text in enumerate(every):
        folder = tmp_path / str(number)
        folder.mkdir()
        error = refusal(work_on(folder, text.encode() * 3, media_type))
        assert error.job_code == "corrupt_input"


@pytest.mark.parametrize("operation", ["video.transcode", "audio.convert", "video.preview"])
def test_no_operation_reads_a_playlist(
    operation: str, listener: tuple[socket.socket, int], tmp_path: Path
) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(film())
    for number, text in enumerate(playlists(canary, listener[1])):
        if number % 7 == 0:
            folder = tmp_path / str(number)
            folder.mkdir()
            with pytest.raises(BadInput):
                run(operation, folder, text.encode(), "film.mp4", media_type="video/mp4")


def test_a_film_that_refers_to_another_file_does_not_open_it(tmp_path: Path) -> None:
    """QuickTime's data reference: the samples lie in a file of another name."""
    (tmp_path / "canary").write_bytes(film())
    data = film("mov", sound=False)
    at = data.index(b"dref") - 4
    (size,) = struct.unpack_from(">I", data, at)
    assert data[at + 16 : at + size].endswith(b"\0\0\0\1")
    name = str(tmp_path / "canary").encode() + b"\0"
    # Where the entry says "in this file" (flag 1), it now names one, in as many bytes.
    assert b"url " in data[at : at + size] or b"alis" in data[at : at + size]
    hostile = data[: at + size - 4] + b"\0\0\0\0" + data[at + size :] + name
    (tmp_path / "work").mkdir()
    work = work_on(tmp_path / "work", hostile, "video/quicktime")
    said = ffmpeg.run(work, [*ffmpeg.source(work), "-f", "null", "-"], level="info")
    assert "canary" not in said


@pytest.mark.parametrize("media_type", TYPES)
def test_the_decoder_is_that_of_the_type(media_type: str, tmp_path: Path) -> None:
    """A good file of another type is damaged, as far as this one is concerned."""
    wrong = film("avi") if ffmpeg.DEMUXERS[media_type] != "avi" else film("mkv")
    if media_type in {"audio/mpeg", "audio/aac"}:
        wrong = b"RIFF" + bytes(5000)  # these have no header: they look for a sound in anything
    error = refusal(work_on(tmp_path, wrong, media_type))
    assert error.job_code in {"corrupt_input", "unsupported_variant"}


def test_a_type_that_is_no_sound_or_film_is_refused(tmp_path: Path) -> None:
    assert refusal(work_on(tmp_path, film(), "image/png")).job_code == "type_mismatch"


# --- too much of something -----------------------------------------------------------------------


def element(identity: int, body: bytes) -> bytes:
    """An element of Matroska, its size in eight bytes."""
    name = identity.to_bytes((identity.bit_length() + 7) // 8, "big")
    return name + (len(body) | 1 << 56).to_bytes(8, "big") + body


def matroska(tracks: int = 1, duration_ms: float = 1000.0) -> bytes:
    """A sound with so many tracks, of which only the first has a packet."""
    kind = b"\x42\x82\x84webm\x42\x87\x81\x02\x42\x85\x81\x02"
    info = element(0x2AD7B1, b"\x0f\x42\x40") + element(0x4489, struct.pack(">d", duration_ms))
    tracks_of = b"".join(
        element(
            0xAE,
            element(0xD7, struct.pack(">I", number + 1))
            + element(0x73C5, struct.pack(">I", number + 1))
            + element(0x83, b"\x02")
            + element(0x86, b"A_PCM/INT/LIT")
            + element(0xE1, element(0xB5, struct.pack(">d", 8000)) + element(0x9F, b"\x01")),
        )
        for number in range(tracks)
    )
    packet = element(0xE7, b"\0") + element(0xA3, b"\x81\0\0\x80" + bytes(1600))
    body = element(0x1549A966, info) + element(0x1654AE6B, tracks_of)
    body += element(0x1F43B675, packet)
    return element(0x1A45DFA3, kind) + element(0x18538067, body)


def test_a_hundred_thousand_streams_are_refused_at_once(tmp_path: Path) -> None:
    data = matroska(100_000)
    assert len(data) > 5_000_000
    begun = time.monotonic()
    error = refusal(work_on(tmp_path, data, "video/webm"))
    assert error.job_code == "too_many_streams"
    assert time.monotonic() - begun < 10  # it is a tenth of a second on a machine that is idle


def test_the_streams_are_counted(tmp_path: Path) -> None:
    within, beyond = (matroska(ffmpeg.MAX_STREAMS + more) for more in (0, 1))
    assert len(media.probe(work_on(tmp_path, within, "video/webm")).streams) == ffmpeg.MAX_STREAMS
    assert refusal(work_on(tmp_path, beyond, "video/webm")).job_code == "too_many_streams"


@pytest.mark.parametrize("hours", [25, 10_000, 10**9])
def test_a_film_without_end_is_refused(hours: int, tmp_path: Path) -> None:
    data = matroska(duration_ms=hours * 3.6e6)
    assert refusal(work_on(tmp_path, data, "video/webm")).job_code == "media_too_long"


def test_pictures_that_are_too_large_are_refused_before_work(tmp_path: Path) -> None:
    work = work_on(tmp_path, film(), "video/mp4", Limits(pixels=64 * 48 - 1))
    assert refusal(work).job_code == "image_too_large"


def test_pictures_that_are_larger_than_the_header_says_end_the_work(tmp_path: Path) -> None:
    """The look before the work is left out here: the decoder itself has the limit as well."""
    work = work_on(tmp_path, film(), "video/mp4", Limits(pixels=64 * 48 - 1))
    with pytest.raises(BadInput) as caught:
        ffmpeg.run(work, [*ffmpeg.source(work), "-an", "-f", "null", "-"])
    assert caught.value.job_code == "image_too_large"


def test_a_work_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a header says two seconds, and the file goes on for days."""
    monkeypatch.setattr(ffmpeg, "MAX_DURATION_S", 2)
    work = work_on(tmp_path, film(), "video/mp4")
    with pytest.raises(BadInput) as caught:
        ffmpeg.encode(work, [*ffmpeg.source(work), "-t", "2", "-f", "null", "-"], total_s=None)
    assert caught.value.job_code == "media_too_long"


# --- damaged -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        *(("mp4", "video/mp4"), ("webm", "video/webm"), ("avi", "video/x-msvideo")),
        *(("mkv", "video/x-matroska"), ("mp3", "audio/mpeg"), ("flac", "audio/flac")),
    ],
)
def test_mutations_end_in_a_code_or_a_result(suffix: str, media_type: str, tmp_path: Path) -> None:
    good = film(suffix) if media_type.startswith("video") else tone(suffix)
    chance = random.Random(suffix)
    codes: set[str] = set()
    for number in range(8):
        data = bytearray(good)
        for _ in range(chance.choice((5, 50, 500))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            ran = run("audio.convert", folder, bytes(data), "x", media_type=media_type)
        except (BadInput, OutOfResources) as error:
            codes.add(error.job_code)
        else:
            assert ran.path.stat().st_size > 0
    assert codes <= {"corrupt_input", "stream_missing", "unsupported_variant"}


@pytest.mark.parametrize("seed", range(21))
def test_matroska_that_is_invalid_ends_in_a_code(seed: int, tmp_path: Path) -> None:
    """Identifiers and lengths of its head are others: loops, lies, parts within themselves."""
    chance, data = random.Random(seed), bytearray(film("mkv"))
    places = [at for at in range(900) if data[at] in {0x1A, 0x18, 0x16, 0xAE, 0xEC, 0x01, 0x86}]
    for at in chance.sample(places, min(len(places), 1 + seed)):
        data[at : at + 4] = chance.choice(
            (b"\x01\xff\xff\xff", b"\x18\x53\x80\x67", b"\xae\xff\0\0")
        )
    try:
        found = media.probe(work_on(tmp_path, bytes(data), "video/x-matroska"))
    except (BadInput, OutOfResources) as error:
        code = error.job_code
    else:
        code = "" if found.streams else "no streams"
    assert code in {"", "corrupt_input", "unsupported_variant", "media_too_long"}


@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_an_mp4_without_its_index_is_damaged(share: float, tmp_path: Path) -> None:
    data = film()
    error = refusal(work_on(tmp_path, data[: int(len(data) * share)], "video/mp4"))
    assert error.job_code == "corrupt_input"


# --- what it says that is not its own ------------------------------------------------------------


def flac_with(*tags: bytes) -> bytes:
    """A tone with these tags; their names may be anything but `=`."""
    data, kept, at = tone("flac"), b"", 4
    while True:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        if kind & 0x7F == 0:
            kept = b"fLaC\0" + data[at + 1 : at + 4 + size]
        at += 4 + size
        if kind & 0x80:
            break
    tagged = struct.pack("<I1sI", 1, b"x", len(tags))
    tagged += b"".join(struct.pack("<I", len(tag)) + tag for tag in tags)
    return kept + b"\x84" + len(tagged).to_bytes(3, "big") + tagged + data[at:]


NINES = b"9" * 5000
PICTURE = b"  Stream #0:1: Video: h264, yuv420p, 64x48"


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"{\n}", b'{\n\t"input_i" : "\\"\n}'),
        b"  Stream #0:" + NINES + b": Audio: x, 44100 Hz, mono",
        b"  Stream #0:7(default): Audio: x, " + NINES + b" Hz, 1" + b".1" * 3000,
        b"  Duration: " + NINES + b":00:00.00, bitrate: " + NINES + b" kb/s",
        PICTURE + b", " + NINES + b" fps, SAR 0:0",
        PICTURE + b"\n displaymatrix: rotation of " + NINES + b" degrees",
        PICTURE + b"\n displaymatrix: rotation of -.. degrees",
        b"Output #0",
        b"Unrecognized option 'x'.\nError parsing options for output file",
        b"[x] cannot allocate memory",
    ],
)
def test_names_of_tags_that_look_like_messages_are_harmless(line: bytes, tmp_path: Path) -> None:
    whole = flac_with(b"A\n" + line + b"\nB=x")
    start = whole.index(b"\xff\xf8")
    for number, data in enumerate((whole, whole[:start] + bytes(200))):
        for operation in ("media.info", "audio.normalize"):
            folder = tmp_path / f"{operation}-{number}"
            folder.mkdir()
            try:
                ran = run(operation, folder, data, "x.flac", media_type="audio/flac")
            except (BadInput, OutOfResources):
                continue
            told = ran.work.outputs[-1].path.read_text(encoding="utf-8")
            json.loads(told, parse_constant=pytest.fail)


def test_a_title_is_no_message(tmp_path: Path) -> None:
    titles = (b"TITLE=Out of memory", b"ARTIST=Unrecognized option 'x'. Option not found")
    data = flac_with(*titles)
    data = data[: data.index(b"\xff\xf8")] + bytes(200)
    with pytest.raises(BadInput) as caught:
        run("audio.normalize", tmp_path, data, "x.flac", media_type="audio/flac")
    assert caught.value.job_code == "corrupt_input"


# --- how it ended --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "kind", "job_code"),
    [
        (1, "Invalid data found when processing input", BadInput, "corrupt_input"),
        (183, "moov atom not found", BadInput, "corrupt_input"),
        (1, "", BadInput, "corrupt_input"),
        (244, "x: Cannot allocate memory", OutOfResources, "out_of_memory"),
        (1, "x264 [error]: malloc of size 2379452 failed", OutOfResources, "out_of_memory"),
        (
            245,
            "pthread_create() failed: Resource temporarily unavailable",
            OutOfResources,
            "out_of_memory",
        ),
        (
            127,
            "error while loading shared libraries: failed to map segment from shared object",
            OutOfResources,
            "out_of_memory",
        ),
        (
            127,
            "error while loading shared libraries: libx.so: cannot open shared object file",
            JobError,
            "program_missing",
        ),
        (228, "Error writing: No space left on device", OutOfResources, "scratch_full"),
        (1, "av_interleaved_write_frame(): File too large", OutOfResources, "scratch_full"),
        (1, "Decoder (codec av1) not found", BadInput, "unsupported_variant"),
        (1, "Unknown encoder 'libx264'", JobError, "program_missing"),
        (1, "Invalid channel layout 5.1(side) for 9", BadInput, "unsupported_variant"),
        (1, "Specified sample rate 9 is not supported", BadInput, "unsupported_variant"),
        (1, "Stream map '' matches no streams.\nError parsing options", BadInput, "corrupt_input"),
        (
            1,
            "Number of streams exceeds max_streams parameter (50)\nCannot allocate memory",
            BadInput,
            "too_many_streams",
        ),
        (-signal.SIGSEGV, "", Crashed, "crashed"),
        (-signal.SIGABRT, "", Crashed, "crashed"),
        (-signal.SIGXFSZ, "", OutOfResources, "scratch_full"),
        (-signal.SIGXCPU, "", OutOfResources, "cpu_time"),
        (-signal.SIGKILL, "", OutOfResources, "killed"),
    ],
)
def test_every_end_has_a_code(code: int, said: str, kind: type[JobError], job_code: str) -> None:
    error = ffmpeg.failure(Ended(code, said))
    assert type(error) is kind
    assert error.job_code == job_code


def test_arguments_that_it_does_not_know_are_our_own_fault() -> None:
    with pytest.raises(RuntimeError, match="Unrecognized option"):
        ffmpeg.failure(Ended(1, "Unrecognized option 'nonsense'."))


def test_progress_is_read_however_it_is_cut(tmp_path: Path) -> None:
    heard: list[tuple[float, float | None]] = []
    work = work_on(tmp_path, b"", "video/mp4")
    work.report = lambda *said: heard.append(said[1:3])
    clock = ffmpeg.Clock(work, 4.0, "encode")
    lines = b"frame=1\nout_time_us=N/A\nout_time_us=1500000\nprogress=continue\nout_time_us=-7\n"
    for byte in lines + b"x" * 5000 + b"\nout_time_us=9000000\n":
        clock.heard(bytes([byte]))
    assert heard == [(0, 4.0), (1.5, 4.0), (4.0, 4.0)]
    assert clock.reached_s == 9
