-- Writes or changes an api key. A token itself is never here, only hashes of its secrets.
-- Writes  key:<id>, keys, grants:<owner>
-- ARGV 1 verb, 2 id, 3 life of the record after the key's end (ms), then
--      create  field, value, ...; nothing happens if there is such a key
--      grant   most that may live of its owner, then as create; of a key that is not listed
--      revoke  -
--      rotate  hash of the new secret, life of the old one (ms), most old ones, new end (ms) or ''
-- Returns 1 done, 0 there is one already (create, grant) or none (the others), -1 it is over,
--         -2 too many old secrets live, -3 too many keys of this kind
local verb, id = ARGV[1], ARGV[2]
local key = P .. 'key:' .. id
local exists = call('EXISTS', key) == 1
local making = verb == 'create' or verb == 'grant'
if making == exists then return 0 end
local own = making and '-' or call('HGET', key, 'own')
local version = making and 1 or tonumber(call('HGET', key, 'v') or 1) + 1
local ends = tonumber(call('HGET', key, 'expires') or 0)  -- 0: never
local changed = {}

if making then
  local first = verb == 'grant' and 5 or 4
  for i = first, #ARGV, 2 do changed[ARGV[i]] = ARGV[i + 1] end
  own, ends = changed.own, tonumber(changed.expires or 0)
  if verb == 'grant' then  -- the list ends with the last of them
    local list = P .. 'grants:' .. own
    if call('ZCOUNT', list, now, '+inf') >= tonumber(ARGV[4]) then return -3 end
    call('ZREMRANGEBYSCORE', list, '-inf', now)
    if ends > now then
      call('ZADD', list, ends, id)
      if call('PTTL', list) < ends - now then call('PEXPIREAT', list, string.format('%d', ends)) end
    end
  end
  call('HSET', key, 'created', now, unpack(ARGV, first))
  if verb == 'create' then index('keys', id, now) end
elseif verb == 'revoke' then
  if call('HEXISTS', key, 'revoked') == 1 then return 1 end
  changed.revoked, ends = tostring(now), now
else
  local hash = call('HGET', key, 'hash')
  if hash == ARGV[4] then return 1 end  -- sent again after its reply was lost
  if call('HEXISTS', key, 'revoked') == 1 or (ends > 0 and ends <= now) then return -1 end
  local old = {}
  for one, till in string.gmatch(call('HGET', key, 'old') or '', '(%x+):(%d+)') do
    if tonumber(till) > now then old[#old + 1] = one .. ':' .. till end
  end
  if tonumber(ARGV[5]) > 0 then
    if #old >= tonumber(ARGV[6]) then return -2 end
    old[#old + 1] = string.format('%s:%d', hash, now + tonumber(ARGV[5]))
  else
    old = {}  -- whoever changes the secret at once has lost one, maybe not the newest
  end
  changed.hash, changed.old, changed.rotated = ARGV[4], table.concat(old, ' '), tostring(now)
  if ARGV[7] ~= '' then changed.expires, ends = ARGV[7], tonumber(ARGV[7]) end
end

if not making then
  changed.v = tostring(version)
  for name, value in pairs(changed) do call('HSET', key, name, value) end
end
-- A key that is over is remembered for a while, so that the list shows what became of it. One whose
-- token stands in a file is remembered for ever: forgotten, the next start would make it again.
if ends > 0 and call('HEXISTS', key, 'file') == 0 then call('PEXPIREAT', key, string.format('%d', ends + ARGV[3])) end
local name = ({create = 'key_created', grant = 'key_created', revoke = 'key_revoked', rotate = 'key_rotated'})[verb]
event(id, name, own, version, cjson.encode(changed))
commit()
return 1
