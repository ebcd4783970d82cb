"""Types that columns of a table must have: which texts fit them, and what those are elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Annotated, Any, Final

from pydantic import Field

_MOST_COLUMNS: Final = 1_000
_LONGEST: Final = 400  # characters of any number that fits; more digits are not even looked at
_DECIMAL = re.compile(r"decimal\(([0-9]+),([0-9]+)\)")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Type = Annotated[
    str,
    Field(
        pattern=r"^(text|integer|number|boolean|date|timestamp|time"
        r"|decimal\(([1-9]|[12][0-9]|3[0-8]),([0-9]|[12][0-9]|3[0-8])\))$"
    ),
]

_SQL: Final = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "time": "TIME",
}
_CLOCK: Final = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
# What a cell looks like, for Python and for RE2; whether there is such a value is asked as well.
_LOOKS: Final = {
    "integer": r"[+-]?[0-9]+(\.0+)?",
    "number": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?",
    "boolean": r"(?i:true|false)|1|0",
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "timestamp": rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ T]{_CLOCK}(Z|[+-][0-9]{{2}}:[0-9]{{2}})?",
    "time": _CLOCK,
}


def read(value: Any) -> Any:
    """A schema in a query of an address is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise ValueError("give a JSON object of names and types") from exc


def bounded(columns: dict[str, str]) -> dict[str, str]:
    """The schema, if it is no longer than one may be, and its decimals are possible."""
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(f"give at most {_MOST_COLUMNS:,} columns")
    for kind in columns.values():
        if (parts := _DECIMAL.fullmatch(kind)) and int(parts[2]) > int(parts[1]):
            raise ValueError(f"{kind} has more places than digits")
    return columns


def sql_type(kind: str) -> str:
    """The type in DuckDB."""
    return _SQL.get(kind, kind.upper())


def pattern(kind: str) -> str:
    """What a text of the type looks like, as a regular expression that it matches in full."""
    if parts := _DECIMAL.fullmatch(kind):
        digits, places = int(parts[1]), int(parts[2])
        whole = rf"0*[1-9][0-9]{{0,{digits - places - 1}}}|0+" if digits > places else "0+"
        return rf"[+-]?({whole})" + (rf"(\.[0-9]{{1,{places}}})?" if places else "")
    return _LOOKS[kind]


def fits(kind: str) -> Callable[[str], bool]:
    """What tells whether a cell, which is not null, says a value of the type."""
    if kind == "text":
        return lambda _: True
    looks, exists = re.compile(pattern(kind)).fullmatch, _EXISTS.get(kind)
    if exists is None:
        return lambda cell: len(cell) <= _LONGEST and bool(looks(cell))

    def holds(cell: str) -> bool:
        if len(cell) > _LONGEST or not looks(cell):
            return False
        try:
            return exists(cell)
        except ValueError:
            return False

    return holds


def sql_fits(kind: str, cell: str) -> str:
    """SQL for the same: whether `cell`, SQL for a text, says a value of the type."""
    value = f"TRY_CAST({cell} AS {sql_type(kind)})"
    also = {
        "number": f" AND isfinite({value})",
        "date": f" AND {cell} NOT LIKE '0000%'",
        "timestamp": f" AND {cell} NOT LIKE '0000%'",
    }.get(kind, "")
    looks = f"regexp_full_match({cell}, '{pattern(kind)}')"
    return f"coalesce({looks} AND {value} IS NOT NULL{also}, false)"


_EXISTS: Final[dict[str, Callable[[str], bool]]] = {
    "integer": lambda cell: -(2**63) <= _whole(cell) < 2**63,
    "number": lambda cell: math.isfinite(float(cell)),
    "date": lambda cell: dt.date.fromisoformat(cell).year > 0,
    "timestamp": lambda cell: dt.datetime.fromisoformat(cell).year > 0,
    "time": lambda cell: dt.time.fromisoformat(cell).hour >= 0,
}


def _whole(cell: str) -> int:
    return int(cell.partition(".")[0])


def json_value(kind: str) -> Callable[[str], str]:
    """What turns a cell that fits into JSON text."""
    if kind == "integer":
        return lambda cell: str(_whole(cell))
    if kind == "boolean":
        return lambda cell: "true" if cell.lower() in {"true", "1"} else "false"
    if kind == "number" or _DECIMAL.fullmatch(kind):
        return lambda cell: cell if _JSON_NUMBER.fullmatch(cell) else _respelled(cell)
    return encode_basestring


def _respelled(number: str) -> str:
    """A number such as +.5 or 007. as JSON spells it, digit for digit."""
    sign = "-" if number.startswith("-") else ""
    mantissa, mark, exponent = number.lstrip("+-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    whole = whole.lstrip("0") or "0"
    return f"{sign}{whole}{'.' + fraction if fraction else ''}{mark}{exponent}"


def article(kind: str) -> str:
    """The type in a sentence: `is no whole number of 64 bits`."""
    return {
        "integer": "no whole number of 64 bits",
        "number": "no number",
        "boolean": "neither true nor false",
        "date": "no date such as 2026-11-22",
        "timestamp": "no timestamp such as 2026-11-22T10:30:00",
        "time": "no time such as 10:30:00",
    }.get(kind, f"no {kind}")


def missing(columns: Mapping[str, str], names: list[str]) -> list[str]:
    """Columns of the schema that the table does not have."""
    known = set(names)
    return [name for name in columns if name not in known]
