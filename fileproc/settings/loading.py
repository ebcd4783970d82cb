"""All settings, read once from the environment.

Sources, strongest first: environment, `*_FILE` secrets, `.env`, defaults.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fileproc.errors import SettingsError
from fileproc.settings.engines import Engines
from fileproc.settings.keeping import Keeping
from fileproc.settings.logs import Logs
from fileproc.settings.reaching import Reaching
from fileproc.settings.serving import Auth, Serving, jwt_complaints, names
from fileproc.settings.taking import Taking
from fileproc.settings.telling import Telling
from fileproc.settings.working import Working, slots

# In the order of the pages.
CHAPTERS: tuple[type[BaseModel], ...] = (
    Engines,
    Serving,
    Taking,
    Telling,
    Keeping,
    Working,
    Reaching,
    Logs,
)


# pydantic takes the fields of the last base first.
class Settings(Logs, Reaching, Working, Keeping, Telling, Taking, Serving, Engines, BaseSettings):
    """Every setting, with its default. Sizes are bytes, times seconds."""

    model_config = SettingsConfigDict(
        env_prefix="FILEPROC_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

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
    complaints += jwt_complaints(settings)
    if (settings.s3_access_key_id is None) != (settings.s3_secret_access_key is None):
        complaints.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both, or neither")
    try:
        slots(settings)
    except ValueError as exc:
        complaints.append(f"FILEPROC_CONCURRENCY: {exc}")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return settings
