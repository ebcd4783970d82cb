"""What the store says of itself: whether it is there, and whether it keeps what it acknowledged."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from fileproc.errors import StoreUnavailableError
from fileproc.jobs import LANES
from fileproc.store.connection import Pipeline
from fileproc.store.keys import Keys
from fileproc.telemetry import DURABLE, IN_USE

MOST_LISTED = 1_000  # workers
LOOK_S = 3.0  # who asks for health or figures waits no longer: that is when they are wanted


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What the store says.

    Attributes:
        durable: what was answered 202 survives a power cut. Unknown settings count as not.
        in_use: it has its mark; else it is new, or has lost everything.
    """

    reachable: bool
    version: str = ""
    appendonly: bool = False
    appendfsync: str = "unknown"
    maxmemory_policy: str = "unknown"
    durable: bool = False
    scripts_ok: bool = False
    in_use: bool = False
    warnings: list[str] = field(default_factory=list)


class Health:
    def __init__(self, pipeline: Pipeline, keys: Keys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def check(self) -> StoreHealth:
        """Look, for three seconds at most; never raises."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._check()
        except TimeoutError:
            DURABLE.set(0)
            silent = f"The job store has not answered in {LOOK_S:g} s."
            return StoreHealth(reachable=False, warnings=[silent])

    async def _check(self) -> StoreHealth:
        try:
            scripts_ok = bool(await self._pipeline.script("probe", secrets.token_hex(4)))
            info = await self._pipeline.command("INFO", "server")
            in_use = bool(await self._pipeline.command("EXISTS", self._keys.schema))
        except StoreUnavailableError as exc:
            DURABLE.set(0)
            # What follows is advice to clients.
            why = exc.detail.partition(". ")[0] + "."
            return StoreHealth(reachable=False, warnings=[why])
        settings = await self._settings()
        fsync = settings.get("appendfsync", "unknown")
        policy = settings.get("maxmemory-policy", "unknown")
        appendonly = settings.get("appendonly") == "yes"
        durable = appendonly and fsync == "always" and policy == "noeviction"
        DURABLE.set(int(durable))
        IN_USE.set(int(in_use))
        return StoreHealth(
            reachable=True,
            version=_version(info),
            appendonly=appendonly,
            appendfsync=fsync,
            maxmemory_policy=policy,
            durable=durable,
            scripts_ok=scripts_ok,
            in_use=in_use,
            warnings=_warnings(settings, appendonly, fsync, policy),
        )

    async def _settings(self) -> dict[str, str]:
        """CONFIG GET of what matters; managed servers may refuse it."""
        try:
            reply = await self._pipeline.command("CONFIG", "GET", "append*", "maxmemory-policy")
        except StoreUnavailableError:
            return {}
        if isinstance(reply, dict):
            return reply
        return dict(zip(reply[::2], reply[1::2], strict=True))

    async def queue_stats(self) -> dict[str, dict[str, int]]:
        """Per lane: ids in the short list, the others that wait, and whether it is paused.

        Beside the lanes what is in all of them.
        """
        stats: dict[str, dict[str, int]] = {}
        for lane in LANES:
            paused, waiting = await self._pipeline.command(
                "HMGET", self._keys.lane(lane), "paused", "waiting"
            )
            stats[lane] = {
                "ready": int(await self._pipeline.command("LLEN", self._keys.ready(lane))),
                "waiting": int(waiting or 0),
                "paused": int(bool(paused)),
            }
        stats["all"] = {
            "running": int(await self._pipeline.command("ZCARD", self._keys.leases)),
            "delayed": int(await self._pipeline.command("ZCARD", self._keys.delayed)),
            "finished": int(await self._pipeline.command("ZCARD", self._keys.final)),
            "trash": int(await self._pipeline.command("ZCARD", self._keys.trash)),
            "events": int(await self._pipeline.command("XLEN", self._keys.events)),
        }
        return stats

    async def workers(self) -> list[dict[str, str]]:
        """What the workers that are alive say of themselves: id, lanes, about (JSON)."""
        now = int((await self._pipeline.command("TIME"))[0]) * 1000
        ids = await self._pipeline.command(
            "ZRANGE", self._keys.workers, now, "+inf", "BYSCORE", "LIMIT", 0, MOST_LISTED
        )
        found = []
        for worker in ids:
            lanes, about = await self._pipeline.command(
                "HMGET", self._keys.worker(worker), "lanes", "about"
            )
            found.append({"id": worker, "lanes": lanes or "", "about": about or "{}"})
        return found


def _version(info: dict[str, str]) -> str:
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info.get('redis_version', 'unknown')}"


def _warnings(settings: dict[str, str], appendonly: bool, fsync: str, policy: str) -> list[str]:
    if not settings:
        return ["The server does not let us read its settings: see to appendfsync and eviction."]
    warnings = []
    if not appendonly:
        warnings.append("appendonly is no: a restart of Redis loses every job. Set it to yes.")
    elif fsync != "always":
        warnings.append(
            f"appendfsync is {fsync}: a power cut loses about one second of accepted jobs. "
            "Set it to always."
        )
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: Redis may throw jobs away. Set it to noeviction."
        )
    return warnings
