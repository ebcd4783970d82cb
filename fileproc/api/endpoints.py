"""One entry of the table of routes: what is called, and what the documentation says about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from fileproc.errors import FileprocError
from fileproc.store import Role

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
Errors = tuple[type[FileprocError], ...]


class Tag(StrEnum):
    """The chapters of the documentation."""

    SUBMIT = "Submit"
    FILES = "Files"
    TUS = "Resumable uploads"
    JOBS = "Jobs"
    BATCHES = "Batches"
    SCHEDULES = "Schedules"
    TEMPLATES = "Templates"
    KEYS = "Keys"
    LIMITS = "Limits"
    ADMIN = "Administration"
    WEBHOOKS = "Webhooks"
    LINKS = "Links"
    OPERATIONS = "Operations"
    SERVICE = "Service"


class Body(StrEnum):
    """What an endpoint takes."""

    NONE = "none"
    JOB = "job"  # JSON or a form
    FILE = "file"  # the raw bytes, one path for each operation
    JSON = "json"  # of the endpoint's `payload`
    UPLOAD = "upload"  # the raw bytes of any file
    BATCH = "batch"  # JSON of the `payload`, or a job on each line
    OFFSET_BYTES = "offset_bytes"  # a piece of a file
    BYTES = "bytes"  # one file, raw or as a form
    FORM = "form"  # of a page of ours


class RateClass(StrEnum):
    """What requests are counted as; each has a rate in the settings."""

    READ = "read"
    WRITE = "write"
    SUBMIT = "submit"
    SIGN_IN = "sign_in"  # by address: no valid key
    PUBLIC = "public"  # by address: needs none, and is worth guessing at


class Repeats(StrEnum):
    """What becomes of a POST or PUT that is sent again with its Idempotency-Key."""

    ANSWER = "answer"  # the first answer is kept, by the middleware
    OWN = "own"  # the handler ties the key to what it makes
    NONE = "none"  # the key means nothing: the protocol has its own way, or it is harmless


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful status.

    Attributes:
        says: a sentence on when it comes.
        model: of the JSON body; None where there is no body, or none of JSON.
        media_type: of a body without model.
        headers: name -> sentence.
        example: a body.
    """

    says: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    example: Any = None

    @classmethod
    def page(cls, model: type[BaseModel], entry: Any) -> Answer:
        """A page of a list, as `pages.page_answer` makes it, with this entry for an example."""
        return cls(
            "A page.",
            model,
            headers={"Link": 'The next page, `rel="next"`.'},
            example={"data": [entry], "next_cursor": None},
        )


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A header that is looked at; `pattern` if it is refused where it does not match."""

    name: str
    says: str
    pattern: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address.

    Attributes:
        path: the template, for aiohttp and OpenAPI alike.
        operation_id: camelCase, verb and noun.
        query: the model that validates the query.
        headers: request headers it looks at.
        errors: what it may raise beside what every endpoint may.
        payload: the model of a JSON body.
        sample: a line of curl for the documentation.
        public: needs no key.
        role: what the key must at least be; where nothing is said, a viewer may GET, and everything
            else takes a user.
        scoped: whether a key that is bound to operations or templates may use it; it may look, and
            start jobs within its scopes, and whatever else says so.
        granted: whether it takes an upload token, too.
        submits: refusals count as refused jobs.
        repeats: how an Idempotency-Key is heeded, of a POST or PUT.
        secrets: members of the answer that are told once: a kept answer has them masked.
        shown: stands in the documentation.
        stores: what it makes stays in Redis: refused while that is nearly full. Of jobs and files
            the store itself sees to that.
        rate: what its requests are counted as, where that does not follow from the others.
    """

    method: str
    path: str
    handle: Handle
    operation_id: str
    tag: Tag
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    query: type[BaseModel] | None = None
    headers: tuple[RequestHeader, ...] = ()
    body: Body = Body.NONE
    payload: type[BaseModel] | None = None
    sample: str = ""
    errors: Errors = ()
    public: bool = False
    role: Role | None = None
    scoped: bool = False
    granted: bool = False
    submits: bool = False
    shown: bool = True
    repeats: Repeats = Repeats.ANSWER
    secrets: tuple[str, ...] = ()
    stores: bool = False
    rate: RateClass | None = None

    @property
    def keeps_answer(self) -> bool:
        """Whether the middleware answers a repetition."""
        return self.method in {"POST", "PUT"} and self.repeats is Repeats.ANSWER

    @property
    def needs(self) -> Role:
        """The least role that may use it."""
        if self.role is not None:
            return self.role
        return Role.VIEWER if self.method == "GET" else Role.USER

    @property
    def rate_class(self) -> RateClass | None:
        """What its requests are counted as; None: they are not."""
        if self.rate is not None or self.public:
            return self.rate
        if self.submits:
            return RateClass.SUBMIT
        return RateClass.READ if self.method == "GET" else RateClass.WRITE
