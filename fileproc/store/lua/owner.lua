-- Sets what the operator grants an owner, all of it; what is not named is as for everybody.
-- Writes  owner:<owner>, owners, flow:<lane>:<owner>, ring/ready
-- ARGV 1 owner, 2 limits of everybody (see limits_of), 3 the lanes (space-separated),
--      4 the settings as the journal keeps them (JSON), then name, value, ...
-- Returns when it was set (ms).
local owner = ARGV[1]
local key = P .. 'owner:' .. owner
call('DEL', key)
if #ARGV > 4 then
  call('HSET', key, 'changed', now, unpack(ARGV, 5))
  index('owners', owner, now)
else
  index('owners', owner, false)
end
local limits = limits_of(owner, ARGV[2])
for lane in string.gmatch(ARGV[3], '%S+') do
  -- At once, also for what waits already. An account that is not there yet is made by accept.
  if call('EXISTS', flow_key(lane, owner)) == 1 then set_account(lane, owner, limits) end
end
event(owner, 'owner_set', owner, 0, ARGV[4])
commit()
return now
