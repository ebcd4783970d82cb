"""The client of ClamAV's daemon: against a real one with a signature of ours, and against replies.

What a daemon says when it is in trouble cannot be brought about at will; a server that gives those
replies stands in for it there, and only there.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from fileproc.errors import BadInput, ErrorClass, JobError
from fileproc.jobs import Progress
from fileproc.operations import Input, Limits
from fileproc.settings import SandboxMode, Settings
from fileproc.worker.clamd import Clamd, scanning
from fileproc.worker.sandbox import Assignment, Sandbox
from quines import quine

CLAMD = shutil.which("clamd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
MARK = b"fileproc-test-signature-0f4c2e"
needs_clamd = pytest.mark.skipif(CLAMD is None, reason="ClamAV's daemon (clamd) is not installed")

Address = tuple[str, int] | Path


@pytest.fixture
async def clamd(tmp_path: Path) -> AsyncIterator[Address]:
    """A daemon that knows one signature."""
    assert CLAMD is not None
    folder = tmp_path / "clamd"
    folder.mkdir(mode=0o755)
    (folder / "own.ndb").write_text(f"Own.Test:0:*:{MARK.hex()}\n")
    socket = folder / "s"
    config = folder / "clamd.conf"
    config.write_text(
        f"DatabaseDirectory {folder}\nLocalSocket {socket}\nForeground yes\n"
        "StreamMaxLength 2M\nSelfCheck 0\nConcurrentDatabaseReload no\n"
    )
    process = await asyncio.create_subprocess_exec(
        CLAMD, "--config-file", str(config), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(100):
            while not socket.exists():
                assert process.returncode is None, await _said(process)
                await asyncio.sleep(0.05)
        yield socket
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _said(process: asyncio.subprocess.Process) -> str:
    return (await process.communicate())[0].decode()


def file(folder: Path, data: bytes) -> Path:
    path = folder / "scanned"
    path.write_bytes(data)
    return path


@needs_clamd
async def test_real_daemon_tells_good_from_bad(clamd: Address, tmp_path: Path) -> None:
    daemon = Clamd(clamd, 10_000_000)
    assert (await daemon.version()).startswith("ClamAV ")
    assert await daemon.scan(file(tmp_path, b"")) is None
    assert await daemon.scan(file(tmp_path, b"a good file\n" * 100_000)) is None
    found = await daemon.scan(file(tmp_path, b"x" * 1_000_000 + MARK + b"y" * 700_000))
    assert found == "Own.Test.UNOFFICIAL"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as inside:
        inside.writestr("a.txt", b"before " + MARK + b" after")
    assert await daemon.scan(file(tmp_path, archive.getvalue())) == found
    assert await daemon.scan(file(tmp_path, quine())) is None  # it holds itself, without end


@needs_clamd
async def test_file_that_the_real_daemon_does_not_take_is_not_clean(
    clamd: Address, tmp_path: Path
) -> None:
    path = file(tmp_path, bytes(20_000_000))
    for most in (50_000_000, 19_999_999):  # it says so, and we know
        with pytest.raises(BadInput) as error:
            await Clamd(clamd, most).scan(path)
        assert error.value.job_code == "scan_too_large"


# --- through the sandbox -----------------------------------------------------------------------


def ignore(progress: Progress) -> None:
    del progress


@needs_clamd
async def test_job_tells_what_was_found_or_fails_with_it(clamd: Address, tmp_path: Path) -> None:
    settings = Settings(
        clamd=str(clamd), sandbox=SandboxMode.REQUIRED, scratch_dir=tmp_path / "scratch"
    )
    async with Sandbox.open(settings) as sandbox:
        run = scanning(settings, sandbox.run)
        for number, (data, fail, expected) in enumerate(
            [
                (b"good", True, {"clean": True, "signature": None}),
                (MARK, False, {"clean": False, "signature": "Own.Test.UNOFFICIAL"}),
                (MARK, True, "infected"),
            ]
        ):
            heard: list[Progress] = []
            assignment = job(tmp_path / str(number), data, fail_if_infected=fail)
            ending = await run(assignment, heard.append)
            if isinstance(expected, str):
                assert ending.error is not None
                assert ending.error.job_code == expected
                assert ending.error.job_class is ErrorClass.PERMANENT
                continue
            assert ending.error is None
            found = json.loads(ending.outputs[0].path.read_bytes())
            assert found.pop("scanner") == ending.engine
            assert found == expected
            assert (ending.engine or "").startswith("ClamAV ")
            assert heard[0].phase == "scan"


def job(folder: Path, data: bytes, **params: bool) -> Assignment:
    folder.mkdir(mode=0o700)
    path = file(folder, data)
    given = Input(path, "a", len(data), "0" * 64, "application/octet-stream")
    return Assignment("job", "file.scan", dict(params), 1, folder, [given], Limits(timeout_s=60))


async def test_other_operations_are_not_scanned(tmp_path: Path) -> None:
    asked: list[Assignment] = []

    async def run(assignment: Assignment, report: Callable[[Progress], None]) -> None:
        del report
        asked.append(assignment)

    assignment = job(tmp_path / "a", b"x")
    other = Assignment("job", "file.hash", {}, 1, assignment.folder, assignment.inputs, Limits())
    await scanning(Settings(clamd="/nowhere"), run)(other, ignore)  # type: ignore[arg-type]
    assert asked == [other]


@pytest.mark.parametrize("address", [None, "/nowhere/clamd.ctl", "127.0.0.1:9"])
async def test_daemon_that_is_not_there_is_a_passing_error(
    address: str | None, tmp_path: Path
) -> None:
    assignment = job(tmp_path / "a", b"x")
    ending = await scanning(Settings(clamd=address), _no_child)(assignment, ignore)  # type: ignore[arg-type]
    assert ending.error is not None
    assert ending.error.job_code == "scanner_unavailable"
    assert ending.error.job_class is ErrorClass.TRANSIENT


# --- replies -----------------------------------------------------------------------------------

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(talk: Talk) -> AsyncIterator[Clamd]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield Clamd((host, port), 50_000_000)


def reply(said: bytes) -> Talk:
    """Reads the whole stream, then answers."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        while size := struct.unpack(">I", await reader.readexactly(4))[0]:
            await reader.readexactly(size)
        writer.write(said)
        await writer.drain()

    return talk


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"INSTREAM size limit exceeded. ERROR\0", "scan_too_large"),
        (b"stream: Can't allocate memory ERROR\0", "scanner_unavailable"),
        (b"COMMAND READ TIMED OUT\0", "scanner_unavailable"),
        (b"UNKNOWN COMMAND\0", "scanner_unavailable"),
        (b"stream: OK", "scanner_unavailable"),  # cut off: it may have gone on
        (b"OK\0", "scanner_unavailable"),
        (b"", "scanner_unavailable"),
        (b"x" * 200_000, "scanner_unavailable"),
    ],
)
async def test_nothing_but_ok_is_clean(said: bytes, code: str, tmp_path: Path) -> None:
    async with answering(reply(said)) as daemon:
        with pytest.raises(JobError) as error:
            await daemon.scan(file(tmp_path, b"x" * 600_000))
    assert error.value.job_code == code


async def test_name_of_a_signature_is_cleaned(tmp_path: Path) -> None:
    async with answering(reply(b"stream: A\x1b[31m\xffB" + b"c" * 500 + b" FOUND\0")) as daemon:
        found = await daemon.scan(file(tmp_path, b"x"))
    assert found is not None
    assert found.isprintable()
    assert len(found) == 200


async def test_answer_that_comes_before_the_end_of_a_file_is_heard(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(300_000)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        await writer.drain()

    async with answering(talk) as daemon:
        with pytest.raises(BadInput) as error:
            await daemon.scan(file(tmp_path, bytes(30_000_000)))
    assert error.value.job_code == "scan_too_large"


async def test_daemon_that_never_answers_costs_the_time_of_the_job(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    async with answering(talk) as daemon:
        assert not isinstance(daemon.address, Path)
        settings = Settings(clamd="{}:{}".format(*daemon.address))
        assignment = job(tmp_path / "a", b"x")
        limits = Limits(timeout_s=0.2)
        short = Assignment("job", "file.scan", {}, 1, assignment.folder, assignment.inputs, limits)
        ending = await scanning(settings, _no_child)(short, ignore)  # type: ignore[arg-type]
    assert ending.error is not None
    assert ending.error.job_code == "timeout"


async def _no_child(*_: object) -> None:
    raise AssertionError("no child is needed")
