"""Buckets of others that the operator has connected: clients name them, and never give credentials.

{"archive": {"endpoint": "https://s3.example.com", "bucket": "docs", "prefix": "out/",
"access_key_id": "...", "secret_access_key": "...",
"owners": ["acme"], "write": true}}
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, TypeAdapter

from fileproc.errors import UrlNotAllowedError

SCHEME: Final = "s3://"
MAX_KEY_BYTES: Final = 900

_NAME = "[a-z0-9][a-z0-9_-]{0,39}"
_URL = re.compile(rf"s3://({_NAME})/(.*)", re.DOTALL)


class Connection(BaseModel):
    """One bucket, or the part of it below a prefix, and whose jobs may use it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str | None = Field(None, pattern="^https?://")
    region: str = "us-east-1"
    bucket: str = Field(min_length=1)
    prefix: str = ""
    addressing: str = Field("path", pattern="^(path|virtual)$")
    access_key_id: SecretStr
    secret_access_key: SecretStr
    owners: list[str] = Field(description="`*`: everybody.")
    read: bool = True
    write: bool = False

    def permits(self, owner: str, *, write: bool) -> bool:
        """Whether a job of this owner may do that."""
        named = owner in self.owners or "*" in self.owners
        return named and (self.write if write else self.read)


_ALL = TypeAdapter(dict[Annotated[str, StringConstraints(pattern=f"^{_NAME}$")], Connection])


@cache
def parse_connections(text: str) -> dict[str, Connection]:
    """From JSON, by name.

    Raises:
        ValueError: it is not such JSON; without quoting it.
    """
    try:
        return _ALL.validate_json(text) if text.strip() else {}
    except ValueError:
        raise ValueError("must be JSON: a connection for each name, as the docs show") from None


def place_of(url: str) -> tuple[str, str]:
    """Name of the connection and key, of `s3://<connection>/<key>`.

    Servers that keep objects as files must not be led out of their folder.

    Raises:
        UrlNotAllowedError: it has another form, or a key that could climb.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise UrlNotAllowedError("The URL must have the form s3://<connection>/<key>.")
    name, key = found[1], found[2]
    parts = key.removesuffix("/").split("/") if key else []
    unsafe = not key.isprintable() or "\\" in key
    if unsafe or any(part in {"", ".", ".."} for part in parts):
        raise UrlNotAllowedError("The key must be plain: no empty part, no `.` or `..`.")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise UrlNotAllowedError(f"The key is longer than {MAX_KEY_BYTES} bytes.")
    return name, key
