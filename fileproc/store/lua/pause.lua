-- Stops or resumes taking from a lane, or from one owner in it. Running jobs go on.
-- Writes  lane:<lane> or flow:<lane>:<owner>, ready, wait, ring
-- ARGV 1 lane, 2 owner or '' for the whole lane, 3 1 = pause, 0 = resume
-- Returns how many ids went from the short list back to waiting.
local lane, owner, paused = ARGV[1], ARGV[2], ARGV[3] == '1'
local key = owner == '' and P .. 'lane:' .. lane or flow_key(lane, owner)
local back = 0
if paused then
  call('HSET', key, 'paused', 1)
  if owner ~= '' then
    call('PERSIST', key)
    call('ZREM', P .. 'ring:' .. lane, owner)
  end
  for _, id in ipairs(call('LRANGE', P .. 'ready:' .. lane, 0, -1)) do
    local job = load(id)
    if job and (owner == '' or job.own == owner) then
      call('LREM', P .. 'ready:' .. lane, 0, id)
      enter(job)
      unadmit(lane, job.own, 1)
      back = back + 1
    end
  end
else
  call('HDEL', key, 'paused')
  if owner ~= '' then reconsider(lane, owner) end
end
touched[lane] = true
event(lane, paused and 'pause' or 'resume', owner == '' and '-' or owner, 0)
commit()
return back
