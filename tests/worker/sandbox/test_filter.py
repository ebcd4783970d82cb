"""The seccomp filter, run by an interpreter of its own: both architectures, on any machine."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from fileproc.worker.zygote import seccomp, syscalls

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PID = 4242


def decide(
    machine: str,
    number: int,
    arguments: tuple[int, ...] = (),
    arch: int | None = None,
    *,
    may_exec: bool = False,
    mute_socket: bool = False,
) -> int:
    """Run the classic BPF program over one call, as the kernel does."""
    made = seccomp.build(machine, may_exec=may_exec, mute_socket=mute_socket).for_process(PID)
    program = list(struct.iter_unpack("=HBBI", made))
    values = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", number, ARCHES[machine] if arch is None else arch, 0, *values)
    accumulator = place = 0
    while True:
        code, if_true, if_false, k = program[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            place += k
        elif code == 0x15:
            place += if_true if accumulator == k else if_false
        elif code == 0x35:
            place += if_true if accumulator >= k else if_false
        else:
            assert code == 0x06
            return int(k)


@pytest.mark.parametrize("machine", ARCHES)
def test_every_listed_call_is_refused_and_no_other(machine: str) -> None:
    denied = set(syscalls.DENIED[machine].values())
    judged = set(syscalls.JUDGED[machine].values())
    for number in range(syscalls.NEWEST + 1):
        if number not in judged:
            assert decide(machine, number) == (EPERM if number in denied else ALLOW), number


@pytest.mark.parametrize("machine", ARCHES)
def test_calls_newer_than_the_lists_are_unknown(machine: str) -> None:
    for number in (syscalls.NEWEST + 1, 600, 0x3FFFFFFF):
        assert decide(machine, number) == ENOSYS


@pytest.mark.parametrize("machine", ARCHES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    for arch in (0x40000003, 0, *(set(ARCHES.values()) - {ARCHES[machine]})):
        assert decide(machine, 1, arch=arch) == KILL


def test_the_x32_numbers_end_the_process() -> None:
    for number in (0, 41, 59):
        assert decide("x86_64", 0x40000000 | number) == KILL


THREAD = 0x003D0F00  # what glibc and musl make threads with
HIGH = 1 << 32


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize(
    ("name", "arguments", "decision"),
    [
        ("clone", (THREAD,), ALLOW),
        ("clone", (THREAD | HIGH,), ALLOW),
        ("clone", (17,), EPERM),
        ("clone", (0x4111,), EPERM),
        ("clone", (THREAD | 0x10000000,), EPERM),
        ("clone", (THREAD | 0x00020000,), EPERM),
        ("clone", (THREAD & ~0x00010000,), EPERM),
        ("clone3", (), ENOSYS),
        ("kill", (PID, 9), ALLOW),
        ("kill", (PID + 1, 0), EPERM),
        ("kill", (0, 9), EPERM),
        ("kill", (0xFFFFFFFF, 9), EPERM),
        ("tgkill", (PID, 5, 6), ALLOW),
        ("tgkill", (1, 1, 0), EPERM),
        ("prlimit64", (0, 7, 0, 12345), ALLOW),
        ("prlimit64", (0, 7, 12345, 0), EPERM),
        ("prlimit64", (0, 7, HIGH, 0), EPERM),
        ("prlimit64", (PID + 1, 7, 0, 0), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (1,), EPERM),
        ("prctl", (4,), EPERM),
        ("prctl", (36,), EPERM),
        ("prctl", (0x59616D61,), EPERM),
        ("fcntl", (3, 3), ALLOW),
        ("fcntl", (3, 4, 0x800), ALLOW),
        ("fcntl", (3, 1030), ALLOW),
        ("fcntl", (3, 8), EPERM),
        ("fcntl", (3, 10), EPERM),
        ("fcntl", (3, 15), EPERM),
        ("fcntl", (3, 8 | HIGH), EPERM),
        ("ioctl", (1, 0x5401), ALLOW),
        ("ioctl", (1, 0x5412), EPERM),
        ("ioctl", (1, 0x40086602), EPERM),
        ("sched_setaffinity", (0,), ALLOW),
        ("sched_setaffinity", (PID + 1,), EPERM),
    ],
)
def test_some_calls_depend_on_their_arguments(
    machine: str, name: str, arguments: tuple[int, ...], decision: int
) -> None:
    assert decide(machine, syscalls.JUDGED[machine][name], arguments) == decision


@pytest.mark.parametrize("machine", ARCHES)
def test_a_job_with_programs_may_make_processes_and_nothing_more(machine: str) -> None:
    judged = set(syscalls.JUDGED[machine].values())
    allowed = {syscalls.DENIED[machine].get(name) for name in ("fork", "vfork", "execve")}
    for number in range(syscalls.NEWEST + 1):
        if number not in judged:
            with_programs = decide(machine, number, may_exec=True)
            assert with_programs == (ALLOW if number in allowed else decide(machine, number))


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize(
    ("name", "arguments", "decision"),
    [
        ("clone", (THREAD,), ALLOW),
        ("clone", (17,), ALLOW),
        ("clone", (0x01200000 | 17,), ALLOW),  # as glibc forks
        ("clone", (0x4111,), ALLOW),  # as it spawns: with our memory, while we wait
        ("clone", (17 | 0x00001000,), EPERM),
        ("clone", (17 | 0x00002000,), EPERM),
        ("clone", (17 | 0x00008000,), EPERM),
        *(("clone", (17 | flag,), EPERM) for flag in (0x00020000, 0x02000000, 0x04000000)),
        *(("clone", (17 | 1 << bit,), EPERM) for bit in range(27, 31)),
        ("clone3", (), ENOSYS),
        ("kill", (PID + 1, 9), EPERM),
        ("kill", (0, 9), EPERM),
        ("prctl", (1, 9), ALLOW),
        ("prctl", (1, 0), EPERM),
        ("prctl", (1, 15), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (4, 9), EPERM),
        ("prctl", (36, 9), EPERM),
        ("fcntl", (3, 8), EPERM),
        ("ioctl", (1, 0x5412), EPERM),
        ("prlimit64", (0, 7, 12345, 0), EPERM),
    ],
)
def test_some_calls_of_a_job_with_programs_depend_on_their_arguments(
    machine: str, name: str, arguments: tuple[int, ...], decision: int
) -> None:
    assert decide(machine, syscalls.JUDGED[machine][name], arguments, may_exec=True) == decision


def test_only_calls_that_aarch64_never_had_are_missing_there() -> None:
    assert set(syscalls.DENIED["x86_64"]) - set(syscalls.DENIED["aarch64"]) == {
        *("fork", "vfork", "chmod", "chown", "lchown", "utime", "utimes", "futimesat", "mknod"),
        *("symlink", "link", "inotify_init", "modify_ldt", "iopl", "ioperm", "uselib", "ustat"),
        "sysfs",
    }
    assert set(syscalls.DENIED["aarch64"]) <= set(syscalls.DENIED["x86_64"])
    assert set(syscalls.JUDGED["aarch64"]) == set(syscalls.JUDGED["x86_64"])


def test_from_424_on_the_numbers_are_the_same_everywhere() -> None:
    for name, number in syscalls.DENIED["x86_64"].items():
        if number >= 424:
            assert syscalls.DENIED["aarch64"][name] == number


def test_the_numbers_are_those_of_the_systems_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    found = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    listed = {**syscalls.DENIED["x86_64"], **syscalls.JUDGED["x86_64"]}
    known = {name: str(number) for name, number in listed.items() if name in found}
    assert len(known) > 150
    assert known == {name: found[name] for name in known}


# --- with a socket that leads nowhere ------------------------------------------------------------


PRETENDED = 0x00050000  # the call is not made, and answers 0


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize(
    ("name", "arguments", "decision"),
    [
        ("socket", (1, 1), ALLOW),
        ("socket", (1, 1 | 0o2004000), ALLOW),  # not inherited, not blocking
        ("socket", (1, 2), EPERM),
        ("socket", (1, 5), EPERM),
        ("socket", (2, 1), EPERM),
        ("socket", (10, 1), EPERM),
        ("socket", (16, 3), EPERM),
        ("socket", (1 | HIGH, 1), ALLOW),  # the kernel looks at the low half as well
        ("bind", (9,), PRETENDED),
        ("listen", (9,), PRETENDED),
    ],
)
def test_a_mute_socket_can_be_made_and_nothing_done_with_it(
    machine: str, name: str, arguments: tuple[int, ...], decision: int
) -> None:
    number = syscalls.DENIED[machine][name]
    assert decide(machine, number, arguments, may_exec=True, mute_socket=True) == decision
    assert decide(machine, number, arguments, may_exec=True) == EPERM


@pytest.mark.parametrize("machine", ARCHES)
def test_every_other_call_is_decided_as_without_it(machine: str) -> None:
    other = {syscalls.DENIED[machine][name] for name in ("socket", "bind", "listen")}
    for number in set(range(syscalls.NEWEST + 2)) - other:
        for arguments in ((), (1, 1), (PID,)):
            told = decide(machine, number, arguments, may_exec=True)
            assert decide(machine, number, arguments, may_exec=True, mute_socket=True) == told
