"""An asynchronous client: submit a file, follow the job, download what came out.

    async with Client("http://127.0.0.1:8080") as client:
        job = await client.submit(Path("photo.jpg"), "image.resize", {"width": 800})
        async for job in client.follow(job["id"]):
            print(job["state"], job["progress"])
        await client.download(job, Path("small.jpg"))

Jobs are the JSON objects of the API, as dictionaries.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from fileproc.errors import FileprocError

FINAL_STATES = frozenset({"succeeded", "failed", "canceled", "expired"})

Job = dict[str, Any]


class ClientError(FileprocError):
    """The API said no, cannot be reached, or sent something else than it promised.

    Attributes:
        http_status: of the answer; None: there was no answer.
        problem: the problem object of the answer (RFC 9457), empty if it had none.
    """

    code, title = "request_failed", "The request failed"

    def __init__(
        self,
        detail: str,
        *,
        http_status: int | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.http_status = http_status
        self.problem = dict(problem or {})

    @property
    def problem_code(self) -> str:
        """The stable code of the problem, such as `type_mismatch`; empty if there was none."""
        return str(self.problem.get("code", ""))


class Client:
    """One API, one key. An async context manager; safe for concurrent calls."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        self._url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session.

        Raises:
            ClientError: outside `async with`.
        """
        if self._session is None or self._session.closed:
            raise ClientError("Use the client inside `async with Client(...)`.")
        return self._session

    async def submit(
        self,
        file: Path,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Stream the file in and have a job for it; with a key it is safe to call again.

        Raises:
            ClientError: the file or the parameters are refused, or nobody answers.
        """
        query = {name: _text(value) for name, value in (params or {}).items()}
        headers = {"Content-Type": "application/octet-stream"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        with file.open("rb") as body:
            return await self._call(
                "PUT",
                f"v1/jobs/{operation}",
                params={"filename": file.name, **query},
                headers=headers,
                data=body,
            )

    async def get(self, job_id: str, *, wait_s: int = 0) -> Job:
        """The job; with `wait_s` the answer comes when it is final, or after so many seconds."""
        return await self._call(
            "GET", f"v1/jobs/{job_id}", params={"wait": str(wait_s)} if wait_s else {}
        )

    async def follow(self, job_id: str, *, wait_s: int = 1) -> AsyncIterator[Job]:
        """The job as it goes on, about every `wait_s` seconds; the last one is final."""
        while True:
            job = await self.get(job_id, wait_s=wait_s)
            yield job
            if job["state"] in FINAL_STATES:
                return

    async def cancel(self, job_id: str) -> Job:
        """Ask for its end; a running job is canceled within seconds."""
        return await self._call("POST", f"v1/jobs/{job_id}/cancel")

    async def download(self, job: Job, target: Path, *, index: int = 0) -> Path:
        """Fetch one output by its presigned URL; whole and with the right digest, or not at all.

        Raises:
            ClientError: there is no such output, or what came is not what the job says.
        """
        partial = target.with_name(target.name + ".part")
        digest, size = hashlib.sha256(), 0
        try:
            async with self._result(job["id"], index) as answer:
                with partial.open("wb") as file:
                    async for chunk in answer.content.iter_any():
                        file.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
            expected = job["outputs"][index]
            if (size, digest.hexdigest()) != (expected["size"], expected["sha256"]):
                raise ClientError(
                    f"The download of {expected['name']} is not what the job made: "
                    f"{size} bytes, sha256 {digest.hexdigest()}."
                )
            return partial.replace(target)
        except aiohttp.ClientError as exc:
            raise _unreachable(self._url, exc) from exc
        finally:
            partial.unlink(missing_ok=True)

    @asynccontextmanager
    async def _result(self, job_id: str, index: int) -> AsyncIterator[aiohttp.ClientResponse]:
        """The open answer that has the bytes, from the storage or from the API itself."""
        url = urljoin(self._url, f"v1/jobs/{job_id}/result")
        async with self.session.get(
            url, params={"index": str(index)}, headers=self._headers, allow_redirects=False
        ) as answer:
            if answer.status == HTTPStatus.OK:
                yield answer
                return
            if answer.status != HTTPStatus.FOUND:
                raise await _error(answer)
            presigned = URL(urljoin(url, answer.headers["Location"]), encoded=True)
        # No key here: the address carries its own signature, and storage refuses two.
        async with self.session.get(presigned) as answer:
            if answer.status != HTTPStatus.OK:
                raise await _error(answer)
            yield answer

    async def _call(self, method: str, path: str, **request: Any) -> Job:
        url = urljoin(self._url, path)
        request["headers"] = {**self._headers, **request.get("headers", {})}
        try:
            async with self.session.request(method, url, **request) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise await _error(answer)
                job: Job = await answer.json()
                return job
        except aiohttp.ClientError as exc:
            raise _unreachable(url, exc) from exc


def _text(value: Any) -> str:
    """A parameter as it stands in a query: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _error(answer: aiohttp.ClientResponse) -> ClientError:
    """What the answer says, as a sentence."""
    try:
        problem = await answer.json(content_type=None)
    except (ValueError, UnicodeDecodeError):
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or f"{answer.url.host} answered {answer.status} {answer.reason}."
    for entry in problem.get("errors", []):
        detail += f" {entry.get('pointer', '')}: {entry.get('detail', '')}"
    return ClientError(detail, http_status=answer.status, problem=problem)


def _unreachable(url: str, exc: aiohttp.ClientError) -> ClientError:
    return ClientError(f"{url.partition('?')[0]} cannot be reached: {exc or type(exc).__name__}")
