-- Takes jobs from workers whose lease is over. Read and taken in one script: a late heartbeat loses.
-- Writes  leases, job:<id>, ready, final, trash
-- ARGV 1 most jobs, 2 attempts that lost workers may cost, 3 problem (JSON) with "attempt":0
-- Returns how many were looked at.
local ids = call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local job = load(id)
  index('leases', id, false)
  if job and job.st == 'running' then
    trash('attempts/' .. id .. '/' .. job.tok .. '-', now + ZOMBIE_MS)
    if job.cq then
      unadmit(job.ln, job.own, 1)
      finish(job, 'cancel', 'canceled', {})
    elseif job.at >= math.min(job.ma, tonumber(ARGV[2])) then
      local problem = string.gsub(ARGV[3], '"attempt":0', '"attempt":' .. job.at)
      unadmit(job.ln, job.own, 1)
      finish(job, 'fail', 'failed', {'err', problem}, problem)
    else
      move(job, 'recover', 'queued', {})
      call('HDEL', job.key, 'w', 'pg')
      put_back(job)
    end
  end
end
commit()
return #ids
