"""Endpoints of webhooks: where an owner's events are sent, signed with which secret.

A secret must be at hand to sign, so it stands here as it is; the api shows it once. Every change is
an event, so the journal has endpoints and a rebuild brings them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fileproc.errors import NotFoundError, QuotaError
from fileproc.ids import new_id
from fileproc.settings import Settings
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT
from fileproc.webhooks import JOBS, new_secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint. `jobs`, which each owner has, sends what single jobs ask for: it has no URL.

    Attributes:
        disabled_reason: `owner`, `gone` (it answered 410) or `failing`; None while it is enabled.
        failing_since: no delivery has succeeded since; None if the last one has.
        skipped: events that were not queued for it, as too many were waiting.
        old_secret_until: until then an older secret signs as well.
    """

    id: str
    owner: str
    url: str | None
    events: tuple[str, ...]
    description: str
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    skipped: int
    created_at: datetime | None
    updated_at: datetime | None
    old_secret_until: datetime | None


class Webhooks:
    def __init__(self, pipeline: Pipeline, keys: Keys, settings: Settings) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._settings = settings

    async def create(
        self,
        owner: str,
        url: str,
        events: Sequence[str],
        *,
        description: str = "",
        enabled: bool = True,
    ) -> tuple[Webhook, str]:
        """Make an endpoint; returns it and its secret, which no other call shows.

        Raises:
            QuotaError: the owner has too many.
        """
        webhook_id, secret = new_id("wh"), new_secret()
        fields = ["url", url, "ev", " ".join(events), "de", description, "sec", secret]
        if not enabled:
            fields += ["on", "0", "why", "owner"]
        most = self._settings.max_webhooks
        reply = await self._script("create", owner, webhook_id, most, *fields)
        if reply[0] == "quota":
            LIMITS_HIT.labels("max_webhooks").inc()
            raise QuotaError(
                f"You have {reply[1]} webhooks; at most {most} are kept. Delete one.",
                limit="max_webhooks",
                allowed=most,
                used=int(reply[1]),
            )
        return await self.get(owner, webhook_id), secret

    async def ensure_jobs(self, owner: str) -> None:
        """Make the endpoint `jobs` of an owner, if it is not there yet."""
        if not await self._pipeline.command("EXISTS", self._keys.webhook(owner, JOBS)):
            fields = ("url", "", "ev", "", "de", "", "sec", new_secret())
            await self._script("create", owner, JOBS, 0, *fields)

    async def get(self, owner: str, webhook_id: str) -> Webhook:
        """One endpoint.

        Raises:
            NotFoundError: the owner has none with this id.
        """
        fields = await self._pipeline.command("HGETALL", self._keys.webhook(owner, webhook_id))
        if not fields:
            raise _absent(webhook_id)
        return _webhook(owner, webhook_id, fields)

    async def list(self, owner: str) -> list[Webhook]:
        """All endpoints of an owner, oldest first."""
        ids = await self._pipeline.command("ZRANGE", self._keys.webhooks(owner), 0, -1)
        found = []
        for webhook_id in ids:
            try:
                found.append(await self.get(owner, webhook_id))
            except NotFoundError:  # deleted meanwhile
                continue
        return found

    async def owners(self, among: Sequence[str]) -> set[str]:
        """Which of these have an endpoint that gets the events of all their jobs."""
        if not among or not await self._pipeline.command("EXISTS", self._keys.webhook_owners):
            return set()
        scores = await self._pipeline.command("ZMSCORE", self._keys.webhook_owners, *among)
        return {owner for owner, score in zip(among, scores, strict=True) if score is not None}

    async def change(
        self,
        owner: str,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given; enabling forgets why it was disabled.

        Raises:
            NotFoundError: as `get`.
        """
        fields: list[str] = []
        if url is not None:
            fields += ["url", url]
        if events is not None:
            fields += ["ev", " ".join(events)]
        if description is not None:
            fields += ["de", description]
        if enabled is not None:
            fields += ["on", str(int(enabled))]
        if fields:
            self._found(await self._script("change", owner, webhook_id, *fields), webhook_id)
        return await self.get(owner, webhook_id)

    async def rotate(self, owner: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give it another secret; the one of before signs as well for a while.

        Raises:
            NotFoundError: as `get`.
        """
        secret = new_secret()
        life_ms = int(self._settings.webhook_secret_overlap_s * 1000)
        self._found(await self._script("rotate", owner, webhook_id, secret, life_ms), webhook_id)
        return await self.get(owner, webhook_id), secret

    async def delete(self, owner: str, webhook_id: str) -> None:
        """Forget it, with all that waits for it and its log.

        Raises:
            NotFoundError: as `get`.
        """
        self._found(await self._script("delete", owner, webhook_id), webhook_id)

    async def restore(self, owner: str, webhook_id: str, fields: dict[str, str]) -> None:
        """Write it back, unless there is a newer one."""
        flat = [item for pair in fields.items() for item in pair]
        version, made = fields.get("n", "0"), fields.get("ca", "0")
        await self._script("restore", owner, webhook_id, version, made, *flat)

    async def delete_again(self, owner: str, webhook_id: str) -> None:
        """Forget what was deleted; ids are never used again."""
        await self._script("delete", owner, webhook_id)

    async def _script(self, verb: str, owner: str, webhook_id: str, *args: Any) -> Any:
        return await self._pipeline.script("webhook", verb, owner, webhook_id, *args)

    def _found(self, reply: Any, webhook_id: str) -> None:
        if reply[0] == "absent":
            raise _absent(webhook_id)


def _absent(webhook_id: str) -> NotFoundError:
    return NotFoundError(f"There is no webhook {webhook_id}.")


def _webhook(owner: str, webhook_id: str, fields: dict[str, str]) -> Webhook:
    enabled = fields.get("on") == "1"
    old_until = when(fields.get("oldto"))
    return Webhook(
        id=webhook_id,
        owner=owner,
        url=fields.get("url") or None,
        events=tuple(fields.get("ev", "").split()),
        description=fields.get("de", ""),
        enabled=enabled,
        disabled_reason=None if enabled else fields.get("why", "owner"),
        disabled_at=None if enabled else when(fields.get("off")),
        failing_since=when(fields.get("since")),
        skipped=int(fields.get("skip", 0)),
        created_at=when(fields.get("ca")),
        updated_at=when(fields.get("up")),
        old_secret_until=old_until if old_until and old_until > datetime.now(UTC) else None,
    )
