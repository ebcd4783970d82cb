-- Writes or changes an api key. The token itself is never here, only its hash.
-- Writes  key:<id>, keys
-- ARGV 1 id, 2 1 = only if there is none yet, 2 = only if there is one, then field, value, ...
-- Returns 1 written, 0 not.
local key = P .. 'key:' .. ARGV[1]
local exists = call('EXISTS', key) == 1
if (ARGV[2] == '1') == exists then return 0 end
if #ARGV > 2 then call('HSET', key, unpack(ARGV, 3)) end
if not exists then
  call('HSET', key, 'created', now)
  index('keys', ARGV[1], now)
else
  call('HSETNX', key, 'revoked', now)
end
local data = {}
for i = 3, #ARGV, 2 do data[ARGV[i]] = ARGV[i + 1] end
event(ARGV[1], exists and 'key_revoked' or 'key_created', data.own or '-', 0, cjson.encode(data))
commit()
return 1
