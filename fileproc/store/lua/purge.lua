-- Forgets final jobs whose retention is over.
-- Writes  job:<id> (a tombstone stays), indexes, file:<id>, trash
-- ARGV 1 most jobs, 2 life of a tombstone (s)
-- Returns how many.
local ids = call('ZRANGEBYSCORE', P .. 'final', '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local job = load(id)
  index('final', id, false)
  if job and job.st ~= 'deleted' then forget(job, ARGV[2]) end
end
commit()
return #ids
