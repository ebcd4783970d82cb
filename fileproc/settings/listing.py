"""Settings as operators see them."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr

from fileproc.settings.loading import Settings, variables

# Of the client, of compose.yaml and of the tests.
_OTHERS: Final = ("ADMIN_KEY", "GID", "IMAGE", "KEY", "OCR_LANGUAGES", "UID", "URL", "VARIANT")


def unknown_variables() -> list[str]:
    """A sentence about each variable of the environment that looks like a setting and is none."""
    known = {each for name in Settings.model_fields for each in variables(name)}
    known |= {f"{each}_FILE" for each in known} | {f"FILEPROC_{each}" for each in _OTHERS}
    sentences = []
    for name in sorted(os.environ):
        if name.startswith("FILEPROC_") and name not in known and "_TEST_" not in name:
            meant = get_close_matches(name, known, n=1)
            sentences.append(f"{name} is no setting{f': {meant[0]}?' if meant else ''}")
    return sentences


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
