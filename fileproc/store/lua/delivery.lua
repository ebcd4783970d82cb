-- The queue of deliveries to webhooks: filled from the events, leased to senders, settled by them.
-- A channel is an owner's endpoint, `<owner>/<endpoint>`; it is looked at when it is due.
-- Writes  delivery:<id>, outbox/log/ended:<owner>:<endpoint>, posting:<owner>, webhooks_due,
--         webhooks_leases, webhooks_read, hooked, webhook:<owner>:<id>
-- ARGV 1 verb, 2 most in flight for an owner, 3 for an endpoint, 4 lease (ms), 5 most waiting for an
--      owner, 6 a record is kept so long after its end (s), 7 most ended ones kept for an endpoint, then
--   queue      8 position that is expected or '*' to leave it alone, 9 new position, 10 number of
--              hooks to remember, for each: job, hook (JSON) or '' to forget it; then for each
--              delivery: id, owner, endpoint, url or '' for the endpoint's, type, job or '', body
--              Returns {'ok', queued, dropped} | {'stale', position}: another reader was faster
--   take       8 how many
--              Returns for each: id, token, owner, endpoint, url, type, body, attempts in this
--              round, secret, older secret or ''
--   settle     8 owner, 9 endpoint, 10 id, 11 token, 12 outcome: done, retry, dead, gone, release;
--              13 note of the attempt, 14 wait (ms), 15 an endpoint that fails for so long is
--              disabled (ms).  Returns 0 somebody else has it, 1 noted, 2 and the endpoint is
--              disabled by it
--   redeliver  8 owner, 9 endpoint, 10 id
--              Returns {'ok'} | {'absent'} | {'pending'} | {'disabled'} | {'quota', n}
local verb = ARGV[1]
local OWNER_CAP, ENDPOINT_CAP, LEASE_MS = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local MOST_WAITING, KEEP_S, MOST_KEPT = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local AT_ONCE = 100
local DUE, LEASES = P .. 'webhooks_due', P .. 'webhooks_leases'

local function outbox(owner, endpoint) return P .. 'outbox:' .. owner .. ':' .. endpoint end
local function posting(owner) return P .. 'posting:' .. owner end
local function record(id) return P .. 'delivery:' .. id end

local function enabled(owner, endpoint) return call('HGET', webhook_key(owner, endpoint), 'on') == '1' end

-- How many more may be in flight now.
local function room(owner, endpoint)
  local mine = 0
  local all = call('SMEMBERS', posting(owner))
  for _, member in ipairs(all) do
    if string.sub(member, 1, #endpoint + 1) == endpoint .. '/' then mine = mine + 1 end
  end
  return math.min(OWNER_CAP - #all, ENDPOINT_CAP - mine)
end

-- When a channel is next worth a look. One without room is woken by whatever ends in flight.
local function schedule(owner, endpoint)
  local head = call('ZRANGE', outbox(owner, endpoint), 0, 0, 'WITHSCORES')
  if not head[1] then return call('ZREM', DUE, owner .. '/' .. endpoint) end
  local due = tonumber(head[2])
  if not enabled(owner, endpoint) then
    due = now
  elseif room(owner, endpoint) <= 0 then
    due = math.max(due, now + LEASE_MS)
  end
  call('ZADD', DUE, due, owner .. '/' .. endpoint)
end

local function schedule_all(owner)
  for _, endpoint in ipairs(call('ZRANGE', P .. 'webhooks:' .. owner, 0, -1)) do schedule(owner, endpoint) end
end

local function waiting(owner)
  local n = call('SCARD', posting(owner))
  for _, endpoint in ipairs(call('ZRANGE', P .. 'webhooks:' .. owner, 0, -1)) do
    n = n + call('ZCARD', outbox(owner, endpoint))
  end
  return n
end

local function forget_ended(owner, endpoint)
  local suffix = ':' .. owner .. ':' .. endpoint
  local ended, log = P .. 'ended' .. suffix, P .. 'log' .. suffix
  local old = call('ZRANGEBYSCORE', ended, '-inf', now - KEEP_S * 1000, 'LIMIT', 0, AT_ONCE)
  local surplus = math.min(call('ZCARD', ended) - MOST_KEPT, AT_ONCE)
  if surplus > #old then old = call('ZRANGE', ended, 0, surplus - 1) end
  for _, id in ipairs(old) do
    call('DEL', record(id))
    call('ZREM', ended, id)
    call('ZREM', log, id)
  end
end

-- The record says how it ended and stays for a while.
local function finish_delivery(owner, endpoint, id, state)
  local suffix = ':' .. owner .. ':' .. endpoint
  call('HSET', record(id), 'st', state, 'fin', now)
  call('EXPIRE', record(id), KEEP_S)
  call('ZADD', P .. 'ended' .. suffix, now, id)
  call('EXPIRE', P .. 'ended' .. suffix, KEEP_S)
  forget_ended(owner, endpoint)
  event(id, 'delivery_ended', owner, 0, state)
end

local function put(id, owner, endpoint)
  call('HSET', record(id), 'st', 'pending', 'rd', 0)
  call('EXPIRE', record(id), 2 * KEEP_S)
  call('ZADD', outbox(owner, endpoint), now, id)
  local r = call('HMGET', record(id), 'url', 'ty', 'job')
  event(id, 'delivery_put', owner, 0,
    cjson.encode({ep = endpoint, url = r[1], ty = r[2], job = r[3], ca = tostring(now)}))
end

local function disable(owner, endpoint, why)
  if endpoint == 'jobs' or not enabled(owner, endpoint) then return false end
  call('HSET', webhook_key(owner, endpoint), 'on', 0, 'why', why, 'off', now)
  tell_webhook(owner, endpoint)
  return true
end

local verbs = {}

function verbs.queue()
  local expected = ARGV[8]
  if expected ~= '*' then
    local held = call('GET', P .. 'webhooks_read') or ''
    if held ~= expected then return {'stale', held} end
  end
  local i, counts, channels, queued, dropped = 11, {}, {}, 0, 0
  for _ = 1, tonumber(ARGV[10]) do
    if ARGV[i + 1] == '' then call('HDEL', P .. 'hooked', ARGV[i]) else call('HSET', P .. 'hooked', ARGV[i], ARGV[i + 1]) end
    i = i + 2
  end
  for at = i, #ARGV, 7 do
    local id, owner, endpoint = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if enabled(owner, endpoint) and call('EXISTS', record(id)) == 0 then
      counts[owner] = counts[owner] or waiting(owner)
      if counts[owner] >= MOST_WAITING then
        dropped = dropped + 1
        call('HINCRBY', webhook_key(owner, endpoint), 'skip', 1)
      else
        counts[owner] = counts[owner] + 1
        queued = queued + 1
        call('HSET', record(id), 'own', owner, 'ep', endpoint, 'url', ARGV[at + 3], 'ty', ARGV[at + 4],
          'job', ARGV[at + 5], 'body', ARGV[at + 6], 'at', 0, 'tok', 0, 'ca', now)
        put(id, owner, endpoint)
        local log = P .. 'log:' .. owner .. ':' .. endpoint
        call('ZADD', log, now, id)
        call('EXPIRE', log, 3 * KEEP_S)
        channels[owner .. '/' .. endpoint] = {owner, endpoint}
      end
    end
  end
  for _, channel in pairs(channels) do schedule(channel[1], channel[2]) end
  if expected ~= '*' then call('SET', P .. 'webhooks_read', ARGV[9]) end
  commit()
  return {'ok', queued, dropped}
end

-- What a sender took and did not settle in time is due again.
local function reclaim()
  local late = call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, AT_ONCE)
  local owners = {}
  for _, member in ipairs(late) do
    local owner, endpoint, id = string.match(member, '^(.*)/([^/]*)/([^/]*)$')
    call('ZREM', LEASES, member)
    call('SREM', posting(owner), endpoint .. '/' .. id)
    if call('EXISTS', webhook_key(owner, endpoint)) == 1 then call('ZADD', outbox(owner, endpoint), now, id) end
    owners[owner] = true
  end
  for owner in pairs(owners) do schedule_all(owner) end
end

-- Nothing more is sent to an endpoint that is disabled.
local function give_up(owner, endpoint)
  for _, id in ipairs(call('ZRANGE', outbox(owner, endpoint), 0, AT_ONCE - 1)) do
    call('ZREM', outbox(owner, endpoint), id)
    if call('EXISTS', record(id)) == 1 then
      call('HSET', record(id), 'note', 'disabled')
      finish_delivery(owner, endpoint, id, 'failed')
    end
  end
end

local function lease(owner, endpoint, id, out)
  call('ZREM', outbox(owner, endpoint), id)
  local r = call('HMGET', record(id), 'url', 'ty', 'body', 'rd', 'own')
  if not r[5] then return end  -- its record has ended
  local token = call('HINCRBY', record(id), 'tok', 1)
  call('ZADD', LEASES, now + LEASE_MS, owner .. '/' .. endpoint .. '/' .. id)
  call('SADD', posting(owner), endpoint .. '/' .. id)
  local e = call('HMGET', webhook_key(owner, endpoint), 'url', 'sec', 'old', 'oldto')
  local old = e[3] and tonumber(e[4] or 0) > now and e[3] or ''
  local url = r[1] ~= '' and r[1] or e[1] or ''
  for _, value in ipairs({id, tostring(token), owner, endpoint, url, r[2], r[3], r[4] or '0', e[2] or '', old}) do
    out[#out + 1] = value
  end
end

function verbs.take()
  reclaim()
  local want, out, took = tonumber(ARGV[8]), {}, 0
  for _, channel in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, AT_ONCE)) do
    local owner, endpoint = string.match(channel, '^(.*)/([^/]*)$')
    if not enabled(owner, endpoint) then
      give_up(owner, endpoint)
    else
      local most = math.min(want - took, room(owner, endpoint))
      if most > 0 then
        local ids = call('ZRANGEBYSCORE', outbox(owner, endpoint), '-inf', now, 'LIMIT', 0, most)
        for _, id in ipairs(ids) do lease(owner, endpoint, id, out) end
        took = took + #ids
      end
    end
    schedule(owner, endpoint)
    if took >= want then break end
  end
  commit()
  return out
end

function verbs.settle()
  local owner, endpoint, id, token, outcome = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
  local member = owner .. '/' .. endpoint .. '/' .. id
  if call('HGET', record(id), 'tok') ~= token or not call('ZSCORE', LEASES, member) then return 0 end
  call('ZREM', LEASES, member)
  call('SREM', posting(owner), endpoint .. '/' .. id)
  local hook, answer = webhook_key(owner, endpoint), 1
  if call('EXISTS', hook) == 0 then  -- deleted meanwhile, with all that waited for it
    call('DEL', record(id))
    schedule_all(owner)
    return 1
  end
  if outcome ~= 'release' then
    local tries = call('HGET', record(id), 'tries')
    call('HSET', record(id), 'tries', (tries and tries .. '\n' or '') .. now .. ' ' .. ARGV[13])
    call('HINCRBY', record(id), 'at', 1)
    call('HINCRBY', record(id), 'rd', 1)
  end
  if outcome == 'done' then
    call('HDEL', hook, 'since')
    finish_delivery(owner, endpoint, id, 'succeeded')
  elseif outcome == 'retry' or outcome == 'release' then
    local wait = tonumber(ARGV[14])
    call('EXPIRE', record(id), 2 * KEEP_S + math.ceil(wait / 1000))
    call('ZADD', outbox(owner, endpoint), now + wait, id)
  else
    finish_delivery(owner, endpoint, id, 'failed')
  end
  if outcome == 'gone' and disable(owner, endpoint, 'gone') then answer = 2 end
  if outcome == 'retry' or outcome == 'dead' then
    call('HSETNX', hook, 'since', now)
    local failing = now - tonumber(call('HGET', hook, 'since'))
    if failing >= tonumber(ARGV[15]) and disable(owner, endpoint, 'failing') then answer = 2 end
  end
  schedule_all(owner)
  commit()
  return answer
end

function verbs.redeliver()
  local owner, endpoint, id = ARGV[8], ARGV[9], ARGV[10]
  local r = call('HMGET', record(id), 'own', 'ep', 'st')
  if r[1] ~= owner or r[2] ~= endpoint then return {'absent'} end
  if r[3] == 'pending' then return {'pending'} end
  if not enabled(owner, endpoint) then return {'disabled'} end
  if waiting(owner) >= MOST_WAITING then return {'quota', waiting(owner)} end
  call('ZREM', P .. 'ended:' .. owner .. ':' .. endpoint, id)
  call('HDEL', record(id), 'fin', 'note')
  put(id, owner, endpoint)
  schedule(owner, endpoint)
  commit()
  return {'ok'}
end

return verbs[verb]()
