-- Reserves an idempotency key while its request is under way, keeps it, ties it to its answer, or
-- lets it go.
-- Writes  idem:<owner>:<hash>
-- ARGV 1 reserve | renew | keep | release, 2 owner, 3 hash, 4 reservation, 5 life (s) of the
--      reservation, or of what is kept; for keep: 6 fingerprint, 7 answer (JSON of one line)
-- Returns {'ok'} | {'in_flight'} | {'done', fingerprint, job id} | {'kept', fingerprint, answer}
local key, mine = P .. 'idem:' .. ARGV[2] .. ':' .. ARGV[3], 'pending ' .. ARGV[4]
if ARGV[1] == 'reserve' and lost() then return LOST end  -- it may have its answer already
local held = call('GET', key)
if ARGV[1] == 'release' then
  if held == mine then call('DEL', key) end
  return {'ok'}
end
if held and held ~= mine then
  local kind, fingerprint, what = string.match(held, '^(%l+) (%S+) (.*)$')
  if kind == 'done' or kind == 'kept' then return {kind, fingerprint, what} end
  return {'in_flight'}
end
if ARGV[1] == 'keep' then
  local kept = ARGV[6] .. ' ' .. ARGV[7]
  call('SET', key, 'kept ' .. kept, 'EX', ARGV[5])
  event(ARGV[3], 'answer_kept', ARGV[2], 0, kept)
  commit()
else
  call('SET', key, mine, 'EX', ARGV[5])
end
return {'ok'}
