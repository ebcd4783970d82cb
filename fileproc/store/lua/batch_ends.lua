-- Looks at the batches that are due: withdraws what was never sealed, job by job, and forgets those
-- whose retention is over.
-- Writes  batch:<id>, batch_ends, batches:<owner>; of what is withdrawn all that delete.lua does
-- ARGV 1 most batches, 2 most jobs, 3 life of a tombstone (s)
-- Returns how many batches are gone.
local DAY, SOON = 86400000, 1000
local gone, left = 0, tonumber(ARGV[2])

local function end_batch(id, owner)
  call('DEL', P .. 'batch:' .. id)
  index('batch_ends', id, false)
  if owner then index('batches:' .. owner, id, false) end
  gone = gone + 1
end

local function withdraw(id)
  local key = P .. 'batch:' .. id
  if call('HGET', key, 'st') == 'open' then call('HSET', key, 'st', 'dropped') end
  for _, job_id in ipairs(call('ZRANGE', P .. 'members:' .. id, 0, left - 1)) do
    left = left - 1
    local job = load(job_id)
    if job then
      if not job.del then discard(job, ARGV[3]) end
    else
      index('members:' .. id, job_id, false)
    end
  end
  index('batch_ends', id, now + SOON)  -- those that run go when their workers let go
end

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'batch_ends', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local key = P .. 'batch:' .. id
  local b = call('HMGET', key, 'st', 'own', 'n', 'v')
  local members = call('ZCARD', P .. 'members:' .. id)
  if b[1] == 'running' and members > 0 then
    index('batch_ends', id, now + DAY)
  elseif b[1] == 'running' then  -- a loss took some of its jobs: nothing would ever end it
    call('HSET', key, 'fin', b[3])
    settle_batch(id)
  elseif b[1] == 'completed' then
    end_batch(id, b[2])
    event(id, 'batch_deleted', b[2], tonumber(b[4]) + 1)
  elseif not b[1] or members == 0 then
    end_batch(id, nil)
  elseif left > 0 then
    withdraw(id)
  end
end
commit()
return gone
