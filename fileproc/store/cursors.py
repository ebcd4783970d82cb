"""Pages of a sorted set, highest score first; a cursor is where the last one ended."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fileproc.errors import BadRequestError
from fileproc.store.connection import Pipeline

Entries = list[tuple[str, int]]  # (id, score in ms)


async def entries_below(  # noqa: PLR0917 - a range of an index, as ZRANGE takes it
    pipeline: Pipeline,
    index: str,
    top: str | int,
    bottom: str | int,
    count: int,
    after: tuple[int, str] | None,
) -> Entries:
    """Entries below the cursor `after`, highest first; equal scores are ordered by id."""
    offset = 0
    out: Entries = []
    while len(out) < count:
        reply = await pipeline.command(
            *("ZRANGE", index, top, bottom, "BYSCORE", "REV"),
            *("LIMIT", offset, count, "WITHSCORES"),
        )
        found = pairs(reply)
        out += [pair for pair in found if after is None or (pair[1], pair[0]) < after]
        if len(found) < count:
            break
        offset += count
    return out[:count]


def pairs(reply: Any) -> Entries:
    """(member, score) from either protocol's way to answer WITHSCORES."""
    if reply and not isinstance(reply[0], list | tuple):
        reply = list(zip(reply[::2], reply[1::2], strict=True))
    return [(str(member), int(float(score))) for member, score in reply]


def encode_cursor(score: int, member: str) -> str:
    """Opaque to clients."""
    return base64.urlsafe_b64encode(f"{score} {member}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    """Score and member.

    Raises:
        BadRequestError: it is not one of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        score, member = text.split(" ")
        return int(score), member
    except (ValueError, binascii.Error) as exc:
        raise BadRequestError("The cursor is not one that this server gave out.") from exc
