"""The name of every key, in one place. All share one hash tag, the prefix.

| key                     | type    | content                                        | end       |
|-------------------------|---------|------------------------------------------------|-----------|
| job:<id>                | hash    | the record (fields below)                      | tombstone |
| jobs:<owner>[:<state>]  | zset    | id -> created at (ms)                          | purge     |
| dead:<owner>            | zset    | id of a failed job -> finished at (ms)         | purge     |
| file:<id>               | hash    | own, meta (JSON), n (jobs that use it); if it  | last job  |
|                         |         | was uploaded on its own: ca, ex, u (unfinished | tombstone |
|                         |         | jobs that use it), over; then own, gone        |           |
| files, files:<owner>    | zset    | id of such a file -> expires; created (ms)     | its end   |
| upload:<id>             | hash    | own, doc (JSON), mp, ca, ex, size, off, tail,  | done/gone |
|                         |         | e1, ..., holder, until, ask; then own, done... | 1 d       |
| uploads[:<owner>]       | zset    | id of an upload under way -> expires; created  | its end   |
| wait:<lane>:<owner>     | zset    | id -> created at - head start (ms)             | empty     |
| ring:<lane>             | zset    | owner -> pass; only flows that may run         | empty     |
| flow:<lane>:<owner>     | hash    | adm (admitted), pass, cap, weight, paused      | idle 1 d  |
| lane:<lane>             | hash    | vt (virtual time), paused, waiting (jobs)      | -         |
| ready:<lane>            | list    | short list; in at the left, out at the right   | empty     |
| proc:<worker>:<lane>    | list    | popped by BRPOPLPUSH and not yet claimed       | claim     |
| worker:<id>             | hash    | no/got per lane and flight, lanes, seen, about | 1 h       |
| workers                 | zset    | id -> end of its lease (ms)                    | dead 1 h  |
| leases                  | zset    | job id -> end of its lease (ms)                | settle    |
| delayed                 | zset    | job id -> due (ms)                             | due       |
| batch:<id>              | hash    | the batch (fields below)                       | retention |
| members:<batch>         | zset    | id of a job of it -> created at (ms)           | last job  |
| batches:<owner>         | zset    | id -> created at (ms)                          | retention |
| batch_ends              | zset    | batch id -> to be looked at (ms)               | its end   |
| schedule:<id>           | hash    | a recurring job (fields below)                 | delete    |
| schedules:<owner>       | zset    | its id -> created (ms)                         | empty     |
| schedules_due           | zset    | its id -> due, or its firing is over (ms)      | pause     |
| taken:<schedule>        | set     | digests of objects that have had their job     | delete    |
| runs:<schedule>         | list    | what came of its last firings (JSON)           | delete    |
| reuse:<owner>:<digest>  | string  | id of the newest job that answers this         | its job   |
| shared                  | hash    | prefix of outputs -> jobs that need them       | last job  |
| cost:<operation>        | hash    | n, x, y, xx, xy, cpu: bytes and seconds        | idle 30 d |
| deadlines               | zset    | job id -> must have started by (ms)            | claim     |
| final                   | zset    | job id -> to be deleted at (ms)                | purge     |
| trash                   | zset    | object key, or prefix ending in / or - -> due  | collected |
| idem:<owner>:<hash>     | string  | pending <random> / done <fingerprint> <id>     | 30 s/24 h |
|                         |         | / kept <fingerprint> <answer (JSON)>           |           |
| key:<id>, keys          | hash    | api keys, hashes only; id -> created (ms)      | -         |
| grants:<owner>          | zset    | id of an upload token -> its end (ms)          | the last  |
| template:<owner>:<name> | hash    | last (version), <version> -> ms and JSON       | delete    |
| templates:<owner>       | zset    | name -> changed (ms)                           | empty     |
| owner:<owner>           | hash    | what is set for it, changed (ms)               | reset     |
| owners                  | zset    | owner with settings of its own -> changed (ms) | empty     |
| usage:<owner>:<day>     | hash    | jobs, bytes, cpu (ms); days since 1970         | 93 d      |
| limit:<...>             | list    | times of requests, of the rate limiter         | window    |
| webhook:<owner>:<id>    | hash    | an endpoint: url, ev(ents), secrets, on, why   | delete    |
| webhooks:<owner>        | zset    | its id -> created (ms)                         | empty     |
| webhooks                | zset    | owner with an endpoint of their own -> ms      | empty     |
| delivery:<id>           | hash    | a message, its body, its attempts              | its life  |
| outbox:<owner>:<hook>   | zset    | id of a message -> due (ms)                    | empty     |
| posting:<owner>         | set     | <hook>/<id> of messages that senders have      | empty     |
| webhooks_due            | zset    | <owner>/<hook> -> to be looked at (ms)         | empty     |
| webhooks_leases         | zset    | <owner>/<hook>/<id> -> end of its lease (ms)   | settle    |
| log:<owner>:<hook>      | zset    | id of a message -> created (ms)                | its life  |
| ended:<owner>:<hook>    | zset    | id of a message that is over -> ended (ms)     | its life  |
| hooked                  | hash    | id of an open job -> its own hook (JSON)       | job over  |
| webhooks_read           | string  | <entry>.<lines> of events made into messages   | -         |
| link:<code>             | hash    | own, job, index, ends, max, n (downloads), ... | end + 7 d |
| links:<owner>           | zset    | code -> created (ms)                           | the last  |
| events                  | stream  | one entry per script call: lines of events     | trimmed   |
| schema                  | string  | version of all this                            | -         |
| shipped                 | string  | last entry of events safe in object storage    | -         |
| compacted               | string  | when a compaction of the journal began (ms)    | -         |
| lock:<name>             | string  | holder                                         | its life  |

Fields of job:<id>: st state, own owner, ln lane, v version, tok fencing token, at attempt, ma max
attempts, ca/sa/fa created/started/finished (ms), ex deleted at (ms), rt retention (ms), sc score in
waiting, due (ms), w worker, cq cancel requested, del delete at the end, fi file ids, up ids of
files uploaded on their own, pre prefix of the outputs (of a failed one: of what is kept of it), kp
prefix of what an earlier job has kept for it, pg progress, ba batch, rb id of the job that repeats
it, rd digest of what it asks for, doc, res, err (JSON).

Fields of batch:<id>: st (open: its jobs are still being accepted; dropped: it is withdrawn;
running, completed), own owner, n jobs in all, acc accepted, fin ended, one number for each state
of a job that has any, v version, ca/fa created/completed (ms), ex deleted at (ms), rt retention
(ms), doc.

Fields of schedule:<id>: own owner, st (active, paused), def what its owner said (JSON), v version,
ca/up created/changed (ms), next due (ms), last that was due and fired (ms), asked to be fired at
(ms), fails failures in a row; of a firing n its number, and until it has ended tick when it was
due (ms), trig (cron, manual), tries how often it was claimed.
"""

from __future__ import annotations


class Keys:
    """Key names below one prefix such as `{fp}:`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.workers = f"{prefix}workers"
        self.leases = f"{prefix}leases"
        self.delayed = f"{prefix}delayed"
        self.deadlines = f"{prefix}deadlines"
        self.batch_ends = f"{prefix}batch_ends"
        self.schedules_due = f"{prefix}schedules_due"
        self.shared = f"{prefix}shared"
        self.final = f"{prefix}final"
        self.trash = f"{prefix}trash"
        self.events = f"{prefix}events"
        self.api_keys = f"{prefix}keys"
        self.owners = f"{prefix}owners"
        self.shipped = f"{prefix}shipped"
        self.compacted = f"{prefix}compacted"
        self.schema = f"{prefix}schema"
        self.webhook_owners = f"{prefix}webhooks"
        self.webhooks_due = f"{prefix}webhooks_due"
        self.webhooks_read = f"{prefix}webhooks_read"
        self.hooked = f"{prefix}hooked"
        self.progress_channel = f"{prefix}progress"

    def job(self, job_id: str) -> str:
        return f"{self.prefix}job:{job_id}"

    def jobs(self, owner: str, state: str | None = None) -> str:
        return f"{self.prefix}jobs:{owner}:{state}" if state else f"{self.prefix}jobs:{owner}"

    def dead(self, owner: str) -> str:
        return f"{self.prefix}dead:{owner}"

    def reuse(self, owner: str, digest: str) -> str:
        return f"{self.prefix}reuse:{owner}:{digest}"

    def cost(self, operation: str) -> str:
        return f"{self.prefix}cost:{operation}"

    def batch(self, batch_id: str) -> str:
        return f"{self.prefix}batch:{batch_id}"

    def members(self, batch_id: str) -> str:
        return f"{self.prefix}members:{batch_id}"

    def batches(self, owner: str) -> str:
        return f"{self.prefix}batches:{owner}"

    def schedule(self, schedule_id: str) -> str:
        return f"{self.prefix}schedule:{schedule_id}"

    def schedules(self, owner: str) -> str:
        return f"{self.prefix}schedules:{owner}"

    def taken(self, schedule_id: str) -> str:
        return f"{self.prefix}taken:{schedule_id}"

    def runs(self, schedule_id: str) -> str:
        return f"{self.prefix}runs:{schedule_id}"

    def file(self, file_id: str) -> str:
        return f"{self.prefix}file:{file_id}"

    def files_of(self, owner: str) -> str:
        return f"{self.prefix}files:{owner}"

    def upload(self, upload_id: str) -> str:
        return f"{self.prefix}upload:{upload_id}"

    def ready(self, lane: str) -> str:
        return f"{self.prefix}ready:{lane}"

    def ring(self, lane: str) -> str:
        return f"{self.prefix}ring:{lane}"

    def proc(self, worker: str, lane: str) -> str:
        return f"{self.prefix}proc:{worker}:{lane}"

    def worker(self, worker: str) -> str:
        return f"{self.prefix}worker:{worker}"

    def template(self, owner: str, name: str) -> str:
        return f"{self.prefix}template:{owner}:{name}"

    def templates(self, owner: str) -> str:
        return f"{self.prefix}templates:{owner}"

    def idempotency(self, owner: str, key_hash: str) -> str:
        return f"{self.prefix}idem:{owner}:{key_hash}"

    def owner(self, owner: str) -> str:
        return f"{self.prefix}owner:{owner}"

    def usage(self, owner: str, day: int) -> str:
        return f"{self.prefix}usage:{owner}:{day}"

    def flow(self, lane: str, owner: str) -> str:
        return f"{self.prefix}flow:{lane}:{owner}"

    def lane(self, lane: str) -> str:
        return f"{self.prefix}lane:{lane}"

    def wait(self, lane: str, owner: str) -> str:
        return f"{self.prefix}wait:{lane}:{owner}"

    def link(self, code: str) -> str:
        return f"{self.prefix}link:{code}"

    def links(self, owner: str) -> str:
        return f"{self.prefix}links:{owner}"

    def api_key(self, key_id: str) -> str:
        return f"{self.prefix}key:{key_id}"

    def webhook(self, owner: str, webhook_id: str) -> str:
        return f"{self.prefix}webhook:{owner}:{webhook_id}"

    def webhooks(self, owner: str) -> str:
        return f"{self.prefix}webhooks:{owner}"

    def delivery(self, delivery_id: str) -> str:
        return f"{self.prefix}delivery:{delivery_id}"

    def outbox(self, owner: str, webhook_id: str) -> str:
        return f"{self.prefix}outbox:{owner}:{webhook_id}"

    def delivery_log(self, owner: str, webhook_id: str) -> str:
        return f"{self.prefix}log:{owner}:{webhook_id}"
