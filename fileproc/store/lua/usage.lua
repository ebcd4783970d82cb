-- Writes back what the journal knows an owner to have used on a day, unless more is known here.
-- Writes  usage:<owner>:<day>
-- ARGV 1 owner, 2 day (days since 1970), then name, amount, ...
local key = P .. 'usage:' .. ARGV[1] .. ':' .. ARGV[2]
local left = (tonumber(ARGV[2]) + 1) * DAY_MS + USAGE_S * 1000 - now
if left <= 0 then return 0 end
for i = 3, #ARGV, 2 do
  if (tonumber(call('HGET', key, ARGV[i])) or 0) < tonumber(ARGV[i + 1]) then
    call('HSET', key, ARGV[i], ARGV[i + 1])
  end
end
call('PEXPIRE', key, left)
return 1
