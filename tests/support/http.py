"""The api over real sockets: a client, a worker's hands, and raw bytes."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from fileproc.errors import ErrorClass
from fileproc.jobs import JobResult, OutputInfo, Problem, Provenance, TargetStatus, Usage
from fileproc.objects import ObjectStore, attempt_prefix
from fileproc.operations import environment
from fileproc.store import Lease, Settlement, Store


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "JPEG")
    return file.getvalue()


def noise(size: int) -> bytes:
    """Bytes of no type at all, the same each time."""
    block = hashlib.shake_256(b"noise").digest(min(size, 1 << 20))
    return (block * (size // len(block) + 1))[:size] if size else b""


@dataclass
class Hands:
    """What a worker does to jobs, without doing the work."""

    store: Store
    objects: ObjectStore

    async def take(self, lane: str = "default") -> Lease:
        leases = await self.store.queue.claim(lane, 0, 1, self.store.queue.next_call())
        assert len(leases) == 1
        return leases[0]

    async def succeed(
        self,
        lease: Lease,
        *outputs: tuple[str, str, bytes],
        deliveries: list[TargetStatus] | None = None,
    ) -> None:
        """Publish (name, type, content) each."""
        prefix = attempt_prefix(lease.job_id, int(lease.token))
        infos = []
        for index, (name, media_type, content) in enumerate(outputs):
            stored = await self.objects.put_stream(
                f"{prefix}{index}", _once(content), content_type=media_type
            )
            infos.append(
                OutputInfo(name=name, size=stored.size, sha256=stored.sha256, type=media_type)
            )
        result = JobResult(
            prefix=prefix,
            outputs=infos,
            usage=Usage(wall_s=0.1, cpu_s=0.1, peak_rss_bytes=1),
            provenance=Provenance(engine="test 1", fileproc="0", build=environment()),
            deliveries=deliveries,
        )
        await self.store.queue.settle(Settlement.complete(lease, result))

    async def fail(self, lease: Lease, code: str = "bad_input") -> None:
        problem = Problem(
            type=f"/docs#error-{code}",
            title="The input cannot be processed",
            status=422,
            detail="The picture is cut off.",
            code=code,
            error_class=ErrorClass.PERMANENT,
            retryable=False,
            attempt=lease.attempt,
        )
        await self.store.queue.settle(Settlement.fail(lease, problem))

    async def files(self) -> list[str]:
        """Keys of all files in the storage."""
        return [info.key async for info in self.objects.list("files/")]


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


@dataclass
class Wire:
    """One raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, within_s: float = 20) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the next response; the body by its length."""
        async with asyncio.timeout(within_s):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
            }
            length = int(headers.get("content-length", 0))
            body = await self.reader.readexactly(length) if length else b""
        return int(first.split(" ")[1]), headers, body

    async def ended(self, within_s: float = 20) -> bool:
        """Whether the server closes the connection; what it still sends is passed over."""
        try:
            async with asyncio.timeout(within_s):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True


@asynccontextmanager
async def wire(server: Any) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document, which is well-formed in itself."""
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/problem+json"
    document: dict[str, Any] = await answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"/docs#error-{code}"
    assert document["request_id"] == answer.headers["X-Request-ID"]
    assert document["title"]
    assert document["detail"]
    return document


async def submit(api: Any, **query: str) -> dict[str, Any]:
    answer = await api.put("/v1/jobs/file.probe", data=b"hello", params=query)
    assert answer.status == 202, await answer.text()
    job: dict[str, Any] = await answer.json()
    return job


def form(*parts: tuple[str, bytes], boundary: str = "frontier") -> tuple[dict[str, str], bytes]:
    """Headers and body of a form from (headers of a part, its bytes)."""
    body = b"".join(
        f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    )
    body += f"--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def field(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def file_part(filename: str, name: str = "file") -> str:
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
