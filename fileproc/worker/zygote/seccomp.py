"""seccomp: which system calls the process may make. Source: seccomp(2), linux/filter.h.

The program is a decision tree over the number of the call: eight steps for any of them, rather
than two hundred, and as much less for the kernel, which runs it for every number once when it is
installed. Denied calls fail with EPERM; what is newer than our lists, and `clone3`, with ENOSYS,
so that the C library falls back; a foreign architecture's calls end the process.

Denied calls, allowed the rest: engines change, and an allow-list breaks them at the user's.

There are three profiles. Most children may start threads only. One whose operation starts a program
may also fork and execute (`syscalls.FOR_PROGRAMS`); which files, Landlock decides. None can leave
its process group, by which it is killed, nor make a file without a name to execute.

The third is for LibreOffice, which does not start where it cannot listen on a Unix socket for
further calls of itself. Its children may make a Unix socket, and are told that it has a name and
listens; the kernel does neither. It is connected to nothing, and nothing can connect to it.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from dataclasses import dataclass

from fileproc.worker.zygote import libc, syscalls

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_LOAD, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_PRETEND = 0x00050000  # an error with the number 0: the call is not made, and answers success
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_LONGEST_BRANCH = 255

# clone() may make a thread, and nothing else: no process, no namespace, nothing traced.
_THREAD = 0x00010000 | 0x00000100 | 0x00000800  # CLONE_THREAD, CLONE_VM, CLONE_SIGHAND
_NAMESPACES = 0x7E020000
_TRACED_OR_ADOPTED = 0x00002000 | 0x00008000 | 0x00001000  # CLONE_PTRACE, _PARENT, _PIDFD
_NOT_A_THREAD = _NAMESPACES | _TRACED_OR_ADOPTED | 0x00004000  # CLONE_VFORK
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_PRCTL_ALLOWED = (2, 3, 15, 16, 21, 39, 0x53564D41)  # gets, the thread's name, names of memory
_FCNTL_ALLOWED = (*range(8), 36, 37, 38, 1030, 1032, 1034)  # no owner, no signal, no lease
_IOCTL_ALLOWED = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal

_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF  # the type, without its flags

_OWN_PID = 0x7E57ED1D  # stands for the child's pid until there is one

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Filter:
    """A program without its pid; made once, in the zygote."""

    template: bytes

    def for_process(self, pid: int) -> bytes:
        """The program as the kernel takes it, for the process with this pid."""
        return self.template.replace(struct.pack("=I", _OWN_PID), struct.pack("=I", pid))


def build(
    machine: str | None = None, *, may_exec: bool = False, mute_socket: bool = False
) -> Filter:
    """The filter of a child that may start threads; with `may_exec` processes as well.

    With `mute_socket` also one that may make a Unix socket, connected to nothing.

    Raises:
        KeyError: there are no numbers for this architecture.
    """
    machine = machine or platform.machine()
    program = [
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        *_tree(_leaves(machine, may_exec=may_exec, mute_socket=mute_socket)),
    ]
    return Filter(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))


def install(program: bytes) -> None:
    """Put the filter on this process, for good.

    Raises:
        OSError: the kernel does not take it.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, header)


def _leaves(
    machine: str, *, may_exec: bool, mute_socket: bool
) -> list[tuple[int, list[Instruction]]]:
    """(first number, what to do from there up to the next) in ascending order."""
    actions: dict[int, list[Instruction]] = {
        number: [(_RETURN, 0, 0, _REFUSE)]
        for name, number in syscalls.DENIED[machine].items()
        if not (may_exec and name in syscalls.FOR_PROGRAMS)
    }
    numbers = syscalls.DENIED[machine] | syscalls.JUDGED[machine]
    judgements = _judgements()
    judgements |= _judgements_of_programs() if may_exec else {}
    judgements |= _judgements_of_mute_sockets() if mute_socket else {}
    actions.update({numbers[name]: judge for name, judge in judgements.items()})
    allowed = [(_RETURN, 0, 0, _ALLOW)]
    leaves: list[tuple[int, list[Instruction]]] = []
    for number in range(syscalls.NEWEST + 1):
        action = actions.get(number, allowed)
        if not leaves or leaves[-1][1] != action:
            leaves.append((number, action))
    leaves.append((syscalls.NEWEST + 1, [(_RETURN, 0, 0, _UNKNOWN)]))
    if machine == "x86_64":
        leaves.append((_X32_BIT, [(_RETURN, 0, 0, _KILL)]))
    return leaves


def _tree(leaves: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    below, above = _tree(leaves[:middle]), _tree(leaves[middle:])
    start = leaves[middle][0]
    if len(below) <= _LONGEST_BRANCH:
        return [(_IF_AT_LEAST, len(below), 0, start), *below, *above]
    return [(_IF_AT_LEAST, 0, 1, start), (_JUMP, 0, 0, len(below)), *below, *above]


def _judgements() -> dict[str, list[Instruction]]:
    """What decides about the calls that are allowed for some arguments."""
    return {
        "clone": [
            _argument(0),
            (_AND, 0, 0, _THREAD | _NOT_A_THREAD),
            *_if_one_of(_THREAD),
        ],
        # Its flags lie in memory, where a filter cannot read them.
        "clone3": [(_RETURN, 0, 0, _UNKNOWN)],
        "kill": [_argument(0), *_if_one_of(_OWN_PID)],
        "tgkill": [_argument(0), *_if_one_of(_OWN_PID)],
        # Reading one's own limits: as root, setting them would raise them.
        "prlimit64": [
            _argument(0),
            *_unless(0),
            _argument(2),
            *_unless(0),
            _argument(2, high=True),
            *_if_one_of(0),
        ],
        "prctl": [_argument(0), *_if_one_of(*_PRCTL_ALLOWED)],
        "fcntl": [_argument(1), *_if_one_of(*_FCNTL_ALLOWED)],
        "ioctl": [_argument(1), *_if_one_of(*_IOCTL_ALLOWED)],
        "sched_setaffinity": [_argument(0), *_if_one_of(0)],
    }


def _judgements_of_programs() -> dict[str, list[Instruction]]:
    """Where a child that may execute programs is judged otherwise."""
    return {
        # A process like any other: in no namespace of its own, traced by nobody, our own child.
        "clone": [
            _argument(0),
            (_AND, 0, 0, _NAMESPACES | _TRACED_OR_ADOPTED),
            *_if_one_of(0),
        ],
        # A program asks to be killed with the job. It may not ask for less.
        "prctl": [
            _argument(0),
            (_IF_EQUAL, 0, 4, _PR_SET_PDEATHSIG),
            _argument(1),
            (_IF_EQUAL, 0, 1, _SIGKILL),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
            *_if_one_of(*_PRCTL_ALLOWED),
        ],
    }


def _judgements_of_mute_sockets() -> dict[str, list[Instruction]]:
    """Where a child may make a Unix socket that is never more than a number."""
    pretend = [(_RETURN, 0, 0, _PRETEND)]
    return {
        "socket": [
            _argument(0),
            *_unless(_AF_UNIX),
            _argument(1),
            (_AND, 0, 0, _SOCK_TYPE),
            *_if_one_of(_SOCK_STREAM),
        ],
        "bind": pretend,
        "listen": pretend,
    }


def _argument(index: int, *, high: bool = False) -> Instruction:
    """Load 32 bits of an argument; ints are the low ones, whatever stands in the high ones."""
    big = sys.byteorder == "big"
    return (_LOAD, 0, 0, _ARGS + 8 * index + (4 if high != big else 0))


def _if_one_of(*values: int) -> list[Instruction]:
    """Allow if what was loaded is one of these, else refuse."""
    count = len(values)
    tests = [(_IF_EQUAL, count - place, 0, value) for place, value in enumerate(values)]
    return [*tests, (_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]


def _unless(value: int) -> list[Instruction]:
    """Refuse, unless what was loaded is this."""
    return [(_IF_EQUAL, 1, 0, value), (_RETURN, 0, 0, _REFUSE)]
