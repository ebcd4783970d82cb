"""A step of the server's clock, as the store sees it: what it has written moves the other way."""

from __future__ import annotations

from typing import Any

_SHIFT = """
local step = tonumber(ARGV[2])
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local name = string.sub(key, string.len(ARGV[3]) + 1)
  local kind = redis.call('TYPE', key).ok
  if kind == 'zset' and ARGV[4]:find(' ' .. name .. ' ', 1, true) then
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -step, id)
    end
  elseif kind == 'hash' and (name:sub(1, 4) == 'job:' or name:sub(1, 5) == 'file:'
      or name:sub(1, 7) == 'upload:' or name:sub(1, 9) == 'schedule:') then
    for _, field in ipairs({'due', 'ex', 'next', 'tick', 'last', 'asked'}) do
      if redis.call('HEXISTS', key, field) == 1 then
        redis.call('HINCRBY', key, field, -step)
      end
    end
  end
  local life = redis.call('PTTL', key)
  if life >= 0 then redis.call('PEXPIRE', key, life - step) end
end
"""

_TIMED = (
    *("workers", "leases", "delayed", "deadlines", "final", "trash", "batch_ends"),
    *("files", "uploads", "schedules_due"),
)


def step_clock(client: Any, prefix: str, step_ms: int) -> None:
    """Let `step_ms` pass for everything below a prefix; negative: the clock is set back."""
    pattern = "".join(f"[{letter}]" if letter in "{}" else letter for letter in prefix)
    client.eval(_SHIFT, 0, pattern, step_ms, prefix, f" {' '.join(_TIMED)} ")
