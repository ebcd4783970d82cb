-- Accepts a job: record, index, files, idempotency entry, queue entry and event, or nothing at all.
-- Writes  job:<id>, jobs:<owner>[:<state>], file:<id>, idem:<owner>:<hash>, wait/ring/flow/ready,
--         usage:<owner>:<day>
-- ARGV 1 id, 2 owner, 3 lane, 4 head start of the priority (ms), 5 document (JSON),
--      6 idempotency hash or '', 7 fingerprint, 8 reservation, 9 idempotency life (s),
--      10 limits of everybody (see limits_of), 11 most events, 12 max attempts, 13 retention (ms),
--      14 due (ms since 1970, 0 = now), 15 deadline (ms since 1970, 0 = none; `+ms` counts from
--      the moment at which it may start),
--      16 bytes that came along, 17 1 = its upload is still to come,
--      18 batch or '', 19 job that it repeats or '', 20 1 = only if nobody has repeated that one,
--      21 what it asks for (a digest) or '', 22 job that has done so already, whose outputs it gets,
--      or '', 23 its result then (JSON), 24 prefix of what the job that it repeats has kept, which it
--      goes on from, or '', then for each file: id, record (JSON) or '' where it must exist already
-- Returns {'ok', id, accepted at (ms)} | {'known', fingerprint, id} | {'in_flight'} | {'backlog', n}
--         | {'quota', ...} (see refusal) | {'no_file', id} | {'no_batch'} | {'repeated', id}
--         | {'not_there'} | {'not_kept'}
local FIRST_FILE = 25
local id, owner, lane = ARGV[1], ARGV[2], ARGV[3]
if lost() then return LOST end
local key = P .. 'job:' .. id
-- Sent again after its reply was lost: it is there.
if call('EXISTS', key) == 1 then return {'ok', id, call('HGET', key, 'ca')} end

local idem = ARGV[6] ~= '' and P .. 'idem:' .. owner .. ':' .. ARGV[6]
if idem then
  local held = call('GET', idem)
  if held and held ~= 'pending ' .. ARGV[8] then
    local fingerprint, known = string.match(held, '^done (%S+) (%S+)$')
    if known then return {'known', fingerprint, known} end
    return {'in_flight'}
  end
end

if ARGV[18] ~= '' and call('HGET', P .. 'batch:' .. ARGV[18], 'st') ~= 'open' then return {'no_batch'} end
local before = ARGV[19] ~= '' and load(ARGV[19])
if before and (before.own ~= owner or before.st == 'deleted') then before = nil end
local repeated = before and call('HGET', before.key, 'rb')
if repeated and ARGV[20] == '1' then return {'repeated', repeated} end
if ARGV[24] ~= '' then
  local there = before and before.st == 'failed' and not before.del
  if not there or call('HGET', before.key, 'pre') ~= ARGV[24] then return {'not_kept'} end
end
local prefix
if ARGV[22] ~= '' then
  local source = load(ARGV[22])
  local there = source and source.own == owner and source.st == 'succeeded' and not source.del
  prefix = there and call('HGET', source.key, 'pre')
  if not prefix then return {'not_there'} end
end
local backlog = call('XLEN', P .. 'events')
if backlog >= tonumber(ARGV[11]) then return {'backlog', backlog} end
local limits = limits_of(owner, ARGV[10])
local refused = refusal(owner, limits, tonumber(ARGV[16]), 1)
if refused then return refused end
for i = FIRST_FILE, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    local file = call('HMGET', P .. 'file:' .. ARGV[i], 'own', 'meta', 'over')
    if file[1] ~= owner or not file[2] or file[3] then return {'no_file', ARGV[i]} end
  end
end

-- Files of jobs live with the records of these, uploaded ones for themselves.
local files, uploads, brought = {}, {}, {}
for i = FIRST_FILE, #ARGV, 2 do
  local file = P .. 'file:' .. ARGV[i]
  if ARGV[i + 1] ~= '' then
    call('HSET', file, 'own', owner, 'meta', ARGV[i + 1])
    brought[#brought + 1] = '"' .. ARGV[i] .. '":' .. ARGV[i + 1]
  end
  if ARGV[i + 1] == '' and call('HEXISTS', file, 'u') == 1 then
    uploads[#uploads + 1] = ARGV[i]
    call('HINCRBY', file, 'u', 1)
  else
    files[#files + 1] = ARGV[i]
    call('HINCRBY', file, 'n', 1)
  end
end

local due, deadline = tonumber(ARGV[14]), tonumber(ARGV[15])
if string.sub(ARGV[15], 1, 1) == '+' then deadline = math.max(now, due) + deadline end
local state = 'queued'
if ARGV[17] == '1' then state = 'awaiting_upload' elseif due > now then state = 'delayed' end
local job = {id = id, key = key, own = owner, ln = lane, ca = now, v = 1,
  sc = math.max(now, due) - tonumber(ARGV[4])}  -- a set time is its place, not when it was told
call('HSET', key, 'st', state, 'own', owner, 'ln', lane, 'v', 1, 'tok', 0, 'at', 0, 'ma', ARGV[12],
  'ca', now, 'sc', job.sc, 'rt', ARGV[13], 'doc', ARGV[5])
if #files > 0 then call('HSET', key, 'fi', table.concat(files, ' ')) end
if #uploads > 0 then call('HSET', key, 'up', table.concat(uploads, ' ')) end
if ARGV[18] ~= '' then
  call('HSET', key, 'ba', ARGV[18])
  index('members:' .. ARGV[18], id, now)
  call('HINCRBY', P .. 'batch:' .. ARGV[18], 'acc', 1)
  count(ARGV[18], state, 1)
end
if ARGV[21] ~= '' then call('HSET', key, 'rd', ARGV[21]) end
if ARGV[24] ~= '' then hold_kept(key, ARGV[24], true) end
if before then
  call('HSET', before.key, 'rb', id)
  call('HINCRBY', before.key, 'v', 1)
end
set_account(lane, owner, limits)
spend(owner, 'jobs', 1)
spend(owner, 'bytes', tonumber(ARGV[16]))
index('jobs:' .. owner, id, now)
index('jobs:' .. owner .. ':' .. state, id, now)
if state == 'delayed' then
  call('HSET', key, 'due', due)
  index('delayed', id, due)
elseif state == 'queued' and not prefix then
  enter(job)
end
if deadline > 0 and not prefix then index('deadlines', id, deadline) end
if idem then call('SET', idem, 'done ' .. ARGV[7] .. ' ' .. id, 'EX', ARGV[9]) end
-- Everything that is needed to build the record again stands in the event.
event(id, 'submit', owner, 1, table.concat({
  '{"st":"', state, '","ln":"', lane, '","ma":', ARGV[12], ',"rt":', ARGV[13], ',"sc":', job.sc, ',"due":', due,
  ',"deadline":', deadline, ',"fi":"', table.concat(files, ' '),
  '","up":"', table.concat(uploads, ' '), '","files":{', table.concat(brought, ','),
  '},"idem":"', idem and (ARGV[6] .. ' ' .. ARGV[7]) or '', '","rd":"', ARGV[21], '","doc":', ARGV[5], '}',
}))
if prefix then  -- it is done already: what it asks for has been made, and stays as long as this one
  call('HSETNX', P .. 'shared', prefix, 1)
  call('HINCRBY', P .. 'shared', prefix, 1)
  job.st, job.rt, job.rd = state, tonumber(ARGV[13]), ARGV[21]
  job.ba = ARGV[18] ~= '' and ARGV[18] or false
  job.up = table.concat(uploads, ' ')
  finish(job, 'reuse', 'succeeded', {'res', ARGV[23], 'pre', prefix}, ARGV[23])
end
commit()
return {'ok', id, now}
