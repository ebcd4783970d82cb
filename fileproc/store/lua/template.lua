-- Keeps another version of a template, or deletes all of them.
-- Writes  template:<owner>:<name>, templates:<owner>
-- ARGV 1 owner, 2 name, 3 definition (JSON) or '' to delete, 4 most templates, 5 most versions
-- Returns {'ok', version, kept since (ms)} | {'quota', n} | {'deleted'} | {'absent'}
-- What is the newest version already makes no other: sent twice is the same.
local owner, name, definition = ARGV[1], ARGV[2], ARGV[3]
local key, list = P .. 'template:' .. owner .. ':' .. name, 'templates:' .. owner
if definition == '' then
  if call('DEL', key) == 0 then return {'absent'} end
  index(list, name, false)
  event(name, 'template_deleted', owner, 0, '')
  commit()
  return {'deleted'}
end
if lost() then return LOST end
local last = tonumber(call('HGET', key, 'last') or 0)
if last > 0 then
  local since, newest = string.match(call('HGET', key, last), '^(%d+) (.*)$')
  if newest == definition then return {'ok', last, since} end
elseif call('ZCARD', P .. list) >= tonumber(ARGV[4]) then
  return {'quota', call('ZCARD', P .. list)}
end
local version = last + 1
call('HSET', key, 'last', version, version, now .. ' ' .. definition)
call('HDEL', key, version - tonumber(ARGV[5]))
index(list, name, now)
event(name, 'template_put', owner, version, definition)
commit()
return {'ok', version, now}
