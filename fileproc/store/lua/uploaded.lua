-- The upload that a job waited for is complete and checked: the job may run.
-- Writes  job:<id>, wait/ring/ready
-- ARGV 1 id, 2 owner, 3 document (JSON) with the files as they were found
-- Returns the state afterwards, or false.
local job = load(ARGV[1])
if not job or job.own ~= ARGV[2] then return false end
if job.st == 'awaiting_upload' and move(job, 'uploaded', 'queued', {'doc', ARGV[3]}, ARGV[3]) then
  index('deadlines', job.id, false)
  enter(job)
end
commit()
return job.st
