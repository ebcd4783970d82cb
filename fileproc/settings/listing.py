"""Settings as operators see them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr

from fileproc.settings.loading import Settings, variables


def shown(chapter: type[BaseModel] = Settings) -> list[str]:
    """The settings that are for operators, in order: all but those of the tests."""
    return [
        name
        for name, field in chapter.model_fields.items()
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("hidden"))
    ]


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
