"""Templates: definitions of pipelines by name, each PUT a version of its own, per owner.

The store knows them as JSON; what they mean is the api's business. Every change is an event, so the
journal has them and a rebuild brings them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fileproc.errors import NotFoundError, QuotaError
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.store.records import when
from fileproc.telemetry import LIMITS_HIT

MOST_TEMPLATES: Final = 200  # of one owner
MOST_VERSIONS: Final = 50  # of one template; the oldest go


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """One version. `definition` is JSON in one line."""

    name: str
    version: int
    created_at: datetime | None
    definition: str


class Templates:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def put(self, owner: str, name: str, definition: str) -> StoredTemplate:
        """Keep a definition as the newest version; the same again makes no other.

        Raises:
            QuotaError: the owner has too many templates.
        """
        reply = await self._pipeline.script(
            "template", owner, name, definition, MOST_TEMPLATES, MOST_VERSIONS
        )
        if reply[0] == "quota":
            LIMITS_HIT.labels("templates").inc()
            raise QuotaError(
                f"You have {reply[1]} templates; at most {MOST_TEMPLATES} are kept.",
                limit="templates",
                allowed=MOST_TEMPLATES,
                used=int(reply[1]),
            )
        return StoredTemplate(name, int(reply[1]), when(str(reply[2])), definition)

    async def get(self, owner: str, name: str, version: int | None = None) -> StoredTemplate:
        """One version; None: the newest.

        Raises:
            NotFoundError: the owner has no such template, or not this version (any more).
        """
        key = self._keys.template(owner, name)
        if version is None:
            version = int(await self._pipeline.command("HGET", key, "last") or 0)
        kept = await self._pipeline.command("HGET", key, version)
        if kept is None:
            which = f" in version {version}" if version else ""
            raise NotFoundError(f"There is no template {name!r}{which}.")
        created, _, definition = kept.partition(" ")
        return StoredTemplate(name, version, when(created), definition)

    async def list(self, owner: str) -> list[StoredTemplate]:
        """The newest version of each, by name."""
        names = await self._pipeline.command("ZRANGE", self._keys.templates(owner), 0, -1)
        found = []
        for name in sorted(names):
            try:
                found.append(await self.get(owner, name))
            except NotFoundError:  # deleted meanwhile
                continue
        return found

    async def delete(self, owner: str, name: str) -> None:
        """Forget all versions; jobs that were made from them have their steps.

        Raises:
            NotFoundError: the owner has no such template.
        """
        reply = await self._pipeline.script("template", owner, name, "", 0, 0)
        if reply[0] == "absent":
            raise NotFoundError(f"There is no template {name!r}.")
