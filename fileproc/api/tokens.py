"""Bearer tokens of an issuer that the operator trusts: JSON Web Tokens (RFC 7519, RFC 8725).

The algorithm, the issuer, the audience and the keys are ours to say. A token is refused if it
names any other; whatever else it says of how to verify it is not looked at.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import jwt

from fileproc import scopes
from fileproc.api.context import Caller
from fileproc.api.jwks import KeySet
from fileproc.errors import FileprocError
from fileproc.store import Role
from fileproc.store.apikeys import check_owner
from fileproc.telemetry import get_logger

if TYPE_CHECKING:
    from fileproc.api.jwks import PublicKey
    from fileproc.settings import Settings

log = get_logger(__name__)

MAX_CHARS: Final = 6_000
_SEGMENT = r"[A-Za-z0-9_-]+"
_TOKEN = re.compile(rf"{_SEGMENT}\.{_SEGMENT}\.{_SEGMENT}")
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_MOST_KID: Final = 200
_TIMES: Final = ("exp", "nbf", "iat")


class UntrustedError(Exception):
    """Why a token is refused; for the log, never for who sent it."""


class Tokens:
    """Verifies tokens; made once, if tokens are configured."""

    def __init__(self, settings: Settings) -> None:
        if settings.jwt_algorithm is None:
            raise ValueError("tokens are not configured")
        self._settings = settings
        self._algorithm: str = settings.jwt_algorithm
        secret, source = settings.jwt_secret, settings.jwt_jwks
        self._secret = secret.get_secret_value().encode() if secret is not None else None
        self._keys = KeySet(source, self._algorithm) if source is not None else None

    async def caller(self, token: str) -> Caller | None:
        """Who this token says is asking, if it is to be believed; else None.

        Raises:
            IdentityUnavailableError: the issuer's keys cannot be had now.
        """
        if len(token) > MAX_CHARS or not _TOKEN.fullmatch(token):
            return None
        try:
            return await self._trusted(token)
        except (UntrustedError, jwt.PyJWTError) as exc:
            log.info("a token is refused", why=str(exc)[:200] or type(exc).__name__)
            return None

    async def _trusted(self, token: str) -> Caller:
        head, body, _ = token.split(".")
        kid = self._checked_head(_strict(head))
        claims = _strict(body)
        for name in _TIMES:
            # PyJWT also takes texts and fractions for numbers.
            if name in claims and type(claims[name]) is not int:
                raise UntrustedError(f"{name} is no whole number")
        key: bytes | PublicKey | None = self._secret
        if self._keys is not None:
            key = await self._keys.find(kid)
        if key is None:
            raise UntrustedError("no key of this id is known")
        settings = self._settings
        jwt.decode(
            token,
            key,
            algorithms=[self._algorithm],
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway=settings.jwt_leeway_s,
            options={"require": ["exp", "iss", "aud"]},
        )
        return self._caller_of(claims)

    def _checked_head(self, head: dict[str, Any]) -> str | None:
        """The key's id, if any."""
        if head.get("alg") != self._algorithm:
            raise UntrustedError("it is of another algorithm")
        if "crit" in head or "b64" in head:
            raise UntrustedError("it asks for what we do not know")
        kind = head.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise UntrustedError("it is no access token")
        kid = head.get("kid")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _MOST_KID):
            raise UntrustedError("its kid is no name")
        return kid

    def _caller_of(self, claims: dict[str, Any]) -> Caller:
        settings = self._settings
        owner = claims.get(settings.jwt_owner_claim)
        role = claims.get(settings.jwt_role_claim, Role.USER)
        bound = claims.get(settings.jwt_scopes_claim, [])
        if not isinstance(owner, str) or role not in list(Role):
            raise UntrustedError("its owner or role is none")
        if isinstance(bound, str):
            bound = bound.split()
        if not isinstance(bound, list) or not all(isinstance(scope, str) for scope in bound):
            raise UntrustedError("its scopes are none")
        if settings.jwt_scopes_claim in claims and not bound:
            raise UntrustedError("it is for nothing")  # an empty list is no licence for all
        try:
            check_owner(owner)
            return Caller(
                owner, Role(role), scopes.checked(bound), valid_until=self._end_of(claims)
            )
        except FileprocError as exc:
            raise UntrustedError(exc.detail) from exc

    def _end_of(self, claims: dict[str, Any]) -> datetime:
        """As PyJWT reckons it, who has verified that there is one."""
        try:
            return datetime.fromtimestamp(claims["exp"] + self._settings.jwt_leeway_s, UTC)
        except (ValueError, OverflowError, OSError):  # later than any date: it need not be awaited
            return datetime.max.replace(tzinfo=UTC)


def _strict(segment: str) -> dict[str, Any]:
    """A segment as the one thing it can mean: no name twice, no NaN."""
    try:
        text = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_none)
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise UntrustedError("it cannot be read") from exc
    if not isinstance(value, dict):
        raise UntrustedError("it holds no claims")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UntrustedError("it says something twice")
    return found


def _none(name: str) -> Any:
    raise UntrustedError(f"{name} is no JSON")
