"""Files that only their owner can read."""

from __future__ import annotations

import secrets
from pathlib import Path

# Without letters and digits that look alike; needs no quoting anywhere.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def secret_in(path: Path, characters: int = 40) -> str:
    """The secret kept in this file; made up at the first call. Letters and digits only."""
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(characters))
    write_private(path, secret + "\n")
    return secret


def write_private(path: Path, text: str) -> None:
    """Replace the file; at no moment could anybody but its owner read it."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
