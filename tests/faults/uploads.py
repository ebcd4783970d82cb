"""Files that come in several requests: presigned, in parts, and by tus.

What a client was told to be safe must be there when it comes back; whatever else happens it begins
anew, as its upload may be gone with what a store has lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from faults.history import History

Ask = Callable[..., Awaitable[tuple[int, bytes]]]

PART_BYTES: Final = 5 * 1024 * 1024
PIECES: Final = (1, 4)  # of an upload by tus
ABANDONED: Final = 1000  # bytes of the file that comes after an upload that was given up
PATIENCE_S: Final = 90.0
RETRY_S: Final = (0.1, 0.4)
VERSION: Final = {"Tus-Resumable": "1.0.0"}
GONE: Final = {404, 410}
OK, CREATED, NO_CONTENT = 200, 201, 204


def improper(answer: aiohttp.ClientResponse) -> str | None:
    """What no client should ever see, whatever is broken behind the api."""
    if answer.status in {500, 501, 502, 504}:
        return str(answer.status)
    if answer.status == 503 and "Retry-After" not in answer.headers:
        return "503 without Retry-After"
    return None


class Uploader:
    """One client's way to bring a file in; each way returns the id of the file.

    Args:
        ask: a request that is repeated while the answer is 503 or none at all.
    """

    def __init__(
        self,
        ask: Ask,
        session: aiohttp.ClientSession,
        urls: Callable[[], list[str]],
        history: History,
        rng: random.Random,
    ) -> None:
        self._ask = ask
        self._session = session
        self._urls = urls
        self._history = history
        self._rng = rng

    async def bring(self, way: str, body: bytes, url: str | None) -> str:
        """Bring a file in by this way, from the beginning as often as it takes; `url`: first there.

        Raises:
            TimeoutError: it did not work for very long.
        """
        ways = {
            "file": self._whole,
            "direct": self._direct,
            "parts": self._direct,
            "tus": self._tus,
            "given up": self._given_up,
        }
        async with asyncio.timeout(PATIENCE_S):
            while (file_id := await ways[way](way, body, url)) is None:
                await asyncio.sleep(self._rng.uniform(*RETRY_S))
            await self._look(file_id, body[:ABANDONED] if way == "given up" else body)
        return file_id

    async def _look(self, file_id: str, body: bytes) -> None:
        """What the server says of it is what was sent."""
        self._history.kept(file_id)
        status, answer = await self._ask("file", "GET", f"/v1/files/{file_id}")
        if status == OK and json.loads(answer)["sha256"] != hashlib.sha256(body).hexdigest():
            self._history.complain(f"{file_id} is not what was sent")

    async def _whole(self, way: str, body: bytes, url: str | None) -> str | None:
        del way
        _, answer = await self._ask(
            *("upload", "POST", "/v1/files"), data=body, accept={CREATED}, url=url
        )
        return str(json.loads(answer)["id"])

    # --- presigned -----------------------------------------------------------------------------

    async def _announced(self, way: str, body: bytes, url: str | None) -> dict[str, Any]:
        asked = {"size": len(body)} | ({} if way == "direct" else {"part_bytes": PART_BYTES})
        _, answer = await self._ask(
            *("upload", "POST", "/v1/uploads"), json=asked, accept={CREATED}, url=url
        )
        upload: dict[str, Any] = json.loads(answer)
        return upload

    async def _direct(self, way: str, body: bytes, url: str | None) -> str | None:
        upload = await self._announced(way, body, url)
        for part in upload["parts"] or [{**upload["put"], "offset": 0, "size": len(body)}]:
            chunk = body[part["offset"] :][: part["size"]]
            if not await self._sent(part, chunk):
                return None
        status, answer = await self._ask(
            *("complete", "POST", upload["links"]["complete"]),
            accept={OK, 409, 422, *GONE},
            url=url,
        )
        if status == 422:
            self._history.complain(f"{upload['id']} is answered with {answer[:300]!r}")
        return str(json.loads(answer)["id"]) if status == OK else None

    async def _sent(self, signed: dict[str, Any], chunk: bytes) -> bool:
        """PUT to the storage itself, which may be away."""
        headers = {**signed["headers"]}
        headers.pop("Content-Length", None)
        deadline = time.monotonic() + PATIENCE_S / 3
        while time.monotonic() < deadline:
            try:
                async with self._session.put(signed["url"], data=chunk, headers=headers) as answer:
                    if answer.status == OK:
                        return True
                    if answer.status in {403, *GONE}:  # the upload, or its time, is over
                        return False
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(self._rng.uniform(*RETRY_S))
        return False

    async def _given_up(self, way: str, body: bytes, url: str | None) -> str:
        """Begun, deleted, and begun once more."""
        upload = await self._announced(way, body, url)
        await self._sent(upload["parts"][0], body[:PART_BYTES])
        await self._ask("give up", "DELETE", upload["links"]["self"], url=url)
        return str(await self._whole(way, body[:ABANDONED], None) or "")

    # --- resumable -----------------------------------------------------------------------------

    async def _tus(self, way: str, body: bytes, url: str | None) -> str | None:
        del way
        headers = {**VERSION, "Upload-Length": str(len(body))}
        base = url or self._rng.choice(self._urls())
        status, told = await self._once("POST", base, "/v1/tus", headers=headers)
        if status == CREATED:
            return await self._continued(told["Location"], body, url)
        if status not in {0, 429, 503}:
            self._history.complain(f"POST /v1/tus: {status}")
        return None

    async def _continued(self, address: str, body: bytes, url: str | None) -> str | None:
        """Piece by piece; what was acknowledged is never asked for again."""
        safe = 0
        step = -(-len(body) // self._rng.randint(*PIECES))
        while True:
            status, answer = await self._ask(
                *("tus", "GET", address), headers=VERSION, accept={OK, *GONE}, url=url
            )
            if status != OK:
                return None
            view = json.loads(answer)
            if view["state"] == "complete":
                return str(view["file_id"])
            offset = view["offset"]
            if offset < safe:
                self._history.complain(f"{address} had {safe} bytes safe, and has {offset}")
            safe = await self._piece(address, body[offset : offset + step], offset, url)
            url = None

    async def _piece(self, address: str, piece: bytes, offset: int, url: str | None) -> int:
        """What is safe afterwards, as far as we were told."""
        headers = {
            **VERSION,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
        }
        base = url or self._rng.choice(self._urls())
        status, told = await self._once("PATCH", base, address, data=piece, headers=headers)
        if status == NO_CONTENT:
            return int(told["Upload-Offset"])
        await asyncio.sleep(self._rng.uniform(*RETRY_S))
        return offset

    async def _once(
        self, method: str, base: str, path: str, **others: Any
    ) -> tuple[int, dict[str, str]]:
        """Status, 0 for none, and headers of one request."""
        try:
            async with self._session.request(method, base + path, **others) as answer:
                await answer.read()
                self._history.status(f"tus {method}", answer.status)
                if sentence := improper(answer):
                    self._history.complain(f"{method} {path}: {sentence}")
                return answer.status, dict(answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            self._history.status(f"tus {method} {type(exc).__name__}", 0)
            await asyncio.sleep(self._rng.uniform(*RETRY_S))
            return 0, {}
