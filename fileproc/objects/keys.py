"""Every key and prefix of object storage; an f-string with a slash elsewhere looks wrong to us.

    files/<file_id>                              what a client handed over
    attempts/<job>/<token>-<8 hex>/<index>       what one attempt made
    uploads/<upload_id>/<8 hex>                  the end of an upload that is not complete
    journal/[snapshot_]<first>_<last stream id>  a batch of events, or what they fold to

Keys are ASCII without dots, none is a prefix of another, and no part of one comes from a client:
a server that keeps objects as files can neither be led out of its folder nor into a conflict.
"""

from __future__ import annotations

import re
import secrets

_ROOTS = "files|attempts|journal|uploads"
_KEY = re.compile(rf"(?:{_ROOTS})(?:/[A-Za-z0-9_-]{{1,128}})+")
_PREFIX = re.compile(rf"(?:{_ROOTS})/(?:[A-Za-z0-9_-]{{1,128}}/)*[A-Za-z0-9_-]{{0,128}}")


def file_key(file_id: str) -> str:
    return checked_key(f"files/{file_id}")


def job_prefix(job_id: str) -> str:
    """What all attempts of a job made lies below it."""
    return checked_prefix(f"attempts/{job_id}/")


def attempt_prefix(job_id: str, token: int) -> str:
    """A fresh prefix for the outputs of one attempt; output i goes to `prefix + str(i)`.

    The random part keeps two attempts apart even where a Redis that lost its last writes hands
    out the same fencing token twice.
    """
    return checked_prefix(f"{job_prefix(job_id)}{token}-{secrets.token_hex(4)}/")


def tail_prefix(upload_id: str) -> str:
    """What has come of an upload beyond its whole parts lies below it."""
    return checked_prefix(f"uploads/{upload_id}/")


def tail_key(upload_id: str) -> str:
    """A fresh key: what is written anew never spoils what is counted on."""
    return checked_key(f"{tail_prefix(upload_id)}{secrets.token_hex(4)}")


def journal_key(name: str) -> str:
    """Of a batch or snapshot of events; the store knows what the name says."""
    return checked_key(f"{journal_root()}{name}")


def journal_root() -> str:
    return "journal/"


def checked_key(key: str) -> str:
    """The key itself.

    Raises:
        ValueError: it is not one of ours; a defect of the caller, never of a client.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a key of ours: {key!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself; the empty one, which is everything, is none.

    Raises:
        ValueError: it is not one of ours.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"not a prefix of ours: {prefix!r}")
    return prefix
