"""The books must balance after every step: every job is in exactly the places its state names."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis

from fileproc.jobs import FINAL, LANES, UNSTARTED, JobState
from fileproc.store.schema import VERSION
from support.snapshot import Fields, Snapshot, look

SHORT_LIST = 16

# What may stand below the prefix; with a life of its own or not.
_LASTING = re.compile(
    r"job:\S+|jobs:\S+|dead:\S+|file:\S+|wait:\S+|ring:\S+|flow:\S+|lane:\S+|ready:\S+|proc:\S+"
    r"|worker:\S+|workers|leases|delayed|deadlines|final|trash|key:\S+|keys|events|schema"
    r"|shipped|compacted|template:\S+|templates:\S+|owner:\S+|owners"
    r"|batch:\S+|batches:\S+|members:\S+|batch_ends|shared"
    r"|schedule:\S+|schedules:\S+|schedules_due|taken:\S+|runs:\S+"
    r"|webhook:\S+|webhooks:\S+|webhooks|outbox:\S+|posting:\S+|webhooks_due|webhooks_leases"
    r"|webhooks_read|hooked|files|files:\S+|upload:\S+|uploads|uploads:\S+"
)
_PASSING = re.compile(
    r"idem:\S+|key:\S+|lock:\S+|probe:\S+|worker:\S+|job:\S+|flow:\S+|limit:\S+|usage:\S+"
    r"|delivery:\S+|log:\S+|ended:\S+|reuse:\S+|cost:\S+|file:\S+|upload:\S+"
    r"|link:\S+|links:\S+|grants:\S+"
)

# Fields that a job in this state has, and those it must not have.
_HAS = {
    "running": {"w", "sa"},
    "delayed": {"due"},
    "succeeded": {"fa", "ex", "res", "pre"},
    "failed": {"fa", "ex", "err"},
    "canceled": {"fa", "ex"},
    "expired": {"fa", "ex"},
}
_HAS_NOT = {
    "awaiting_upload": {"w", "pg", "fa", "ex", "res", "pre"},
    "queued": {"w", "pg", "fa", "ex", "res", "pre", "due", "cq", "del"},
    "running": {"fa", "ex", "res", "pre", "due"},
    "delayed": {"w", "pg", "fa", "ex", "res", "pre", "cq", "del"},
    "succeeded": {"w", "pg", "due", "sc", "kp", "err"},
    "failed": {"w", "pg", "due", "sc", "kp", "res"},
    "canceled": {"w", "pg", "due", "sc", "kp", "res", "pre"},
    "expired": {"w", "pg", "due", "sc", "kp", "res", "pre"},
}


class Books:
    """Reads everything below one prefix with a client of its own, and looks for what is off."""

    def __init__(self, url: str, prefix: str) -> None:
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.prefix = prefix

    def key(self, name: str) -> str:
        return self.prefix + name

    def zset(self, name: str) -> dict[str, float]:
        return dict(self.redis.zrange(self.key(name), 0, -1, withscores=True))

    def look(self) -> Snapshot:
        return look(self.redis, self.prefix)

    def jobs(self) -> dict[str, Fields]:
        """Every record, also those that only say that their job is deleted."""
        return self.look().records

    def wipe(self) -> None:
        """Delete all keys below the prefix, as a lost volume would take them."""
        snapshot = self.look()
        if snapshot.names:
            self.redis.delete(*map(self.key, snapshot.names))

    def mark(self) -> None:
        """As a worker does that finds a new store: from now on it is in use."""
        self.redis.set(self.key("schema"), VERSION)

    def complaints(self) -> list[str]:
        """Everything that does not balance, as sentences."""
        return audit(self.look())


def audit(now: Snapshot) -> list[str]:
    """What is wrong at this moment, as sentences."""
    checks = (
        *(_kinds, _places, _right_places, _sets, _indexes, _records),
        *(_batches, _shared, _tombstones, _files, _uploads, _shelves, _trash, _accounts, _turns),
        *(_waiting, _pauses, _deliveries, _schedules),
    )
    return [complaint for check in checks for complaint in check(now)]


def unadoptable(now: Snapshot) -> list[str]:
    """Popped ids that nobody would put back if their worker died now."""
    return [
        f"{ids} are popped by {worker}, which adoption does not know"
        for (worker, _), ids in now.popped.items()
        if worker not in now.zset("workers")
    ]


def _kinds(now: Snapshot) -> Iterator[str]:
    for name in now.names:
        pattern = _PASSING if name in now.lives else _LASTING
        if not pattern.fullmatch(name):
            yield f"the key {name} is of no kind we know, or lives longer or shorter than its kind"


def _places(now: Snapshot) -> Iterator[str]:
    """Queued jobs stand in exactly one list: waiting, ready or popped; nothing else stands there.

    A withdrawn id may lie in a processing list until its worker claims; nowhere else.
    """
    waiting = [job for ids in now.waiting.values() for job in ids]
    ready = [job for lane in LANES for job in now.ready(lane)]
    popped = [job for ids in now.popped.values() for job in ids]
    yield from (f"{job} waits and is not queued" for job in {*waiting, *ready} - now.queued)
    stands = Counter(waiting + ready + popped)
    for job in now.queued:
        if stands[job] != 1:
            yield f"{job} is queued and stands in {stands[job]} places"


def _right_places(now: Snapshot) -> Iterator[str]:
    """Each list holds jobs of its own lane and owner, and waiting keeps their order."""
    for (lane, owner), ids in now.waiting.items():
        for job, score in ids.items():
            fields = now.jobs.get(job, {})
            if (fields.get("ln"), fields.get("own")) != (lane, owner):
                yield f"{job} waits for {owner} in {lane}, and is another's"
            if float(fields.get("sc", "nan")) != score:
                yield f"{job} waits at {score}, its place is {fields.get('sc')}"
    lists = [(lane, now.ready(lane)) for lane in LANES]
    lists += [(lane, ids) for (_, lane), ids in now.popped.items()]
    for lane, jobs in lists:
        for job in now.queued & set(jobs):
            if now.jobs[job]["ln"] != lane:
                yield f"{job} stands in a list of the lane {lane}, and is not of it"


def _sets(now: Snapshot) -> Iterator[str]:
    """Each state has its set, with the time that the record names."""

    def of(*states: str) -> dict[str, Fields]:
        return {job: fields for job, fields in now.jobs.items() if fields["st"] in states}

    if set(of("running")) != set(now.zset("leases")):
        yield f"running {set(of('running'))} != leased {set(now.zset('leases'))}"
    for name, states, member in (("delayed", ["delayed"], "due"), ("final", [*FINAL], "ex")):
        expected = {job: float(fields.get(member, -1)) for job, fields in of(*states).items()}
        if expected != now.zset(name):
            yield f"the set {name} holds {now.zset(name)}, the records say {expected}"
    for job in set(now.zset("deadlines")) - set(of(*UNSTARTED)):
        yield f"{job} has a deadline to start, and has started or is over"


def _indexes(now: Snapshot) -> Iterator[str]:
    """An owner's indexes list exactly the owner's jobs, by the time of their making."""
    expected: dict[str, dict[str, float]] = {}
    for job, fields in now.jobs.items():
        owner, state = fields["own"], fields["st"]
        for name in (f"jobs:{owner}", f"jobs:{owner}:{state}"):
            expected.setdefault(name, {})[job] = float(fields["ca"])
        if state == JobState.FAILED:
            expected.setdefault(f"dead:{owner}", {})[job] = float(fields["fa"])
    held = {name: now.zsets[name] for name in now.zsets if name.startswith(("jobs:", "dead:"))}
    for name in sorted({*expected, *held}):
        if expected.get(name, {}) != held.get(name, {}):
            yield f"{name} lists {held.get(name)}, the records say {expected.get(name)}"


def _records(now: Snapshot) -> Iterator[str]:
    for job, fields in now.jobs.items():
        state = fields["st"]
        if f"job:{job}" in now.lives:
            yield f"{job} is not deleted, and its record will vanish"
        if missing := _HAS.get(state, set()) - fields.keys():
            yield f"{job} is {state} without {missing}"
        if surplus := _HAS_NOT[state] & fields.keys():
            yield f"{job} is {state} and still has {surplus}"
        if int(fields["at"]) < 0 or int(fields["at"]) > int(fields["tok"]):
            yield f"{job} was attempted {fields['at']} times in {fields['tok']} claims"
        if state == JobState.SUCCEEDED and _published(fields) != fields.get("pre"):
            yield f"{job} has its outputs in {fields.get('pre')}, its result says otherwise"
        if state == JobState.FAILED and _kept(fields) != fields.get("pre", ""):
            yield f"{job} has kept {fields.get('pre')}, its failure says otherwise"
        if state not in FINAL and _resumed(fields) != fields.get("kp", ""):
            yield f"{job} goes on from {fields.get('kp')}, its document says otherwise"


def _batches(now: Snapshot) -> Iterator[str]:
    """A batch counts its jobs in their states, has an end, and is over when they are."""
    made = {job: fields for job, fields in now.jobs.items() if "ba" in fields}
    for name, batch in now.hashes.items():
        kind, _, batch_id = name.partition(":")
        if kind != "batch":
            continue
        members = {job: fields for job, fields in made.items() if fields["ba"] == batch_id}
        if set(now.zset(f"members:{batch_id}")) != set(members):
            yield f"{name} lists {now.zset(f'members:{batch_id}')}, and has {set(members)}"
        states = Counter(fields["st"] for fields in members.values())
        for state in JobState:
            counted = int(batch.get(state, 0))
            # Of those that are over some are deleted; they count all the same.
            if counted < states[state] or (state not in FINAL and counted != states[state]):
                yield f"{name} counts {counted} {state}, and has {states[state]}"
        ended = sum(int(batch.get(state, 0)) for state in FINAL)
        if int(batch["fin"]) != ended and batch["st"] != "completed":
            yield f"{name} counts {batch['fin']} ended, its states say {ended}"
        if batch["st"] == "running" and int(batch["fin"]) >= int(batch["n"]):
            yield f"{name} is running, and all of its jobs are over"
        if batch_id not in now.zset("batch_ends"):
            yield f"{name} will never end"
        if (batch["st"] in {"running", "completed"}) != (
            batch_id in now.zset(f"batches:{batch['own']}")
        ):
            yield f"{name} is {batch['st']}, and its owner's list says otherwise"


def _shared(now: Snapshot) -> Iterator[str]:
    """What several jobs have or need goes with the last of them."""
    counted = Counter(
        fields[name] for fields in now.jobs.values() for name in ("pre", "kp") if name in fields
    )
    shared = now.hashes.get("shared", {})
    for prefix, number in shared.items():
        if int(number) != counted[prefix]:
            yield f"{prefix} is shared by {counted[prefix]} jobs and counts {number}"
    for prefix, users in counted.items():
        if users > 1 and prefix not in shared:
            yield f"{users} jobs need what is in {prefix}, which does not count them"
    for job, fields in now.jobs.items():
        if "kp" in fields and fields["kp"] not in shared:
            yield f"{job} needs what is in {fields['kp']}, which does not count it"


def _published(fields: Fields) -> Any:
    return json.loads(fields.get("res", "{}")).get("prefix")


def _kept(fields: Fields) -> Any:
    return _prefix_in(fields["err"], "kept")


def _resumed(fields: Fields) -> Any:
    return _prefix_in(fields["doc"], "resume")


def _prefix_in(text: str, member: str) -> Any:
    told = json.loads(text) or {}  # of a record that a test has made up
    return (told.get(member) or {}).get("prefix", "")


def _tombstones(now: Snapshot) -> Iterator[str]:
    for job in now.records.keys() - now.jobs.keys():
        if f"job:{job}" not in now.lives:
            yield f"{job} is deleted, and its tombstone never ends"
        if surplus := now.records[job].keys() - {"st", "own"}:
            yield f"{job} is deleted and still has {surplus}"


def _files(now: Snapshot) -> Iterator[str]:
    """A file is there as long as jobs use it, and counts them."""
    uses: Counter[str] = Counter()
    for job, fields in now.jobs.items():
        for file in fields.get("fi", "").split():
            uses[file] += 1
            record = now.hashes.get(f"file:{file}", {})
            if record.get("own") != fields["own"]:
                yield f"{job} uses the file {file} of {record.get('own')}"
    for name, record in now.hashes.items():
        if name.startswith("file:") and not record.keys() & {"ca", "gone"}:
            counted = uses.pop(name.removeprefix("file:"), 0)
            if not counted or int(record["n"]) != counted:
                yield f"{name} is used by {counted} jobs and counts {record['n']}"


def _uploads(now: Snapshot) -> Iterator[str]:
    """A file on its own is kept as long as it says, and counts the unfinished jobs that use it."""
    uses: Counter[str] = Counter()
    for job, fields in now.jobs.items():
        for file in fields.get("up", "").split():
            record = now.hashes.get(f"file:{file}", {})
            unfinished = fields["st"] not in FINAL
            uses[file] += unfinished
            foreign = record.get("own", fields["own"]) != fields["own"]
            if foreign or (unfinished and "meta" not in record):
                yield f"{job} uses the file {file}, which is {record}"
    for name, record in now.hashes.items():
        if name.startswith("file:") and ("gone" in record) != (name in now.lives):
            yield f"{name} is gone and stays, or is here and will vanish"
        if name.startswith("file:") and "ca" in record:
            used = uses[name.removeprefix("file:")]
            if int(record["u"]) != used or ("over" in record and not used):
                yield f"{name} is used by {used} jobs, and is {record}"


def _shelves(now: Snapshot) -> Iterator[str]:
    """The indexes of files on their own, and of uploads under way, list those that are not over."""
    expected: dict[str, dict[str, float]] = {}
    for name, record in now.hashes.items():
        if name.startswith("file:") and "ca" in record and "over" not in record:
            file = name.removeprefix("file:")
            expected.setdefault("files", {})[file] = float(record["ex"])
            expected.setdefault(f"files:{record['own']}", {})[file] = float(record["ca"])
        if name.startswith("upload:") and "doc" in record:
            upload = name.removeprefix("upload:")
            expected.setdefault("uploads", {})[upload] = float(record["ex"])
            expected.setdefault(f"uploads:{record['own']}", {})[upload] = float(record["ca"])
    shelves = ("files", "uploads")
    held = {name: now.zsets[name] for name in now.zsets if name.split(":")[0] in shelves}
    if held != expected:
        yield f"files are listed as {held}, the records say {expected}"


def _trash(now: Snapshot) -> Iterator[str]:
    """Nothing that a job shows or needs is about to be deleted."""
    trash = tuple(now.zset("trash"))
    if "" in trash:
        yield "the trash holds an empty name: that is the whole bucket"
    prefixes = tuple(what for what in trash if what.endswith(("/", "-")))
    for job, fields in now.jobs.items():
        if "del" not in fields and fields.get("pre", "").startswith(prefixes):
            yield f"the outputs of {job} are in the trash"
        if fields.get("kp", "").startswith(prefixes):
            yield f"what {job} goes on from is in the trash"
    for name, record in now.hashes.items():
        if "meta" in record and f"files/{name.removeprefix('file:')}" in trash:
            yield f"{name} is in use and in the trash"


def _accounts(now: Snapshot) -> Iterator[str]:
    """Admitted is what is ready, popped or running; an account ends only when it is idle."""
    waiting = {job for ids in now.waiting.values() for job in ids}
    admitted: Counter[tuple[str, str]] = Counter()
    for job, fields in now.jobs.items():
        if fields["st"] == "running" or (fields["st"] == "queued" and job not in waiting):
            admitted[fields["ln"], fields["own"]] += 1
    for (lane, owner), flow in now.flows.items():
        name, counted = f"flow:{lane}:{owner}", int(flow.get("adm", 0))
        if counted != admitted.pop((lane, owner), 0):
            yield f"{name} counts {counted}"
        paused, ends = flow.get("paused") == "1", name in now.lives
        if ends and (counted or paused):
            yield f"{name} will be forgotten, though it is in use: {flow}"
        # One that lingers in the ring ends when its turn shows that nothing waits.
        waits = (lane, owner) in now.waiting or owner in now.zset(f"ring:{lane}")
        if not (ends or counted or paused or waits):
            yield f"{name} is idle and will never be forgotten: {flow}"
    yield from (f"{flow} has {n} admitted and no account" for flow, n in admitted.items() if n)


def _waiting(now: Snapshot) -> Iterator[str]:
    """How many wait in a lane is counted as they come and go."""
    for lane in LANES:
        there = sum(len(ids) for (its, _), ids in now.waiting.items() if its == lane)
        counted = int(now.hashes.get(f"lane:{lane}", {}).get("waiting", 0))
        if counted != there:
            yield f"{there} wait in {lane}, and {counted} are counted"


def _pauses(now: Snapshot) -> Iterator[str]:
    """What is paused takes no turns, and nothing of it is ready to be taken."""
    for (lane, owner), flow in now.flows.items():
        if flow.get("paused") == "1" and owner in now.zset(f"ring:{lane}"):
            yield f"{owner} is paused in {lane} and takes turns"
    for lane in LANES:
        for job in now.queued & set(now.ready(lane)):
            flow = now.flows.get((lane, now.jobs[job]["own"]), {})
            if now.paused(lane) or flow.get("paused") == "1":
                yield f"{job} is ready, though its lane or its owner is paused"


def _deliveries(now: Snapshot) -> Iterator[str]:
    """A message that is not over waits or is leased, once; its endpoint is looked at in time."""
    leased = set(now.zset("webhooks_leases"))
    posting = {
        f"{name.removeprefix('posting:')}/{member}"
        for name in now.sets
        if name.startswith("posting:")
        for member in now.sets[name]
    }
    if leased != posting:
        yield f"leased {leased} != under way {posting}"
    due = now.zset("webhooks_due")
    waits: Counter[str] = Counter(member.rpartition("/")[2] for member in leased)
    for name in now.zsets:
        if name.startswith("outbox:"):
            owner, endpoint = name.removeprefix("outbox:").rsplit(":", 1)
            waits.update(now.zset(name).keys())
            if f"{owner}/{endpoint}" not in due:
                yield f"{name} holds messages, and nobody will look at it"
    for name, record in now.hashes.items():
        if name.startswith("delivery:") and f"webhook:{record['own']}:{record['ep']}" in now.names:
            pending = record["st"] == "pending"
            if waits[name.removeprefix("delivery:")] != int(pending):
                yield f"{name} is {record['st']} and waits {waits[name[9:]]} times"


def _schedules(now: Snapshot) -> Iterator[str]:
    """A schedule is listed by its owner, and looked at when something is to be done, only then."""
    records = {
        name.partition(":")[2]: fields
        for name, fields in now.hashes.items()
        if name.startswith("schedule:")
    }
    due = now.zset("schedules_due")
    for name, fields in records.items():
        if name not in now.zset(f"schedules:{fields['own']}"):
            yield f"{name} is not listed by {fields['own']}"
        waits = fields["st"] == "active" and "next" in fields
        if (name in due) != bool(waits or fields.keys() & {"asked", "tick"}):
            yield f"{name} is {fields}, and is looked at: {name in due}"
        if waits and not fields.keys() & {"asked", "tick"} and due[name] != float(fields["next"]):
            yield f"{name} is looked at {due[name]}, and is due at {fields['next']}"
    listed = {name for key in now.zsets if key.startswith("schedules") for name in now.zset(key)}
    kept = {name.partition(":")[2] for name in now.names if name.startswith(("taken:", "runs:"))}
    if strays := (listed | kept) - set(records):
        yield f"{strays} are gone, and something of them is kept"


def _turns(now: Snapshot) -> Iterator[str]:
    """Who may run and has work takes turns; the short list is full, or nobody in turn has any."""
    for lane, owner in now.waiting:
        if now.may_take_turns(lane, owner) and owner not in now.zset(f"ring:{lane}"):
            yield f"{owner} waits in {lane} and never gets a turn"
    for lane in LANES:
        # BRPOPLPUSH alone takes from the short list without feeding it: the claim that follows
        # does, or the clock's next tick. What is popped and not claimed is the gap it may leave.
        popped = sum(len(ids) for (_, of), ids in now.popped.items() if of == lane)
        if not now.paused(lane) and len(now.ready(lane)) + popped < SHORT_LIST:
            hungry = [o for o in now.zset(f"ring:{lane}") if (lane, o) in now.waiting]
            if hungry:
                yield f"lane {lane}: {len(now.ready(lane))} ready while {hungry} wait"
