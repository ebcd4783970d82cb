"""The public keys of an issuer of tokens: a JSON Web Key Set (RFC 7517), from a file or a URL.

The set is what may be trusted, and nothing that a token says can change it: headers such as `jku`,
`x5u` or `jwk` are never looked at, and an unknown `kid` makes us ask the one address that the
operator has set, at most every ten seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from aiohttp import ClientError, ClientSession, ClientTimeout
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fileproc.errors import IdentityUnavailableError
from fileproc.telemetry import get_logger

log = get_logger(__name__)

FRESH_S: Final = 300.0  # a key that was taken out of the set is trusted no longer than this
STALE_S: Final = 3600.0  # or, where the set cannot be had, than this
PAUSE_S: Final = 10.0  # between two attempts, whatever tokens name
_TIMEOUT: Final = ClientTimeout(total=5)
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 100
_LEAST_RSA_BITS: Final = 2048
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}

PublicKey = RSAPublicKey | EllipticCurvePublicKey


class KeySet:
    """The keys of one source that fit one algorithm."""

    def __init__(self, source: str, algorithm: str) -> None:
        self._source = source
        self._algorithm = algorithm
        self._keys: dict[str | None, PublicKey] = {}
        self._good_at: float | None = None  # when the set was last had
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> PublicKey | None:
        """The key of this id; without an id the only one there is; None: none that we trust.

        Raises:
            IdentityUnavailableError: the set cannot be had, and none of before is fresh enough.
        """
        if self._age() > FRESH_S:
            await self._refresh()
        found = self._known(kid)
        if found is None and self._age() > PAUSE_S:  # the issuer may have a new key
            await self._refresh()
            found = self._known(kid)
        if self._age() > STALE_S:
            raise IdentityUnavailableError(
                "Who issues the tokens cannot be asked for its keys at the moment: try again.",
                retry_after_s=int(PAUSE_S),
            )
        return found

    def _known(self, kid: str | None) -> PublicKey | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _age(self) -> float:
        now = asyncio.get_running_loop().time()
        return now - self._good_at if self._good_at is not None else float("inf")

    async def _refresh(self) -> None:
        """Have the set anew, once for all who wait; what went wrong is in the log."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._lock:
            if self._tried_at is not None and (
                self._tried_at >= asked_at or loop.time() - self._tried_at < PAUSE_S
            ):
                return
            try:
                self._keys = usable(await self._read(), self._algorithm)
                self._good_at = loop.time()
            except (OSError, ClientError, TimeoutError, ValueError) as exc:
                log.warning("keys of tokens: cannot be had", kind=type(exc).__name__)
            self._tried_at = loop.time()
        if not self._keys:
            log.warning("keys of tokens: none that fits", algorithm=self._algorithm)

    async def _read(self) -> Any:
        if not self._source.startswith(("https://", "http://")):
            return json.loads(await asyncio.to_thread(Path(self._source).read_bytes))
        # No redirects: what the operator named is what we ask. A session of its own, as this is
        # done every five minutes.
        async with (
            ClientSession(timeout=_TIMEOUT) as session,
            session.get(self._source, allow_redirects=False) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - HTTP
                raise ValueError("the answer is no 200")
            body = await answer.content.read(_MOST_BYTES + 1)
            while len(body) <= _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES)):
                body += more
        if len(body) > _MOST_BYTES:
            raise ValueError("the set is too large")
        return json.loads(body)


def usable(document: Any, algorithm: str) -> dict[str | None, PublicKey]:
    """The keys of a set that are for verifying this algorithm, by their ids.

    Keys of another kind are passed over, and so are weak ones: a set may hold them for others.

    Raises:
        ValueError: it is no set.
    """
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("no key set")  # noqa: TRY004 - what is wrong is a text, not a type of ours
    found: dict[str | None, PublicKey] = {}
    for entry in document["keys"][:_MOST_KEYS]:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and (kid is None or isinstance(kid, str)):
            key = _public(entry, algorithm)
            if key is not None:
                found[kid] = key
    return found


def _public(entry: Mapping[str, Any], algorithm: str) -> PublicKey | None:
    operations = entry.get("key_ops", ["verify"])
    if (
        entry.get("use", "sig") != "sig"
        or entry.get("alg", algorithm) != algorithm
        or entry.get("kty") != ("EC" if algorithm.startswith("ES") else "RSA")
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in entry  # a private key that got out is nobody's proof of anything
    ):
        return None
    try:
        key = jwt.PyJWK(dict(entry), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if key.key_size >= _LEAST_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return key if key.curve.name == _CURVES[algorithm] else None
    return None
