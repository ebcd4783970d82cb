"""Idempotency keys: reserved while the request is under way, then tied to its answer for 24 hours.

What makes a job is tied to the job, by the script that accepts it; of everything else the answer
itself is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from fileproc.errors import IdempotencyInFlightError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys

LIFE_S = 86_400
RESERVED_S = 30  # a reservation whose holder died is free again after this; see `renew`


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to do what this key is for, once."""

    owner: str
    key_hash: str
    token: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The key has its job already; whoever sends the same again gets that one."""

    fingerprint: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The key has its answer already (JSON as `keep` was given it)."""

    fingerprint: str
    answer: str


class Idempotency:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def reserve(self, owner: str, key: str) -> Reservation | Replay | Kept:
        """Take the key, or learn which job it made, or how it was answered.

        Raises:
            IdempotencyInFlightError: another request holds it.
        """
        held = Reservation(owner, hashlib.sha256(key.encode()).hexdigest(), secrets.token_hex(8))
        match await self._call("reserve", held):
            case ["done", fingerprint, job_id]:
                return Replay(fingerprint, job_id)
            case ["kept", fingerprint, answer]:
                return Kept(fingerprint, answer)
            case ["in_flight"]:
                raise IdempotencyInFlightError(
                    "A request with this Idempotency-Key is still under way.", retry_after_s=1
                )
        return held

    async def job_of(self, owner: str, key: str) -> str | None:
        """The job that this key made, if it made one."""
        name = self._keys.idempotency(owner, hashlib.sha256(key.encode()).hexdigest())
        match str(await self._pipeline.command("GET", name) or "").split(" "):
            case ["done", _, job_id]:
                return job_id
        return None

    async def renew(self, held: Reservation) -> None:
        """Keep it; to be called well within `RESERVED_S` while the upload runs."""
        await self._call("renew", held)

    async def keep(self, held: Reservation, fingerprint: str, answer: str) -> None:
        """Tie the key to an answer, JSON of one line; nothing if the key is no longer ours."""
        await self._pipeline.script(
            *("idempotency", "keep", held.owner, held.key_hash, held.token, LIFE_S),
            *(fingerprint, answer),
        )

    async def release(self, held: Reservation) -> None:
        """Let it go: the request was refused, the client may try again."""
        await self._call("release", held)

    async def _call(self, verb: str, held: Reservation) -> list[str]:
        reply: list[str] = await self._pipeline.script(
            "idempotency", verb, held.owner, held.key_hash, held.token, RESERVED_S
        )
        return reply
