"""Ids: a prefix and 26 characters, Crockford base32 of a UUIDv7; they sort by time of creation."""

from __future__ import annotations

import hashlib
import os
import re
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PATTERN = re.compile(r"(?:job|batch|file|key|sched|upload|wrk|wh|msg)_[0-7][0-9a-hjkmnp-tv-z]{25}")


def _uuid7() -> int:
    """A UUIDv7 as a number: 48 bits of Unix time in ms, version, variant, 74 random bits.

    Source: RFC 9562, section 5.7.
    """
    random_bits = int.from_bytes(os.urandom(10))
    value = (time.time_ns() // 1_000_000) << 80 | random_bits
    value = value & ~(0xF << 76) | 0x7 << 76
    return value & ~(0x3 << 62) | 0x2 << 62


def new_id(prefix: str) -> str:
    """A fresh id such as `job_01kqb4h0nme8atrb9rgb0yvm3j`."""
    return _spelled(prefix, _uuid7())


def id_of(prefix: str, what: str) -> str:
    """An id that is always the same for the same `what`; it does not sort by time."""
    digest = hashlib.blake2b(what.encode(), digest_size=16).digest()
    return _spelled(prefix, int.from_bytes(digest))


def _spelled(prefix: str, value: int) -> str:
    return prefix + "_" + "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` could be an id with this prefix; what could not is never looked up."""
    return text.startswith(prefix + "_") and _PATTERN.fullmatch(text) is not None
