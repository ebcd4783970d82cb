-- Keeps schedules, and decides who fires which: a firing has a number, and only the newest counts.
-- Writes  schedule:<id>, schedules:<owner>, schedules_due, taken:<id>, runs:<id>; of one that is being
--         restored taken:<id>:new and runs:<id>:new, which become those with its record
-- ARGV 1 verb, 2 id, then
--   create   3 owner, 4 most schedules of an owner, 5 active | paused, 6 next due (ms) or '',
--            7 definition (JSON)
--   change   3 owner, 4 version that was read, 5 active | paused, 6 next due (ms) or '', 7 definition
--   delete   3 owner
--   ask      3 owner                           fire it soon, whatever the clock says
--   claim    3 life of the firing unless it is held (ms)
--   hold     3 number of the firing, 4 life from now on (ms); the next claim comes after it
--   end      3 number, then as end_firing
--   forget   3 number, then digests of objects that are not there any more
--   restore  3 owner, 4 version, then field, value, ...   only if it is newer than what is there
--   recall   3 r | t, then runs, the newest first, or digests: of one that is about to be restored;
--            the runs come first, and without any they take back what was recalled
-- Returns {'ok', ...} | {'absent'} | {'quota', n} | {'stale'} | {'idle'} | {'lost'}; for claim
--         {'ok', owner, definition, number, due (ms), cron | manual, claims so far, now (ms), last due}
-- Each may be sent twice; a claim that is finds nothing the second time, and is made again when its
-- life is over.
local RECALLED_S = 3600      -- of a rebuild that never came back
local verb, id = ARGV[1], ARGV[2]
local key = P .. 'schedule:' .. id
local own = call('HGET', key, 'own')

local function set_next(due)
  if due == '' then call('HDEL', key, 'next') else call('HSET', key, 'next', due) end
end

local function create(owner)
  if own then return {'ok'} end
  local held = call('ZCARD', P .. 'schedules:' .. owner)
  if held >= tonumber(ARGV[4]) then return {'quota', held} end
  call('HSET', key, 'own', owner, 'v', 0, 'n', 0, 'fails', 0, 'ca', now, 'st', ARGV[5], 'def', ARGV[7])
  set_next(ARGV[6])
  index('schedules:' .. owner, id, now)
  tell_schedule(id)
  return {'ok'}
end

local function change()
  if call('HGET', key, 'v') ~= ARGV[4] then return {'stale'} end
  call('HSET', key, 'st', ARGV[5], 'def', ARGV[7])
  set_next(ARGV[6])
  tell_schedule(id)
  return {'ok'}
end

local function delete()
  call('UNLINK', key, P .. 'taken:' .. id, P .. 'runs:' .. id)
  index('schedules:' .. own, id, false)
  index('schedules_due', id, false)
  event(id, 'schedule_deleted', own, 0)
  return {'ok'}
end

local function ask()
  if call('HEXISTS', key, 'asked') == 0 then
    call('HSET', key, 'asked', now)
    tell_schedule(id)
  end
  return {'ok'}
end

local function claim()
  local due = tonumber(call('ZSCORE', P .. 'schedules_due', id) or math.huge)
  if due > now then return {'idle'} end  -- another was faster
  local s = call('HMGET', key, 'st', 'next', 'asked', 'tick', 'trig', 'n', 'def', 'last')
  local tick, trigger = s[4], s[5]
  if not tick then
    if s[3] then
      tick, trigger = s[3], 'manual'
    elseif s[1] == 'active' and s[2] and tonumber(s[2]) <= now then
      tick, trigger = s[2], 'cron'
    else
      set_due(id)
      return {'idle'}
    end
  end
  -- Above all numbers of before, also of those that a rebuild knows nothing of.
  local number = math.max(tonumber(s[6]) + 1, now)
  call('HSET', key, 'n', number, 'tick', tick, 'trig', trigger)
  index('schedules_due', id, now + tonumber(ARGV[3]))
  return {'ok', own, s[7], tostring(number), tick, trigger, call('HINCRBY', key, 'tries', 1), now,
    s[8] or ''}
end

local function restore(owner)
  if own and tonumber(call('HGET', key, 'v')) >= tonumber(ARGV[4]) then return {'idle'} end
  call('UNLINK', key)
  for _, name in ipairs({'taken:', 'runs:'}) do
    call('UNLINK', P .. name .. id)
    if call('EXISTS', P .. name .. id .. ':new') == 1 then
      call('RENAME', P .. name .. id .. ':new', P .. name .. id)
      call('PERSIST', P .. name .. id)
    end
  end
  call('HSET', key, 'own', owner, 'v', ARGV[4], 'n', 0, unpack(ARGV, 5))
  index('schedules:' .. owner, id, call('HGET', key, 'ca'))
  set_due(id)
  return {'ok'}
end

local function recall()
  if ARGV[3] == 'r' then
    call('UNLINK', P .. 'runs:' .. id .. ':new', P .. 'taken:' .. id .. ':new')
    if not ARGV[4] then return {'ok'} end
    call('RPUSH', P .. 'runs:' .. id .. ':new', unpack(ARGV, 4))
    call('EXPIRE', P .. 'runs:' .. id .. ':new', RECALLED_S)
  else
    call('SADD', P .. 'taken:' .. id .. ':new', unpack(ARGV, 4))
    call('EXPIRE', P .. 'taken:' .. id .. ':new', RECALLED_S)
  end
  return {'ok'}
end

local OF_OWNERS = {change = change, delete = delete, ask = ask}
local OF_FIRINGS = {
  hold = function() index('schedules_due', id, now + tonumber(ARGV[4])) end,
  ['end'] = function() end_firing(id, 3) end,
  forget = function()
    call('SREM', P .. 'taken:' .. id, unpack(ARGV, 4))
    event(id, 'schedule_forgot', own, 0, table.concat(ARGV, ' ', 4))
  end,
}
-- Nor is anything fired while the rest is still being written back.
if verb ~= 'restore' and verb ~= 'recall' and verb ~= 'delete' and lost() then return LOST end
local reply = {'absent'}
if verb == 'create' then
  reply = create(ARGV[3])
elseif verb == 'restore' then
  reply = restore(ARGV[3])
elseif verb == 'claim' then
  reply = own and claim() or {'idle'}
elseif verb == 'recall' then
  reply = recall()
elseif OF_OWNERS[verb] and own == ARGV[3] then
  reply = OF_OWNERS[verb]()
elseif OF_FIRINGS[verb] then
  reply = {'lost'}
  if is_firing(id, ARGV[3]) then
    OF_FIRINGS[verb]()
    reply = {'ok'}
  end
end
commit()
return reply
