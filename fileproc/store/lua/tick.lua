-- The clock: retries and set times that are due, jobs that started too late, and every short list.
-- Writes  delayed, deadlines, wait/ring/ready, final
-- ARGV 1 most jobs, then the lanes
-- Returns {promoted, expired}.
local promoted, expired = 0, 0
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local job = load(id)
  index('deadlines', id, false)
  if job and MOVES.expire.from[job.st] then
    end_unstarted(job, 'expire', 'expired')
    expired = expired + 1
  end
end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local job = load(id)
  index('delayed', id, false)
  if job and job.st == 'delayed' and move(job, 'promote', 'queued', {}) then
    call('HDEL', job.key, 'due')
    enter(job)  -- with its old score: a retry keeps its place
    promoted = promoted + 1
  end
end
for i = 2, #ARGV do touched[ARGV[i]] = true end
commit()
return {promoted, expired}
