-- Shared by all scripts; above it stands MOVES, generated from fileproc/jobs.py.
--
-- KEYS[1]  prefix of every key, such as `{fp}:`. All keys share its hash tag, so they live in one
--          slot, and an ACL pattern `~{fp}:*` covers what is computed below.
--
-- Contract of every script: check everything first, write afterwards (an error half-way does not
-- roll back); work is bounded by ARGV; each ends with commit(), which restores the invariant
--   I: for a lane that is not paused, `ready` is full or no flow is in the ring
-- and appends one entry to the event stream for the whole call.

local P = KEYS[1]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)  -- ms; one clock for all machines

local SHORT_LIST = 16        -- ids in `ready`: enough to wake idle workers, short enough to be fair
local STRIDE = 1000          -- pass that one job costs a flow of weight 1
local IDLE_FLOW_S = 86400    -- the accounts of an owner who went away are kept so long
local DAY_MS = 86400000      -- quotas are for a day, in UTC
local USAGE_S = 93 * 86400   -- what was used on a day is known for a quarter
local ZOMBIE_MS = 60000      -- a worker that lost its lease may still be writing for so long
local GONE_S = 604800        -- an uploaded file that is gone is known as such for so long

-- A store without its mark is new, or has lost everything and is being built again. Nothing is
-- accepted there (it may have been accepted before), and nothing taken (what it needs may not yet be back).
local LOST = {err = 'LOST The store is not in use: it is new, or has lost its data.'}
local function lost() return call('EXISTS', P .. 'schema') == 0 end

local lines = {}             -- events of this call
local grouped = {}           -- `<line> <batch>` of those that are about a job of a batch
local indexed = {}           -- key -> id -> score, or false to remove; written once, by commit()
local touched = {}           -- lanes to refill

local function index(key, id, score)
  key = P .. key
  indexed[key] = indexed[key] or {}
  indexed[key][id] = score
end

local function event(id, name, owner, version, data, batch)
  lines[#lines + 1] = table.concat({id, name, owner, tostring(version), data or ''}, ' ')
  if batch and batch ~= '' then grouped[#grouped + 1] = (#lines - 1) .. ' ' .. batch end
end

-- The job as a table, or nil. A deleted job is `st = deleted`.
-- A record that somebody has broken (another type, fields gone) counts as none: it is dropped where
-- it stands in the way, and must not stop the script for all the others.
local function load(id)
  local r = redis.pcall('HMGET', P .. 'job:' .. id,
    'st', 'own', 'ln', 'v', 'tok', 'at', 'ma', 'cq', 'del', 'ca', 'sc', 'rt', 'ba', 'rd', 'up', 'kp')
  if r.err or not (r[1] and r[2]) then return nil end
  if r[1] ~= 'deleted' and not (r[3] and r[5] and r[10]) then return nil end
  return {
    id = id, key = P .. 'job:' .. id, st = r[1], own = r[2], ln = r[3], v = tonumber(r[4]) or 0,
    tok = r[5], at = tonumber(r[6]) or 0, ma = tonumber(r[7]) or 1, cq = r[8] == '1',
    del = r[9] == '1', ca = tonumber(r[10]) or 0, sc = tonumber(r[11]) or 0, rt = tonumber(r[12]) or 0,
    ba = r[13], rd = r[14], up = r[15] or '', kp = r[16],
  }
end

-- A batch counts its jobs by their states. A batch that is gone counts nothing.
local function count(batch, state, n)
  if not batch or call('HEXISTS', P .. 'batch:' .. batch, 'n') == 0 then return end
  call('HINCRBY', P .. 'batch:' .. batch, state, n)
end

-- Ends a batch with the last of its jobs: in the script that ends the job, so it is done once.
local function settle_batch(batch)
  local key = P .. 'batch:' .. batch
  local b = call('HMGET', key, 'st', 'n', 'fin', 'own', 'rt', 'v', 'succeeded', 'failed', 'canceled', 'expired')
  if b[1] ~= 'running' or (tonumber(b[3]) or 0) < tonumber(b[2]) then return end
  local version, leave = tonumber(b[6]) + 1, now + tonumber(b[5])
  call('HSET', key, 'st', 'completed', 'fa', now, 'ex', leave, 'v', version)
  index('batch_ends', batch, leave)
  event(batch, 'batch_completed', b[4], version, table.concat({
    '{"total":', b[2], ',"succeeded":', b[7] or 0, ',"failed":', b[8] or 0,
    ',"canceled":', b[9] or 0, ',"expired":', b[10] or 0, '}',
  }))
end

-- One more job of it is over.
local function count_end(batch)
  if not batch or call('HEXISTS', P .. 'batch:' .. batch, 'n') == 0 then return end
  call('HINCRBY', P .. 'batch:' .. batch, 'fin', 1)
  settle_batch(batch)
end

-- Performs a move of the table, with the fields that change with it (name, value, ...), or refuses.
local function move(job, name, target, fields, data)
  local rule = MOVES[name]
  if not rule.from[job.st] or not rule.to[target] then return false end
  index('jobs:' .. job.own .. ':' .. job.st, job.id, false)
  index('jobs:' .. job.own .. ':' .. target, job.id, job.ca)
  count(job.ba, job.st, -1)
  count(job.ba, target, 1)
  job.st = target
  job.v = job.v + 1
  call('HSET', job.key, 'st', target, 'v', job.v, unpack(fields))
  event(job.id, name, job.own, job.v, data, job.ba)
  return true
end

-- What came of a job that may be answered for another that asks for the same: its result, or why it
-- will never have one.
local function remember_answer(job, target, leave, data)
  local lasting = target == 'failed' and string.find(data or '', '"class":"permanent"', 1, true)
  if leave > now and (target == 'succeeded' or lasting) then
    call('SET', P .. 'reuse:' .. job.own .. ':' .. job.rd, job.id, 'PX', leave - now)
  end
end

-- Outputs that other jobs have, too, stay: a settlement that is sent again may come after its own
-- job was deleted.
local function trash(what, due)
  if what and what ~= '' and call('HEXISTS', P .. 'shared', what) == 0 then index('trash', what, due) end
end

-- What holds for an owner: as the operator has set it, else as for everybody. 0 = no limit.
-- `common` has all six numbers in this order, separated by spaces; CPU is in ms.
local LIMITS = {'queued', 'running', 'weight', 'jobs', 'bytes', 'cpu'}
local function limits_of(owner, common)
  local own, limits, i = call('HMGET', P .. 'owner:' .. owner, unpack(LIMITS)), {}, 0
  for number in string.gmatch(common, '%S+') do
    i = i + 1
    limits[LIMITS[i]] = tonumber(own[i]) or tonumber(number)
  end
  return limits
end

local function usage_key(owner) return P .. 'usage:' .. owner .. ':' .. math.floor(now / DAY_MS) end

-- The refusal of jobs that would take an owner beyond a cap or a quota of the day, or nil:
-- {'quota', which, allowed, used, ms until it is free again or 0}.
-- What a job will cost in CPU nobody knows before: the day's quota is over once it is used up.
local function refusal(owner, limits, bytes, jobs)
  local waiting = call('ZCARD', P .. 'jobs:' .. owner .. ':queued')
    + call('ZCARD', P .. 'jobs:' .. owner .. ':delayed')
    + call('ZCARD', P .. 'jobs:' .. owner .. ':awaiting_upload')
  if jobs > 0 and waiting + jobs > limits.queued then return {'quota', 'queued', limits.queued, waiting, 0} end
  if limits.jobs + limits.bytes + limits.cpu == 0 then return nil end
  local used = call('HMGET', usage_key(owner), 'jobs', 'bytes', 'cpu')
  for i, wanted in ipairs({{'jobs', jobs}, {'bytes', bytes}, {'cpu', math.min(jobs, 1)}}) do
    local name, more = wanted[1], wanted[2]
    local most, spent = limits[name], tonumber(used[i]) or 0
    if most > 0 and more > 0 and spent + more > most then
      return {'quota', name, most, spent, DAY_MS - now % DAY_MS}
    end
  end
  return nil
end

-- Adds to what an owner has used today: jobs, bytes or cpu (ms).
local function spend(owner, name, amount)
  if amount <= 0 then return end
  local key = usage_key(owner)
  if call('HINCRBY', key, name, amount) == amount then call('EXPIRE', key, USAGE_S) end
end

-- Keeps a file that was uploaded on its own; see file.lua.
local function keep_file(id, owner, record, retention, most, most_events, common)
  if lost() then return LOST end
  local key = P .. 'file:' .. id
  local r = call('HMGET', key, 'ca', 'ex')
  if r[1] then return {'ok', r[1], r[2]} end  -- sent again after its reply was lost
  local backlog, held = call('XLEN', P .. 'events'), call('ZCARD', P .. 'files:' .. owner)
  if backlog >= tonumber(most_events) then return {'backlog', backlog} end
  if held >= tonumber(most) then return {'quota', held} end
  local size = cjson.decode(record).size
  local refused = refusal(owner, limits_of(owner, common), size, 0)
  if refused then return refused end
  local expires = now + tonumber(retention)
  spend(owner, 'bytes', size)
  call('HSET', key, 'own', owner, 'meta', record, 'ca', now, 'ex', expires, 'u', 0)
  index('files', id, expires)
  index('files:' .. owner, id, now)
  event(id, 'file_put', owner, 0, '{"ca":' .. now .. ',"ex":' .. expires .. ',"meta":' .. record .. '}')
  return {'ok', now, expires}
end

-- An uploaded file goes when it is over (its retention is, or its owner deleted it) and no
-- unfinished job uses it. Its name answers "gone" for a while.
local function drop_upload(id)
  local key = P .. 'file:' .. id
  local owner = call('HGET', key, 'own')
  call('DEL', key)
  call('HSET', key, 'own', owner, 'gone', 1)
  call('EXPIRE', key, GONE_S)
  trash('files/' .. id, now)
end

local function let_go(uploads)
  for id in string.gmatch(uploads, '%S+') do
    local key = P .. 'file:' .. id
    if call('HEXISTS', key, 'u') == 1 and call('HINCRBY', key, 'u', -1) <= 0
      and call('HEXISTS', key, 'over') == 1 then drop_upload(id) end
  end
end

-- One job less needs what is there; true if that was the last.
local function released(prefix)
  local key = P .. 'shared'
  if call('HEXISTS', key, prefix) == 0 then return true end
  if call('HINCRBY', key, prefix, -1) > 0 then return false end
  call('HDEL', key, prefix)
  return true
end

-- A job gets what an earlier one has kept: it stays until this one is over and the record of that
-- one (`held`: it is there) is forgotten.
local function hold_kept(key, prefix, held)
  call('HSET', key, 'kp', prefix)
  call('HSETNX', P .. 'shared', prefix, held and 1 or 0)
  call('HINCRBY', P .. 'shared', prefix, 1)
end

local function let_go_kept(job)
  -- Where nobody counts, the record of the earlier job decides.
  if job.kp and call('HEXISTS', P .. 'shared', job.kp) == 1 and released(job.kp) then
    trash(job.kp, now)
  end
end

-- Moves into a final state; the record and its objects go when the retention is over.
local function finish(job, name, target, fields, data)
  local leave = now + (job.del and 0 or job.rt)
  fields[#fields + 1] = 'fa'
  fields[#fields + 1] = now
  fields[#fields + 1] = 'ex'
  fields[#fields + 1] = leave
  if not move(job, name, target, fields, data) then return false end
  call('HDEL', job.key, 'w', 'pg', 'due', 'sc', 'kp')
  index('final', job.id, leave)
  let_go(job.up)
  let_go_kept(job)
  if target == 'failed' then index('dead:' .. job.own, job.id, now) end
  count_end(job.ba)
  if job.rd then remember_answer(job, target, leave, data) end
  return true
end

-- Forgets a final job: its objects and files without another job go to the trash, a tombstone stays.
local function forget(job, tombstone_s)
  local r = call('HMGET', job.key, 'fi', 'pre')
  for id in string.gmatch(r[1] or '', '%S+') do
    local file = P .. 'file:' .. id
    if call('EXISTS', file) == 1 and call('HINCRBY', file, 'n', -1) <= 0 then
      call('DEL', file)
      trash('files/' .. id, now)
    end
  end
  if r[2] and released(r[2]) then trash(r[2], now) end
  call('DEL', job.key)
  call('HSET', job.key, 'st', 'deleted', 'own', job.own)
  call('EXPIRE', job.key, tombstone_s)
  index('jobs:' .. job.own, job.id, false)
  index('jobs:' .. job.own .. ':' .. job.st, job.id, false)
  index('dead:' .. job.own, job.id, false)
  index('final', job.id, false)
  if job.ba then index('members:' .. job.ba, job.id, false) end
  event(job.id, 'delete', job.own, job.v + 1, '', job.ba)
end

-- Lanes and turns ---------------------------------------------------------------------------------

local function flow_key(lane, owner) return P .. 'flow:' .. lane .. ':' .. owner end
local function wait_key(lane, owner) return P .. 'wait:' .. lane .. ':' .. owner end

local function flow_of(lane, owner)
  local f = call('HMGET', flow_key(lane, owner), 'adm', 'pass', 'cap', 'weight', 'paused')
  return {
    adm = tonumber(f[1]) or 0, pass = tonumber(f[2]) or 0, cap = tonumber(f[3]) or 0,
    weight = math.max(1, tonumber(f[4]) or 1), paused = f[5] == '1',
  }
end

local function lane_paused(lane) return call('HGET', P .. 'lane:' .. lane, 'paused') == '1' end

-- Lets a flow take turns again, not before those who kept theirs.
local function ring_in(lane, owner)
  local flow = flow_of(lane, owner)
  if flow.paused or (flow.cap > 0 and flow.adm >= flow.cap) then return end
  local virtual = tonumber(call('HGET', P .. 'lane:' .. lane, 'vt')) or 0
  call('ZADD', P .. 'ring:' .. lane, 'NX', math.max(virtual, flow.pass), owner)
end

-- How many wait in a lane, of all owners together, paused or not.
local function count_waiting(lane, n) call('HINCRBY', P .. 'lane:' .. lane, 'waiting', n) end

local function enter(job)
  count_waiting(job.ln, call('ZADD', wait_key(job.ln, job.own), job.sc, job.id))
  ring_in(job.ln, job.own)
  touched[job.ln] = true
end

-- After a change of its account a flow takes turns again, or it is idle and its account will end.
local function reconsider(lane, owner)
  if call('EXISTS', wait_key(lane, owner)) == 1 then return ring_in(lane, owner) end
  local flow = flow_of(lane, owner)
  if flow.adm <= 0 and not flow.paused then  -- a pause is for as long as nobody resumes
    call('EXPIRE', flow_key(lane, owner), IDLE_FLOW_S)
  end
end

-- Writes an owner's cap and weight where they differ from what the account has.
local function set_account(lane, owner, limits)
  local flow = flow_of(lane, owner)
  if flow.cap == limits.running and flow.weight == limits.weight then return end
  call('HSET', flow_key(lane, owner), 'cap', limits.running, 'weight', limits.weight)
  reconsider(lane, owner)  -- a higher cap lets those run that wait
  touched[lane] = true
end

local function unadmit(lane, owner, n)
  call('HINCRBY', flow_key(lane, owner), 'adm', -n)
  touched[lane] = true
  reconsider(lane, owner)
end

-- Takes up to `want` ids out of waiting, in fair turns, and counts them as admitted.
-- Stride scheduling: the flow with the lowest pass is next, each job costs STRIDE / weight. The
-- quantum is exact in virtual time, so that one owner and ten thousand are both served in few turns.
-- Source: Waldspurger and Weihl, "Stride Scheduling", MIT/LCS/TM-528, 1995.
local function feed(lane, want)
  local out, ring = {}, P .. 'ring:' .. lane
  if want <= 0 or lane_paused(lane) then return out end
  local virtual
  while #out < want do
    local head = call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local owner, pass = head[1], tonumber(head[2])
    if not owner then break end
    local flow = flow_of(lane, owner)
    local n = math.min(math.ceil((want - #out) / call('ZCARD', ring)) * flow.weight, want - #out)
    if flow.cap > 0 then n = math.min(n, flow.cap - flow.adm) end
    local popped = n > 0 and call('ZPOPMIN', wait_key(lane, owner), n) or {}
    local took = #popped / 2
    for i = 1, #popped, 2 do out[#out + 1] = popped[i] end
    virtual = pass
    pass = pass + took * STRIDE / flow.weight
    if took < n or n <= 0 or (flow.cap > 0 and flow.adm + took >= flow.cap) then
      call('ZREM', ring, owner)
    else
      call('ZADD', ring, pass, owner)
    end
    if took > 0 then
      count_waiting(lane, -took)
      call('HSET', flow_key(lane, owner), 'adm', flow.adm + took, 'pass', pass)
      if flow.adm == 0 then call('PERSIST', flow_key(lane, owner)) end
    else
      reconsider(lane, owner)  -- the last one that waited was withdrawn
    end
  end
  if virtual then call('HSET', P .. 'lane:' .. lane, 'vt', virtual) end
  return out
end

local function refill(lane)
  local ready = P .. 'ready:' .. lane
  local ids = feed(lane, SHORT_LIST - call('LLEN', ready))
  if #ids > 0 then call('LPUSH', ready, unpack(ids)) end
end

-- Takes a queued job from wherever it waits. One that a worker has popped is in no list of ours:
-- claim looks at the state and drops it.
local function withdraw(job)
  if call('ZREM', wait_key(job.ln, job.own), job.id) == 0 then
    call('LREM', P .. 'ready:' .. job.ln, 0, job.id)
    unadmit(job.ln, job.own, 1)
  else
    count_waiting(job.ln, -1)
  end
  touched[job.ln] = true
end

-- Back into the queue, still admitted, as the next to be taken; a pause sends it to wait instead.
local function put_back(job)
  if lane_paused(job.ln) or flow_of(job.ln, job.own).paused then
    enter(job)
    unadmit(job.ln, job.own, 1)
  else
    call('RPUSH', P .. 'ready:' .. job.ln, job.id)
  end
end

-- Ends a job that has not started (wait, ready, delayed or awaiting its upload).
local function end_unstarted(job, name, target)
  if job.st == 'queued' then withdraw(job) end
  if job.st == 'delayed' then index('delayed', job.id, false) end
  index('deadlines', job.id, false)
  return finish(job, name, target, {})
end

-- Deletes a job, canceled first where it is not over; a running one goes when its worker lets go.
local function discard(job, tombstone_s)
  if job.st == 'running' then
    call('HSET', job.key, 'cq', 1, 'del', 1, 'v', job.v + 1)
    event(job.id, 'delete', job.own, job.v + 1, '', job.ba)  -- as far as its owner is concerned
  elseif job.st ~= 'deleted' then
    if MOVES.cancel.from[job.st] then end_unstarted(job, 'cancel', 'canceled') end
    forget(job, tombstone_s)
  end
end

-- Webhooks ----------------------------------------------------------------------------------------

local function webhook_key(owner, id) return P .. 'webhook:' .. owner .. ':' .. id end

-- An endpoint has changed: everything of it goes into the events, from which it can be restored.
local function tell_webhook(owner, id)
  local version = call('HINCRBY', webhook_key(owner, id), 'n', 1)
  call('HSET', webhook_key(owner, id), 'up', now)
  local flat, fields = call('HGETALL', webhook_key(owner, id)), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  event(id, 'webhook_put', owner, version, cjson.encode(fields))
end

-- Schedules ---------------------------------------------------------------------------------------

local MOST_RUNS = 100        -- of a schedule; what came of older ones is forgotten
local PER_CALL = 1000        -- arguments of one command; Lua bears some 8,000

-- A schedule is looked at when it is due or asked for. One that is neither waits for its owner.
local function set_due(id)
  local s = call('HMGET', P .. 'schedule:' .. id, 'st', 'next', 'asked')
  index('schedules_due', id, s[3] and now or s[1] == 'active' and s[2])
end

-- A schedule has changed: everything of it goes into the events, from which it can be restored.
local function tell_schedule(id)
  local key = P .. 'schedule:' .. id
  local version = call('HINCRBY', key, 'v', 1)
  call('HSET', key, 'up', now)
  local told, s = {}, call('HMGET', key, 'st', 'def', 'ca', 'up', 'next', 'asked', 'last', 'fails')
  for i, name in ipairs({'st', 'def', 'ca', 'up', 'next', 'asked', 'last', 'fails'}) do
    told[name] = s[i] or nil
  end
  if call('HEXISTS', key, 'tick') == 0 then set_due(id) end  -- else when its firing has ended
  event(id, 'schedule_put', call('HGET', key, 'own'), version, cjson.encode(told))
end

-- Whether a firing is the one that counts. A silent one is taken over, under a new number.
local function is_firing(id, number)
  local s = call('HMGET', P .. 'schedule:' .. id, 'own', 'n', 'tick')
  return s[1] and s[2] == number and s[3] and true or false
end

-- Ends a firing, in the same breath as what it made becomes valid. From ARGV[first] on: number of
-- the firing, next due (ms) or '', 1 = it failed, run (JSON), then digests of taken objects.
local function end_firing(id, first)
  local key, following = P .. 'schedule:' .. id, ARGV[first + 1]
  local run = '{"finished_at":' .. now .. ',' .. string.sub(ARGV[first + 3], 2)
  local s = call('HMGET', key, 'own', 'tick', 'trig', 'next')
  if s[3] == 'manual' then
    call('HDEL', key, 'asked')
  else
    call('HSET', key, 'last', s[2])
    if s[4] == s[2] then  -- else its owner has changed it meanwhile
      if following == '' then call('HDEL', key, 'next') else call('HSET', key, 'next', following) end
    end
  end
  call('HDEL', key, 'tick', 'trig', 'tries')
  local fails = ARGV[first + 2] == '1' and call('HINCRBY', key, 'fails', 1) or 0
  if fails == 0 then call('HSET', key, 'fails', 0) end
  call('LPUSH', P .. 'runs:' .. id, run)
  call('LTRIM', P .. 'runs:' .. id, 0, MOST_RUNS - 1)
  for i = first + 4, #ARGV, PER_CALL do
    call('SADD', P .. 'taken:' .. id, unpack(ARGV, i, math.min(i + PER_CALL - 1, #ARGV)))
  end
  set_due(id)
  local left = call('HMGET', key, 'next', 'last')
  event(id, 'schedule_fired', s[1], call('HINCRBY', key, 'v', 1), table.concat({
    '{"trig":"', s[3], '","next":"', left[1] or '', '","last":"', left[2] or '',
    '","fails":"', fails, '","taken":"', table.concat(ARGV, ' ', first + 4), '","run":', run, '}',
  }))
end

local function commit()
  for lane in pairs(touched) do refill(lane) end
  for key, ids in pairs(indexed) do
    local add, rem = {}, {}
    for id, score in pairs(ids) do
      if score then
        add[#add + 1] = score
        add[#add + 1] = id
      else
        rem[#rem + 1] = id
      end
    end
    for i = 1, #rem, PER_CALL do call('ZREM', key, unpack(rem, i, math.min(i + PER_CALL - 1, #rem))) end
    for i = 1, #add, PER_CALL do call('ZADD', key, unpack(add, i, math.min(i + PER_CALL - 1, #add))) end
  end
  if #lines == 0 then return end
  local entry = {'l', table.concat(lines, '\n')}
  if #grouped > 0 then  -- for those who follow a batch; neither the journal nor a rebuild needs it
    entry[3], entry[4] = 'b', table.concat(grouped, '\n')
  end
  call('XADD', P .. 'events', '*', unpack(entry))
end
