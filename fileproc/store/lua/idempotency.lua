-- Reserves an idempotency key while its request is under way, keeps it, or lets it go.
-- Writes  idem:<owner>:<hash>
-- ARGV 1 reserve | renew | release, 2 owner, 3 hash, 4 reservation, 5 life of a reservation (s)
-- Returns {'ok'} | {'in_flight'} | {'known', fingerprint, job id}
local key, mine = P .. 'idem:' .. ARGV[2] .. ':' .. ARGV[3], 'pending ' .. ARGV[4]
local held = call('GET', key)
if ARGV[1] == 'release' then
  if held == mine then call('DEL', key) end
  return {'ok'}
end
if held and held ~= mine then
  local fingerprint, known = string.match(held, '^done (%S+) (%S+)$')
  if known then return {'known', fingerprint, known} end
  return {'in_flight'}
end
call('SET', key, mine, 'EX', ARGV[5])
return {'ok'}
