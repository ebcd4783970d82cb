"""The reference of all operations as Markdown, made from the catalogue: `docs/operations.md`.

`python -m fileproc.operations.reference > docs/operations.md` writes it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from fileproc.operations.registry import Operation, catalogue

_HEAD = """\
# Operations

Made from the catalogue by `python -m fileproc.operations.reference`; do not edit.

Parameters go into `params` of `POST /v1/jobs`, or into the query of `PUT /v1/jobs/{operation}`.
`GET /v1/operations` gives the same as JSON Schema.

The examples assume

```sh
export FILEPROC_URL=http://127.0.0.1:8080
```

and, where keys are required, `-H "Authorization: Bearer $FILEPROC_KEY"` on every line.

`curl -T` does not send the name of the file. A text file is told by its name or by its type:
add `filename=report.csv` to the query (`?filename=...`, or `&filename=...` after other
parameters), or `-H 'Content-Type: text/csv'`. A CSV file of one column is plain text otherwise.
"""


def markdown() -> str:
    """The whole page; every operation that is not for tests only."""
    return "\n".join([_HEAD, *(_section(entry) for entry in catalogue().values())])


def _section(entry: Operation) -> str:
    text = _paragraphs(entry.description)
    query = "&".join(_queried(entry.example))
    lines = [
        f"## {entry.name}",
        "",
        f"{entry.summary}.",
        "",
        text,
        "",
        f"- Takes: {_types(entry.accepts)}",
        f"- Makes: {_types(entry.produces)}",
        f"- Lane: `{entry.lane}`",
        "",
        *_parameters(entry),
        "Example:",
        "",
        "```sh",
        f'curl -T FILE "$FILEPROC_URL/v1/jobs/{entry.name}{"?" + query if query else ""}"',
        "```",
        "",
    ]
    return "\n".join(lines)


def _queried(example: Mapping[str, Any]) -> Iterator[str]:
    """The parameters as they stand in a query: lists one by one, objects as JSON."""
    for name, value in example.items():
        for part in value if isinstance(value, list) else [value]:
            is_object = isinstance(part, dict)
            yield f"{name}={quote(json.dumps(part, separators=(',', ':'))) if is_object else part}"


def _paragraphs(description: str) -> str:
    """The description with each paragraph on one line."""
    parts = description.split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts if part.strip())


def _types(types: tuple[str, ...]) -> str:
    if types == ("*/*",):
        return "any type"
    return ", ".join(f"`{media_type}`" for media_type in types)


def _parameters(entry: Operation) -> list[str]:
    schema = entry.params.model_json_schema()
    properties = schema.get("properties", {})
    if not properties:
        return []
    required = schema.get("required", ())
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field, name in required)} |"
        f" {_cell(field['description'])} |"
        for name, field in properties.items()
    ]
    return ["| Parameter | Values | Default | Meaning |", "|---|---|---|---|", *rows, ""]


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "required"
    value = field.get("default")
    return "" if value is None else f"`{_cell(json.dumps(value).strip(chr(34)))}`"


def _kind(field: dict[str, Any]) -> str:
    """What a parameter may be, in words."""
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    field = options[0] | {key: value for key, value in field.items() if key != "anyOf"}
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    least = field.get("minimum")
    most = field.get("maximum")
    numbers = "" if least is None else f" from {least:,}" + (f" to {most:,}" if most else "")
    return f"{field.get('type', 'any')}{numbers}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
