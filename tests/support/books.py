"""The books must balance after every step: every job is in exactly the places its state names."""

from __future__ import annotations

from typing import Any

import redis

from fileproc.jobs import FINAL, LANES


class Books:
    """Reads everything below one prefix with a client of its own, and looks for what is off."""

    def __init__(self, url: str, prefix: str) -> None:
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.prefix = prefix

    def key(self, name: str) -> str:
        return self.prefix + name

    def zset(self, name: str) -> dict[str, float]:
        return dict(self.redis.zrange(self.key(name), 0, -1, withscores=True))

    def jobs(self) -> dict[str, dict[str, str]]:
        found = {}
        for key in self.redis.scan_iter(match=self._glob("job:*"), count=1000):
            found[key.removeprefix(self.key("job:"))] = self.redis.hgetall(key)
        return found

    def _glob(self, tail: str) -> str:
        return self.prefix.replace("{", "[{]").replace("}", "[}]") + tail

    def complaints(self) -> list[str]:
        """Everything that does not balance, as sentences."""
        jobs = {job: f for job, f in self.jobs().items() if f["st"] != "deleted"}
        wrong: list[str] = []
        waiting = self._waiting()
        ready = {lane: self.redis.lrange(self.key(f"ready:{lane}"), 0, -1) for lane in LANES}
        popped = [
            job
            for key in self.redis.scan_iter(match=self._glob("proc:*"), count=1000)
            for job in self.redis.lrange(key, 0, -1)
        ]
        places = [*waiting, *(job for ids in ready.values() for job in ids), *popped]
        queued = {job for job, f in jobs.items() if f["st"] == "queued"}
        live = [job for job in places if job in queued]
        wrong += [f"{job} stands in two places" for job in live if live.count(job) > 1]
        wrong += [f"{job} is queued and nowhere" for job in queued - set(live)]
        # A canceled id may lie in a processing list until the worker claims; nowhere else.
        stray = set(places) - queued - set(popped)
        wrong += [f"{job} waits and is not queued" for job in stray]
        wrong += self._state_sets(jobs)
        wrong += self._accounts(jobs, waiting)
        wrong += self._invariant(ready)
        return wrong

    def _waiting(self) -> list[str]:
        found: list[str] = []
        for key in self.redis.scan_iter(match=self._glob("wait:*"), count=1000):
            found += self.redis.zrange(key, 0, -1)
        return found

    def _state_sets(self, jobs: dict[str, dict[str, str]]) -> list[str]:
        wrong = []
        running = {job for job, f in jobs.items() if f["st"] == "running"}
        if running != set(self.zset("leases")):
            wrong.append(f"running {running} != leased {set(self.zset('leases'))}")
        delayed = {job for job, f in jobs.items() if f["st"] == "delayed"}
        if delayed != set(self.zset("delayed")):
            wrong.append("delayed jobs and the delayed set differ")
        final = {job for job, f in jobs.items() if f["st"] in FINAL}
        if final != set(self.zset("final")):
            wrong.append("final jobs and the set of expiries differ")
        for job, fields in jobs.items():
            owner, state = fields["own"], fields["st"]
            if self.redis.zscore(self.key(f"jobs:{owner}"), job) is None:
                wrong.append(f"{job} is not in its owner's index")
            for other in ("queued", "running", "delayed", *FINAL):
                listed = self.redis.zscore(self.key(f"jobs:{owner}:{other}"), job) is not None
                if listed != (other == state):
                    wrong.append(f"{job} is {state}; index {other} says {listed}")
            if state == "failed" and self.redis.zscore(self.key(f"dead:{owner}"), job) is None:
                wrong.append(f"{job} failed and is no dead letter")
        return wrong

    def _accounts(self, jobs: dict[str, dict[str, str]], waiting: list[str]) -> list[str]:
        wrong = []
        admitted: dict[tuple[str, str], int] = {}
        for job, fields in jobs.items():
            if fields["st"] == "running" or (fields["st"] == "queued" and job not in waiting):
                flow = (fields["ln"], fields["own"])
                admitted[flow] = admitted.get(flow, 0) + 1
        for key in self.redis.scan_iter(match=self._glob("flow:*"), count=1000):
            lane, owner = key.removeprefix(self.key("flow:")).split(":", 1)
            counted = int(self.redis.hget(key, "adm") or 0)
            if counted != admitted.pop((lane, owner), 0):
                wrong.append(f"flow {lane}:{owner} counts {counted}")
        wrong += [f"flow {flow} has {n} admitted and no account" for flow, n in admitted.items()]
        return wrong

    def _invariant(self, ready: dict[str, list[str]]) -> list[str]:
        """Ready is full, or no flow that has something waiting is in the ring."""
        wrong = []
        for lane, ids in ready.items():
            if self.redis.hget(self.key(f"lane:{lane}"), "paused") == "1":
                continue
            owners = self.redis.zrange(self.key(f"ring:{lane}"), 0, -1)
            hungry = [o for o in owners if self.redis.exists(self.key(f"wait:{lane}:{o}"))]
            if hungry and len(ids) < 16:
                wrong.append(f"lane {lane}: {len(ids)} ready while {hungry} wait")
        return wrong
