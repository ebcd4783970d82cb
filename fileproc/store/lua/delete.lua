-- Deletes a job with its objects. A running one is canceled first and goes when its worker lets go.
-- Writes  job:<id>, indexes, file:<id>, trash
-- ARGV 1 id, 2 owner, 3 life of the tombstone (s)
-- Returns the state it was in ('deleted' if it was gone already), or false.
local job = load(ARGV[1])
if not job or job.own ~= ARGV[2] then return false end
local was = job.st
discard(job, ARGV[3])
commit()
return was
