"""The few calls into the C library that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """A system call by number; numbers are passed as longs, bytes as a pointer to them.

    Raises:
        OSError: with the errno of the call.
    """
    passed = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *passed), f"system call {number}")


def prctl(option: int, second: int | bytes | None = 0, third: int | bytes | None = 0) -> int:
    """`prctl(2)`; the arguments nobody uses are zero.

    Raises:
        OSError: with the errno of the call.
    """
    passed = [ctypes.c_long(item) if isinstance(item, int) else item for item in (second, third)]
    zero = ctypes.c_long(0)
    return _checked(_libc.prctl(option, *passed, zero, zero), f"prctl({option})")


def hide_process() -> None:
    """Close the memory and environment of this process to other processes of the same user.

    The worker calls it at its start: its environment holds the keys of the storage. Does nothing
    where there is no `prctl`.
    """
    if LINUX:
        prctl(_PR_SET_DUMPABLE, 0)


def show_process() -> None:
    """Let the worker (same user) look at the open files of this process: see `scratch.py`."""
    prctl(_PR_SET_DUMPABLE, 1)


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent ended below us."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal: int) -> None:
    """Have `signal` sent to this process when the thread that made it ends."""
    prctl(_PR_SET_PDEATHSIG, signal)


def refuse_new_privileges() -> None:
    """No set-user-id program raises this process' rights any more; Landlock and seccomp ask it."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities(machine: str) -> None:
    """Empty all capability sets, for whoever runs the worker as root all the same."""
    header = _CAPABILITY_VERSION_3.to_bytes(4, sys.byteorder) + bytes(4)
    syscall(_SYS_CAPSET[machine], header, bytes(24))
