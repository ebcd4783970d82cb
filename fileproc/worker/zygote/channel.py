"""A socket pair that carries JSON lines together with open files (SCM_RIGHTS)."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from fileproc.worker.zygote.protocol import Message

_MAX_BYTES = 65536
_MAX_DESCRIPTORS = 64  # several messages may be read at once where there are no boundaries

_T = TypeVar("_T", bound=Message)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends; with boundaries between messages on Linux, without elsewhere."""
    kind = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_STREAM)
    try:
        return socket.socketpair(socket.AF_UNIX, kind)
    except OSError:  # macOS names SEQPACKET and does not have it
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class Channel(Generic[_T]):
    """One end, which receives messages of the type `_T`."""

    def __init__(self, end: socket.socket, expects: TypeAdapter[_T]) -> None:
        self._end = end
        self._expects = expects
        self._rest = b""
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message with copies of these descriptors.

        Raises:
            BlockingIOError: not now (non-blocking ends only); nothing was sent.
            OSError: the other side is gone.
        """
        line = b"%d " % len(descriptors) + message.line()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        if self._end.sendmsg([line], rights if descriptors else []) != len(line):
            raise ConnectionError("a message was cut in two")

    def receive(self) -> list[tuple[_T, list[int]]]:
        """What has arrived, with the descriptors that came along (the caller closes them).

        Raises:
            BlockingIOError: nothing has (non-blocking ends only).
            EOFError: the other side is gone.
        """
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        try:
            data, ancillary, _, _ = self._end.recvmsg(_MAX_BYTES, space, flags)
        except (ConnectionResetError, BrokenPipeError) as exc:  # unread replies turn EOF into this
            raise EOFError from exc
        self._keep(ancillary)
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._parsed(line) for line in lines]

    def _keep(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self._descriptors.extend(received)

    def _parsed(self, line: bytes) -> tuple[_T, list[int]]:
        count, _, text = line.partition(b" ")
        return self._expects.validate_json(text), [
            self._descriptors.popleft() for _ in range(int(count))
        ]

    def close(self) -> None:
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._descriptors.clear()
        self._end.close()
