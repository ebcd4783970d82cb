-- The heartbeat: keeps a worker and its leases alive, brings progress in and the wish to cancel out.
-- Writes  workers, worker:<id>, leases, job:<id> pg v; publishes progress
-- ARGV 1 worker, 2 its lanes (space-separated), 3 lease (ms), 4 worker lease (ms), 5 what it says of
--      itself (JSON) or '', then for each job: id, token, progress (JSON) or ''
-- Returns for each 1 kept, 2 kept and its owner wants it canceled, 0 lost.
local out = {}
index('workers', ARGV[1], now + tonumber(ARGV[4]))
call('HSET', P .. 'worker:' .. ARGV[1], 'lanes', ARGV[2], 'seen', now)
if ARGV[5] ~= '' then call('HSET', P .. 'worker:' .. ARGV[1], 'about', ARGV[5]) end
call('EXPIRE', P .. 'worker:' .. ARGV[1], 3600)
for i = 6, #ARGV, 3 do
  local id, progress = ARGV[i], ARGV[i + 2]
  local job = load(id)
  if job and job.st == 'running' and job.tok == ARGV[i + 1] then
    index('leases', id, now + tonumber(ARGV[3]))
    if progress ~= '' then  -- not a move: neither in the events nor in the journal
      call('HSET', P .. 'job:' .. id, 'pg', progress)
      local version = call('HINCRBY', P .. 'job:' .. id, 'v', 1)
      call('PUBLISH', P .. 'progress', table.concat({id, job.own, tostring(version), progress}, ' '))
    end
    out[#out + 1] = job.cq and 2 or 1
  else
    out[#out + 1] = 0
  end
end
commit()
return out
