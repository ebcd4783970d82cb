-- Files that were uploaded on their own: kept, given up, restored.
-- Writes  file:<id>, files, files:<owner>, trash
-- ARGV 1 verb, then
--   put      2 id, 3 owner, 4 record (JSON), 5 retention (ms), 6 most files, 7 most events,
--            8 limits of everybody (see limits_of)
--            Returns {'ok', created (ms), expires (ms)} | {'quota', n}
--            | {'quota', ...} (see refusal) | {'backlog', n}; twice is once.
--   delete   2 id, 3 owner. Returns 'deleted' | 'gone' | 'of_job' | 'absent'.
--   expire   2 most files. Ends those whose retention is over. Returns how many.
--   restore  2 id, 3 owner, 4 record, 5 created (ms), 6 expires (ms), 7 '1' = its end is told.
--            Returns 1 written, 0 it is there.
--   settle   2 id. After a rebuild: one that is over, and that no job uses, goes. Returns 1 | 0.
local verb = ARGV[1]

local function known(id)
  local r = call('HMGET', P .. 'file:' .. id, 'own', 'meta', 'u', 'over', 'gone')
  return {own = r[1], there = r[2], used = tonumber(r[3]), over = r[4], gone = r[5]}
end

-- From now on it is nobody's; the object stays until the last unfinished job that uses it is over.
local function ended(id, file)
  call('HSET', P .. 'file:' .. id, 'over', 1)
  index('files', id, false)
  index('files:' .. file.own, id, false)
  event(id, 'file_over', file.own, 0)
  if file.used <= 0 then drop_upload(id) end
end

local function delete(id, owner)
  local file = known(id)
  if file.own ~= owner then return 'absent' end
  if file.gone or file.over then return 'gone' end
  if not file.used then return file.there and 'of_job' or 'absent' end
  ended(id, file)
  return 'deleted'
end

local function expire(most)
  local ids = call('ZRANGEBYSCORE', P .. 'files', '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local file = known(id)
    index('files', id, false)
    if file.used then ended(id, file) end
  end
  return #ids
end

local function restore(id, owner, record, created, expires, told)
  local key, file, over = P .. 'file:' .. id, known(id), told == '1'
  if file.gone then return 0 end  -- since the last word that the journal has of it
  if file.there then
    if over and not file.over then  -- a promoted replica missed its end
      call('HSET', key, 'over', 1)
      index('files', id, false)
      index('files:' .. owner, id, false)
    end
    return 0
  end
  call('DEL', key)
  call('HSET', key, 'own', owner, 'meta', record, 'ca', created, 'ex', expires, 'u', 0)
  if over then
    call('HSET', key, 'over', 1)
  else
    index('files', id, expires)
    index('files:' .. owner, id, created)
  end
  index('trash', 'files/' .. id, false)
  return 1
end

local function settle(id)
  local file = known(id)
  if not file.over or file.used > 0 then return 0 end
  drop_upload(id)
  return 1
end

local verbs = {put = keep_file, delete = delete, expire = expire, restore = restore, settle = settle}
local answer = verbs[verb](unpack(ARGV, 2))
commit()
return answer
