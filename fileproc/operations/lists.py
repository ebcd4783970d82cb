"""Lists as one text: `1,2.5,10`, which is short in an address."""

from __future__ import annotations

from pydantic import ValidationInfo


def split(value: object, info: ValidationInfo) -> object:
    """The parts of a text; in a query, where a list is one of texts, those of each."""
    if isinstance(value, str):
        return value.split(",")
    if isinstance(value, list) and info.mode == "python":
        parts = (one.split(",") if isinstance(one, str) else [one] for one in value)
        return [part for some in parts for part in some]
    return value


def numbers(value: object, info: ValidationInfo) -> object:
    """As `split`; in JSON, where no text is a number, a text may hold several all the same."""
    parts = split(value, info)
    if isinstance(value, str) and isinstance(parts, list):
        return [_number(part) for part in parts]
    return parts


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:  # is complained of in its place
        return text
