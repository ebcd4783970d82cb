"""Settings of what the roles connect to."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from fileproc.settings.fields import named


class Engines(BaseModel):
    """Redis and the object storage."""

    redis_url: SecretStr = named(
        "FILEPROC_REDIS_URL",
        "REDIS_URL",
        default="redis://127.0.0.1:6379/0",
        description="Redis or Valkey: redis://, rediss:// (TLS) or unix://.",
    )
    redis_prefix: str = Field(
        "{fp}:", description="Before every key; the braces keep all keys in one cluster slot."
    )
    redis_reserve: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Share of Redis' maxmemory that new jobs must leave to those accepted."
    )
    s3_endpoint: str | None = named(
        "FILEPROC_S3_ENDPOINT",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        default=None,
        description="S3 server as the roles reach it; unset: AWS.",
    )
    s3_public_endpoint: str | None = Field(
        None, description="S3 server as clients reach it; presigned URLs name it."
    )
    s3_bucket: str = Field("fileproc", description="Made at start if absent.")
    s3_region: str = named(
        "FILEPROC_S3_REGION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        default="us-east-1",
        description="Region that requests are signed for.",
    )
    s3_access_key_id: SecretStr | None = named(
        "AWS_ACCESS_KEY_ID",
        default=None,
        description="Unset: botocore's default chain (profile, instance role, ...).",
    )
    s3_secret_access_key: SecretStr | None = named(
        "AWS_SECRET_ACCESS_KEY", default=None, description="Goes with AWS_ACCESS_KEY_ID."
    )
    s3_addressing: str = Field(
        "path", pattern="^(path|virtual)$", description="Bucket in the path or in the host name."
    )
    s3_sse: str | None = Field(
        None, description="Server-side encryption asked for with each object, such as AES256."
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr) -> SecretStr:
        if urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("s3_endpoint", "s3_public_endpoint")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is not None and (
            urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname
        ):
            raise ValueError("must be a URL such as http://127.0.0.1:9000")
        return value.rstrip("/") if value else value
