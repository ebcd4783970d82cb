"""The leases in this worker's hands, and what the heartbeat learns about them."""

from __future__ import annotations

import asyncio
import threading

from fileproc.store import Lease, Pulse


class Held:
    """Shared by the loop and the heartbeat's thread.

    A verdict (canceled, lost) is not an exception: shutdown is the only thing that arrives as
    CancelledError, so the two can never be mistaken for one another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, str] = {}
        self._verdicts: dict[tuple[str, str], asyncio.Future[Pulse]] = {}
        self._loop = asyncio.get_running_loop()

    def hold(self, lease: Lease) -> asyncio.Future[Pulse]:
        """From now on the lease is renewed; the future gets LOST or CANCEL, if ever."""
        verdict: asyncio.Future[Pulse] = self._loop.create_future()
        with self._lock:
            self._tokens[lease.job_id] = lease.token
        self._verdicts[lease.job_id, lease.token] = verdict
        return verdict

    def let_go(self, lease: Lease) -> None:
        """The attempt is settled."""
        with self._lock:
            # A later claim of the same job by this very worker has another token.
            if self._tokens.get(lease.job_id) == lease.token:
                del self._tokens[lease.job_id]
        self._verdicts.pop((lease.job_id, lease.token), None)

    def tokens(self) -> dict[str, str]:
        """Job id -> token; called by the heartbeat's thread."""
        with self._lock:
            return dict(self._tokens)

    def learned(self, job_id: str, token: str, pulse: Pulse) -> None:
        """Called by the heartbeat's thread; the loop hears of it."""
        self._loop.call_soon_threadsafe(self._tell, job_id, token, pulse)

    def _tell(self, job_id: str, token: str, pulse: Pulse) -> None:
        verdict = self._verdicts.get((job_id, token))  # gone: settled while the beat was on its way
        if verdict is not None and not verdict.done():
            verdict.set_result(pulse)

    def __len__(self) -> int:
        return len(self._tokens)
