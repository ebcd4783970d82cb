-- Puts back what silent workers popped and never claimed; forgets workers that are long gone.
-- Writes  proc:<worker>:<lane>, ready, workers
-- ARGV 1 most workers, 2 forget after (ms)
-- Returns how many ids were put back.
local adopted = 0
for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'workers', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local lanes = call('HGET', P .. 'worker:' .. worker, 'lanes') or ''
  for lane in string.gmatch(lanes, '%S+') do
    local proc = P .. 'proc:' .. worker .. ':' .. lane
    for _, id in ipairs(call('LRANGE', proc, 0, -1)) do
      local job = load(id)
      if job and job.st == 'queued' then
        put_back(job)
        adopted = adopted + 1
      end
    end
    call('DEL', proc)
    touched[lane] = true
  end
  local silent = now - tonumber(call('ZSCORE', P .. 'workers', worker))
  if silent > tonumber(ARGV[2]) then index('workers', worker, false) end
end
commit()
return adopted
