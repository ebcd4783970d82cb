-- The making of a batch: open, accept its jobs one by one, then seal. Until it is sealed nobody has
-- been told of it: one that stays open for too long is withdrawn with its jobs (batch_ends.lua).
-- Writes  batch:<id>, batch_ends, and with the seal batches:<owner>, idem:<owner>:<hash>, and all
--         that end_firing does
-- ARGV 1 open, 2 id, 3 owner, 4 number of jobs, 5 document (JSON), 6 retention (ms), 7 life until it
--      is sealed (ms), 8 limits of everybody (see limits_of)
--   or 1 renew, 2 id, 3 life until it is sealed (ms)
--   or 1 drop, 2 id
--   or 1 seal, 2 id, 3 idempotency hash or '', 4 fingerprint, 5 reservation, 6 idempotency life (s),
--      and where a schedule has made it: 7 schedule, then as end_firing
-- Returns {'ok', created at (ms)} | {'quota', ...} (see refusal) | {'gone'} | {'known', fingerprint, id}
--         | {'in_flight'} | {'missing', accepted}
local DAY = 86400000
local id = ARGV[2]
local key = P .. 'batch:' .. id
local b = call('HMGET', key, 'st', 'own', 'n', 'acc', 'doc', 'ca', 'rt')

local function open()
  if lost() then return LOST end
  if b[1] then return {'ok', b[6]} end  -- sent again after its reply was lost
  local owner = ARGV[3]
  local refused = refusal(owner, limits_of(owner, ARGV[8]), 0, tonumber(ARGV[4]))
  if refused then return refused end
  call('HSET', key, 'st', 'open', 'own', owner, 'n', ARGV[4], 'doc', ARGV[5], 'rt', ARGV[6],
    'ca', now, 'v', 0, 'fin', 0, 'acc', 0)
  index('batch_ends', id, now + tonumber(ARGV[7]))
  return {'ok', now}
end

local function seal()
  if b[1] == 'running' or b[1] == 'completed' then return {'ok', b[6]} end
  if b[1] ~= 'open' then return {'gone'} end
  if b[4] ~= b[3] then return {'missing', b[4]} end
  if ARGV[7] and not is_firing(ARGV[7], ARGV[8]) then return {'gone'} end
  local idem = ARGV[3] ~= '' and P .. 'idem:' .. b[2] .. ':' .. ARGV[3]
  local held = idem and call('GET', idem)
  if held and held ~= 'pending ' .. ARGV[5] then
    local fingerprint, known = string.match(held, '^done (%S+) (%S+)$')
    if known then return {'known', fingerprint, known} end
    return {'in_flight'}
  end
  call('HSET', key, 'st', 'running', 'v', 1)
  index('batch_ends', id, now + DAY)
  index('batches:' .. b[2], id, b[6])
  if idem then call('SET', idem, 'done ' .. ARGV[4] .. ' ' .. id, 'EX', ARGV[6]) end
  event(id, 'batch_created', b[2], 1, table.concat({
    '{"n":', b[3], ',"rt":', b[7], ',"ca":', b[6],
    ',"idem":"', idem and (ARGV[3] .. ' ' .. ARGV[4]) or '', '","doc":', b[5], '}',
  }))
  if ARGV[7] then end_firing(ARGV[7], 8) end
  settle_batch(id)  -- its jobs may all be over by now
  return {'ok', b[6]}
end

local reply = {'gone'}
if ARGV[1] == 'open' then
  reply = open()
elseif ARGV[1] == 'seal' then
  reply = seal()
elseif ARGV[1] == 'renew' and b[1] == 'open' then
  index('batch_ends', id, now + tonumber(ARGV[3]))
  reply = {'ok', b[6]}
elseif ARGV[1] == 'drop' and b[1] == 'open' then
  call('HSET', key, 'st', 'dropped')  -- from now on no job joins it
  index('batch_ends', id, now)
  reply = {'ok', b[6]}
end
commit()
return reply
