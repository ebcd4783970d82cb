-- Cancels a job. A running one is only marked; its worker sees that at the next beat and kills it.
-- Writes  job:<id>, wait/ready/delayed, final
-- ARGV 1 id, 2 owner
-- Returns the state afterwards, or false if this owner has no such job.
local job = load(ARGV[1])
if not job or job.own ~= ARGV[2] then return false end
if job.st == 'running' then
  if not job.cq then
    call('HSET', job.key, 'cq', 1, 'v', job.v + 1)
    event(job.id, 'cancel_requested', job.own, job.v + 1, '', job.ba)
  end
elseif MOVES.cancel.from[job.st] then
  end_unstarted(job, 'cancel', 'canceled')
end
commit()
return job.st
