"""Everything that untrusted code could try from inside a job is held."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fileproc.jobs import Progress
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Sandbox
from fileproc.worker.zygote.kernel import Kernel, detect

HERE = Path(__file__).parent
PRELOAD = (str(HERE / "hostile.py"), str(HERE / "escapes.py"))

# These get through, and are harmless: paths can be asked for (existence, size), a folder can be
# entered that cannot be read, a thread is the job's own, and so is its memory.
HARMLESS = {"stat_outside", "chdir_root", "start_thread", "executable_memory"}

# Held, and not failed for another reason: every call is made with arguments that could work.
REFUSALS = {
    "EPERM",
    "EACCES",
    "ENOSYS",  # clone3, and what is newer than our lists
    "EMFILE",
    "EBADF",  # inherited descriptors: there are none
    "absent",
    "not allowed to raise maximum limit",
    "[Errno -3] Temporary failure in name resolution",
}


def ignore(progress: Progress) -> None:
    del progress


def older(abi: int) -> Kernel:
    """This kernel, with Landlock as older ones had it; without seccomp nothing here may run."""
    kernel = detect()
    if not kernel.landlock or not kernel.seccomp:
        pytest.skip("what holds the escapes is not there, and some of them do harm")
    return Kernel(landlock=min(abi, kernel.landlock), seccomp=True)


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[tuple[int, Path, list[socket.socket]]]:
    """TCP, UDP and Unix sockets of which none may hear a thing."""
    with ExitStack() as ends:
        tcp = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = tcp.getsockname()[1]
        udp = ends.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", port))
        path = tmp_path / "listener"
        short = Path(os.path.relpath(path))  # the address of a Unix socket has 108 bytes
        unix = ends.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(min(path, short, key=lambda name: len(str(name)))))
        unix.listen()
        for end in (tcp, udp, unix):
            end.setblocking(False)
        yield port, path, [tcp, udp, unix]


@pytest.mark.parametrize("abi", [1, 2, 4, 99])
async def test_no_escape_works_but_the_harmless_ones(
    abi: int,
    settings: Settings,
    assign: Callable[..., Assignment],
    listeners: tuple[int, Path, list[socket.socket]],
    tmp_path: Path,
) -> None:
    port, unix, ends = listeners
    outside = tmp_path / "outside"
    outside.write_bytes(b"a file of the worker's user")
    sibling = tmp_path / "sibling" / "input"
    sibling.parent.mkdir()
    sibling.write_bytes(b"another job's file")
    before = outside.stat(), sibling.stat()

    async with Sandbox.open(settings, preload=PRELOAD, kernel=older(abi)) as sandbox:
        targets = {
            "outside": str(outside),
            "sibling": str(sibling),
            "worker": os.getpid(),
            "zygote": sandbox.zygote_pid,
            "port": port,
            "unix": str(unix),
            "library": json.__file__,
        }
        ending = await sandbox.run(assign("", operation="debug.escape", **targets), ignore)

    assert ending.error is None
    found = json.loads(ending.outputs[0].path.read_bytes())
    assert len(found) >= 60
    assert {name for name, held in found.items() if held == "open"} == HARMLESS
    refused = {name: held for name, held in found.items() if name not in HARMLESS}
    assert {name: held for name, held in refused.items() if held not in REFUSALS} == {}
    for end in ends:
        with pytest.raises(BlockingIOError):
            end.recv(1) if end.type == socket.SOCK_DGRAM else end.accept()
    assert (outside.stat(), sibling.stat()) == before
    assert list(sibling.parent.iterdir()) == [sibling]
    for folder in ("/tmp", "/dev/shm"):
        assert not os.path.exists(f"{folder}/fileproc-escape-{os.getpid()}")  # noqa: PTH110, ASYNC240 - quick


async def test_the_child_has_neither_the_workers_environment_nor_its_folder(
    sandbox: Sandbox,
    assign: Callable[..., Assignment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the worker's")
    assignment = assign("look_around")

    ending = await sandbox.run(assignment, ignore)

    found = json.loads(ending.outputs[0].path.read_bytes())
    assert set(found["environment"]) == {
        "HOME",
        "LC_ALL",
        "MALLOC_ARENA_MAX",
        "OMP_NUM_THREADS",
        "PATH",
        "TMPDIR",
        "VIPS_CONCURRENCY",
    }
    assert found["environment"]["TMPDIR"] == str(assignment.folder)
    assert found["cwd"] == str(assignment.folder)
    assert found["umask"] == 0o077
