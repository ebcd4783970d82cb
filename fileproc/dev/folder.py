"""The data folder of `fileproc dev`: who uses it, and how to reach what runs over it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from fileproc.dev.engines import Valkey
from fileproc.dev.files import write_private
from fileproc.errors import EngineError


class DataFolder:
    """Used by one supervisor at a time, which the kernel watches: a crash leaves no stale lock.

    While it is in use, `dev.env` (for its owner's eyes) has the addresses and passwords of the
    engines as environment variables.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.environment_file = self.path / "dev.env"
        self._lock: int | None = None

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def scratch(self) -> Path:
        """The worker's, unless the user has set another."""
        return self.path / "scratch"

    @property
    def s3(self) -> Path:
        return self.path / "s3"

    def __enter__(self) -> Self:
        """Take the folder; make it if it is not there.

        Raises:
            EngineError: another supervisor has it, or it cannot be written.
        """
        if not self._take():
            raise EngineError(
                f"The folder {self.path} is in use by another fileproc (process {self._user()}). "
                "Stop that one, or choose another folder: --data FOLDER, or make dev DATA=FOLDER."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.environment_file.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self) -> bool:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise EngineError(f"The folder {self.path} cannot be used: {exc.strerror}.") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock
        return True

    def _user(self) -> str:
        return (self.path / "lock").read_text(encoding="utf-8") or "unknown"

    def announce(self, environment: Mapping[str, str]) -> None:
        """Say in `dev.env` how the engines are reached."""
        lines = "".join(f"{name}={value}\n" for name, value in environment.items())
        write_private(self.environment_file, lines)

    def _announced(self, name: str) -> str:
        try:
            lines = self.environment_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            if line.startswith(name + "="):
                return line.partition("=")[2]
        raise EngineError(
            f"The folder {self.path} is in use (process {self._user()}), and its engines are "
            "not up yet. Try again in a moment."
        )

    @contextlib.contextmanager
    def redis_url(self) -> Iterator[str]:
        """The job store over this folder: the one that runs, else one that is started for us.

        Raises:
            EngineError: it can be neither reached nor started, or nothing was ever kept there.
        """
        if not self._take():
            yield self._announced("FILEPROC_REDIS_URL")
            return
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            engine = Valkey(self.valkey)
            stack.callback(engine.stop)
            engine.start()
            yield engine.url
