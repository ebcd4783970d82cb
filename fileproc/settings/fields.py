"""How a setting is declared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, Field

MIB = 1024 * 1024
GIB = 1024 * MIB

Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]


def named(*names: str, default: Any, description: str, **limits: Any) -> Any:
    """A field whose environment variables are exactly `names`, the first being the one we print."""
    return Field(default, validation_alias=AliasChoices(*names), description=description, **limits)
