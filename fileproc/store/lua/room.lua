-- Whether another job of an owner would be taken now: asked before its files are uploaded. What holds
-- is what accept finds afterwards.
-- ARGV 1 owner, 2 limits of everybody (see limits_of), 3 bytes to come
-- Returns {'ok'} | {'quota', ...} (see refusal)
return refusal(ARGV[1], limits_of(ARGV[1], ARGV[2]), tonumber(ARGV[3]), 1) or {'ok'}
