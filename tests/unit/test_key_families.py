"""Of every family of keys it is known how a lost Redis gets it back, or why it need not.

A family that is new is in none of these lists, and fails here until somebody has decided.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final

from fileproc.jobs import MOVES
from fileproc.store import keys as module
from fileproc.store.journal import Memory
from fileproc.store.keys import Keys

LUA: Final = Path(module.__file__).parent / "lua"

# What users and operators made: the events that tell of it, from which a rebuild writes it again.
JOURNALED: Final = {
    "job": {"submit", "claim", "retry", "uploaded", "complete", "reuse", "fail", "delete"},
    "file": {"submit", "file_put", "file_over"},
    "batch": {"batch_created", "batch_completed", "batch_deleted"},
    "schedule": {"schedule_put", "schedule_fired", "schedule_deleted"},
    "taken": {"schedule_fired", "schedule_forgot"},
    "runs": {"schedule_fired"},
    "idem": {"submit", "batch_created", "answer_kept"},
    "key": {"key_created", "key_rotated", "key_revoked"},
    "template": {"template_put", "template_deleted"},
    "owner": {"owner_set"},
    "flow": {"pause", "resume"},
    "lane": {"pause", "resume"},
    "webhook": {"webhook_put", "webhook_deleted"},
    "delivery": {"delivery_put", "delivery_ended"},
    "link": {"link_made", "link_taken", "link_revoked"},
}

# What follows from those: where it comes from.
DERIVED: Final = {
    "jobs": "index of job",
    "dead": "index of job",
    "wait": "job: those that are not over are queued again",
    "ring": "wait",
    "ready": "wait",
    "delayed": "job, its set time",
    "deadlines": "job",
    "final": "job, its end",
    "members": "index of job",
    "batches": "index of batch",
    "batch_ends": "batch, its end",
    "schedules": "index of schedule",
    "schedules_due": "schedule, when it is due",
    "files": "index of file",
    "shared": "job, the prefix of its outputs",
    "reuse": "job, the digest of what it asks for",
    "keys": "index of key",
    "templates": "index of template",
    "owners": "index of owner",
    "usage": "job and file, counted by the day",
    "webhooks": "index of webhook",
    "outbox": "delivery",
    "webhooks_due": "outbox",
    "hooked": "job and batch, their own hooks",
    "links": "index of link",
    "schema": "written at the end of a rebuild",
}

# What may be lost: why.
PASSING: Final = {
    "upload": "nothing is accepted before it is complete: its client begins again",
    "uploads": "index of upload",
    "grants": "upload tokens live for an hour at most: until then more may be made",
    "proc": "of workers that live; their jobs are queued again",
    "worker": "each says it again with its next beat",
    "workers": "each says it again with its next beat",
    "leases": "those who held one are refused; their jobs are queued again",
    "cost": "learned again from the jobs that come",
    "trash": "the sweep finds objects that belong to nobody",
    "limit": "requests of the last minutes",
    "posting": "what is not known to have arrived is sent again",
    "webhooks_leases": "what is not known to have arrived is sent again",
    "webhooks_read": "a mark in the events, which are lost with it",
    "log": "what was sent is history, and stays in the journal",
    "ended": "index of log",
    "events": "what is not yet shipped: the last seconds, as the documentation says",
    "shipped": "a mark in the events, which are lost with it",
    "compacted": "the next compaction comes early",
    "lock": "held for seconds",
    "probe": "of a look at the server, for a moment",
    "progress": "a channel: nothing is kept in it",
}


def scripts() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(LUA.glob("*.lua")))


def in_python() -> set[str]:
    """Families that `Keys` can name."""
    keys = Keys("<>")
    made = [name for name in vars(keys).values() if name != "<>"]
    for name, method in inspect.getmembers(keys, inspect.ismethod):
        if not name.startswith("_"):
            made.append(method(*("x" for _ in inspect.signature(method).parameters)))
    return {str(name).removeprefix("<>").partition(":")[0] for name in made}


def in_scripts() -> set[str]:
    return set(re.findall(r"P \.\. '([a-z_]+)", scripts())) | set(
        re.findall(r"index\('([a-z_]+)", scripts())
    )


def in_table() -> set[str]:
    """Families of the table at the head of the file."""
    rows = re.findall(r"^\| ([a-z][^|]*)\|", module.__doc__ or "", re.MULTILINE)
    names = {name.strip() for row in rows for name in row.split(",")} - {"key"}
    return {re.split(r"[:\[]", name)[0] for name in names} | {"key"}


def test_every_family_of_keys_is_journaled_or_follows_from_what_is_or_may_be_lost() -> None:
    known = [*JOURNALED, *DERIVED, *PASSING]
    assert len(known) == len(set(known)), "each in one list"
    found = in_python() | in_scripts() | in_table()
    assert len(found) > 50
    assert found - set(known) == set(), "say how these come back, or why they need not"
    assert set(known) - found == set(), "these are no more"


def test_every_family_that_lasts_stands_in_the_table_of_keys() -> None:
    assert (in_python() | in_scripts()) - in_table() == {"probe", "progress"}


def test_what_is_journaled_is_told_by_a_script_and_understood_by_a_rebuild() -> None:
    folded = Memory()._others
    for family, moves in JOURNALED.items():
        for move in moves:
            assert move in MOVES or f"'{move}'" in scripts(), (family, move)
            assert move in {*MOVES, "delete"} or move.partition("_")[0] in folded, (family, move)
