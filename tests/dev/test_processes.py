"""Children end with their parent, whichever thread started them, and however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fileproc.dev.processes import Child, free_port, port_problem
from fileproc.errors import EngineError

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_child_survives_the_thread_that_asked_for_it() -> None:
    child = Child("sleeper", SLEEP)
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    assert not child.wait(0.3)
    child.kill()
    assert child.ending == -signal.SIGKILL


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
def test_child_ends_when_its_parent_is_killed() -> None:
    code = (
        "import sys; from fileproc.dev.processes import Child\n"
        f"child = Child('sleeper', {SLEEP!r}); child.start(); print(child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        assert wait_until_gone(pid)


def test_child_whose_parent_is_already_gone_does_not_start() -> None:
    tether = Path(__file__).parents[2] / "fileproc" / "dev" / "tether.py"
    nobody = "1" if os.getpid() != 1 else "2"
    run = subprocess.run(
        [sys.executable, str(tether), nobody, "echo", "x"], capture_output=True, check=False
    )
    assert (run.returncode, run.stdout) == (1, b"")


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(600)"
    child = Child("stubborn", [sys.executable, "-u", "-c", code], log=tmp_path / "log")
    child.start()
    while "up" not in child.said():
        time.sleep(0.01)
    child.stop(grace_s=0.1)
    assert child.ending == -signal.SIGKILL


def test_said_is_only_what_came_since_the_last_start(tmp_path: Path) -> None:
    child = Child("echo", ["echo", "first"], log=tmp_path / "log")
    child.start()
    assert child.wait(10)
    child.command = ["echo", "second"]
    child.start()
    assert child.wait(10)
    assert child.said() == "second\n"
    assert (tmp_path / "log").read_text() == "first\nsecond\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_grew_too_long_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    child = Child("echo", ["echo", "new"], log=log)
    child.start()
    assert child.wait(10)
    assert child.said() == "new\n"
    assert (tmp_path / "log.old").exists()


def test_a_program_that_is_not_there_ends_with_a_status() -> None:
    child = Child("nothing", ["/nonexistent/program"], log=Path(os.devnull))
    child.start()
    assert child.wait(10)
    assert child.ending


def test_pid_of_a_child_that_was_never_started_is_an_error() -> None:
    with pytest.raises(EngineError, match="nothing was not started"):
        _ = Child("nothing", []).pid


def test_a_port_in_use_and_an_address_of_others_are_told_from_a_free_port() -> None:
    import socket

    port = free_port()
    assert port_problem("127.0.0.1", port) is None
    assert "Cannot assign" in str(port_problem("192.0.2.1", port))
    assert port_problem("no.such.host.invalid", port)
    with socket.create_server(("127.0.0.1", port)):
        assert port_problem("127.0.0.1", port) == "Address already in use"
