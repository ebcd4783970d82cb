"""Landlock: which files the process may touch. Source: Documentation/userspace-api/landlock.rst.

Readable folders are opened once, in the zygote; a child adds its scratch folder and its own
`/proc/self`, and gives up everything else for good.

Programs that a child may execute are opened likewise, with the loader that their header names.
Executing the loader by itself starts whatever file it is given: that is no more than the child
could do in its own memory, and the seccomp filter stays on it.
"""

from __future__ import annotations

import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fileproc.operations.programs import Program
from fileproc.worker.zygote import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_ABI_1 = (1 << 13) - 1
_TCP = 0b11  # bind and connect; no rule allows a port
_PT_INTERP = 3
_MOST_HEADERS = 64  # programs have about a dozen
_SCOPED = 0b11  # abstract Unix sockets, signals
_REFER_ABI, _TRUNCATE_ABI, _IOCTL_ABI, _SCOPE_ABI = 2, 3, 5, 6
NETWORK_ABI = 4

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

# What engines ask for while they work; found by running them. Absent ones are left out.
_READABLE = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/fonts",
    "/usr/share/fontconfig",
    "/usr/share/fonts",
    "/usr/share/zoneinfo",
    "/dev/urandom",
    "/sys/fs/cgroup",  # without it, and /proc/self/cgroup, duckdb 2.0 aborts
)


def abi() -> int:
    """The version of Landlock that the kernel speaks; 0: none, or it is switched off."""
    if not libc.LINUX:
        return 0
    try:
        return libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class Rule:
    """Rights below an open folder, or on one open file."""

    descriptor: int
    rights: int


def readable_rules() -> list[Rule]:
    """Rules for what every child may read: libraries, Python, fonts; and `/dev/null`."""
    python = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    folders = [Path(name) for name in (*_READABLE, *(f"{prefix}/lib" for prefix in python[:2]))]
    folders += [Path(name) for name in {*python, *sys.path} if _holds_modules(Path(name))]
    package = Path(__file__).resolve().parents[2]  # not the checkout: its .env may hold keys
    rules = [_rule(path, _READ) for path in _outermost([*folders, package])]
    return [*rules, _rule(Path(os.devnull), _READ_FILE | _WRITE_FILE)]


def program_rules(program: Program) -> list[Rule]:
    """Rules for executing a program and its loader, and for reading what it reads."""
    executable = [path for path in (program.path, loader_of(program.path)) if path is not None]
    return [
        *(_rule(path.resolve(), _READ_FILE | _EXECUTE) for path in executable if path.exists()),
        *(_rule(path, _READ) for path in _outermost(program.reads)),
    ]


def loader_of(path: Path) -> Path | None:
    """The loader (`PT_INTERP`) that a 64-bit ELF file names; None: it is linked statically.

    Source: System V ABI, chapter 5, "Program Header"; the layout of Elf64_Ehdr and Elf64_Phdr.
    """
    try:
        with path.open("rb") as file:
            header = file.read(64)
            if header[:5] != b"\x7fELF\x02":
                return None
            table, size, count = struct.unpack_from("=32xQ14xHH", header)
            for number in range(min(count, _MOST_HEADERS)):
                file.seek(table + number * size)
                kind, offset, length = struct.unpack("=I4xQ16xQ16x", file.read(56))
                if kind == _PT_INTERP:
                    file.seek(offset)
                    return Path(os.fsdecode(file.read(min(length, 4096)).rstrip(b"\0")))
    except (OSError, ValueError, struct.error):  # no program at all
        return None
    return None


def _holds_modules(path: Path) -> bool:
    """Not any folder that modules were found in: a checkout, a home, have other files."""
    return path.name in {"site-packages", "dist-packages"} or path.name.startswith("python")


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """The paths that exist, resolved, without those that lie below another."""
    real = sorted({path.resolve() for path in paths if _is_there(path)})
    return [path for path in real if not any(parent in real for parent in path.parents)]


def _is_there(path: Path) -> bool:
    """Whether this user can reach it: one in a folder that is closed to him is as good as none."""
    return os.access(path, os.F_OK)


def _rule(path: Path, rights: int) -> Rule:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    return Rule(descriptor, rights if path.is_dir() else rights & _OF_FILES)


def restrict(version: int, readable: Iterable[Rule], scratch: Path) -> None:
    """Give up all files but these, TCP, and signals to others, as far as `version` knows them.

    Rights of older versions are denied as well: renaming between folders is not possible at ABI 1.

    Raises:
        OSError: the kernel refuses; nothing was given up then.
    """
    handled = _handled(version)
    ruleset = libc.syscall(_CREATE_RULESET, *_attributes(version, handled), 0)
    # Opened here, not in the zygote: the rule is bound to the folder of this very process.
    own = [_rule(Path("/proc/self"), _READ), _rule(scratch, _WRITE | _REFER | _TRUNCATE)]
    for rule in (*readable, *own):
        beneath = struct.pack("=Qi", rule.rights & handled, rule.descriptor)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, beneath, 0)
    libc.syscall(_RESTRICT_SELF, ruleset, 0)
    for descriptor in (ruleset, *(rule.descriptor for rule in own)):
        os.close(descriptor)


def _handled(version: int) -> int:
    rights = _ALL_OF_ABI_1
    for since, right in (
        (_REFER_ABI, _REFER),
        (_TRUNCATE_ABI, _TRUNCATE),
        (_IOCTL_ABI, _IOCTL_DEV),
    ):
        rights |= right if version >= since else 0
    return rights


def _attributes(version: int, handled: int) -> tuple[bytes, int]:
    """`struct landlock_ruleset_attr` and its size, which grew with the versions."""
    if version >= _SCOPE_ABI:
        return struct.pack("=QQQ", handled, _TCP, _SCOPED), 24
    if version >= NETWORK_ABI:
        return struct.pack("=QQ", handled, _TCP), 16
    return struct.pack("=Q", handled), 8
