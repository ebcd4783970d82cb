-- Writes a batch back that the journal knows and Redis lost; its jobs, restored afterwards, count
-- themselves in. What is there already learns only what it has missed.
-- Writes  batch:<id>, batches:<owner>, batch_ends, idem
-- ARGV 1 id, 2 owner, 3 number of jobs, 4 document (JSON), 5 retention (ms), 6 created (ms),
--      7 completed (ms) or '', 8 '<hash> <fingerprint>' or '', 9 idempotency life (s),
--      then state, number of jobs that ended in it and are forgotten, ...
-- Returns 1 written, 0 it was there.
local DAY = 86400000
local id, owner = ARGV[1], ARGV[2]
local key = P .. 'batch:' .. id
local known = call('HGET', key, 'st')
local over, leave = ARGV[7] ~= '', now + DAY
if over then leave = tonumber(ARGV[7]) + tonumber(ARGV[5]) end
if not known then
  call('HSET', key, 'own', owner, 'n', ARGV[3], 'doc', ARGV[4], 'rt', ARGV[5], 'ca', ARGV[6],
    'acc', ARGV[3], 'fin', 0)
  for i = 10, #ARGV, 2 do
    call('HINCRBY', key, ARGV[i], ARGV[i + 1])
    call('HINCRBY', key, 'fin', ARGV[i + 1])
  end
end
if over and known ~= 'completed' then
  call('HSET', key, 'st', 'completed', 'v', 2, 'fa', ARGV[7], 'ex', leave)
elseif not over and known ~= 'running' and known ~= 'completed' then
  call('HSET', key, 'st', 'running', 'v', 1)
end
if known ~= 'completed' then index('batch_ends', id, leave) end
index('batches:' .. owner, id, ARGV[6])
if ARGV[8] ~= '' then
  local hash, fingerprint = string.match(ARGV[8], '^(%S+) (%S+)$')
  local left = math.ceil((tonumber(ARGV[6]) - now) / 1000) + tonumber(ARGV[9])
  if left > 0 then
    call('SET', P .. 'idem:' .. owner .. ':' .. hash, 'done ' .. fingerprint .. ' ' .. id, 'NX', 'EX', left)
  end
end
if not known then settle_batch(id) end
commit()
return known and 0 or 1
