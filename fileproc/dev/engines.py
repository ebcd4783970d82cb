"""The embedded engines: a real Valkey, and a real S3 server (rclone behind a thin front).

Both listen on loopback, keep everything in one folder of the user's (passwords in files that only
the user can read), answer when `start` returns, and end with the process that started them.
"""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from fileproc.dev.binaries import find_rclone, find_valkey
from fileproc.dev.files import secret_in, write_private
from fileproc.dev.processes import Child, free_port
from fileproc.errors import EngineError

_START_S = 30.0
_LOAD_S = 600.0  # a large append-only file takes its time
_HOST = "127.0.0.1"

# `appendfsync always` and `noeviction`: what was acknowledged is kept, as in production.
# `hash-max-listpack-value`: the records of jobs stay in the compact encoding.
_VALKEY_CONF = """\
bind {host}
port {port}
requirepass {password}
dir "{folder}"
daemonize no
databases 1
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
hash-max-listpack-value 4096
"""

# What a killed rclone leaves behind: never acknowledged, hidden from listings, never removed by it.
_LEFTOVERS = (".rclone_temp_*", ".rclone_multipart_upload_*")


class Valkey:
    """A Valkey server over a folder; the data survives a restart with the same folder.

    With port 0 the first start takes a free one, which later starts keep.
    """

    name = "Valkey"

    def __init__(self, folder: Path, port: int = 0, *, under: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._under = under  # a program, with arguments, that becomes the server
        self._conf = self.folder / "valkey.conf"
        self._child = Child(self.name, (), log=self.folder / "valkey.log")
        self._password = ""

    @property
    def url(self) -> str:
        """With the password: not for logs."""
        return f"redis://:{self._password}@{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    def start(self) -> None:
        """Start, and wait until it answers.

        Raises:
            EngineError: it does not come up; with the end of its log.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._password = secret_in(self.folder / "password")
        self._child.command = [*self._under, str(find_valkey()), str(self._conf)]
        chosen = self.port
        for attempt in range(5):
            self.port = chosen or free_port(_HOST)
            self._write_conf()
            self._child.start()
            try:
                _await(self._child, self._answers, within_s=_LOAD_S)
            except EngineError:
                # somebody took the free port first: only then is another one worth a try
                if chosen or attempt == 4 or "Address already in use" not in self._child.said():  # noqa: PLR2004 - the last
                    raise
            else:
                return

    def _write_conf(self) -> None:
        text = _VALKEY_CONF.format(
            host=_HOST, port=self.port, password=self._password, folder=_quoted(self.folder)
        )
        write_private(self._conf, text)

    def _answers(self) -> bool:
        with socket.create_connection((_HOST, self.port), timeout=2) as connection:
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2:  # noqa: PLR2004 - one line for each command
                if not (chunk := connection.recv(1024)):
                    return False
                reply += chunk
        if reply.startswith(b"-WRONGPASS"):
            raise EngineError(f"Another server answers on port {self.port}.")
        return b"+PONG" in reply  # and not -LOADING

    def stop(self) -> None:
        """Orderly: it writes what it has and goes."""
        self._child.stop(grace_s=15)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._child.kill()

    def restart(self) -> None:
        """Stop and start on the same port, with the same data."""
        self.stop()
        self.start()


class S3Server:
    """An S3 server over a folder: `rclone serve s3`, and in front of it what mends its quirks.

    `port` is the front's; rclone itself takes any free one. The key pair is made once per folder.
    """

    name = "S3 server"

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.access_key = ""
        self.secret_key = ""
        self._rclone = Child("rclone", (), log=self.folder / "rclone.log")
        self._front = Child("The front of the S3 server", (), log=self.folder / "front.log")

    @property
    def endpoint(self) -> str:
        return f"http://{_HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the front."""
        return self._front.pid

    @property
    def running(self) -> bool:
        return self._rclone.running and self._front.running

    def start(self) -> None:
        """Start both, and wait until they answer.

        Raises:
            EngineError: one does not come up; with the end of its log.
        """
        objects = self.folder / "objects"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        objects.mkdir(mode=0o700, exist_ok=True)
        sweep(objects)
        self.access_key = secret_in(self.folder / "access_key", characters=20)
        self.secret_key = secret_in(self.folder / "secret_key")
        try:
            upstream = self._start_rclone(objects)
            self._start_front(upstream)
        except EngineError:
            self.kill()
            raise

    def _start_rclone(self, objects: Path) -> str:
        """Returns the address it took."""
        self._rclone.command = [str(find_rclone()), *_RCLONE_OPTIONS, str(objects)]
        self._rclone.env = {
            "HOME": str(self.folder),
            "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',  # not for `ps`
            "GOMEMLIMIT": "256MiB",  # collect garbage rather than grow
        }
        self._rclone.start()
        address = re.compile(r"Starting s3 server on \[http://([\d.]+:\d+)/\]")
        _await(self._rclone, lambda: address.search(self._rclone.said()) is not None)
        found = address.search(self._rclone.said())
        return f"http://{found[1]}" if found else ""

    def _start_front(self, upstream: str) -> None:
        self._front.command = [
            *(sys.executable, "-m", "fileproc.dev.front"),
            *("--host", _HOST, "--port", str(self.port), "--upstream", upstream),
        ]
        self._front.start()
        port = re.compile(r"listening on http://[\d.]+:(\d+)")
        _await(self._front, lambda: port.search(self._front.said()) is not None)
        if found := port.search(self._front.said()):
            self.port = int(found[1])
        _await(self._front, self._answers)

    def _answers(self) -> bool:
        connection = HTTPConnection(_HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status != 503  # noqa: PLR2004 - no rclone behind it
        finally:
            connection.close()

    def stop(self) -> None:
        self._front.stop(grace_s=5)
        self._rclone.stop(grace_s=5)

    def kill(self) -> None:
        self._front.kill()
        self._rclone.kill()

    def restart(self) -> None:
        """Stop and start on the same port, with the same objects."""
        self.stop()
        self.start()


_RCLONE_OPTIONS = (
    *("serve", "s3"),
    *("--addr", f"{_HOST}:0"),
    *("--config", ""),  # none of the user's remotes
    *("--buffer-size", "1M"),  # read ahead per open file
    *("--max-header-bytes", "32768"),  # presigned URLs carry a file's name twice encoded
    "--no-checksum",  # it would read each file twice for what our own digests tell
    *("--dir-perms", "0700", "--file-perms", "0600"),
    *("--dir-cache-time", "24h", "--poll-interval", "0"),  # nobody else writes there
)


def _quoted(path: Path) -> str:
    """As it stands between quotes in the configuration of Valkey."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def sweep(objects: Path) -> int:
    """Delete what a killed rclone left half-written; returns how many files."""
    found = [path for pattern in _LEFTOVERS for path in objects.rglob(pattern)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _await(child: Child, answers: Callable[[], bool], *, within_s: float = _START_S) -> None:
    """Poll until `answers` is true.

    Raises:
        EngineError: the program ended first, or the time is over.
    """
    deadline = time.monotonic() + within_s
    while child.running and time.monotonic() < deadline:
        try:
            if answers():
                return
        except (OSError, HTTPException):
            pass  # not listening yet
        time.sleep(0.02)
    problem = "does not answer" if child.running else f"ended with status {child.ending}"
    log = child.tail()
    child.kill()
    raise EngineError(f"{child.name} {problem}. The end of {child.log}:\n{log}")


__all__ = ["S3Server", "Valkey", "sweep"]
