"""Api keys: `fp_<id>_<secret>`. Shown once; kept is only the SHA-256 of the secret.

A slow hash would guard a password that people choose; the secret here has 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fileproc.errors import InvalidRequestError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.records import when

_TOKEN = re.compile(r"fp_([0-9a-z]{12})_([0-9A-Za-z_-]{32,64})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Role(StrEnum):
    ADMIN = "admin"
    USER = "user"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    id: str
    owner: str
    role: Role
    label: str
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def live(self) -> bool:
        """Neither revoked nor expired, by this machine's clock."""
        now = datetime.now(UTC)
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    info: KeyInfo
    token: str


class ApiKeys:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def create(
        self, owner: str, role: Role, *, expires_at: datetime | None = None, label: str = ""
    ) -> NewKey:
        """Make a key; its token is in the answer and nowhere else.

        Raises:
            InvalidRequestError: the owner's name is not letters, digits and `_ . @ -`, 64 at most.
        """
        key_id = "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
        token = f"fp_{key_id}_{secrets.token_urlsafe(32)}"
        await self._write(token, owner, role, expires_at=expires_at, label=label)
        return NewKey(await self._read(key_id), token)

    async def ensure_admin(self, token: str) -> None:
        """Make the first admin key of a deployment, unless it is there.

        Raises:
            InvalidRequestError: the token is not of the form `fp_<12 characters>_<secret>`.
        """
        await self._write(token, "admin", Role.ADMIN, expires_at=None, label="first admin key")

    async def _write(
        self, token: str, owner: str, role: Role, *, expires_at: datetime | None, label: str
    ) -> None:
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise InvalidRequestError("A key looks like fp_<12 characters>_<32 to 64 characters>.")
        if not _OWNER.fullmatch(owner):
            raise InvalidRequestError(
                f"The owner {owner[:80]!r} is not valid: letters, digits and _ . @ - only, "
                "64 at most, beginning with a letter or digit."
            )
        fields: list[Any] = ["own", owner, "role", str(role), "label", label[:200]]
        fields += ["hash", _digest(parts[2])]
        if expires_at is not None:
            fields += ["expires", int(expires_at.timestamp() * 1000)]
        await self._pipeline.script("key", parts[1], 1, *fields)

    async def authenticate(self, token: str) -> KeyInfo | None:
        """The key that this token is, or None: unknown, wrong, revoked or expired alike."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        fields = await self._fields(parts[1])
        # Compared also where there is no such key, so that both take the same time.
        same = hmac.compare_digest(fields.get("hash", "").encode(), _digest(parts[2]).encode())
        if not same or "hash" not in fields:
            return None
        info = _info(parts[1], fields)
        return info if info.live else None

    async def list(self) -> list[KeyInfo]:
        """All keys, oldest first."""
        ids = await self._pipeline.command("ZRANGE", self._keys.api_keys, 0, -1)
        return [await self._read(key_id) for key_id in ids]

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key, at once; False if there is none with this id."""
        if not re.fullmatch(r"[0-9a-z]{12}", key_id) or not await self._fields(key_id):
            return False
        await self._pipeline.script("key", key_id, 2)
        return True

    async def any_admin(self) -> bool:
        """Whether a live admin key exists."""
        return any(info.role is Role.ADMIN and info.live for info in await self.list())

    async def _read(self, key_id: str) -> KeyInfo:
        return _info(key_id, await self._fields(key_id))

    async def _fields(self, key_id: str) -> dict[str, str]:
        names = ("own", "role", "label", "hash", "created", "expires", "revoked")
        values = await self._pipeline.command("HMGET", self._keys.api_key(key_id), *names)
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _info(key_id: str, fields: dict[str, str]) -> KeyInfo:
    return KeyInfo(
        id=key_id,
        owner=fields["own"],
        role=Role(fields["role"]),
        label=fields.get("label", ""),
        created_at=when(fields.get("created")),
        expires_at=when(fields.get("expires")),
        revoked_at=when(fields.get("revoked")),
    )
