"""Jobs that may execute a program: nothing else becomes possible, and nothing is left of them."""

# ruff: noqa: ASYNC110 - what is waited for happens in processes that are not ours to wait for

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fileproc.errors import ErrorClass
from fileproc.jobs import Progress
from fileproc.operations import Input, Limits
from fileproc.operations.programs import installed
from fileproc.operations.types import detect_file
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Sandbox, ZygoteLost
from fileproc.worker.sandbox import attempt as attempts
from fileproc.worker.sandbox.groups import members
from fileproc.worker.zygote.kernel import Kernel, detect
from fileproc.worker.zygote.landlock import loader_of
from films import film

HERE = Path(__file__).parent
PRELOAD = (str(HERE / "hostile.py"), str(HERE / "escapes.py"))
MIB = 1024 * 1024
FFMPEG = ("ffmpeg",)

# What a job without programs may do as well (test_escapes.py), and making processes.
HARMLESS = {"stat_outside", "chdir_root", "start_thread", "executable_memory"} | {
    "fork",
    "clone_process",
}
# The child of a vfork shares our stack: harmless where it is C that does it, not from Python.
WITHOUT = ("vfork",)


def ignore(progress: Progress) -> None:
    del progress


def kernel_of(abi: int) -> Kernel:
    kernel = detect()
    if not kernel.landlock or not kernel.seccomp:
        pytest.skip("what holds the escapes is not there, and some of them do harm")
    return Kernel(landlock=min(abi, kernel.landlock), seccomp=True)


@pytest.mark.parametrize("abi", [1, 2, 99])
async def test_a_program_opens_no_way_out(
    abi: int, settings: Settings, assign: Callable[..., Assignment], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"a file of the worker's user")
    sibling = tmp_path / "sibling" / "input"
    sibling.parent.mkdir()
    sibling.write_bytes(b"another job's file")
    before = outside.stat(), sibling.stat()

    async with Sandbox.open(settings, preload=PRELOAD, kernel=kernel_of(abi)) as sandbox:
        targets = {
            "outside": str(outside),
            "sibling": str(sibling),
            "worker": os.getpid(),
            "zygote": sandbox.zygote_pid,
            "port": 9,
            "unix": str(tmp_path / "listener"),
            "library": json.__file__,
            "without": WITHOUT,
        }
        ending = await sandbox.run(
            assign("", operation="debug.escape", programs=FFMPEG, **targets), ignore
        )

    assert ending.error is None
    found = json.loads(ending.outputs[0].path.read_bytes())
    assert len(found) >= 60
    assert {name for name, held in found.items() if held == "open"} == HARMLESS
    for name in ("exec_shell", "exec_from_scratch", "exec_python", "posix_spawn"):
        assert found[name] == "EACCES", name
    for name in ("memory_file", "exec_by_descriptor", "own_session", "own_group", "tcp"):
        assert found[name] == "EPERM", name
    assert (outside.stat(), sibling.stat()) == before
    assert list(sibling.parent.iterdir()) == [sibling]


async def test_without_being_named_a_program_cannot_be_executed(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    for programs in ((), ("soffice",)):
        ending = await sandbox.run(
            assign("run_programs", text='[["-version"]]', programs=programs), ignore
        )
        assert ending.error is not None
        assert ending.error.job_code == "internal_error"  # PermissionError, at the fork


async def test_the_program_itself_is_held(
    sandbox: Sandbox, assign: Callable[..., Assignment], tmp_path: Path
) -> None:
    """It has a network and file names built in; it can use neither."""
    outside = tmp_path / "outside.wav"
    outside.write_bytes(b"RIFF")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        null = ["-f", "null", "-"]
        tone = ["-f", "lavfi", "-i", "sine=d=1"]
        attempts = [
            ["-version"],
            ["-f", "wav", "-i", f"tcp://127.0.0.1:{port}", *null],
            ["-f", "wav", "-i", f"http://127.0.0.1:{port}/x.wav", *null],
            ["-f", "data", "-i", "/etc/passwd", "-map", "0", "-f", "data", "mine"],
            ["-f", "wav", "-i", str(outside), *null],
            ["-f", "concat", "-safe", "0", "-i", "/etc/passwd", *null],
            [*tone, str(outside.with_name("made.wav"))],
            [*tone, "-f", "wav", f"tcp://127.0.0.1:{port}"],
            [*tone, "made.wav"],
        ]
        ending = await sandbox.run(
            assign("run_programs", text=json.dumps(attempts), programs=FFMPEG), ignore
        )
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert ending.error is None
    found = json.loads(ending.outputs[0].path.read_bytes())
    assert [each["code"] == 0 for each in found] == [True, *[False] * 7, True]
    for each in found[1:8]:
        assert "Permission denied" in each["said"] or "not permitted" in each["said"], each["said"]
    assert not outside.with_name("made.wav").exists()


async def test_a_program_that_the_worker_lacks_is_named(
    settings: Settings, assign: Callable[..., Assignment]
) -> None:
    async with Sandbox.open(settings, programs={}) as sandbox:
        ending = await sandbox.run(
            assign("", operation="media.info", programs=FFMPEG, inputs=(("a.wav", b"RIFF"),)),
            ignore,
        )
    assert ending.error is not None
    assert (ending.error.job_code, ending.error.job_class) == (
        "program_missing",
        ErrorClass.TRANSIENT,  # another worker may have it
    )
    assert "ffmpeg" in ending.error.detail


# --- real operations ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "params", "types"),
    [
        ("media.info", {}, ["application/json"]),
        ("video.transcode", {"effort": "fast"}, ["video/mp4"]),
        ("video.transcode", {"format": "webm", "effort": "fast"}, ["video/webm"]),
        ("video.thumbnails", {"count": 2, "layout": "both"}, ["image/jpeg"] * 3),
        ("video.preview", {"format": "gif"}, ["image/gif"]),
        ("video.preview", {"format": "webp"}, ["image/webp"]),
        ("audio.convert", {"format": "mp3"}, ["audio/mpeg"]),
        ("audio.convert", {"format": "opus"}, ["audio/ogg"]),
        ("audio.normalize", {}, ["audio/mp4", "application/json"]),
        ("audio.waveform", {}, ["application/json", "image/png"]),
    ],
)
async def test_operations_on_films_work_in_it(
    sandbox: Sandbox, operation: str, params: dict[str, object], types: list[str], tmp_path: Path
) -> None:
    data = film(second_s=0.2)
    (tmp_path / "in").write_bytes(data)
    given = Input(tmp_path / "in", "film.mp4", len(data), "0" * 64, "video/mp4")
    heard: list[Progress] = []
    ending = await sandbox.run(
        Assignment("job", operation, dict(params), 1, tmp_path, [given], Limits(), programs=FFMPEG),
        heard.append,
    )
    assert ending.error is None, ending.error
    assert [output.type for output in ending.outputs] == types
    assert [detect_file(output.path, output.name) for output in ending.outputs] == types
    assert "ffmpeg" in (ending.engine or "")
    assert heard
    assert ending.usage.cpu_s > 0


async def test_memory_that_a_decoder_lacks_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    data = film(size="1280x720", second_s=0.04)
    (tmp_path / "in").write_bytes(data)
    given = Input(tmp_path / "in", "film.mp4", len(data), "0" * 64, "video/mp4")
    assignment = Assignment(
        "job", "video.transcode", {"effort": "best"}, 1, tmp_path, [given],
        Limits(memory_bytes=60 * MIB), programs=FFMPEG,
    )  # fmt: skip
    ending = await sandbox.run(assignment, ignore)
    assert ending.error is not None
    assert ending.error.job_class in {ErrorClass.RESOURCE, ErrorClass.CRASH}
    assert ending.error.job_code in {"out_of_memory", "crashed"}


async def test_a_result_that_is_too_large_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    data = film(size="1280x720", second_s=0.2)
    (tmp_path / "in").write_bytes(data)
    given = Input(tmp_path / "in", "film.mp4", len(data), "0" * 64, "video/mp4")
    noise = {"format": "wav", "sample_rate": 192_000, "channels": 2, "bits": 24}
    assignment = Assignment(
        "job", "audio.convert", noise, 1, tmp_path, [given],
        Limits(scratch_bytes=len(data) + 300_000), programs=FFMPEG,
    )  # fmt: skip
    ending = await sandbox.run(assignment, ignore)
    assert ending.error is not None
    assert ending.error.job_code == "scratch_full"


# --- greed -------------------------------------------------------------------------------------


async def test_a_fork_bomb_is_ended(
    sandbox: Sandbox, assign: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine with much else to do, a thousand processes take their time to end.
    monkeypatch.setattr(attempts, "ZYGOTE_HANGS_S", 60.0)
    running = asyncio.create_task(
        sandbox.run(
            assign("multiply", amount=10, programs=FFMPEG, limits={"memory_bytes": 65_536 * MIB}),
            ignore,
        )
    )
    leader = await leader_of(sandbox)

    ending = await running
    assert ending.error is not None
    assert (ending.error.job_code, ending.error.job_class) == (
        "too_many_threads",
        ErrorClass.RESOURCE,
    )
    assert await gone([leader])


async def test_processes_together_have_one_budget_of_memory(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    ending = await sandbox.run(
        assign(
            "eat_memory_together", amount=100, programs=FFMPEG, limits={"memory_bytes": 300 * MIB}
        ),
        ignore,
    )
    assert ending.error is not None
    assert ending.error.job_code == "out_of_memory"


# --- endings: nothing is left of the group -------------------------------------------------------


async def leader_of(sandbox: Sandbox) -> int:
    """The leader's pid, once there is one attempt and it has a process."""
    while not sandbox._attempts:
        await asyncio.sleep(0)
    (attempt,) = sandbox._attempts
    while not hasattr(attempt, "_process"):
        await asyncio.sleep(0)
    await attempt._process.started.wait()
    assert attempt.pid is not None
    return attempt.pid


async def many(leader: int, least: int) -> list[int]:
    """The processes of a group, once there are so many that live."""
    async with asyncio.timeout(20):
        while len(found := [pid for pid in members([leader])[leader] if alive(pid)]) < least:
            await asyncio.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


async def gone(leaders: list[int]) -> bool:
    async with asyncio.timeout(5):
        while any(alive(pid) for group in members(leaders).values() for pid in group):
            await asyncio.sleep(0.01)
    return True


@pytest.fixture
async def encoding(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> AsyncIterator[tuple[asyncio.Task[object], int, list[int]]]:
    """A job in the middle of an encode, with two stray grandchildren: its task, leader and pids."""
    task: asyncio.Task[object] = asyncio.create_task(
        sandbox.run(assign("encode", amount=2, programs=FFMPEG), ignore)
    )
    leader = await leader_of(sandbox)
    yield task, leader, await many(leader, 4)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ZygoteLost):
        await task


async def test_cancelling_ends_the_program_and_its_kin(
    encoding: tuple[asyncio.Task[object], int, list[int]],
) -> None:
    task, leader, pids = encoding
    assert all(map(alive, pids))

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(map(alive, pids))
    assert members([leader]) == {leader: []}


async def test_the_wall_clock_ends_the_program(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    running = asyncio.create_task(
        sandbox.run(assign("encode", amount=1, programs=FFMPEG, limits={"timeout_s": 1.5}), ignore)
    )
    pids = await many(await leader_of(sandbox), 3)
    ending = await running
    assert ending.error is not None
    assert ending.error.job_code == "timeout"
    assert not any(map(alive, pids))


async def test_the_program_ends_with_the_job_that_crashes(
    encoding: tuple[asyncio.Task[object], int, list[int]],
) -> None:
    task, leader, pids = encoding
    os.kill(leader, signal.SIGSEGV)
    await task
    assert not any(map(alive, pids))


async def test_the_program_ends_with_the_zygote(
    sandbox: Sandbox, encoding: tuple[asyncio.Task[object], int, list[int]]
) -> None:
    task, leader, pids = encoding
    assert sandbox.zygote_pid is not None

    os.kill(sandbox.zygote_pid, signal.SIGKILL)
    with pytest.raises(ZygoteLost):
        await task

    assert await gone([leader])
    assert not any(map(alive, pids))


@pytest.mark.parametrize("both", [False, True])
async def test_the_program_ends_with_the_worker(both: bool, tmp_path: Path) -> None:
    """Also where worker and zygote are killed at one stroke, as by a signal to their group."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WORKER,
        str(tmp_path),
        *PRELOAD[:1],
        cwd=HERE.parents[2],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdout is not None
    leader = int(await worker.stdout.readline())
    pids = await many(leader, 2)

    (os.killpg if both else os.kill)(worker.pid, signal.SIGKILL)
    await worker.wait()

    assert await gone([leader])
    assert not any(map(alive, pids))


_WORKER = """
import asyncio, sys
from pathlib import Path
from fileproc import telemetry
from fileproc.operations import Limits
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Sandbox

async def main():
    async with Sandbox.open(Settings(), preload=[sys.argv[2]]) as sandbox:
        assignment = Assignment(
            "job", "debug.hostile", {"how": "encode"}, 1, Path(sys.argv[1]), [], Limits(), True,
            ("ffmpeg",),
        )
        begun = asyncio.Event()
        running = asyncio.create_task(sandbox.run(assignment, lambda _: begun.set()))
        await begun.wait()
        (attempt,) = sandbox._attempts
        await attempt._process.started.wait()
        print(attempt.pid, flush=True)
        await running
telemetry.configure_logging("error", "console")
asyncio.run(main())
"""


# --- programs ----------------------------------------------------------------------------------


def test_the_loader_of_a_program_is_read_from_its_header(tmp_path: Path) -> None:
    loader = loader_of(Path(sys.executable).resolve())
    assert loader is None or loader.exists()
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x02" + b"\xff" * 59):
        (tmp_path / "odd").write_bytes(data)
        assert loader_of(tmp_path / "odd") is None


def test_ffmpeg_is_there_for_the_tests() -> None:
    assert "ffmpeg" in installed(), "install the dev extra, or ffmpeg"
