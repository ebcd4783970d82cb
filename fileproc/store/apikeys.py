"""Api keys: `fp_<id>_<secret>`. Shown once; kept is only the SHA-256 of the secret.

A slow hash would guard a password that people choose; the secret here has 256 random bits.
A key that is rotated has several secrets for a while: the new one, and those before it, each with
an end of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal

from fileproc import scopes
from fileproc.errors import BadRequestError, InvalidRequestError, QuotaError, WrongStateError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.owners import OWNER
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

MOST_OLD_SECRETS: Final = 4
# A key that was revoked or has expired stays in the list so long, and is then forgotten.
REMEMBERED_S: Final = 90 * 86_400
MOST_SCANNED: Final = 1_000  # keys looked at for one page
MOST_KNOWN: Final = 1_000  # keys whose records are not read anew while they stay as they are

_TOKEN = re.compile(r"fp_([0-9a-z]{12})_([0-9A-Za-z_-]{32,64})")
_ID = re.compile(r"[0-9a-z]{12}")
_OLD = re.compile(r"([0-9a-f]{64}):([0-9]{1,15})")
_FIELDS = (
    *("own", "role", "label", "scopes", "hash", "old", "grant", "by", "reuse"),
    *("created", "expires", "revoked", "rotated"),
)
_AT_ONCE = 100


class Role(StrEnum):
    """What a key may do: each may all that those below it may."""

    ADMIN = "admin"  # keys and the service itself
    USER = "user"  # everything of its owner
    VIEWER = "viewer"  # look at it

    def includes(self, other: Role) -> bool:
        """Whether who has this role may do what `other` may."""
        return _RANKS[self] <= _RANKS[other]


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """`old_until` is when the last of the secrets before the present one ends.

    `reuse` is whether its jobs may be answered by earlier ones where they do not say.
    `grant` is what an upload token is for, as the api wrote it, and `granted_by` the key that made
    it; both '' for a key. `valid_until` is when the secret that was shown ends by itself, of a key
    that `authenticate` found.
    """

    id: str
    owner: str
    role: Role
    label: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_at: datetime | None
    old_until: datetime | None
    reuse: bool = False
    grant: str = ""
    granted_by: str = ""
    valid_until: datetime | None = field(default=None, compare=False)  # not of the record

    @property
    def live(self) -> bool:
        """Neither revoked nor expired, by this machine's clock."""
        return self.revoked_at is None and (
            self.expires_at is None or datetime.now(UTC) < self.expires_at
        )

    @property
    def state(self) -> str:
        """live, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if self.live else "expired"


@dataclass(frozen=True, slots=True)
class NewKey:
    info: KeyInfo
    token: str


@dataclass(frozen=True, slots=True)
class KeyPage:
    keys: list[KeyInfo]
    next_cursor: str | None


class ApiKeys:
    def __init__(self, pipeline: Pipeline, keys: Keys, *, most_grants: int) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._most_grants = most_grants
        # By id and hash of the secret: the record as it was when that hash was the right one.
        self._known: OrderedDict[tuple[str, str], tuple[Sequence[str | None], KeyInfo]] = (
            OrderedDict()
        )

    async def create(
        self,
        owner: str,
        role: Role,
        *,
        expires_at: datetime | None = None,
        label: str = "",
        scopes: Sequence[str] = (),
        reuse: bool = False,
    ) -> NewKey:
        """Make a key; its token is in the answer and nowhere else.

        Raises:
            InvalidRequestError: the owner's name is not letters, digits and `_ . @ -`, 64 at most,
                or a scope is none.
        """
        key_id, token = _fresh()
        more = _more(expires_at=expires_at, bound_to=scopes)
        if reuse:
            more += ["reuse", "1"]
        await self._write(token, owner, role, label, *more)
        return NewKey(_info(key_id, await self._fields(key_id)), token)

    async def grant(self, owner: str, grant: str, *, expires_at: datetime, by: str) -> str:
        """Make an upload token: a key that is not listed, and lives no longer than the key `by`.

        Raises:
            QuotaError: too many of this owner's live.
        """
        _, token = _fresh()
        more = ["grant", grant, *_more(expires_at=expires_at, bound_to=())]
        more += ["by", by] if by else []
        reply = await self._write(token, owner, Role.USER, "", *more, verb="grant")
        if reply == -3:  # noqa: PLR2004 - see key.lua
            LIMITS_HIT.labels("max_upload_tokens_per_owner").inc()
            raise QuotaError(
                f"{self._most_grants:,} of your upload tokens live; no more may. They end by "
                "themselves, and with the key that made them: make them for a shorter time.",
                limit="max_upload_tokens_per_owner",
                allowed=self._most_grants,
            )
        return token

    async def ensure_admin(self, token: str) -> None:
        """Make the first admin key of a deployment, unless it is there.

        Raises:
            InvalidRequestError: the token is not of the form `fp_<12 characters>_<secret>`.
        """
        await self._write(token, "admin", Role.ADMIN, "first admin key", "file", "1")

    async def _write(
        self,
        token: str,
        owner: str,
        role: Role,
        label: str,
        *more: Any,
        verb: Literal["create", "grant"] = "create",
    ) -> int:
        key_id, secret = parts_of(token)
        check_owner(owner)
        fields = ["own", owner, "role", str(role), "label", label[:200], "hash", _digest(secret)]
        bound = [self._most_grants] if verb == "grant" else []
        return await self._script(verb, key_id, *bound, *fields, *more)

    async def authenticate(self, token: str) -> KeyInfo | None:
        """The key that this token is, or None: unknown, wrong, revoked or expired alike."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        key_id, digest = parts[1], _digest(parts[2])
        # Redis is asked each time, so that a revoked key ends at once.
        values = await self._values(key_id)
        known = self._known.get((key_id, digest))
        if known is not None and known[0] == values:
            return known[1] if known[1].live else None
        fields = _named(values)
        # Compared also where there is no such key, and to the end, so that all take the same time.
        shown = [(fields.get("hash", ""), None), *_old_secrets(fields)]
        same = digest.encode()
        ends = [until for one, until in shown if hmac.compare_digest(one.encode(), same)]
        if not ends or "hash" not in fields:
            return None
        info = _info(key_id, fields)
        if not info.live:
            return None
        ends.append(info.expires_at)
        if info.granted_by:
            maker = await self.get(info.granted_by)
            if maker is None or not maker.live:
                return None
            ends.append(maker.expires_at)
        info = replace(info, valid_until=min((end for end in ends if end), default=None))
        # Of others the record and the clock do not say all there is to know.
        if not info.granted_by and info.old_until is None:
            self._remember(key_id, digest, values, info)
        return info

    def _remember(
        self, key_id: str, digest: str, values: Sequence[str | None], info: KeyInfo
    ) -> None:
        self._known[key_id, digest] = values, info
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    async def get(self, key_id: str) -> KeyInfo | None:
        """The key of this id, live or not; None if there is none."""
        fields = await self._fields(key_id) if _ID.fullmatch(key_id) else {}
        return _info(key_id, fields) if "hash" in fields else None

    async def page(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> KeyPage:
        """Keys, oldest first, perhaps of one owner only; a page may be short and have a cursor.

        Raises:
            BadRequestError: the cursor is not one of ours.
        """
        start = 0
        if cursor is not None:
            rank = await self._pipeline.command("ZRANK", self._keys.api_keys, cursor)
            if not _ID.fullmatch(cursor) or rank is None:
                raise BadRequestError("The cursor is not one that this server gave out.")
            start = int(rank) + 1
        found: list[KeyInfo] = []
        last, seen = cursor, 0
        async for key_id, info in self._from(start):
            last, seen = key_id, seen + 1
            if info is not None and owner in {None, info.owner}:
                found.append(info)
            if len(found) == limit or seen == MOST_SCANNED:
                return KeyPage(found, last)
        return KeyPage(found, None)

    async def list(self) -> list[KeyInfo]:
        """All keys, oldest first."""
        return [info async for _, info in self._from(0) if info is not None]

    async def _from(self, start: int) -> AsyncIterator[tuple[str, KeyInfo | None]]:
        """Id and key from this place of the list on; None for one that is forgotten."""
        listed = self._keys.api_keys
        while ids := await self._pipeline.command("ZRANGE", listed, start, start + _AT_ONCE - 1):
            found = await asyncio.gather(*map(self.get, ids))
            for key_id, info in zip(ids, found, strict=True):
                yield key_id, info
            lost = [key_id for key_id, info in zip(ids, found, strict=True) if info is None]
            if lost:
                await self._pipeline.command("ZREM", listed, *lost)
            start += len(ids) - len(lost)

    async def rotate(
        self, key_id: str, *, overlap_s: int, expires_at: datetime | None = None
    ) -> NewKey | None:
        """Give a key a new secret; what it had before lives on for `overlap_s`, or ends at 0.

        Returns None if there is no such key.

        Raises:
            WrongStateError: it is revoked or has expired.
            QuotaError: too many old secrets still live.
        """
        if not _ID.fullmatch(key_id):
            return None
        secret = secrets.token_urlsafe(32)
        ends = _ms(expires_at) if expires_at else ""
        reply = await self._script(
            "rotate", key_id, _digest(secret), overlap_s * 1000, MOST_OLD_SECRETS, ends
        )
        if reply == -1:
            raise WrongStateError("The key is revoked or has expired: make another.")
        if reply == -2:  # noqa: PLR2004 - see key.lua
            LIMITS_HIT.labels("old_secrets").inc()
            raise QuotaError(
                f"The key has {MOST_OLD_SECRETS} old secrets that still live. Wait for the end of "
                "one, or rotate with overlap_s 0, which ends them all.",
                limit="old_secrets",
                allowed=MOST_OLD_SECRETS,
            )
        info = await self.get(key_id) if reply else None
        return NewKey(info, f"fp_{key_id}_{secret}") if info else None

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key, at once; False if there is none with this id."""
        return bool(_ID.fullmatch(key_id)) and await self._script("revoke", key_id) == 1

    async def any_admin(self) -> bool:
        """Whether a live admin key exists."""
        return any(info.role is Role.ADMIN and info.live for info in await self.list())

    async def _script(self, verb: str, key_id: str, *more: Any) -> int:
        keep = _kept_ms(granted=verb == "grant")
        return int(await self._pipeline.script("key", verb, key_id, keep, *more))

    async def _fields(self, key_id: str) -> dict[str, str]:
        return _named(await self._values(key_id))

    async def _values(self, key_id: str) -> Sequence[str | None]:
        values: Sequence[str | None] = await self._pipeline.command(
            "HMGET", self._keys.api_key(key_id), *_FIELDS
        )
        return values


def _named(values: Sequence[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(_FIELDS, values, strict=True) if value is not None}


def parts_of(token: str) -> tuple[str, str]:
    """The id and the secret of a key.

    Raises:
        InvalidRequestError: it is not of the form `fp_<12 characters>_<secret>`.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise InvalidRequestError("A key looks like fp_<12 characters>_<32 to 64 characters>.")
    return parts[1], parts[2]


def check_owner(owner: str) -> None:
    """Raise InvalidRequestError if this cannot be the name of an owner."""
    if not OWNER.fullmatch(owner):
        raise InvalidRequestError(
            f"The owner {owner[:80]!r} is not valid: letters, digits and _ . @ - only, "
            "64 at most, beginning with a letter or digit."
        )


def _fresh() -> tuple[str, str]:
    """An id and a token with it."""
    key_id = "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
    return key_id, f"fp_{key_id}_{secrets.token_urlsafe(32)}"


def _kept_ms(*, granted: bool) -> int:
    """How long a record is kept when it is over; of an upload token nobody asks what became."""
    return 0 if granted else REMEMBERED_S * 1000


def remembered_until(fields: dict[str, str]) -> int | None:
    """When the record of a key is forgotten (ms); None if it is not over, or never forgotten."""
    ends = fields.get("revoked") or fields.get("expires")
    if ends is None or "file" in fields:
        return None
    return int(ends) + _kept_ms(granted="grant" in fields)


def listed(fields: dict[str, str]) -> bool:
    """Whether a record is of a key that the list shows."""
    return "grant" not in fields


def _more(*, expires_at: datetime | None, bound_to: Sequence[str]) -> list[Any]:
    more: list[Any] = []
    if bound_to:
        more += ["scopes", " ".join(scopes.checked(bound_to))]
    if expires_at is not None:
        more += ["expires", _ms(expires_at)]
    return more


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _old_secrets(fields: dict[str, str]) -> list[tuple[str, datetime]]:
    """Hash and end of those that still live."""
    now = datetime.now(UTC)
    found = [(old, when(till)) for old, till in _OLD.findall(fields.get("old", ""))]
    return [(old, till) for old, till in found if till is not None and now < till]


def _info(key_id: str, fields: dict[str, str]) -> KeyInfo:
    return KeyInfo(
        id=key_id,
        owner=fields["own"],
        role=Role(fields["role"]),
        label=fields.get("label", ""),
        scopes=tuple(fields.get("scopes", "").split()),
        created_at=when(fields.get("created")),
        expires_at=when(fields.get("expires")),
        revoked_at=when(fields.get("revoked")),
        rotated_at=when(fields.get("rotated")),
        old_until=max((till for _, till in _old_secrets(fields)), default=None),
        reuse="reuse" in fields,
        grant=fields.get("grant", ""),
        granted_by=fields.get("by", ""),
    )
