-- Puts back what silent workers popped and never claimed; forgets workers that are long gone.
-- Writes  proc:<worker>:<lane>, ready, workers
-- ARGV 1 most workers, 2 forget after (ms), then the lanes
-- Returns how many ids were put back.
local adopted = 0
local all = table.concat(ARGV, ' ', 3)
-- Those who died last come first: the others were looked at before, and linger to be forgotten.
local silent = call('ZREVRANGEBYSCORE', P .. 'workers', now, '-inf', 'LIMIT', 0, ARGV[1])
for _, worker in ipairs(silent) do
  -- What it told of its lanes may be gone by now: its list outlives its book.
  local lanes = call('HGET', P .. 'worker:' .. worker, 'lanes') or all
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
  local silence = now - tonumber(call('ZSCORE', P .. 'workers', worker))
  if silence > tonumber(ARGV[2]) then index('workers', worker, false) end
end
commit()
return adopted
