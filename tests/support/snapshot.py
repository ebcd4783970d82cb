"""Everything below one prefix, read at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Fields = dict[str, str]

# In one script, so that the books balance also while others work.
_READ = """
local found = {redis.call('TIME')}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind, value = redis.call('TYPE', key).ok, ''
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'stream' then value = redis.call('XLEN', key) end
  found[#found + 1] = {key, kind, redis.call('PTTL', key), value}
end
return found
"""


@dataclass
class Snapshot:
    """Names are those of the keys without their prefix; `lives` are the TTLs in ms, where any."""

    now_ms: int
    hashes: dict[str, Fields] = field(default_factory=dict)
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, list[str]] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        kinds: tuple[dict[str, Any], ...]
        kinds = (self.hashes, self.zsets, self.lists, self.sets, self.strings, self.streams)
        return [name for kind in kinds for name in kind]

    @cached_property
    def records(self) -> dict[str, Fields]:
        """Every job by id, deleted ones too."""
        return {
            name.removeprefix("job:"): fields
            for name, fields in self.hashes.items()
            if name.startswith("job:")
        }

    @cached_property
    def jobs(self) -> dict[str, Fields]:
        """Every job by id that is not deleted."""
        return {job: fields for job, fields in self.records.items() if fields["st"] != "deleted"}

    @cached_property
    def queued(self) -> set[str]:
        return {job for job, fields in self.jobs.items() if fields["st"] == "queued"}

    @cached_property
    def waiting(self) -> dict[tuple[str, str], dict[str, float]]:
        """(lane, owner) -> id -> score."""
        found = {}
        for name, ids in self.zsets.items():
            if name.startswith("wait:"):
                _, lane, owner = name.split(":", 2)
                found[lane, owner] = ids
        return found

    @cached_property
    def popped(self) -> dict[tuple[str, str], list[str]]:
        """(worker, lane) -> ids."""
        found = {}
        for name, ids in self.lists.items():
            if name.startswith("proc:"):
                _, worker, lane = name.split(":", 2)
                found[worker, lane] = ids
        return found

    @cached_property
    def flows(self) -> dict[tuple[str, str], Fields]:
        """(lane, owner) -> account."""
        found = {}
        for name, fields in self.hashes.items():
            if name.startswith("flow:"):
                _, lane, owner = name.split(":", 2)
                found[lane, owner] = fields
        return found

    def ready(self, lane: str) -> list[str]:
        return self.lists.get(f"ready:{lane}", [])

    def zset(self, name: str) -> dict[str, float]:
        return self.zsets.get(name, {})

    def paused(self, lane: str) -> bool:
        return self.hashes.get(f"lane:{lane}", {}).get("paused") == "1"

    def may_take_turns(self, lane: str, owner: str) -> bool:
        """Whether the flow is neither paused nor at its cap."""
        flow = self.flows.get((lane, owner), {})
        cap = int(flow.get("cap", 0))
        return flow.get("paused") != "1" and (not cap or int(flow.get("adm", 0)) < cap)


def look(client: Any, prefix: str) -> Snapshot:
    """Read everything; `client` decodes replies."""
    pattern = "".join(f"[{letter}]" if letter in "{}[]*?" else letter for letter in prefix)
    (seconds, micros), *keys = client.eval(_READ, 0, pattern)
    snapshot = Snapshot(int(seconds) * 1000 + int(micros) // 1000)
    for key, kind, life_ms, value in keys:
        name = key.removeprefix(prefix)
        if life_ms >= 0:
            snapshot.lives[name] = life_ms
        match kind:
            case "hash":
                snapshot.hashes[name] = dict(zip(value[::2], value[1::2], strict=True))
            case "zset":
                scores = map(float, value[1::2])
                snapshot.zsets[name] = dict(zip(value[::2], scores, strict=True))
            case "list":
                snapshot.lists[name] = value
            case "set":
                snapshot.sets[name] = value
            case "string":
                snapshot.strings[name] = value
            case "stream":
                snapshot.streams[name] = value
    return snapshot
