"""Cancel, death of the zygote, a zygote that hangs, settings: what the worker must live through."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from fileproc.errors import EngineError
from fileproc.operations.programs import Program
from fileproc.settings import SandboxMode, Settings
from fileproc.worker.sandbox import Assignment, Sandbox, ZygoteLost
from fileproc.worker.sandbox import attempt as attempts
from fileproc.worker.zygote.kernel import Kernel, detect
from fileproc.worker.zygote.selftest import PROBES, PROBES_WITH_PROGRAMS

HERE = Path(__file__).parent
HOSTILE = (str(HERE / "hostile.py"),)


class Running:
    """An attempt that is under way; `pid` is its child's."""

    def __init__(self, task: asyncio.Task[object], pid: int) -> None:
        self.task = task
        self.pid = pid


async def begin(sandbox: Sandbox, assignment: Assignment) -> Running:
    """Returns when the operation has begun."""
    begun = asyncio.Event()
    task = asyncio.create_task(sandbox.run(assignment, lambda _: begun.set()))
    await asyncio.wait([task, asyncio.create_task(begun.wait())], return_when="FIRST_COMPLETED")
    (attempt,) = [one for one in sandbox._attempts if one.folder == assignment.folder]
    await attempt._process.started.wait()  # another pipe: it may come after the first progress
    assert attempt.pid is not None
    return Running(task, attempt.pid)


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


# --- cancel ------------------------------------------------------------------------------------


async def test_cancelling_kills_the_process_and_waits_until_it_is_gone(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    running = await begin(sandbox, assign("wait", amount=60))
    assert alive(running.pid)
    begun = time.monotonic()

    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task

    assert not alive(running.pid)
    assert time.monotonic() - begun < 2


async def test_cancelling_twice_still_waits(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    running = await begin(sandbox, assign("wait", amount=60))

    running.task.cancel()
    await asyncio.sleep(0)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task

    assert not alive(running.pid)


async def test_cancelling_at_once_leaves_nothing_behind(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    task = asyncio.create_task(sandbox.run(assign("wait", amount=60), lambda _: None))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sandbox._attempts == set()
    assert (await sandbox.run(assign("say_length", text="next"), lambda _: None)).error is None


async def test_a_timeout_around_it_works_like_a_cancel(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await sandbox.run(assign("hang"), lambda _: None)
    assert sandbox._attempts == set()


# --- many at once ------------------------------------------------------------------------------


async def test_attempts_side_by_side_do_not_mix(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    async def one(number: int) -> str:
        ending = await sandbox.run(assign("say_length", text="x" * number), lambda _: None)
        assert ending.error is None
        return ending.outputs[0].path.read_text()

    assert await asyncio.gather(*(one(number) for number in range(40))) == [
        str(number) for number in range(40)
    ]


# --- the zygote dies ---------------------------------------------------------------------------


async def test_when_the_zygote_dies_the_attempts_are_lost_and_their_processes_gone(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    first = await begin(sandbox, assign("wait", amount=60))
    second = await begin(sandbox, assign("wait", amount=60))
    zygote = sandbox.zygote_pid
    assert zygote is not None

    os.kill(zygote, signal.SIGKILL)
    for running in (first, second):
        with pytest.raises(ZygoteLost):
            await running.task

    assert not alive(first.pid)
    assert not alive(second.pid)
    ending = await sandbox.run(assign("say_length", text="again"), lambda _: None)
    assert ending.error is None
    assert sandbox.zygote_pid not in {None, zygote}


async def test_a_zygote_that_hangs_is_replaced(
    sandbox: Sandbox, assign: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "KILL_DIRECTLY_S", 0.1)
    monkeypatch.setattr(attempts, "ZYGOTE_HANGS_S", 0.5)
    running = await begin(sandbox, assign("wait", amount=60))
    zygote = sandbox.zygote_pid
    assert zygote is not None

    os.kill(zygote, signal.SIGSTOP)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task

    assert not alive(running.pid)
    assert (await sandbox.run(assign("say_length"), lambda _: None)).error is None
    assert sandbox.zygote_pid != zygote


async def test_a_zygote_that_does_not_answer_an_order_is_replaced(
    sandbox: Sandbox, assign: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ZYGOTE_HANGS_S", 0.1)
    assert sandbox.zygote_pid is not None
    os.kill(sandbox.zygote_pid, signal.SIGSTOP)

    with pytest.raises(ZygoteLost):
        await sandbox.run(assign("say_length"), lambda _: None)


async def test_the_children_of_a_worker_that_is_killed_do_not_outlive_it(tmp_path: Path) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WORKER,
        str(tmp_path),
        *HOSTILE,
        cwd=HERE.parents[2],
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    zygote, child = [int(await worker.stdout.readline()) for _ in range(2)]
    assert alive(zygote)
    assert alive(child)

    worker.kill()
    await worker.wait()

    async with asyncio.timeout(5):
        while alive(zygote) or alive(child):  # noqa: ASYNC110 - they are not ours to wait for
            await asyncio.sleep(0.01)


_WORKER = """
import asyncio, sys
from pathlib import Path
from fileproc import telemetry
from fileproc.operations import Limits
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Sandbox

async def main():
    async with Sandbox.open(Settings(), preload=[sys.argv[2]]) as sandbox:
        params = {"how": "wait", "amount": 60}
        assignment = Assignment(
            "job", "debug.hostile", params, 1, Path(sys.argv[1]), [], Limits(), True
        )
        begun = asyncio.Event()
        running = asyncio.create_task(sandbox.run(assignment, lambda _: begun.set()))
        await begun.wait()
        (attempt,) = sandbox._attempts
        await attempt._process.started.wait()
        print(sandbox.zygote_pid, attempt.pid, sep="\\n", flush=True)
        await running
telemetry.configure_logging("error", "console")
asyncio.run(main())
"""


async def test_closing_ends_what_still_runs(
    settings: Settings, assign: Callable[..., Assignment]
) -> None:
    async with Sandbox.open(settings, preload=HOSTILE) as sandbox:
        running = await begin(sandbox, assign("wait", amount=60))
        zygote = sandbox.zygote_pid
        assert zygote is not None
    with pytest.raises(ZygoteLost):
        await running.task
    assert not alive(running.pid)
    assert not alive(zygote)


async def test_signals_to_the_whole_group_do_not_end_it(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    running = await begin(sandbox, assign("wait", amount=1))
    assert sandbox.zygote_pid is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(sandbox.zygote_pid, number)
        os.kill(running.pid, number)
    ending = await running.task
    assert getattr(ending, "error", "no ending") is None


async def test_without_descriptors_the_attempt_fails_and_the_worker_goes_on(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    first, second = assign("say_length"), assign("say_length")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        ending = await sandbox.run(first, lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert ending.error is not None
    assert (ending.error.job_code, ending.error.job_class) == ("no_process", "transient")
    assert (await sandbox.run(second, lambda _: None)).error is None


# --- settings ----------------------------------------------------------------------------------


@pytest.fixture
def best_effort(settings: Settings) -> Settings:
    return settings.model_copy(update={"sandbox": SandboxMode.BEST_EFFORT})


async def test_a_kernel_without_the_layers_is_refused_with_a_sentence(settings: Settings) -> None:
    for landlock in (0, 3):
        with pytest.raises(EngineError, match="FILEPROC_SANDBOX=best-effort"):
            async with Sandbox.open(settings, kernel=Kernel(landlock, seccomp=False)):
                pass


async def test_best_effort_works_with_what_there_is_and_says_what_is_open(
    best_effort: Settings, assign: Callable[..., Assignment]
) -> None:
    kernel = Kernel(landlock=0, seccomp=False)
    async with Sandbox.open(best_effort, preload=HOSTILE, kernel=kernel) as sandbox:
        assert not sandbox.report.complete
        assert sandbox.report.broken == ()
        assert "A job can open network sockets." in sandbox.report.missing
        assert sandbox.report.layers["landlock"] == "no"
        ending = await sandbox.run(assign("say_length"), lambda _: None)
        assert ending.error is None


async def test_with_every_layer_the_report_is_complete(sandbox: Sandbox) -> None:
    kernel = detect()
    if not (kernel.landlock and kernel.seccomp):
        pytest.skip("this kernel lacks a layer")
    assert sandbox.report.complete
    assert sandbox.report.missing == ()
    assert sandbox.report.layers["landlock"] == f"ABI {kernel.landlock}"
    refused, of, total, *_ = sandbox.report.layers["self_test"].split()
    assert (refused, of) == (total, "of")


async def test_children_that_may_execute_programs_are_tested_as_well(settings: Settings) -> None:
    kernel = detect()
    if not (kernel.landlock and kernel.seccomp):
        pytest.skip("this kernel lacks a layer")
    there = {
        "ffmpeg": Program(Path("/nowhere/ffmpeg")),
        "tesseract": Program(Path("/nowhere/tesseract")),
        "soffice": Program(Path("/nowhere/soffice.bin"), mute_socket=True),
    }
    async with Sandbox.open(settings, kernel=kernel, programs=there) as sandbox:
        assert sandbox.report.complete, sandbox.report.missing
        total = len(PROBES) + 2 * len(PROBES_WITH_PROGRAMS)
        assert sandbox.report.layers["self_test"] == f"{total} of {total} refused"

    # Which programs, Landlock decides: without it that is open, and said.
    bare = Kernel(landlock=0, seccomp=True)
    async with Sandbox.open(settings, kernel=bare, programs=there) as sandbox:
        assert "A job that starts a program can run other programs." in sandbox.report.missing
        assert "A job can run other programs." not in sandbox.report.missing
        assert sandbox.report.broken == ()


async def test_an_import_that_fails_is_told_at_start(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError):
        async with Sandbox.open(settings, preload=["fileproc.no_such_module"]):
            pass
    log = capsys.readouterr()
    assert "fileproc.no_such_module" in log.out + log.err


async def test_an_import_that_starts_a_thread_is_refused(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "threaded.py"
    start = "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    module.write_text(f"import threading, time\n{start}\n")
    with pytest.raises(EngineError):
        async with Sandbox.open(settings, preload=[str(module)]):
            pass
    log = capsys.readouterr()
    assert "an import started a thread" in log.out + log.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at everything")
def test_a_hidden_process_shows_its_environment_to_nobody() -> None:
    program = (
        "import sys; from fileproc.worker.sandbox import hide_process; hide_process();"
        "print('hidden', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=HERE.parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"hidden\n"
        with pytest.raises(PermissionError):
            Path(f"/proc/{worker.pid}/environ").read_bytes()


def test_it_works_on_uvloop_as_well(settings: Settings, assign: Callable[..., Assignment]) -> None:
    async def once() -> None:
        async with Sandbox.open(settings, preload=HOSTILE) as sandbox:
            assert (await sandbox.run(assign("say_length"), lambda _: None)).error is None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await sandbox.run(assign("hang"), lambda _: None)

    uvloop.run(once())
