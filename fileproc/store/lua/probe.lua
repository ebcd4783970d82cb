-- Whether this server lets scripts touch keys that are computed: one that does not cannot be used.
-- ARGV 1 a random name
-- Returns 1.
call('SET', P .. 'probe:' .. ARGV[1], 1, 'EX', 5)
return call('EXISTS', P .. 'probe:' .. ARGV[1])
