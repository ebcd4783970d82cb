"""Passwords that people choose: kept as scrypt hashes, compared in threads, few at a time.

Parameters: N = 2^14, r = 8, p = 5, 16 MiB and some 150 ms each, one of the equal choices of the
OWASP Password Storage Cheat Sheet.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import unicodedata
from typing import Final

_N, _R, _P = 2**14, 8, 5
_LENGTH: Final = 32
_MEMORY: Final = 64 * 1024 * 1024
_AT_ONCE = asyncio.Semaphore(2)  # 32 MiB, and what else the machine has to do goes on


async def hashed(password: str) -> str:
    """What is kept of a password: `scrypt$<salt>$<digest>`, in hex."""
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${(await _digest(password, salt)).hex()}"


async def matches(password: str, kept: str) -> bool:
    """Whether a password is the one of which this is kept."""
    _, salt, digest = kept.split("$")
    found = await _digest(password, bytes.fromhex(salt))
    return hmac.compare_digest(found, bytes.fromhex(digest))


async def _digest(password: str, salt: bytes) -> bytes:
    text = unicodedata.normalize("NFC", password).encode("utf-8", "replace")
    async with _AT_ONCE:
        return await asyncio.to_thread(
            hashlib.scrypt, text, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_LENGTH
        )
