-- Ends attempts: complete, fail, cancel, retry or release, each only with the token of its claim.
-- Writes  job:<id>, leases, delayed, final, ready, flow, trash, usage:<owner>:<day>
-- ARGV for each: id, token, move, delay (ms), prefix of its objects or '', data (JSON) or '', CPU (ms),
--         prefix of what is kept of it where it fails or ''
-- Returns for each 1 done, 2 it was done before, 0 stale: somebody else has, or ended, the job.
--         On 0 the objects go to the trash here; on 2 they are the published ones.
local TARGET = {complete = 'succeeded', fail = 'failed', cancel = 'canceled', retry = 'delayed', release = 'queued'}
local UNDONE = {retry = true, release = true}  -- they cancel a job whose owner wants that
local out = {}

local function settle(job, name, delay, prefix, data, kept)
  if job.cq and UNDONE[name] then name, data = 'cancel', '' end
  index('leases', job.id, false)
  if name ~= 'complete' then trash(prefix, now) end
  if name ~= 'fail' then trash(kept, now) end
  if name == 'complete' then
    unadmit(job.ln, job.own, 1)
    finish(job, name, 'succeeded', {'res', data, 'pre', prefix}, data)
    call('HDEL', job.key, 'err')
  elseif name == 'retry' then
    unadmit(job.ln, job.own, 1)
    local due = now + delay
    move(job, name, 'delayed', {'due', due, 'err', data}, data)
    call('HDEL', job.key, 'w', 'pg')
    index('delayed', job.id, due)
  elseif name == 'release' then
    move(job, name, 'queued', {'at', job.at - 1})  -- the attempt does not count
    call('HDEL', job.key, 'w', 'pg')
    put_back(job)
  else
    unadmit(job.ln, job.own, 1)
    local fields = data ~= '' and {'err', data} or {}
    if name == 'fail' and kept ~= '' then
      fields[#fields + 1] = 'pre'
      fields[#fields + 1] = kept
    end
    finish(job, name, TARGET[name], fields, data)
  end
end

for i = 1, #ARGV, 8 do
  local job, name = load(ARGV[i]), ARGV[i + 2]
  local mine = job and job.tok == ARGV[i + 1]
  if mine and job.st == 'running' then
    spend(job.own, 'cpu', tonumber(ARGV[i + 6]))
    settle(job, name, tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5], ARGV[i + 7])
    out[#out + 1] = 1
  elseif mine and (job.st == TARGET[name] or (job.st == 'canceled' and job.cq and UNDONE[name])) then
    out[#out + 1] = 2
  else
    -- Never the published ones, whatever a confused worker sends after its own complete.
    local published = job and call('HGET', job.key, 'pre')
    for _, prefix in ipairs({ARGV[i + 4], ARGV[i + 7]}) do
      if prefix ~= published then trash(prefix, now) end
    end
    out[#out + 1] = 0
  end
end
commit()
return out
