"""Settings of the api: where it listens, and who may use it."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, field_validator

from fileproc.networks import networks
from fileproc.settings.fields import Positive

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


class Auth(StrEnum):
    OFF = "off"
    REQUIRED = "required"


class Downloads(StrEnum):
    REDIRECT = "redirect"
    PROXY = "proxy"


class Serving(BaseModel):
    """The api, and who may use it."""

    host: str = Field("127.0.0.1", description="Address the api listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the api.")
    auth: Auth = Field(Auth.REQUIRED, description="Whether requests need a key.")
    admin_key_file: Path | None = Field(
        None, description="File with the first admin key of a deployment (fp_<id>_<secret>)."
    )
    allowed_hosts: str = Field(
        "",
        description="Where no key is asked for: host names by which the api may be asked, beside"
        " localhost and addresses; separated by commas.",
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies in front of the api, as addresses or networks separated by commas:"
        " only what they say in X-Forwarded-For is believed. Unset: nobody.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token for /metrics of the api. Unset: it needs none.",
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may read our answers in a browser, separated by commas,"
        " such as https://app.example.com; * for all.",
    )
    jwt_algorithm: str | None = Field(
        None,
        pattern="^(RS|PS|ES|HS)(256|384|512)$",
        description="Bearer tokens (JWT) of this one algorithm are taken as well as keys."
        " Unset: none are.",
    )
    jwt_issuer: str | None = Field(None, min_length=1, description="`iss` that tokens must have.")
    jwt_audience: str | None = Field(
        None, min_length=1, description="`aud` that tokens must have, perhaps among others."
    )
    jwt_jwks: str | None = Field(
        None, description="Public keys of the issuer: a JWKS file, or its URL. For RS, PS and ES."
    )
    jwt_secret: SecretStr | None = Field(None, description="The shared secret, for HS.")
    jwt_owner_claim: str = Field("sub", min_length=1, description="Claim that names the owner.")
    jwt_role_claim: str = Field(
        "fileproc_role", min_length=1, description="Claim with the role; without it: user."
    )
    jwt_scopes_claim: str = Field(
        "fileproc_scopes", min_length=1, description="Claim with scopes; without it: no bound."
    )
    jwt_leeway_s: Annotated[float, Field(ge=0, le=300)] = Field(
        30, description="How far the issuer's clock may be off."
    )
    downloads: Downloads = Field(
        Downloads.REDIRECT, description="302 to the storage, or stream through the api."
    )
    url_ttl_s: Positive = Field(900, le=604_800, description="Life of a presigned URL.")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in filter(None, map(str.strip, value.split(","))):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "must be origins as browsers name them, lower case and without a path,"
                    " such as https://app.example.com, or *"
                )
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        if not all(map(_HOST_NAME.fullmatch, names(value))):
            raise ValueError(
                "must be host names, lower case and without port, such as files.internal"
            )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: str) -> str:
        networks(value)
        return value


@cache
def names(listed: str) -> frozenset[str]:
    """What a setting lists, separated by commas."""
    return frozenset(filter(None, map(str.strip, listed.split(","))))


def jwt_complaints(settings: Serving) -> list[str]:
    """What is missing, or too much, for tokens to be verified."""
    algorithm = settings.jwt_algorithm
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
    given = {"jwt_issuer": settings.jwt_issuer, "jwt_audience": settings.jwt_audience}
    sources = {"jwt_jwks": settings.jwt_jwks, "jwt_secret": secret or None}
    if algorithm is None:
        left = [name for name, value in {**given, **sources}.items() if value is not None]
        return [
            f"FILEPROC_{name.upper()}: means nothing without FILEPROC_JWT_ALGORITHM"
            for name in left
        ]
    needed, other = ("jwt_secret", "jwt_jwks")
    if not algorithm.startswith("HS"):
        needed, other = other, needed
    complaints = [
        f"FILEPROC_{name.upper()}: must be set for tokens of {algorithm}"
        for name, value in {**given, needed: sources[needed]}.items()
        if value is None
    ]
    if sources[other] is not None:
        complaints.append(f"FILEPROC_{other.upper()}: is not for {algorithm}; unset it")
    least = int(algorithm[2:]) // 8
    if needed == "jwt_secret" and secret and len(secret.encode()) < least:
        complaints.append(f"FILEPROC_JWT_SECRET: must have at least {least} bytes for {algorithm}")
    return complaints
