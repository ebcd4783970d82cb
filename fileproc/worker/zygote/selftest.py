"""A dozen and more attempts to get out, made by a real child when the worker starts.

Each is harmless where nothing holds it: on a kernel without the layers, and as root, they all get
through. `tests/worker/sandbox` has the other kind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fileproc.worker.zygote import libc
from fileproc.worker.zygote.kernel import Kernel

_MANY = 1000
NAME = "sandbox.self_test"  # not in the catalogue: no job can ask for it


@dataclass(frozen=True, slots=True)
class Place:
    """Where the probe runs: a file next to its scratch folder, and the worker's pid."""

    outside: Path
    worker: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt.

    Attributes:
        could: what a job could do if it gets through, after "A job can".
        attempt: raises OSError (or ValueError) where it is held.
        landlock: ABI from which Landlock holds it; None: never.
        seccomp: whether seccomp holds it.
    """

    could: str
    attempt: Callable[[Place], Any]
    landlock: int | None = None
    seccomp: bool = False
    rlimits: bool = False

    def held_by(self, kernel: Kernel) -> bool:
        """Whether a layer that this kernel has should hold it."""
        return (
            (self.landlock is not None and kernel.landlock >= self.landlock)
            or (self.seccomp and kernel.seccomp)
            or (self.rlimits and kernel.rlimits)
        )


def _fork(_: Place) -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _run_program(_: Place) -> None:
    """One that may be read, and that no operation names."""
    if (pid := os.fork()) == 0:
        try:
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", ""])  # noqa: S606 - ours
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise PermissionError("it was not started")


def _raise_limit(_: Place) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))


def _open_many(_: Place) -> None:
    descriptors: list[int] = []
    try:
        while len(descriptors) < _MANY:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _unix_socket(_: Place) -> None:
    """To anybody: LibreOffice's jobs may make one, and connect it to nobody."""
    nobody = (FileNotFoundError, ConnectionRefusedError)
    with socket.socket(socket.AF_UNIX) as end, contextlib.suppress(*nobody):
        end.connect("/nowhere/fileproc")


def _socket(family: socket.AddressFamily) -> None:
    socket.socket(family, socket.SOCK_STREAM).close()


_UNSHARE = {"x86_64": 272, "aarch64": 97}.get(os.uname().machine, 0)

PROBES: Mapping[str, Probe] = {
    "system_file": Probe("read /etc/passwd", lambda _: Path("/etc/passwd").read_bytes(), 1),
    "root_folder": Probe("list the root folder", lambda _: list(Path("/").iterdir()), 1),
    "file_outside": Probe(
        "read files of the worker's user", lambda place: place.outside.read_bytes(), 1
    ),
    "write_outside": Probe(
        "write outside its folder", lambda place: place.outside.open("r+b").close(), 1
    ),
    "truncate_outside": Probe(
        "truncate files outside its folder", lambda place: os.truncate(place.outside, 0), 3, True
    ),
    "mode_outside": Probe(
        "change the mode of files outside its folder",
        lambda place: place.outside.chmod(0o600),
        seccomp=True,
    ),
    "worker_environment": Probe(
        "read the worker's environment, with its keys",
        lambda place: Path(f"/proc/{place.worker}/environ").read_bytes(),
        1,
    ),
    "internet_socket": Probe(
        "open network sockets", lambda _: _socket(socket.AF_INET), seccomp=True
    ),
    "unix_socket": Probe("connect Unix sockets", _unix_socket, seccomp=True),
    "signal_worker": Probe(
        "send signals to the worker", lambda place: os.kill(place.worker, 0), 6, True
    ),
    "make_process": Probe("start processes", _fork, seccomp=True),
    "run_program": Probe("run other programs", _run_program, 1, seccomp=True),
    "raise_limit": Probe("raise its own limits", _raise_limit, seccomp=True),
    "open_files": Probe("open a thousand files", _open_many, rlimits=True),
    **(
        {
            "limits_of_worker": Probe(
                "see and change the worker's limits",
                lambda place: resource.prlimit(place.worker, resource.RLIMIT_NOFILE),
                seccomp=True,
            ),
            "worker_handle": Probe(
                "get hold of the worker's process",
                lambda place: os.close(os.pidfd_open(place.worker)),
                seccomp=True,
            ),
            "namespace": Probe(
                "make namespaces", lambda _: libc.syscall(_UNSHARE, 0), seccomp=True
            ),
        }
        if libc.LINUX
        else {}
    ),
}

# Of a child whose operation starts a program: it may make processes, and Landlock alone decides
# what they execute.
PROBES_WITH_PROGRAMS: Mapping[str, Probe] = {
    **{name: entry for name, entry in PROBES.items() if name != "make_process"},
    "run_program": replace(PROBES["run_program"], seccomp=False),
}


def probe(params: Mapping[str, Any]) -> dict[str, bool]:
    """Try everything, in the child: name -> whether it got through.

    Raises:
        OSError: not even the scratch folder can be written to.
    """
    place = Place(Path(params["outside"]), int(params["worker"]))
    Path("written").write_bytes(b"as it must be")
    probes = PROBES_WITH_PROGRAMS if params["programs"] else PROBES
    return {name: _gets_through(entry, place) for name, entry in probes.items()}


def _gets_through(entry: Probe, place: Place) -> bool:
    try:
        entry.attempt(place)
    except (OSError, ValueError):
        return False
    return True
