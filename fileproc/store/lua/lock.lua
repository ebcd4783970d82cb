-- Takes or keeps a lock that only saves work: two holders do no harm.
-- Writes  lock:<name>
-- ARGV 1 name, 2 holder, 3 life (ms)
-- Returns 1 held, 0 somebody else has it.
local key = P .. 'lock:' .. ARGV[1]
local holder = call('GET', key)
if holder and holder ~= ARGV[2] then return 0 end
call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
