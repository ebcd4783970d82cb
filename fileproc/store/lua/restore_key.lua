-- Writes an api key back that the journal knows, or what Redis has not heard of it.
-- Writes  key:<id>, keys
-- ARGV 1 id, 2 version, 3 1 = listed, 4 end of its record (ms) or '', then field, value, ...
-- What is here is kept if it is no older; but once revoked, here or there, it stays so.
local key = P .. 'key:' .. ARGV[1]
local newer = tonumber(call('HGET', key, 'v') or 1) > tonumber(ARGV[2])
local revoked = call('HGET', key, 'revoked')
local created
for i = 5, #ARGV, 2 do
  if ARGV[i] == 'created' then created = ARGV[i + 1] end
  call(newer and 'HSETNX' or 'HSET', key, ARGV[i], ARGV[i + 1])
end
if revoked then call('HSET', key, 'revoked', revoked) end
if ARGV[4] ~= '' then call('PEXPIREAT', key, ARGV[4]) end
if ARGV[3] == '1' then index('keys', ARGV[1], call('ZSCORE', P .. 'keys', ARGV[1]) or created) end
commit()
return 1
