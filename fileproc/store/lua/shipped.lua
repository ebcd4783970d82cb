-- Notes how far the events are safe in object storage; forward only, by two shippers at once too.
-- Writes  shipped
-- ARGV 1 stream id of the last entry in a batch that is stored
-- Returns the id that holds now.
local key = P .. 'shipped'
local held = call('GET', key)
if held then
  local ms, seq = string.match(held, '^(%d+)-(%d+)$')
  local new_ms, new_seq = string.match(ARGV[1], '^(%d+)-(%d+)$')
  ms, seq, new_ms, new_seq = tonumber(ms), tonumber(seq), tonumber(new_ms), tonumber(new_seq)
  if new_ms < ms or (new_ms == ms and new_seq <= seq) then return held end
end
call('SET', key, ARGV[1])
return ARGV[1]
