"""Share links: a code leads strangers to an output, as often and as long as its owner wants.

Counted, bounded and revoked by one script; journaled, so that a rebuild brings a link back
no more generous than it was.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fileproc.errors import CodeTakenError, GoneError, LinkLockedError, NotFoundError, QuotaError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

KEPT_MS: Final = 7 * 86_400_000  # a link that has ended is known for so long: 410, not 404
TOLD_MS: Final = 60_000
NOTED_EVERY_S: Final = 0.25
TRIES: Final = 10
TRIES_MS: Final = 900_000
ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # none alike
_LENGTH = 22  # 128 bits


@dataclass(frozen=True, slots=True)
class NewLink:
    """What a link is to be.

    Attributes:
        index: of the output; None: all of them, as an archive.
        code: chosen by the owner; None: a random one.
        password: its hash, never itself.
    """

    owner: str
    job_id: str
    index: int | None
    name: str
    ends_at: datetime
    code: str | None = None
    password: str | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is kept; `state` is `live`, or why it has ended."""

    code: str
    owner: str
    job_id: str
    index: int | None
    name: str
    password: str | None
    most: int | None
    taken: int
    created_at: datetime | None
    ends_at: datetime | None
    last_at: datetime | None
    revoked_at: datetime | None
    state: str


class Links:
    def __init__(self, pipeline: Pipeline, keys: Keys, *, most: int) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._most = most
        self._uncounted: Counter[str] = Counter()  # of links whose count is being written

    async def make(self, new: NewLink) -> Link:
        """Keep a new link.

        Raises:
            CodeTakenError: another link has the chosen code.
            QuotaError: the owner has too many links.
        """
        code = new.code or "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
        fields: list[Any] = ["job", new.job_id, "name", new.name]
        for name, value in (("index", new.index), ("pw", new.password), ("max", new.most)):
            if value is not None:
                fields += [name, value]
        ends = int(new.ends_at.timestamp() * 1000)
        # Sent again after its answer was lost, it finds its own link under the code.
        once = secrets.token_hex(8)
        reply = await self._pipeline.script(
            "link", "make", code, new.owner, once, ends, KEPT_MS, self._most, *fields
        )
        if reply[0] == "taken":
            raise CodeTakenError(f"The code {code!r} is taken: choose another, or none.")
        if reply[0] == "quota":
            LIMITS_HIT.labels("max_links_per_owner").inc()
            raise QuotaError(
                f"You have {reply[1]} links; at most {self._most} are kept. They go a week after "
                "their end.",
                limit="max_links_per_owner",
                allowed=self._most,
                used=int(reply[1]),
            )
        return await self.of(new.owner, code)

    async def get(self, code: str) -> Link:
        """The link, for whoever has its code; also one that has ended.

        Raises:
            NotFoundError: there is none.
        """
        fields, now_ms = await self._read(code)
        if not fields:
            raise NotFoundError("There is no such link.")
        return _link(code, fields, now_ms)

    async def of(self, owner: str, code: str) -> Link:
        """A link of this owner.

        Raises:
            NotFoundError: there is none, or it is another owner's.
        """
        link = await self.get(code)
        if link.owner != owner:
            raise NotFoundError("There is no such link.")
        return link

    async def list(self, owner: str, *, after: str | None, limit: int) -> tuple[list[Link], bool]:
        """Links of an owner, newest first, after this code; and whether there are more."""
        key, first = self._keys.links(owner), 0
        if after is not None:
            rank = await self._pipeline.command("ZREVRANK", key, after)
            first = int(rank) + 1 if rank is not None else 0
        codes = await self._pipeline.command("ZREVRANGE", key, first, first + limit)
        found = []
        for code in codes[:limit]:
            try:
                found.append(await self.get(code))
            except NotFoundError:  # it is long over
                await self._pipeline.command("ZREM", key, code)
        return found, len(codes) > limit

    async def revoke(self, owner: str, code: str) -> None:
        """The link leads nowhere from now on.

        Raises:
            NotFoundError: there is none, or it is another owner's.
        """
        if not await self._pipeline.script("link", "revoke", code, owner):
            raise NotFoundError("There is no such link.")

    async def take(self, code: str) -> int:
        """Count one download; returns which one it is. Of a bounded link never one too many.

        Raises:
            NotFoundError: there is no such link.
            GoneError: it has ended.
        """
        return await self._count(code, 1)

    async def note(self, code: str) -> None:
        """Count one download of a link without a bound, which nobody waits for.

        Each write waits for the disk, and so does whoever reads meanwhile: what comes within a
        quarter of a second is written as one. Raises as `take`; then it is not counted.
        """
        if code in self._uncounted:
            self._uncounted[code] += 1
            return
        many = 1
        try:
            while many:
                self._uncounted[code] = 0
                await self._count(code, many)
                await asyncio.sleep(NOTED_EVERY_S)
                many = self._uncounted[code]
        finally:
            del self._uncounted[code]

    async def _count(self, code: str, many: int) -> int:
        reply = await self._pipeline.script("link", "take", code, TOLD_MS, many)
        if reply[0] == "absent":
            raise NotFoundError("There is no such link.")
        if reply[0] == "ended":
            raise GoneError("The link has ended.")
        return int(reply[1])

    async def try_password(self, code: str) -> None:
        """Before a password is compared: ten wrong ones in a quarter of an hour, at most.

        Raises:
            LinkLockedError: there were so many.
        """
        reply = await self._pipeline.script("link", "try", code, TRIES, TRIES_MS)
        if reply[0] == "locked":
            LIMITS_HIT.labels("link_passwords").inc()
            raise LinkLockedError(
                "Too many wrong passwords were tried on this link. Try again later.",
                retry_after_s=int(reply[1]) // 1000 + 1,
            )

    async def password_was_right(self, code: str) -> None:
        """The last try does not count."""
        await self._pipeline.script("link", "right", code)

    async def restore(self, code: str, fields: dict[str, str]) -> None:
        """Write a link back, or what is missing of it: the higher count holds, and a revocation."""
        told = [item for pair in fields.items() for item in pair]
        await self._pipeline.script("link", "restore", code, fields["own"], KEPT_MS, *told)

    async def _read(self, code: str) -> tuple[dict[str, str], int]:
        fields, now_ms = await asyncio.gather(  # in one round trip
            self._pipeline.command("HGETALL", self._keys.link(code)), self._pipeline.now_ms()
        )
        return fields, now_ms


def _link(code: str, fields: dict[str, str], now_ms: int) -> Link:
    most = int(fields["max"]) if "max" in fields else None
    taken = int(fields["n"])
    if "revoked" in fields:
        state = "revoked"
    elif now_ms >= int(fields["ends"]):
        state = "expired"
    else:
        state = "used_up" if most is not None and taken >= most else "live"
    return Link(
        code=code,
        owner=fields["own"],
        job_id=fields["job"],
        index=int(fields["index"]) if "index" in fields else None,
        name=fields["name"],
        password=fields.get("pw"),
        most=most,
        taken=taken,
        created_at=when(fields["created"]),
        ends_at=when(fields["ends"]),
        last_at=when(fields.get("last")),
        revoked_at=when(fields.get("revoked")),
        state=state,
    )
