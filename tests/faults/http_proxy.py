"""The proxy in front of the storage: knows requests by method and kind of object."""

from __future__ import annotations

import asyncio
import re

from faults.proxy import Action, Cut, Link, Proxy, Rule, send

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:\s*chunked")
_END = b"\r\n\r\n"
UNTIL_ANSWERED = -1

_BODY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def name_of(head: bytes) -> str:
    """`PUT attempts` for PUT /bucket/attempts/..., `POST` for the bucket itself."""
    method, path, _ = head.split(b" ", 2)
    parts = path.partition(b"?")[0].split(b"/")
    kind = parts[2].decode() if len(parts) > 3 else ""  # /bucket/kind/...
    return f"{method.decode()} {kind}".strip()


class HttpLink(Link):
    """One request at a time, as every client of S3 does it."""

    def __init__(
        self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._head = bytearray()
        self._left = 0  # bytes of the request's body to come
        self._rule: Rule | None = None
        self._reply = bytearray()  # its beginning, while half of it is to be counted

    async def request(self, data: bytes) -> None:
        while data:
            if self._left:
                taken = len(data) if self._left == UNTIL_ANSWERED else min(self._left, len(data))
                await self._body(data[:taken])
                data = data[taken:]
                self._left -= taken if self._left > 0 else 0
            else:
                self._head += data
                if (end := self._head.find(_END)) < 0:
                    return
                head, data = bytes(self._head[: end + 4]), bytes(self._head[end + 4 :])
                self._head.clear()
                await self._begin(head)
            if not self._left:
                await self._sent()

    async def _begin(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        if _CHUNKED.search(head):
            self._left = UNTIL_ANSWERED
        self._reply.clear()
        self._rule = self._proxy.judge(name_of(head))
        if self._rule and self._rule.action is Action.CUT:
            raise Cut
        await self._body(head)

    async def _body(self, data: bytes) -> None:
        if not (self._rule and self._rule.action is Action.ANSWER):
            await send(self._server, data)

    async def _sent(self) -> None:
        """The request is complete."""
        if self._rule and self._rule.action is Action.ANSWER:
            await send(self._client, self._rule.reply)
            raise Cut

    async def reply(self, data: bytes) -> None:
        rule = self._rule
        if self._left == UNTIL_ANSWERED:
            self._left = 0
        match rule.action if rule else None:
            case Action.DROP:
                raise Cut
            case Action.SWALLOW:
                return
            case Action.TRUNCATE:
                await self._half(data)
                return
            case Action.SLOW if rule:
                await asyncio.sleep(rule.delay_s)
        await send(self._client, data)

    async def _half(self, data: bytes) -> None:
        self._reply += data
        end = self._reply.find(_END)
        length = _LENGTH.search(self._reply[: end + 4]) if end >= 0 else None
        if end < 0:
            return
        half = end + 4 + (int(length[1]) // 2 if length else 0)
        if len(self._reply) >= half:
            await send(self._client, bytes(self._reply[:half]))
            raise Cut


class HttpProxy(Proxy):
    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Link:
        return HttpLink(self, client, server)
