"""The grammar of `multipart/form-data` (RFC 2046, 5.1; RFC 7578), read as a stream.

Our own, because every step has to be bounded: aiohttp's reader has no limit for what stands before
the first part, and none for time. Memory is one chunk and one set of headers, whatever is sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from fileproc.errors import BadRequestError, UnsupportedMediaTypeError

MAX_HEADER_BYTES: Final = 8192
MAX_HEADERS: Final = 16
MAX_PREAMBLE: Final = 8192
_MAX_PADDING = 64
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z*]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"]*)')
_PLAIN_ENCODINGS = frozenset({"", "binary", "8bit", "7bit", "identity"})


@dataclass(frozen=True, slots=True)
class PartHead:
    """What stands before a part's bytes. `filename` None: it is a field, not a file."""

    name: str
    filename: str | None
    content_type: str | None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        BadRequestError: there is none, or it is not a proper one.
    """
    found = _parameters(content_type.partition(";")[1] + content_type.partition(";")[2])
    boundary = found.get("boundary", "").encode("latin-1", "replace")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequestError("The form's Content-Type has no proper boundary.")
    return boundary


class Form:
    """Parts one after the other: `next_part`, then `chunks` to its end, and again."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary
        # As if a line ended before the body: then the first delimiter is like all others.
        self._buffer = b"\r\n"
        self._in_part = False
        self._begun = False

    async def next_part(self) -> PartHead | None:
        """The head of the next part; None at the end of the form.

        Raises:
            BadRequestError: the form is malformed or cut off.
            UnsupportedMediaTypeError: the part is encoded.
        """
        if not self._begun:
            self._begun = True
            await self._skip_preamble()
        async for _ in self.chunks():
            pass
        if await self._at_end():
            return None
        head = _parse_head(await self._read_headers())
        self._in_part = True
        return head

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The bytes of the part; raises as `next_part`."""
        while self._in_part:
            at = self._buffer.find(self._delimiter)
            if at >= 0:
                self._in_part = False
                chunk, self._buffer = self._buffer[:at], self._buffer[at + len(self._delimiter) :]
            else:
                # The end of what is here may be the beginning of a delimiter.
                keep = len(self._delimiter) - 1
                chunk, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
            if chunk:
                yield chunk
            if self._in_part:
                await self._more()

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._chunks)
        except StopAsyncIteration:
            raise BadRequestError("The form ends in the middle of a part.") from None

    async def _skip_preamble(self) -> None:
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > MAX_PREAMBLE:
                raise BadRequestError("The form does not begin with its boundary.")
            await self._more()
        if at > MAX_PREAMBLE:
            raise BadRequestError("The form does not begin with its boundary.")
        self._buffer = self._buffer[at + len(self._delimiter) :]

    async def _at_end(self) -> bool:
        """Read the rest of the delimiter's line; True if it closes the form."""
        while len(self._buffer) < 2:  # noqa: PLR2004 - `--` or a line break
            await self._more()
        if self._buffer.startswith(b"--"):
            async for _ in self._chunks:
                pass  # whatever follows is no part of the form; the caller's limits hold
            return True
        while (at := self._buffer.find(b"\r\n")) < 0 and len(self._buffer) <= _MAX_PADDING:
            await self._more()
        if not 0 <= at <= _MAX_PADDING or self._buffer[:at].strip(b" \t"):
            raise BadRequestError("A boundary of the form is malformed.")
        self._buffer = self._buffer[at:]  # the line break stays: it may be the one before no header
        return False

    async def _read_headers(self) -> bytes:
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                break
            await self._more()
        if not 0 <= at <= MAX_HEADER_BYTES:
            raise BadRequestError(f"A part's headers have more than {MAX_HEADER_BYTES} bytes.")
        headers, self._buffer = self._buffer[2:at], self._buffer[at + 4 :]
        return headers


def _parse_head(block: bytes) -> PartHead:
    headers = _parse_headers(block)
    for name in ("content-encoding", "content-transfer-encoding"):
        if headers.get(name, "").strip().lower() not in _PLAIN_ENCODINGS:
            raise UnsupportedMediaTypeError(f"Send parts as they are: {name.title()} is not taken.")
    content_type = headers.get("content-type")
    if content_type is not None and content_type.strip().lower().startswith("multipart/"):
        raise BadRequestError("A form within a form is not taken.")
    disposition = headers.get("content-disposition", "")
    if disposition.partition(";")[0].strip().lower() != "form-data":
        raise BadRequestError("A part has no `Content-Disposition: form-data`.")
    parameters = _parameters(disposition)
    if not parameters.get("name"):
        raise BadRequestError("A part has no name.")
    return PartHead(parameters["name"][:200], parameters.get("filename"), content_type)


def _parse_headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise BadRequestError(f"A part has more than {MAX_HEADERS} headers.")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name.replace("-", "").isalnum() or name in headers:
            raise BadRequestError("A part's headers are malformed.")
        headers[name] = value.strip()
    return headers


def _parameters(disposition: str) -> dict[str, str]:
    """`name`, `filename`; `filename*` (RFC 8187) wins over `filename`."""
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(disposition):
        if value.startswith('"'):
            value = re.sub(r"\\([\"\\])", r"\1", value[1:-1])  # noqa: PLW2901 - its unquoted self
        found.setdefault(name.lower(), value.strip())
    encoded = found.pop("filename*", "")
    charset, _, rest = encoded.partition("'")
    if charset.lower() in {"utf-8", "iso-8859-1"}:
        found["filename"] = unquote(rest.partition("'")[2], charset, "replace")
    return found
