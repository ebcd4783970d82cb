-- Whether so many jobs and bytes of an owner would be taken now: asked before its files are uploaded. What holds
-- is what accept finds afterwards.
-- ARGV 1 owner, 2 limits of everybody (see limits_of), 3 bytes to come, 4 jobs
-- Returns {'ok'} | {'quota', ...} (see refusal)
return refusal(ARGV[1], limits_of(ARGV[1], ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])) or {'ok'}
