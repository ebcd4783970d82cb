"""Clients that submit, follow, cancel, delete and download, and write down all they are told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from faults.history import Ack, Download, History, Seen
from faults.sink import CONNECTION, Sink
from faults.uploads import VERSION, Uploader, improper

RETRY_S = (0.1, 0.4)
SLOT_S = 1.5
BURST = 32  # submissions at once
FOLLOWED_PER_SLOT = 3  # jobs that wait for a lease to end must not stop the load
PATIENCE_S = 90.0  # for one answer, across kills of everything
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=2)
ACCEPTED = 202
TRY_AGAIN = {409, 429, 503, 507}
SAYS_SOMETHING = set(range(200, 500)) - {429}
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
BEGUN = FINAL | {"running"}
BIG = 9 * 1024 * 1024  # more than one part
BATCH_KEPT_S = 60  # a batch is gone when its retention is over, and all is to be gone at the end


@dataclass(frozen=True)
class Work:
    """One kind of job: what is asked for, and what is done with it afterwards.

    Attributes:
        uploaded: the way in which its file is uploaded on its own; see `Uploader.bring`.
        forget: that file is deleted afterwards.
        jobs: so many of them, in a batch.
        cancel: when it is canceled: "soon", or once it is "running"; "": not at all.
    """

    kind: str
    operation: str
    params: dict[str, Any]
    body: bytes = b""
    cancel: Literal["", "soon", "running"] = ""
    delete: bool = False
    uploaded: str = ""
    forget: bool = False
    jobs: int = 1
    delivered: bool = False


def kinds(rng: random.Random) -> dict[str, Callable[[], Work]]:
    """Makers of work by name; every job is different, so results that are mixed up show."""

    def table() -> Work:
        rows = "".join(f"{i},{rng.randint(0, 10**9)}\n" for i in range(rng.randint(1, 20)))
        return Work("table", "table.convert", {"to": "jsonl"}, f"id,value\n{rows}".encode())

    def sleep(seconds: float, *, kind: str = "sleep", **others: Any) -> Work:
        size = rng.randint(1, 100_000)
        return Work(kind, "debug.sleep", {"seconds": seconds, "output_bytes": size}, **others)

    def probe(kind: str, size: int, way: str, **others: Any) -> Work:
        body = rng.randbytes(1000) * (size // 1000)
        return Work(kind, "file.probe", {}, body, uploaded=way, **others)

    return {
        "table": table,
        "sleep": lambda: sleep(round(rng.uniform(0, 0.2), 2)),
        "long": lambda: sleep(round(rng.uniform(1, 2.5), 2)),
        "lasting": lambda: sleep(5),
        "transient": lambda: Work("transient", "debug.fail", {"class": "transient", "times": 1}),
        "permanent": lambda: Work("permanent", "debug.fail", {"class": "permanent", "times": 9}),
        "cancel": lambda: sleep(5, cancel="soon"),
        "interrupt": lambda: sleep(5, cancel="running"),
        "delete": lambda: sleep(0.05, delete=True),
        "big": lambda: Work("big", "file.probe", {}, rng.randbytes(1024) * (BIG // 1024)),
        "shared": lambda: probe("shared", 2000, "file"),
        "direct": lambda: probe("direct", 2000, "direct"),
        "parts": lambda: probe("parts", BIG, "parts"),
        "abandoned": lambda: probe("abandoned", BIG, "given up"),
        "tus": lambda: probe("tus", 20_000, "tus"),
        "resumed": lambda: probe("resumed", BIG, "tus"),
        "dropped": lambda: probe("dropped", 2000, "file", forget=True),
        "delivered": lambda: sleep(0.02, kind="delivered", delivered=True),
        "batch": lambda: Work("batch", "debug.sleep", {"seconds": 0}, jobs=3),
        "large": lambda: Work("large", "debug.sleep", {"seconds": 0, "output_bytes": BIG}),
    }


MIX = {
    "table": 40,
    "sleep": 30,
    "long": 6,
    "transient": 6,
    "permanent": 4,
    "cancel": 4,
    "delete": 8,
    "shared": 2,
    "dropped": 1,
    "direct": 2,
    "tus": 3,
    "delivered": 4,
    "batch": 1,
    "parts": 0.5,
    "resumed": 0.5,
    "abandoned": 0.3,
    "big": 1,
    "large": 1,
}


class Load:
    """Keeps `outstanding` jobs under way until it is stopped.

    Attributes:
        mix: the kinds of jobs, with their weights.
    """

    def __init__(
        self,
        urls: Callable[[], list[str]],
        history: History,
        rng: random.Random,
        sink: Sink,
        *,
        outstanding: int,
    ) -> None:
        self._urls = urls
        self._sink = sink
        self._batches: dict[str, list[str]] = {}  # all jobs of one, by the first
        self.history = history
        self._rng = rng
        self._makers = kinds(rng)
        self.mix = MIX
        self._outstanding = outstanding
        self._slots = asyncio.Semaphore(outstanding)
        self._most_followed = outstanding * FOLLOWED_PER_SLOT
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession
        self._running = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None
        self.submitting = 0
        self.forgiving = False  # while the store is known to have lost everything

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=0)
        )
        self._uploader = Uploader(self._ask, self._session, self._urls, self.history, self._rng)
        self._running.set()
        self._feeder = asyncio.create_task(self._feed())

    @contextlib.asynccontextmanager
    async def at_most(self, outstanding: int) -> AsyncIterator[None]:
        """Fewer jobs under way: one of a certain kind does not wait behind many others."""
        spare = max(0, self._outstanding - outstanding)
        followed, self._most_followed = self._most_followed, 2 * outstanding
        for _ in range(spare):
            await self._slots.acquire()
        try:
            while len(self._tasks) > self._most_followed:
                await asyncio.sleep(0.1)
            yield
        finally:
            self._most_followed = followed
            for _ in range(spare):
                self._slots.release()

    def pause(self) -> None:
        """Submit nothing more; what is under way is followed to its end."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def drained(self, most_s: float) -> None:
        """Wait until nearly all jobs are over, but not for what hangs on a dead worker."""
        end = time.monotonic() + most_s
        while len(self._tasks) > 1 and time.monotonic() < end:
            await asyncio.sleep(0.05)

    async def quiet(self) -> None:
        """Wait until every submission that is under way has its answer."""
        while self.submitting:
            await asyncio.sleep(0.02)

    async def burst(self, number: int) -> None:
        """So many jobs of all kinds as fast as the api takes them; they are followed as ever."""
        names, weights = list(MIX), list(MIX.values())
        gate = asyncio.Semaphore(BURST)
        left = number

        async def client() -> None:
            nonlocal left
            try:
                async with gate:
                    work = self._makers[self._rng.choices(names, weights)[0]]()
                    job_id = await self.submit(work)
            finally:
                left -= 1
            with suppress(TimeoutError):
                await self.finish(work, job_id)

        for _ in range(number):
            task = asyncio.create_task(client())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while left:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop at once."""
        tasks = [*self._tasks, *([self._feeder] if self._feeder else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _feed(self) -> None:
        while True:
            await self._running.wait()
            await self._slots.acquire()
            while len(self._tasks) > self._most_followed:
                await asyncio.sleep(0.1)
            if not self._running.is_set():  # it was paused while we waited
                self._slots.release()
                continue
            name = self._rng.choices(list(self.mix), list(self.mix.values()))[0]
            task = asyncio.create_task(self._client(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _client(self, name: str) -> None:
        """One job. Its slot is free again when it takes long: it may wait for a lease to end."""
        job = asyncio.create_task(self.one(name))
        try:
            await asyncio.wait({job}, timeout=SLOT_S)
            self._slots.release()
            await job
        except TimeoutError:
            self.history.status("gave up", 0)
        finally:
            job.cancel()

    async def one(self, name: str, url: str | None = None) -> str:
        """One job of this kind; `url`: all of it at this api."""
        return await self.run(self._makers[name](), url)

    async def run(self, work: Work, url: str | None = None) -> str:
        """One job from its submission to its download; returns its id.

        Raises:
            TimeoutError: the api did not answer for very long.
        """
        job_id = await self.submit(work, url)
        await self.finish(work, job_id, url)
        return job_id

    async def finish(self, work: Work, job_id: str, url: str | None = None) -> None:
        """What a client does with a job that was accepted; raises as `run`."""
        if work.jobs > 1:
            await self._finish_batch(job_id)
            return
        if work.cancel:
            if work.cancel == "running":
                await self.follow(job_id, BEGUN)
            else:
                await asyncio.sleep(self._rng.uniform(0, 1))
            await self._ask("cancel", "POST", f"/v1/jobs/{job_id}/cancel", url=url)
        job = await self.follow(job_id)
        for index, output in enumerate(job["outputs"]):
            await self.download(job_id, index, output["sha256"], url)
        if work.delivered and job["state"] == "succeeded":
            self._check_delivered(job)
        if work.delete:
            await self.delete(job_id, url)

    async def submit(self, work: Work, url: str | None = None) -> str:
        """Submit until there is a 202, always with the same key; returns the job's id."""
        self.submitting += 1
        try:
            if work.uploaded:
                return await self._submit_uploaded(work, url)
            if work.jobs > 1:
                return await self._submit_batch(work, url)
            return await self._submit_one(work, url)
        finally:
            self.submitting -= 1

    async def _submit_one(self, work: Work, url: str | None) -> str:
        key = self._key()
        keyed = {"Idempotency-Key": key}
        if work.delivered:
            places = [{"url": f"{self._sink.url}/{key}"}, {"url": f"s3://{CONNECTION}/{key}/"}]
            body = {**_asked(work, key), "deliver": places}
            _, answer = await self._ask(
                *("submit", "POST", "/v1/jobs"), json=body, headers=keyed, accept={202}, url=url
            )
            return self._accepted(work, key, answer)
        query = {name: _text(value) for name, value in work.params.items()}
        query["labels"] = f"key={key}"
        _, answer = await self._ask(
            *("submit", "PUT", f"/v1/jobs/{work.operation}"),
            params=query,
            data=work.body,
            headers={**keyed, "Content-Type": "application/octet-stream"},
            accept={202},
            url=url,
        )
        return self._accepted(work, key, answer)

    def _key(self) -> str:
        return f"{self._rng.getrandbits(96):024x}"

    async def _submit_uploaded(self, work: Work, url: str | None) -> str:
        """First the file, then the job; again from the beginning where the file got lost.

        Only a store that lost everything may have lost it; then the key is another, too, since the
        job may be back later.
        """
        while True:
            began = time.time()
            file_id = await self._uploader.bring(work.uploaded, work.body, url)
            key = self._key()
            body = {**_asked(work, key), "inputs": [{"file_id": file_id}]}
            status, answer = await self._ask(
                *("submit", "POST", "/v1/jobs"),
                json=body,
                headers={"Idempotency-Key": key},
                accept={202, 404},
                url=url,
            )
            if status == ACCEPTED:
                break
            if not any(mark.at > began for mark in self.history.marked("wipe", "failover")):
                self.history.complain(f"{file_id} was stored, and no job may use it")
        job_id = self._accepted(work, key, answer)
        if work.forget:
            await self.delete_file(file_id)
        return job_id

    async def _submit_batch(self, work: Work, url: str | None) -> str:
        """All of its jobs are accepted, each once; returns the first."""
        keys = [self._key() for _ in range(work.jobs)]
        jobs = [{**_asked(work, key), "retention_s": BATCH_KEPT_S} for key in keys]
        _, answer = await self._ask(
            *("submit", "POST", "/v1/batches"),
            json={"jobs": jobs},
            headers={"Idempotency-Key": self._key()},
            accept={202},
            url=url,
        )
        listed = f"/v1/jobs?batch={json.loads(answer)['id']}"
        _, answer = await self._ask("list", "GET", listed, accept={200})
        found = {job["labels"]["key"]: job for job in json.loads(answer)["data"]}
        if found.keys() != set(keys):
            self.history.complain(f"{listed} has {len(found)} of {len(keys)} jobs")
        for key, job in found.items():
            self._accepted(work, key, json.dumps(job).encode())
        ids = [str(job["id"]) for job in found.values()]
        self._batches[ids[0]] = ids
        return ids[0]

    async def _finish_batch(self, first: str) -> None:
        for job_id in self._batches.pop(first):
            await self.follow(job_id)
            self.history.acks[job_id].deleted = True  # its retention ends soon

    def _check_delivered(self, job: dict[str, Any]) -> None:
        """It has succeeded, and its output is where it says to have sent it."""
        key = self.history.acks[job["id"]].key
        failed = [one for one in job["deliveries"] if one["state"] != "delivered"]
        if failed:
            self.history.complain(f"{job['id']} was not delivered: {failed}")
            return
        for output in job["outputs"]:
            if missing := self._sink.without(key, output["name"], output["sha256"]):
                self.history.complain(f"{job['id']} has succeeded, and not delivered to {missing}")

    def _accepted(self, work: Work, key: str, answer: bytes) -> str:
        job = json.loads(answer)
        self.history.ack(Ack(time.time(), job["id"], work.kind, key, work.params))
        self._saw(job)
        return str(job["id"])

    async def delete_file(self, file_id: str) -> None:
        """Delete a file that was uploaded on its own."""
        self.history.files.pop(file_id, None)
        await self._ask("delete file", "DELETE", f"/v1/files/{file_id}")

    async def give_up(self, upload_id: str, kind: str) -> None:
        """Delete an upload that is not complete."""
        path = {"direct": "/v1/uploads", "tus": "/v1/tus"}[kind]
        await self._ask("give up", "DELETE", f"{path}/{upload_id}", headers=VERSION)

    async def follow(self, job_id: str, until: frozenset[str] = FINAL) -> dict[str, Any]:
        """Watch the job until it is over (or in one of these states), however long that takes."""
        while True:
            await asyncio.sleep(0.05)
            with suppress(TimeoutError):
                # A long poll answers at the end only; whoever waits for less has to ask often.
                query = "?wait=5" if until is FINAL else ""
                status, answer = await self._ask("get", "GET", f"/v1/jobs/{job_id}{query}")
                if status != 200:
                    if not (self.forgiving or self.history.acks[job_id].deleted):
                        self.history.complain(
                            f"{job_id} was accepted and is answered with {status}"
                        )
                    await asyncio.sleep(0.5)
                    continue
                job: dict[str, Any] = json.loads(answer)
                self._saw(job)
                if job["state"] in until:
                    return job

    async def delete(self, job_id: str, url: str | None = None) -> None:
        """Delete a job; it is gone when this returns."""
        if job_id in self.history.acks:
            self.history.acks[job_id].deleted = True
        status, _ = await self._ask("delete", "DELETE", f"/v1/jobs/{job_id}", url=url)
        if job_id in self.history.acks and status in {204, 404, 410}:
            self.history.acks[job_id].gone = time.time()

    async def download(
        self, job_id: str, index: int, expected: str, url: str | None = None
    ) -> None:
        """Download an output and compare it with what the record says."""
        path = f"/v1/jobs/{job_id}/result?index={index}"
        status, answer = await self._ask("result", "GET", path, url=url)
        if status != 200:
            if not (self.forgiving or self.history.acks[job_id].deleted):
                self.history.complain(f"output {index} of {job_id} is answered with {status}")
            return
        digest = hashlib.sha256(answer).hexdigest()
        self.history.downloaded(Download(time.time(), job_id, index, digest))
        if digest != expected:
            self.history.complain(f"output {index} of {job_id} is {digest}, not {expected}")

    def _saw(self, job: dict[str, Any]) -> None:
        outputs = [output["sha256"] for output in job["outputs"]]
        self.history.saw(
            Seen(time.time(), job["id"], job["version"], job["state"], job["attempt"], outputs)
        )

    async def _ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        accept: set[int] | None = None,
        url: str | None = None,
        **others: Any,
    ) -> tuple[int, bytes]:
        """One request, repeated at either api while the answer is 503 or none at all.

        Returns status and body of the first answer that says something: any below 500, or with
        `accept` only those in it. `url` names the api of the first try.

        Raises:
            TimeoutError: there was none, or one that ends this job's story.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            base, url = url or self._rng.choice(self._urls()), None
            try:
                async with self._session.request(method, base + path, **others) as answer:
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                self.history.status(f"{what} {type(exc).__name__}", 0)
            else:
                self.history.status(what, answer.status)
                ours = answer.url.port == _port(base)  # and not the storage's, after a redirect
                if ours and (sentence := improper(answer)):
                    self.history.complain(f"{method} {path}: {sentence} {body[:300]!r}")
                if answer.status in (accept or SAYS_SOMETHING):
                    return answer.status, body
                if what == "submit" and answer.status not in TRY_AGAIN:
                    self.history.complain(f"{method} {path}: {answer.status} {body[:300]!r}")
                    break
            await asyncio.sleep(self._rng.uniform(*RETRY_S))
        raise TimeoutError(f"{method} {path}")


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _asked(work: Work, key: str) -> dict[str, Any]:
    return {"operation": work.operation, "params": work.params, "labels": {"key": key}}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
