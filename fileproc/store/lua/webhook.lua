-- Keeps endpoints of webhooks: makes, changes, rotates the secret, deletes, writes back.
-- Writes  webhook:<owner>:<id>, webhooks:<owner>, webhooks; of a deleted one its queue and log
-- ARGV 1 verb, 2 owner, 3 id, then
--   create   4 most endpoints, then field, value, ...   (the endpoint `jobs` counts for none)
--   change   field, value, ...                          (on = 1 also forgets that it was failing)
--   rotate   4 new secret, 5 life of the old one (ms)
--   delete
--   restore  4 version, 5 made at (ms), then field, value, ...  only if it is newer than what is there
-- Returns {'ok'} | {'absent'} | {'quota', n}. Each may be sent twice.
local verb, owner, id = ARGV[1], ARGV[2], ARGV[3]
local key, list = webhook_key(owner, id), 'webhooks:' .. owner
local exists = call('EXISTS', key) == 1

local function number_of()
  local n = call('ZCARD', P .. list)
  if call('ZSCORE', P .. list, 'jobs') then n = n - 1 end
  return n
end

local function listed(since)
  index(list, id, since)
  if id ~= 'jobs' then index('webhooks', owner, now) end
end

if verb ~= 'restore' and verb ~= 'delete' and lost() then return LOST end
if verb == 'create' then
  if exists then return {'ok'} end
  if id ~= 'jobs' and number_of() >= tonumber(ARGV[4]) then return {'quota', number_of()} end
  call('HSET', key, 'n', 0, 'ca', now, 'on', 1, unpack(ARGV, 5))
  listed(now)
elseif verb == 'restore' then
  if exists and (tonumber(call('HGET', key, 'n')) or 0) >= tonumber(ARGV[4]) then return {'ok'} end
  call('DEL', key)
  call('HSET', key, unpack(ARGV, 6))
  listed(ARGV[5])
  commit()
  return {'ok'}
elseif not exists then
  return {'absent'}
elseif verb == 'delete' then
  call('DEL', key, P .. 'outbox:' .. owner .. ':' .. id, P .. 'log:' .. owner .. ':' .. id,
    P .. 'ended:' .. owner .. ':' .. id)  -- the records of its deliveries end by themselves
  index(list, id, false)
  index('webhooks_due', owner .. '/' .. id, false)
  if number_of() <= 1 then index('webhooks', owner, false) end
  event(id, 'webhook_deleted', owner, 0, '')
  commit()
  return {'ok'}
elseif verb == 'change' then
  local was = call('HGET', key, 'on')
  call('HSET', key, unpack(ARGV, 4))
  local is = call('HGET', key, 'on')
  if is == '1' and was ~= '1' then call('HDEL', key, 'why', 'off', 'since') end
  if is ~= '1' and was == '1' then call('HSET', key, 'why', 'owner', 'off', now) end
elseif verb == 'rotate' then
  local held = call('HGET', key, 'sec')
  if held == ARGV[4] then return {'ok'} end
  call('HSET', key, 'sec', ARGV[4], 'old', held, 'oldto', now + tonumber(ARGV[5]))
end
tell_webhook(owner, id)
commit()
return {'ok'}
