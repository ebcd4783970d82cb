"""What may differ between two deployments, read once from the environment; no other module does.

Sources, strongest first: environment, `*_FILE` secrets, `.env`, defaults.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fileproc import crashpoints
from fileproc.connections import parse_connections
from fileproc.errors import SettingsError
from fileproc.networks import networks
from fileproc.rates import parse_rate
from fileproc.webhooks import schedule

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")

MIB = 1024 * 1024
GIB = 1024 * MIB


class Auth(StrEnum):
    OFF = "off"
    REQUIRED = "required"


class SandboxMode(StrEnum):
    REQUIRED = "required"
    BEST_EFFORT = "best-effort"


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Downloads(StrEnum):
    REDIRECT = "redirect"
    PROXY = "proxy"


def _named(*names: str, default: Any, description: str, **limits: Any) -> Any:
    """A field whose environment variables are exactly `names`, the first being the one we print."""
    return Field(default, validation_alias=AliasChoices(*names), description=description, **limits)


Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Every setting, with its default. Sizes are bytes, times seconds."""

    model_config = SettingsConfigDict(
        env_prefix="FILEPROC_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    redis_url: SecretStr = _named(
        "FILEPROC_REDIS_URL",
        "REDIS_URL",
        default="redis://127.0.0.1:6379/0",
        description="Redis or Valkey: redis://, rediss:// (TLS) or unix://.",
    )
    redis_prefix: str = Field(
        "{fp}:", description="Before every key; the braces keep all keys in one cluster slot."
    )
    s3_endpoint: str | None = _named(
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
    s3_region: str = _named(
        "FILEPROC_S3_REGION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        default="us-east-1",
        description="Region that requests are signed for.",
    )
    s3_access_key_id: SecretStr | None = _named(
        "AWS_ACCESS_KEY_ID",
        default=None,
        description="Unset: botocore's default chain (profile, instance role, ...).",
    )
    s3_secret_access_key: SecretStr | None = _named(
        "AWS_SECRET_ACCESS_KEY", default=None, description="Goes with AWS_ACCESS_KEY_ID."
    )
    s3_addressing: str = Field(
        "path", pattern="^(path|virtual)$", description="Bucket in the path or in the host name."
    )
    s3_sse: str | None = Field(
        None, description="Server-side encryption asked for with each object, such as AES256."
    )

    host: str = Field("127.0.0.1", description="Address the api listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the api.")
    worker_host: str = Field("127.0.0.1", description="Address of the worker's health port.")
    worker_port: int = Field(8081, ge=0, le=65535, description="Health port; 0 takes a free one.")
    auth: Auth = Field(Auth.REQUIRED, description="Whether requests need a key.")
    admin_key_file: Path | None = Field(
        None, description="File with the first admin key of a deployment (fp_<id>_<secret>)."
    )
    allowed_hosts: str = Field(
        "",
        description="Where no key is asked for: host names by which the api may be asked, beside"
        " localhost and addresses; separated by commas.",
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

    max_upload_bytes: Positive = Field(5 * GIB, description="Largest file taken.")
    max_json_bytes: Positive = Field(1 * MIB, description="Largest JSON body or `job` part.")
    max_manifest_bytes: Positive = Field(
        16 * MIB, description="Largest manifest of a batch (a job on each line)."
    )
    max_batch_jobs: Positive = Field(10_000, description="Jobs in one batch.")
    max_inputs: Positive = Field(100, description="Files in one job.")
    upload_idle_s: PositiveSeconds = Field(
        60,
        description="An upload that sends, or a download that takes, nothing for so long is cut.",
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies in front of the api, as addresses or networks separated by commas:"
        " only what they say in X-Forwarded-For is believed. Unset: nobody.",
    )
    rate_read: str = Field(
        "6000/minute", description="Requests of one key that only read: N/second, /minute or /30s."
    )
    rate_write: str = Field(
        "6000/minute", description="Other requests of one key that change something; or off."
    )
    rate_submit: str = Field("6000/minute", description="Submissions and uploads of one key.")
    rate_sign_in: str = Field(
        "600/minute", description="Requests without a valid key from one address; more: 429."
    )
    rate_public: str = Field(
        "600/minute", description="Requests of one address to links that need no key."
    )

    rate_patience_s: PositiveSeconds = Field(
        0.25, description="Longer no request waits for Redis to be counted: it is let through."
    )

    max_queued_per_owner: Positive = Field(
        100_000, description="Jobs of one owner that may wait at once."
    )
    max_running_per_owner: int = Field(
        0, ge=0, description="Jobs of one owner that may run at once in a lane; 0: any number."
    )
    quota_jobs_per_day: int = Field(
        0, ge=0, description="Jobs that one owner may submit in a day (UTC); 0: any number."
    )
    quota_bytes_per_day: int = Field(
        0, ge=0, description="Bytes that one owner may upload in a day; 0: any number."
    )
    quota_cpu_s_per_day: int = Field(
        0, ge=0, description="CPU seconds of one owner after which that day takes no more; 0: any."
    )
    max_event_backlog: Positive = Field(
        500_000, description="Entries in the event stream above which new jobs are refused."
    )
    redis_reserve: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Share of Redis' maxmemory that new jobs must leave to those accepted."
    )
    events_window_s: PositiveSeconds = Field(
        300, description="How long an event stays readable in Redis."
    )
    max_delay_s: Positive = Field(
        30 * 86_400, description="How far ahead `run_at` and `expires_in` of a job may lie."
    )
    max_streams: Positive = Field(
        10_000, description="Event streams that one api process keeps open."
    )
    max_streams_per_owner: Positive = Field(
        1_000, description="Event streams of one owner on one api process."
    )
    max_links_per_owner: Positive = Field(
        10_000, description="Share links that one owner may have, with those of the last week."
    )
    max_upload_tokens_per_owner: Positive = Field(
        10_000, description="Upload tokens of one owner that may live at once, used or not."
    )
    max_schedules_per_owner: Positive = Field(50, description="Schedules that one owner may have.")
    min_schedule_interval_s: Positive = Field(
        60, description="The least time between two firings of a schedule, by its cron expression."
    )
    max_schedule_jobs: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1000, description="Jobs that one firing of a schedule makes; the next one gets the rest."
    )
    max_schedule_objects: Positive = Field(
        20_000, description="Objects below the prefix of a schedule, all of which it remembers."
    )
    stream_life_s: PositiveSeconds = Field(
        900, description="An event stream ends after so long; its reader comes back, with its key."
    )
    moves_remembered: Positive = Field(
        20_000,
        description="Latest moves of jobs that an api process keeps for readers who come back.",
    )
    retention_s: Positive = Field(86_400, description="Job and files go so long after its end.")
    file_retention_s: Positive = Field(
        86_400,
        description="A file that was uploaded on its own goes so long after that, at most.",
    )
    max_files_per_owner: Positive = Field(
        10_000, description="Files of one owner that were uploaded on their own."
    )
    upload_life_s: Positive = Field(
        86_400,
        description="An upload in several requests must be complete so long after its begin.",
    )
    max_uploads_per_owner: Positive = Field(
        1_000, description="Such uploads of one owner that may be under way at once."
    )
    url_ttl_s: Positive = Field(900, le=604_800, description="Life of a presigned URL.")

    webhook_schedule_s: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Waits between the attempts of a delivery to a webhook, each lengthened by up"
        " to a fifth at random.",
    )
    webhook_timeout_s: PositiveSeconds = Field(
        15, description="A webhook must have answered in so long."
    )
    webhook_concurrency: Positive = Field(64, description="Deliveries that a worker has under way.")
    webhook_owner_concurrency: Positive = Field(
        16, description="Deliveries of one owner under way at once."
    )
    webhook_endpoint_concurrency: Positive = Field(
        4, description="Deliveries to one endpoint under way at once."
    )
    webhook_disable_s: PositiveSeconds = Field(
        432_000, description="A webhook to which no delivery succeeds for so long is disabled."
    )
    webhook_secret_overlap_s: PositiveSeconds = Field(
        86_400, description="A secret that was rotated signs so long beside the new one."
    )
    webhook_log_s: Positive = Field(
        604_800, description="A delivery can be looked at, and repeated, so long after its end."
    )
    webhook_log_entries: Positive = Field(
        200, description="Deliveries that are over, kept for one endpoint."
    )
    max_webhooks: Positive = Field(20, description="Webhooks of one owner.")
    max_pending_deliveries: Positive = Field(
        10_000, description="Deliveries of one owner that may wait; what exceeds them is skipped."
    )
    max_webhook_bytes: Positive = Field(
        64 * 1024, description="Largest body sent to a webhook; a larger job is sent in short."
    )

    journal_keep_s: Positive = Field(
        30 * 86_400, description="The journal forgets a job so long after its end."
    )
    rebuild_empty: bool = Field(
        False, description="A worker that finds Redis empty builds it again from the journal."
    )

    journal_compact_s: PositiveSeconds = Field(
        600, description="Old batches of the journal are folded into one object so often."
    )
    journal_compact_objects: Annotated[int, Field(ge=2)] = Field(
        200, description="With fewer old batches than this, nothing is folded."
    )
    sweep_s: PositiveSeconds = Field(
        600, description="The bucket is searched so often for objects that nothing points to."
    )
    orphan_s: Annotated[float, Field(ge=0)] = Field(
        3600, description="Such an output is deleted when it is so old."
    )
    stale_upload_s: Annotated[float, Field(ge=0)] = Field(
        86_400,
        description="A file without a job, or an unfinished upload, is deleted when it is so old."
        " Must exceed the time that the longest request takes.",
    )

    lanes: str = Field("default,heavy", description="Lanes a worker serves.")
    concurrency: str | None = Field(
        None, description="Slots per lane: N, or default=4,heavy=1. Unset: cores, and 1 if heavy."
    )
    job_timeout_s: PositiveSeconds = Field(300, description="Wall time of an attempt.")
    heavy_job_timeout_s: PositiveSeconds = Field(3600, description="The same in the heavy lane.")
    max_attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        3, description="Attempts of a job, whatever the class of its errors."
    )
    lease_s: Annotated[float, Field(ge=1)] = Field(
        8, description="A worker silent for so long loses its jobs."
    )
    beat_s: PositiveSeconds = Field(
        1, description="Leases are renewed, and cancels seen, so often."
    )
    grace_s: PositiveSeconds = Field(30, description="Time running jobs get at SIGTERM.")
    scratch_dir: Path | None = Field(
        None, description="Folder for the jobs' files; unset: a folder below the system's temp."
    )
    scratch_floor_bytes: int = Field(
        256 * MIB, ge=0, description="With less free space a worker takes no job."
    )
    max_scratch_bytes: Positive = Field(20 * GIB, description="Scratch files of one attempt.")
    max_memory_bytes: Positive = Field(2 * GIB, description="Memory of one attempt.")
    max_pixels: Positive = Field(200_000_000, description="Pixels of a picture, all frames.")
    max_output_files: Positive = Field(2_000, description="Outputs of one job.")
    max_kept_bytes: int = Field(
        GIB,
        ge=0,
        description="What the finished steps of a failed job have made is kept up to this size, "
        "for a retry from the failed step. 0: never.",
    )
    keep_timeout_s: PositiveSeconds = Field(
        30, description="Time in which the storage must have taken that."
    )
    sandbox: SandboxMode = Field(
        SandboxMode.REQUIRED,
        description="required: refuse to work where the kernel has neither seccomp nor Landlock "
        "(ABI 4); best-effort: warn.",
    )
    clamd: str | None = Field(
        None,
        description="ClamAV's daemon, for file.scan: host:port, or the path of its Unix socket."
        " Unset: there is no file.scan.",
    )
    clamd_max_bytes: Positive = Field(
        100 * MIB,
        description="Largest file that is scanned. No more than the daemon's MaxFileSize and"
        " StreamMaxLength: what exceeds the first it calls clean.",
    )
    connections: SecretStr | None = Field(
        None,
        description="Buckets of others that jobs may read and write as s3://<connection>/<key>:"
        " JSON, see docs/api.md. Mount it, and set FILEPROC_CONNECTIONS_FILE.",
    )
    outbound_allow: str = Field(
        "",
        description="Networks (CIDR, separated by commas) that URLs of clients may lead to although"
        " they are private, loopback or reserved.",
    )
    outbound_ports: str = Field(
        "80,443", description="Ports that URLs of clients may name; 8000-8999 is a range."
    )
    outbound_connect_s: PositiveSeconds = Field(
        10, description="Time to connect to a client's URL, with TLS."
    )
    outbound_idle_s: PositiveSeconds = Field(
        30, description="A client's URL that sends nothing for so long is given up."
    )
    import_timeout_s: PositiveSeconds = Field(
        600, description="Time to fetch the inputs of an attempt from clients' URLs."
    )
    import_redirects: Annotated[int, Field(ge=0, le=20)] = Field(
        5, description="Redirects that are followed from a client's URL."
    )
    import_unpacked_bytes: Positive = Field(
        1 * GIB, description="What a compressed answer of a client's URL may unpack to."
    )
    delivery_timeout_s: PositiveSeconds = Field(
        600, description="Time to send the outputs of an attempt to clients' places."
    )
    delivery_patience_s: Annotated[float, Field(ge=0)] = Field(
        60, description="A delivery that fails in passing is tried again for so long by an attempt."
    )
    debug_operations: bool = Field(False, description="Whether debug.* operations exist.")

    crash_at: str | None = Field(
        None,
        description="A point of fileproc/crashpoints.py at which the process dies; for tests.",
        json_schema_extra={"hidden": True},
    )

    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe line printed."
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="json, console, or auto: console on a terminal."
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

    @field_validator("clamd")
    @classmethod
    def _clamd_address(cls, value: str | None) -> str | None:
        if value is not None:
            clamd_address(value)
        return value

    @field_validator("connections")
    @classmethod
    def _connections(cls, value: SecretStr | None) -> SecretStr | None:
        parse_connections(value.get_secret_value() if value else "")
        return value

    @field_validator("outbound_allow", "trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("outbound_ports")
    @classmethod
    def _ports(cls, value: str) -> str:
        port_ranges(value)
        return value

    @field_validator("rate_read", "rate_write", "rate_submit", "rate_sign_in", "rate_public")
    @classmethod
    def _rate(cls, value: str) -> str:
        parse_rate(value)
        return value

    @field_validator("webhook_schedule_s")
    @classmethod
    def _schedule(cls, value: str) -> str:
        schedule(value)
        return value

    @field_validator("crash_at")
    @classmethod
    def _crash_point(cls, value: str | None) -> str | None:
        if value is not None:
            crashpoints.parse(value)
        return value

    @field_validator("concurrency", "lanes")
    @classmethod
    def _well_formed(cls, value: str | None) -> str | None:
        for item in (value or "").split(","):
            if item and not item.strip().replace("=", "").replace("_", "").isalnum():
                raise ValueError("must be names or name=number pairs, separated by commas")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del file_secret_settings
        secrets = SecretFiles(settings_cls)
        return init_settings, env_settings, secrets, dotenv_settings


@cache
def names(listed: str) -> frozenset[str]:
    """What a setting lists, separated by commas."""
    return frozenset(filter(None, map(str.strip, listed.split(","))))


def shown() -> list[str]:
    """The settings that are for operators, in order: all but those of the tests."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("hidden"))
    ]


def variables(name: str) -> list[str]:
    """The environment variables that set this field, the one to name in messages first."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"FILEPROC_{name.upper()}"]


class SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/run/secrets/x` sets NAME to the file's content, without the last line break."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field
        for variable in variables(field_name):
            path = os.environ.get(f"{variable}_FILE")
            if path and variable != "FILEPROC_ADMIN_KEY":
                try:
                    return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), variable, False
                except OSError as exc:
                    message = f"{variable}_FILE: cannot read {path}: {exc.strerror}"
                    raise SettingsError(message) from exc
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name in self.settings_cls.model_fields:
            value, key, _ = self.get_field_value(None, name)
            if value is not None:
                found[key] = value
        return found


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; keyword arguments (from the command line) win over it.

    Raises:
        SettingsError: with every complaint at once, one line each, naming the variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        lines = [_complaint(error) for error in exc.errors()]
        raise SettingsError("\n".join(lines)) from exc
    return _checked(settings)


def _complaint(error: Any) -> str:
    location = str(error["loc"][0]) if error["loc"] else ""
    name = variables(location)[0] if location in Settings.model_fields else location
    message = str(error["msg"]).removeprefix("Value error, ")
    return (
        f"{name}: {message} (it is {error['input']!r})"
        if _printable(name)
        else f"{name}: {message}"
    )


def _printable(name: str) -> bool:
    return not any(word in name for word in ("KEY", "SECRET", "TOKEN", "REDIS_URL", "CONNECTIONS"))


def _checked(settings: Settings) -> Settings:
    """Complaints about settings that are right alone and wrong together."""
    complaints = []
    if settings.beat_s * 3 > settings.lease_s:
        complaints.append(
            "FILEPROC_LEASE_S: must be at least three beats "
            f"(FILEPROC_BEAT_S is {settings.beat_s:g})"
        )
    if settings.journal_keep_s < settings.retention_s:
        complaints.append(
            "FILEPROC_JOURNAL_KEEP_S: must be at least FILEPROC_RETENTION_S, "
            f"{settings.retention_s}: else a rebuild lacks jobs that can still be downloaded"
        )
    if settings.auth is Auth.OFF and "*" in names(settings.cors_origins):
        complaints.append(
            "FILEPROC_CORS_ORIGINS: * is for servers that ask for keys; without them every page"
            " that a browser here shows could use this one. Name the origins"
        )
    complaints += _jwt_complaints(settings)
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        complaints.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both, or neither")
    try:
        slots(settings)
    except ValueError as exc:
        complaints.append(f"FILEPROC_CONCURRENCY: {exc}")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return settings


def _jwt_complaints(settings: Settings) -> list[str]:
    """What is missing, or too much, for tokens to be verified."""
    algorithm = settings.jwt_algorithm
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else ""
    given = {"jwt_issuer": settings.jwt_issuer, "jwt_audience": settings.jwt_audience}
    sources = {"jwt_jwks": settings.jwt_jwks, "jwt_secret": secret or None}
    if algorithm is None:
        left = [name for name, value in {**given, **sources}.items() if value is not None]
        return [
            f"{variables(name)[0]}: means nothing without FILEPROC_JWT_ALGORITHM" for name in left
        ]
    needed, other = ("jwt_secret", "jwt_jwks")
    if not algorithm.startswith("HS"):
        needed, other = other, needed
    complaints = [
        f"{variables(name)[0]}: must be set for tokens of {algorithm}"
        for name, value in {**given, needed: sources[needed]}.items()
        if value is None
    ]
    if sources[other] is not None:
        complaints.append(f"{variables(other)[0]}: is not for {algorithm}; unset it")
    least = int(algorithm[2:]) // 8
    if needed == "jwt_secret" and secret and len(secret.encode()) < least:
        complaints.append(f"FILEPROC_JWT_SECRET: must have at least {least} bytes for {algorithm}")
    return complaints


def slots(settings: Settings) -> dict[str, int]:
    """Slots per lane served, from `lanes` and `concurrency`.

    Raises:
        ValueError: a number is missing or not positive, or a lane is named that is not served.
    """
    lanes = [lane.strip() for lane in settings.lanes.split(",") if lane.strip()]
    if not lanes:
        raise ValueError("no lane is served: set FILEPROC_LANES")
    cores = os.cpu_count() or 1
    wanted = {lane: 1 if lane == "heavy" else cores for lane in lanes}
    for item in (settings.concurrency or "").split(","):
        name, _, number = item.strip().rpartition("=")
        if not number:
            continue
        if not number.isdecimal() or int(number) < 1:
            raise ValueError(f"{item.strip()!r} is not a positive number of slots")
        if name and name not in wanted:
            raise ValueError(f"the lane {name!r} is not served (FILEPROC_LANES={settings.lanes})")
        wanted.update({name: int(number)} if name else dict.fromkeys(lanes, int(number)))
    return wanted


def clamd_address(value: str) -> tuple[str, int] | Path:
    """Host and port, or the path of a Unix socket; `tcp://` and `unix:` before them are allowed.

    Raises:
        ValueError: it is neither.
    """
    path = value.removeprefix("unix://").removeprefix("unix:")
    if path.startswith("/"):
        return Path(path)
    parts = urlsplit(value if "://" in value else f"tcp://{value}")
    if parts.scheme != "tcp" or not parts.hostname or not parts.port or parts.path:
        raise ValueError("must be host:port, or the path of a Unix socket")
    return parts.hostname, parts.port


def outbound_ports(settings: Settings) -> tuple[range, ...]:
    """The ports that clients' URLs may name."""
    return port_ranges(settings.outbound_ports)


@cache
def port_ranges(text: str) -> tuple[range, ...]:
    """From `80,443,8000-8999`.

    Raises:
        ValueError: it names no port, or something else.
    """
    ranges = []
    for item in text.split(","):
        first, _, last = item.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ValueError("must be ports or ranges of them, such as 80,443,8000-8999")
        ports = range(int(first), int(last or first) + 1)
        if not ports or ports[0] < 1 or ports[-1] > 65535:  # noqa: PLR2004 - the last port
            raise ValueError(f"{item.strip()!r} is not a range within 1-65535")
        ranges.append(ports)
    return tuple(ranges)


def services(settings: Settings) -> frozenset[str]:
    """What is configured that operations may need, by the names they give it."""
    return frozenset({"clamd"} if settings.clamd is not None else ())


def effective(settings: Settings) -> list[tuple[str, str, str]]:
    """(variable, value with secrets masked, description) of every setting, in order."""
    rows = []
    for name in shown():
        field = Settings.model_fields[name]
        value = getattr(settings, name)
        rows.append((variables(name)[0], _masked(value), field.description or ""))
    return rows


def _masked(value: Any) -> str:
    if value is None:
        return "(unset)"
    if not isinstance(value, SecretStr):
        return str(value)
    parts = urlsplit(value.get_secret_value())
    if not parts.scheme:
        return "********"
    user, at, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{name}:********{at}{host}" if at else host))
