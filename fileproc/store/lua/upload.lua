-- Uploads that take several requests. Whoever works on one holds it: the name of the holder, and the
-- end of the hold, stand in the record, and what another notes meanwhile is refused.
-- Writes  upload:<id>, uploads, uploads:<owner>, trash; file:<id>, files, files:<owner> (complete)
-- ARGV 1 verb, 2 id, 3 owner ('' for any), then
--   open      4 document (JSON), 5 multipart id or '', 6 life (ms), 7 most open uploads
--             Returns {'ok', created (ms), expires (ms)} | {'quota', n}; sent twice is once.
--   hold      4 holder, 5 life of the hold (ms)
--             Returns 1 held | 0 another does, and is asked to let go | -1 there is none.
--   keep      4 holder, 5 life (ms). Returns 1 | 2 somebody asks for it | 0 it is lost.
--   release   4 holder. Returns 1 | 0.
--   note      4 holder, then field, value, ... Returns 1 | 0 the hold is lost.
--   complete  4 holder, 5 file id, 6 record of the file, 7 retention (ms), 8 most files,
--             9 most events, 10 limits of everybody. Returns as a file is kept | {'lost'}.
--   close     4 holder or '' for the clock. Returns {1, multipart id} | {0} the hold is lost.
--   due       4 most. Returns ids whose life is over.
-- A record that is over says so for a day: done, or gone.
local DAY_S = 86400
local verb, id, owner = ARGV[1], ARGV[2], ARGV[3]
local key = P .. 'upload:' .. id

local function mine()
  local own = call('HGET', key, 'own')
  return own and (owner == '' or own == owner) and call('HEXISTS', key, 'doc') == 1
end

local function held_by(holder)
  local r = call('HMGET', key, 'holder', 'until')
  return r[1] == holder and tonumber(r[2]) > now
end

local function leave(mark)
  local r = call('HMGET', key, 'own', 'doc', 'size')
  index('uploads', id, false)
  index('uploads:' .. r[1], id, false)
  trash('uploads/' .. id .. '/', now)
  call('DEL', key)
  call('HSET', key, 'own', r[1], mark, r[2])
  if r[3] then call('HSET', key, 'size', r[3]) end
  call('EXPIRE', key, DAY_S)
end

local verbs = {}

function verbs.open(document, multipart, life, most)
  if lost() then return LOST end
  local r = call('HMGET', key, 'ca', 'ex')
  if r[1] then return {'ok', r[1], r[2]} end
  local open = call('ZCARD', P .. 'uploads:' .. owner)
  if open >= tonumber(most) then return {'quota', open} end
  local expires = now + tonumber(life)
  call('HSET', key, 'own', owner, 'doc', document, 'mp', multipart, 'ca', now, 'ex', expires)
  index('uploads', id, expires)
  index('uploads:' .. owner, id, now)
  return {'ok', now, expires}
end

function verbs.hold(holder, life)
  if not mine() then return -1 end
  local r = call('HMGET', key, 'holder', 'until')
  if r[1] and r[1] ~= holder and tonumber(r[2]) > now then
    call('HSET', key, 'ask', 1)
    return 0
  end
  call('HSET', key, 'holder', holder, 'until', now + tonumber(life))
  call('HDEL', key, 'ask')
  return 1
end

function verbs.keep(holder, life)
  if not mine() or not held_by(holder) then return 0 end
  call('HSET', key, 'until', now + tonumber(life))
  return call('HEXISTS', key, 'ask') == 1 and 2 or 1
end

function verbs.release(holder)
  if not mine() or not held_by(holder) then return 0 end
  call('HDEL', key, 'holder', 'until', 'ask')
  return 1
end

function verbs.note(holder, ...)
  if not mine() or not held_by(holder) then return 0 end
  call('HSET', key, ...)
  return 1
end

function verbs.complete(holder, file, ...)
  if call('HEXISTS', key, 'done') == 1 then  -- sent again after its reply was lost
    local r = call('HMGET', P .. 'file:' .. file, 'ca', 'ex')
    return r[1] and {'ok', r[1], r[2]} or {'lost'}
  end
  if not mine() or not held_by(holder) then return {'lost'} end
  local answer = keep_file(file, call('HGET', key, 'own'), ...)
  if answer[1] == 'ok' then leave('done') end  -- else the refusal, or LOST
  return answer
end

function verbs.close(holder)
  if not mine() then return {0} end
  if holder ~= '' and not held_by(holder) then return {0} end
  if holder == '' and tonumber(call('HGET', key, 'until') or 0) > now then return {0} end
  local multipart = call('HGET', key, 'mp')
  trash('files/' .. string.gsub(id, '^upload_', 'file_'), now)
  leave('gone')
  return {1, multipart}
end

function verbs.due(most)
  return call('ZRANGEBYSCORE', P .. 'uploads', '-inf', now, 'LIMIT', 0, most)
end

local answer = verbs[verb](unpack(ARGV, 4))
commit()
return answer
