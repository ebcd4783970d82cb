"""The heartbeat: a thread with a connection of its own keeps the leases while the loop is busy.

C code that holds the GIL stops this thread too, so nothing in a worker's parent process calls long
C code on a client's data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from fileproc.crashpoints import crash_point
from fileproc.store.scripts import scripts
from fileproc.telemetry import STORE_ERRORS, get_logger

BEAT_TIMEOUT_S = 2.0

log = get_logger(__name__)


class Pulse(IntEnum):
    """What a beat learns about a job."""

    LOST = 0
    KEPT = 1
    CANCEL = 2


class Heartbeat(threading.Thread):
    """Renews every lease that `leases()` names, once a beat.

    Args:
        leases: gives (job id -> token) at the moment; called in this thread.
        learned: told (job id, token, pulse) for all but KEPT; called in this thread.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        worker: str,
        lanes: str,
        lease_s: float,
        beat_s: float,
        leases: Callable[[], Mapping[str, str]],
        learned: Callable[[str, str, Pulse], None],
        about: Callable[[], str],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=BEAT_TIMEOUT_S,
            socket_connect_timeout=BEAT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._prefix = prefix
        self._head = (worker, lanes, int(lease_s * 1000), int(lease_s * 1000))
        self._beat_s = beat_s
        self._leases = leases
        self._learned = learned
        self._about = about
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                self.beat()
            except (RedisError, OSError) as exc:
                STORE_ERRORS.labels(type(exc).__name__).inc()
                log.warning("heartbeat failed", error=str(exc)[:300])
        self._client.close()

    def register(self, give_up: Callable[[], bool]) -> None:
        """The first beat, before the first pop: adoption must know this worker and its lanes.

        Tries until Redis is there or `give_up` says so.
        """
        while not give_up():
            try:
                self.beat()
            except (RedisError, OSError) as exc:
                STORE_ERRORS.labels(type(exc).__name__).inc()
                log.warning("waiting for redis", error=str(exc)[:300])
                self._ended.wait(self._beat_s)
            else:
                return

    def beat(self) -> None:
        """One call for all leases; raises RedisError, which `run` logs."""
        held = list(self._leases().items())
        if held:
            crash_point("heartbeat")
        arguments: list[Any] = [*self._head, self._about()]
        for job_id, token in held:
            arguments += [job_id, token, ""]
        script = scripts()["extend"]
        try:
            pulses = self._client.evalsha(script.sha, 1, self._prefix, *arguments)
        except NoScriptError:
            pulses = self._client.eval(script.source, 1, self._prefix, *arguments)
        for (job_id, token), pulse in zip(held, pulses, strict=True):
            if pulse != Pulse.KEPT:
                self._learned(job_id, token, Pulse(pulse))

    def stop(self) -> None:
        """End after the beat under way; join() to wait for it."""
        self._ended.set()
