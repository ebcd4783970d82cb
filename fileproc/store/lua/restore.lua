-- Writes a job back that the journal knows and Redis lost. Unfinished jobs become queued.
-- A replica that was promoted may know the job as it was a moment earlier: that is taken away first.
-- Writes  job:<id>, jobs:<owner>[:<state>], dead:<owner>, file:<id>, idem, wait/ring/ready, final, leases,
--         shared
-- ARGV 1 id, 2 owner, 3 lane, 4 state (queued or final), 5 version, 6 token, 7 attempt,
--      8 max attempts, 9 created, 10 started, 11 finished (ms or ''), 12 retention (ms), 13 score,
--      14 document, 15 result, 16 problem (JSON or ''), 17 prefix or '', 18 expires at (ms) or '',
--      19 '<hash> <fingerprint>' or '', 20 idempotency life (s), 21 the set time it waits for (ms)
--      or 0, 22 deadline (ms) or 0, 23 batch or '', 24 job that repeats it or '',
--      25 what it asks for (a digest) or '', 26 prefix of what it takes over from the job that it
--      repeats, while it is not over, or '', 27 life of a tombstone (s) if a batch that is not here
--      was never whole, else 0, then for each file: id, record
--      ('+' for one that was uploaded on its own: it is restored for itself, and before)
-- Returns 1 written, 0 the job is there, and over or no older than the journal's last word of it,
--         2 withdrawn: nobody was told of its batch.
-- Version and token jump ahead of all that may have been handed out after the journal's last entry,
-- so that a zombie of before settles nothing and an ETag of before matches nothing: to the time, so
-- that the next rebuild jumps further.
local JUMP = 1000000
local id, owner, state = ARGV[1], ARGV[2], ARGV[4]
local key = P .. 'job:' .. id
local due = tonumber(ARGV[21])
if state == 'queued' and due > now then state = 'delayed' end
if call('EXISTS', key) == 1 then
  local known = load(id)
  if not known or known.st == 'deleted' then return 0 end
  if not MOVES.cancel.from[known.st] then return 0 end  -- it is over here: clients have seen that
  -- No history leads out of an end: this store has forgotten it, however far it has counted since.
  -- But a cancel may be what we make of one that was asked for.
  local ended = state ~= 'canceled' and not MOVES.cancel.from[state]
  if known.v >= tonumber(ARGV[5]) and not ended then return 0 end
  if known.st == 'queued' then withdraw(known) end
  if known.st == 'running' then
    index('leases', id, false)
    unadmit(known.ln, known.own, 1)
  end
  for _, where in ipairs({'delayed', 'deadlines'}) do index(where, id, false) end
  count(known.ba, known.st, -1)
  index('jobs:' .. known.own .. ':' .. known.st, id, false)
  for file in string.gmatch(call('HGET', key, 'fi') or '', '%S+') do
    call('HINCRBY', P .. 'file:' .. file, 'n', -1)  -- counted again below
  end
  for file in string.gmatch(known.up, '%S+') do
    if call('HEXISTS', P .. 'file:' .. file, 'u') == 1 then
      call('HINCRBY', P .. 'file:' .. file, 'u', -1)  -- likewise
    end
  end
  let_go_kept(known)  -- likewise
  call('DEL', key)
end
call('HSET', key, 'st', state, 'own', owner, 'ln', ARGV[3], 'v', math.max(tonumber(ARGV[5]) + JUMP, now),
  'tok', math.max(tonumber(ARGV[6]) + JUMP, now), 'at', ARGV[7], 'ma', ARGV[8], 'ca', ARGV[9], 'rt', ARGV[12],
  'doc', ARGV[14])
for field, place in pairs({sa = 10, fa = 11, res = 15, err = 16, pre = 17, ex = 18, rb = 24, rd = 25}) do
  if ARGV[place] ~= '' then call('HSET', key, field, ARGV[place]) end
end
local files, uploads = {}, {}
for i = 28, #ARGV, 2 do
  local file = P .. 'file:' .. ARGV[i]
  if ARGV[i + 1] == '+' then
    uploads[#uploads + 1] = ARGV[i]
    if MOVES.cancel.from[state] and call('HEXISTS', file, 'u') == 1 then
      call('HINCRBY', file, 'u', 1)
    end
  else
    if ARGV[i + 1] ~= '' then call('HSET', file, 'own', owner, 'meta', ARGV[i + 1]) end
    call('HINCRBY', file, 'n', 1)
    files[#files + 1] = ARGV[i]
    index('trash', 'files/' .. ARGV[i], false)
  end
end
if ARGV[17] ~= '' then  -- a lost worker's attempt is thrown away with all that has its token
  index('trash', ARGV[17], false)
  index('trash', (string.gsub(ARGV[17], '%-[^-]*$', '-')), false)
  local made_by = string.match(ARGV[17], '^attempts/([^/]+)/')
  if made_by ~= id then  -- the outputs are another's, too, if that is still here: it comes first
    local theirs = call('HGET', P .. 'job:' .. made_by, 'pre') == ARGV[17]
    call('HSETNX', P .. 'shared', ARGV[17], theirs and 1 or 0)
    call('HINCRBY', P .. 'shared', ARGV[17], 1)
  end
end
if ARGV[26] ~= '' then  -- of an earlier job, which is restored before, if it is not forgotten
  local earlier = string.match(ARGV[26], '^attempts/([^/]+)/')
  hold_kept(key, ARGV[26], call('HGET', P .. 'job:' .. earlier, 'pre') == ARGV[26])
  index('trash', ARGV[26], false)
end
if #files > 0 then call('HSET', key, 'fi', table.concat(files, ' ')) end
if #uploads > 0 then call('HSET', key, 'up', table.concat(uploads, ' ')) end
if ARGV[23] ~= '' then
  call('HSET', key, 'ba', ARGV[23])
  index('members:' .. ARGV[23], id, ARGV[9])
  count(ARGV[23], state, 1)
  if not MOVES.cancel.from[state] then count_end(ARGV[23]) end
end
index('jobs:' .. owner, id, ARGV[9])
index('jobs:' .. owner .. ':' .. state, id, ARGV[9])
if state == 'queued' then
  call('HSET', key, 'sc', ARGV[13])
  enter({id = id, own = owner, ln = ARGV[3], sc = ARGV[13]})
elseif state == 'delayed' then
  call('HSET', key, 'sc', ARGV[13], 'due', due)
  index('delayed', id, due)
else
  index('final', id, ARGV[18])
  if state == 'failed' then index('dead:' .. owner, id, ARGV[11]) end
end
if MOVES.expire.from[state] and ARGV[22] ~= '0' then index('deadlines', id, ARGV[22]) end
if ARGV[25] ~= '' and ARGV[18] ~= '' then
  remember_answer({own = owner, rd = ARGV[25], id = id}, state, tonumber(ARGV[18]), ARGV[16])
end
if ARGV[19] ~= '' then
  local hash, fingerprint = string.match(ARGV[19], '^(%S+) (%S+)$')
  local left = math.ceil((tonumber(ARGV[9]) - now) / 1000) + tonumber(ARGV[20])
  if left > 0 then
    call('SET', P .. 'idem:' .. owner .. ':' .. hash, 'done ' .. fingerprint .. ' ' .. id,
      'NX', 'EX', left)
  end
end
if ARGV[23] ~= '' and ARGV[27] ~= '0' and call('EXISTS', P .. 'batch:' .. ARGV[23]) == 0 then
  discard(load(id), ARGV[27])
  commit()
  return 2
end
commit()
return 1
