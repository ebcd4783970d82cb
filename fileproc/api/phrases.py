"""What pydantic finds, in the words of these pages: a sentence, and a pointer to what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_OBJECT: Final = "This is to be a JSON object."
_WHOLE: Final = "This is to be a whole number."
_NUMBER: Final = "This is to be a number."
_SWITCH: Final = "This is to be true or false."
_PLAIN: Final = {
    "missing": "This is needed.",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "list_type": "This is to be a list.",
    "string_type": "This is to be a text.",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "This is to be a finite number.",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
}
_KEY: Final = "[key]"  # pydantic's mark for what is wrong with a name, and not with its value


def sentence(error: ErrorDetails) -> str:
    """What does not hold, from a capital letter to a full stop."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "string_pattern_mismatch":
        what = "name" if error["loc"][-1:] == (_KEY,) else "text"
        return f"This {what} does not have the form that is needed: {context['pattern']}"
    if kind in {"enum", "literal_error"}:
        return f"This is to be {context['expected']}."
    said = error["msg"].removeprefix("Value error, ")
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "?")) else ".")


def place(error: ErrorDetails, sent: Any) -> list[str]:
    """The parts of a pointer into what was sent.

    Where one of several types would do, pydantic names each in its path: those parts are left out.
    """
    parts: list[str] = []
    for number, part in enumerate(error["loc"]):
        if _holds(sent, part):
            sent = sent[part]
        elif error["type"] != "missing" or number + 1 < len(error["loc"]):
            continue
        parts.append(str(part))
    return parts


def _holds(sent: Any, part: str | int) -> bool:
    if isinstance(sent, list):
        return isinstance(part, int) and part < len(sent)
    return isinstance(sent, Mapping) and part in sent


def choices(error: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """What may stand there, if it is one of a few: of a wrong choice, or of one that is missing."""
    if error["type"] in {"enum", "literal_error"}:
        expected = str(error.get("ctx", {}).get("expected", ""))
        return [
            item.strip(" '") for item in expected.replace(" or ", ",").split(",") if item.strip()
        ]
    if error["type"] == "missing" and len(error["loc"]) == 1:
        field = model.model_json_schema().get("properties", {}).get(error["loc"][0], {})
        return [str(choice) for choice in field.get("enum", ())]
    return []
