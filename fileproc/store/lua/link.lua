-- Share links: makes, counts and revokes them. One entry of the record tells of each.
-- Writes  link:<code>, links:<owner>
-- ARGV 1 make | take | try | right | revoke | restore, 2 code, then for
--   make     3 owner, 4 id of the request (a repeated one makes no other), 5 end (ms), 6 life of the
--            record after the end (ms), 7 most links of an owner, then field, value, ...
--   take     3 a count is journaled at least so often (ms); a bounded link journals each.
--            4 how many; of a bounded link one at a time
--   try      3 most tries, 4 in so long (ms)
--   revoke   3 owner
--   restore  3 owner, 4 life of the record after the end (ms), then field, value, ...
-- Returns  make: {'ok'} | {'taken'} | {'quota', n};  take: {'ok', n} | {'ended'} | {'absent'}
--          try: {'ok'} | {'locked', ms};  right, restore: 1;  revoke: 1 done, 0 no such link of this owner
local what, code = ARGV[1], ARGV[2]
local key = P .. 'link:' .. code

-- Listed as long as it is there; the list ends with the last of its links.
local function list(owner, created, gone_at)
  local name = P .. 'links:' .. owner
  call('ZADD', name, created, code)
  if call('PTTL', name) < gone_at - now then call('PEXPIREAT', name, gone_at) end
end

local function told(fields)
  local data = {}
  for i = 1, #fields, 2 do data[fields[i]] = fields[i + 1] end
  return cjson.encode(data)
end

if what == 'make' then
  if lost() then return LOST end
  local owner, ends = ARGV[3], tonumber(ARGV[5])
  if call('EXISTS', key) == 1 then
    return call('HGET', key, 'by') == ARGV[4] and {'ok'} or {'taken'}
  end
  for _, old in ipairs(call('ZRANGE', P .. 'links:' .. owner, 0, 99)) do
    if call('EXISTS', P .. 'link:' .. old) == 0 then call('ZREM', P .. 'links:' .. owner, old) end
  end
  local held = call('ZCARD', P .. 'links:' .. owner)
  if held >= tonumber(ARGV[7]) then return {'quota', held} end
  local fields = {'own', owner, 'by', ARGV[4], 'created', tostring(now), 'ends', ARGV[5], 'n', '0'}
  for i = 8, #ARGV do fields[#fields + 1] = ARGV[i] end
  call('HSET', key, unpack(fields))
  call('PEXPIREAT', key, ends + tonumber(ARGV[6]))
  list(owner, now, ends + tonumber(ARGV[6]))
  event(code, 'link_made', owner, 0, told(fields))
  commit()
  return {'ok'}
end

if what == 'restore' then
  local data = {}
  for i = 5, #ARGV, 2 do data[ARGV[i]] = ARGV[i + 1] end
  local gone_at = tonumber(data.ends) + tonumber(ARGV[4])
  if gone_at <= now then return 1 end
  local n = math.max(tonumber(data.n), tonumber(call('HGET', key, 'n') or 0))
  for field, value in pairs(data) do call('HSETNX', key, field, value) end
  call('HSET', key, 'n', n)
  call('PEXPIREAT', key, gone_at)
  list(ARGV[3], data.created, gone_at)
  return 1
end

local link = call('HMGET', key, 'own', 'ends', 'revoked', 'max', 'n', 'tries', 'since', 'told')
local owner, n = link[1], tonumber(link[5])

if what == 'revoke' then
  if owner ~= ARGV[3] then return 0 end
  if not link[3] then
    call('HSET', key, 'revoked', now)
    event(code, 'link_revoked', owner, 0)
    commit()
  end
  return 1
end

if what == 'try' then
  local tries, since = tonumber(link[6] or 0), tonumber(link[7] or 0)
  if now - since >= tonumber(ARGV[4]) then tries, since = 0, now end
  if tries >= tonumber(ARGV[3]) then return {'locked', since + tonumber(ARGV[4]) - now} end
  if owner then call('HSET', key, 'tries', tries + 1, 'since', since) end
  return {'ok'}
end

if what == 'right' then  -- the last try was none against the bound
  if owner and tonumber(link[6] or 0) > 0 then call('HINCRBY', key, 'tries', -1) end
  return 1
end

if not owner then return {'absent'} end
if link[3] or now >= tonumber(link[2]) or (link[4] and n >= tonumber(link[4])) then return {'ended'} end
n = n + tonumber(ARGV[4])
call('HSET', key, 'n', n, 'last', now)
-- What bounds a link must be known after a rebuild to the last one; else it is for information.
if link[4] or now - tonumber(link[8] or 0) >= tonumber(ARGV[3]) then
  call('HSET', key, 'told', now)
  event(code, 'link_taken', owner, n)
  commit()
end
return {'ok', n}
