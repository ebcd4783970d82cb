"""Know what of a program's files is on disk: `python fsyncs.py TABLE FOLDER PROGRAM ARGS...`.

A power cut loses what was written and not yet synced; `kill -9` does not, as the kernel has it. So
the kernel is asked (seccomp's user notification, Linux 5.5, no privileges) to stop the program at
each fsync and fdatasync until a helper of ours has noted how long the file is by then. The call
then goes on. When the program is gone the helper writes the table, `{inode: bytes synced}`, and
`cut` shortens the files in FOLDER to it: what a power cut would have left. What lay there at the
start counts as synced.

The program keeps the process id of this script; the helper is its child and ends with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import random
import select
import socket
import struct
import sys
from fcntl import ioctl
from pathlib import Path

_SYS = {  # seccomp, fsync, fdatasync, and the architecture as seccomp names it
    "x86_64": (317, 74, 75, 0xC000003E),
    "aarch64": (277, 82, 83, 0xC00000B7),
}
_NEW_LISTENER, _MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 8, 1, 38
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")  # seccomp_notif: id, pid, flags, then seccomp_data
_ANSWER = struct.Struct("=QqiI")  # seccomp_notif_resp: id, val, error, flags


def main() -> None:
    table, folder, *command = sys.argv[1:]
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        theirs.close()
        _watch(descriptors[0], Path(table), Path(folder))
        os._exit(0)
    theirs.close()
    listener = _filter()
    socket.send_fds(ours, [b"."], [listener])
    os.close(listener)
    ours.close()
    os.execvp(command[0], command)


def _filter() -> int:
    """Put the filter on this process; returns where the notices come out."""
    number, fsync, fdatasync, architecture = _SYS[platform.machine()]
    program = b"".join(
        struct.pack("=HBBI", *step)
        for step in (
            (0x20, 0, 0, 4),  # the architecture
            (0x15, 0, 3, architecture),
            (0x20, 0, 0, 0),  # the number of the call
            (0x15, 2, 0, fsync),
            (0x15, 1, 0, fdatasync),
            (0x06, 0, 0, _ALLOW),
            (0x06, 0, 0, _NOTIFY),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    zero = ctypes.c_long(0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_long(1), zero, zero, zero)
    listener = libc.syscall(
        *map(ctypes.c_long, (number, _MODE_FILTER, _NEW_LISTENER)), ctypes.c_char_p(header)
    )
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp: this kernel cannot notify")
    return int(listener)


def _watch(listener: int, table: Path, folder: Path) -> None:
    there = (path.stat() for path in folder.rglob("*"))
    synced = {status.st_ino: status.st_size for status in there}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll()[0][1] & select.POLLIN:  # else it hung up: the program is gone
        notice = bytearray(_NOTICE.size)
        try:
            ioctl(listener, _RECEIVE, notice)
            identity, pid, _, _, _, _, descriptor, *_ = _NOTICE.unpack(notice)
            status = Path(f"/proc/{pid}/fd/{descriptor}").stat()
            synced[status.st_ino] = status.st_size
            ioctl(listener, _SEND, bytearray(_ANSWER.pack(identity, 0, 0, _CONTINUE)))
        except OSError:
            continue  # it was killed in the middle
    draft = table.with_suffix(".draft")
    draft.write_text(json.dumps(synced), encoding="ascii")
    draft.rename(table)


def cut(folder: Path, table: Path, rng: random.Random) -> int:
    """Shorten what lies in `folder` to what was synced, and up to a bit more; returns bytes lost.

    The disk may have written some of the rest, so a random part of it may stay.
    """
    synced = {int(inode): size for inode, size in json.loads(table.read_text()).items()}
    lost = 0
    for path in folder.rglob("*"):
        status = path.stat()
        kept_for_sure = synced.get(status.st_ino, 0)
        rest = status.st_size - kept_for_sure
        if path.is_file() and rest > 0:
            kept = rng.choice((0, rng.randint(0, rest)))
            os.truncate(path, kept_for_sure + kept)
            lost += rest - kept
    return lost


if __name__ == "__main__":
    main()
