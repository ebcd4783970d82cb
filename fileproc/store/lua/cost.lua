-- Learns from one finished job what an operation costs; the last fifty or so count.
-- Writes  cost:<operation>
-- ARGV 1 operation, 2 bytes of its inputs, 3 wall time (s), 4 processor time (s), 5 life (s)
-- Sums for a straight line through (bytes, wall time), each weighing 2 % less with every job.
local KEEP = 0.98
local key, x, y = P .. 'cost:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local sums = call('HMGET', key, 'n', 'x', 'y', 'xx', 'xy', 'cpu')
local add = {1, x, y, x * x, x * y, tonumber(ARGV[4])}
local names = {'n', 'x', 'y', 'xx', 'xy', 'cpu'}
for i, name in ipairs(names) do
  call('HSET', key, name, string.format('%.17g', (tonumber(sums[i]) or 0) * KEEP + add[i]))
end
call('EXPIRE', key, ARGV[5])
return 1
