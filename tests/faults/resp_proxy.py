"""The proxy in front of Redis: knows commands and scripts by name, and which reply is whose."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from faults.proxy import Action, Cut, Link, Proxy, Rule, send
from fileproc.store.scripts import scripts

_BULK, _LIST, _MAP, _ATTRIBUTES, _PUSH = b"$!=", b"*~>", b"%", b"|", ord(">")


def frame_end(data: bytes | bytearray, start: int = 0) -> int:
    """Where the RESP value that begins at `start` ends; -1 if not all of it is there."""
    wanted, place = 1, start
    while wanted:
        line = data.find(b"\r\n", place)
        if line < 0:
            return -1
        kind, wanted = data[place], wanted - 1
        if kind in _BULK:
            length = int(data[place + 1 : line])
            place = line + 2 + (length + 2 if length >= 0 else 0)
            if place > len(data):
                return -1
            continue
        if kind in _LIST:
            wanted += max(0, int(data[place + 1 : line]))
        elif kind in _MAP:
            wanted += 2 * int(data[place + 1 : line])
        elif kind in _ATTRIBUTES:
            wanted += 2 * int(data[place + 1 : line]) + 1
        place = line + 2
    return place


def words(command: bytes, most: int) -> list[bytes]:
    """The first words of a command."""
    found: list[bytes] = []
    place = command.index(b"\r\n") + 2
    while len(found) < most and place < len(command):
        line = command.index(b"\r\n", place)
        length = int(command[place + 1 : line])
        found.append(command[line + 2 : line + 2 + length])
        place = line + 4 + length
    return found


_NAMES = {script.sha.encode(): script.name for script in scripts().values()}


def name_of(command: bytes) -> str:
    """The script's name for EVALSHA, else the command in lower case."""
    first, *others = words(command, 2)
    if first.upper() == b"EVALSHA" and others:
        return _NAMES.get(others[0], "evalsha")
    return first.decode().lower()


@dataclass(slots=True)
class _Awaited:
    """A reply that the client waits for: the server's, or one of ours."""

    rule: Rule | None
    ours: bytes = b""


class RespLink(Link):
    def __init__(
        self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._asked = bytearray()
        self._answered = bytearray()
        self._awaited: deque[_Awaited] = deque()
        self._mute = False

    async def request(self, data: bytes) -> None:
        self._asked += data
        passed, place = bytearray(), 0
        while place < len(self._asked) and (end := frame_end(self._asked, place)) > 0:
            command = bytes(self._asked[place:end])
            place = end
            rule = self._proxy.judge(name_of(command))
            if rule is not None and rule.action is Action.CUT:
                await send(self._server, bytes(passed))
                raise Cut
            if rule is not None and rule.action is Action.ANSWER:
                self._awaited.append(_Awaited(rule, rule.reply))
            else:
                self._awaited.append(_Awaited(rule))
                passed += command
        del self._asked[:place]
        await send(self._server, bytes(passed))
        await send(self._client, self._ours())

    async def reply(self, data: bytes) -> None:
        self._answered += data
        passed, place = bytearray(), 0
        while place < len(self._answered) and (end := frame_end(self._answered, place)) > 0:
            frame = bytes(self._answered[place:end])
            place = end
            rule = None
            if frame[0] != _PUSH and self._awaited:
                rule = self._awaited.popleft().rule
            if rule is not None:
                await self._befall(rule, bytes(passed))
            passed += frame + self._ours()
        del self._answered[:place]
        if not self._mute:
            await send(self._client, bytes(passed))

    async def _befall(self, rule: Rule, before: bytes) -> None:
        if rule.action is Action.DROP:
            await send(self._client, before)
            raise Cut
        if rule.action is Action.SWALLOW and not self._mute:
            await send(self._client, before)
            self._mute = True
        if rule.action is Action.SLOW:
            await asyncio.sleep(rule.delay_s)

    def _ours(self) -> bytes:
        """Our own answers that are next in line."""
        out = bytearray()
        while self._awaited and self._awaited[0].ours:
            out += self._awaited.popleft().ours
        return b"" if self._mute else bytes(out)


class RespProxy(Proxy):
    def link(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Link:
        return RespLink(self, client, server)
