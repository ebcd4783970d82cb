-- Confirms what a worker popped, and takes as many more as it has free slots.
-- Writes  proc:<worker>:<lane>, job:<id>, leases, worker:<id>, workers
-- ARGV 1 worker, 2 lane, 3 flight, 4 call number, 5 free slots, 6 lease (ms), 7 worker lease (ms)
-- Returns {id, token, attempt, max attempts, owner, accepted at (ms), document, ...}; the same
--         again if the call number is that of the last call: its reply was lost on the way.
local worker, lane = ARGV[1], ARGV[2]
local book, slot = P .. 'worker:' .. worker, ARGV[2] .. ':' .. ARGV[3]
local out = {}

local function answer(job)
  local doc = call('HGET', job.key, 'doc')
  for _, value in ipairs({job.id, job.tok, job.at, job.ma, job.own, job.ca, doc}) do
    out[#out + 1] = value
  end
end

local last = call('HMGET', book, 'no:' .. slot, 'got:' .. slot)
if last[1] == ARGV[4] then
  for id, token in string.gmatch(last[2] or '', '(%S+)=(%S+)') do
    local job = load(id)
    if job and job.st == 'running' and job.tok == token then answer(job) end
  end
  return out
end

if lost() then return out end
local proc, ready, free = P .. 'proc:' .. worker .. ':' .. lane, P .. 'ready:' .. lane, tonumber(ARGV[5])
local take = {}
for _, id in ipairs(call('LRANGE', proc, 0, -1)) do
  local job = load(id)
  if job and job.st == 'queued' then  -- else it was withdrawn between pop and claim
    if #take < free then take[#take + 1] = job else put_back(job) end
  end
end
call('DEL', proc)
if #take < free then
  local ids = call('RPOP', ready, free - #take) or {}
  for _, id in ipairs(feed(lane, free - #take - #ids)) do ids[#ids + 1] = id end
  for _, id in ipairs(ids) do
    local job = load(id)
    if job and job.st == 'queued' then take[#take + 1] = job end
  end
end

local got = {}
for _, job in ipairs(take) do
  job.at = job.at + 1
  job.tok = tostring(tonumber(job.tok) + 1)  -- counts every claim, so it fences; attempts do not
  move(job, 'claim', 'running', {'at', job.at, 'tok', job.tok, 'w', worker, 'sa', now},
    '{"attempt":' .. job.at .. ',"token":' .. job.tok .. ',"worker":"' .. worker .. '"}')
  index('leases', job.id, now + tonumber(ARGV[6]))
  index('deadlines', job.id, false)
  got[#got + 1] = job.id .. '=' .. job.tok
  answer(job)
end
call('HSET', book, 'no:' .. slot, ARGV[4], 'got:' .. slot, table.concat(got, ' '), 'seen', now)
call('EXPIRE', book, 3600)
index('workers', worker, now + tonumber(ARGV[7]))
touched[lane] = true
commit()
return out
