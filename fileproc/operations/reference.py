"""The reference of all operations, made from the catalogue: `docs/operations.md`, and for a shell.

`python -m fileproc.operations.reference > docs/operations.md` writes it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import quote

from fileproc.operations import types
from fileproc.operations.registry import Operation, catalogue, secret_params

_HEAD = """\
# Operations

Made from the catalogue by `python -m fileproc.operations.reference`; do not edit.

Parameters go into `params` of `POST /v1/jobs`, or into the query of `PUT /v1/jobs/{operation}`.
`GET /v1/operations` and `python -m fileproc operations show NAME` tell the same, with the JSON
Schema of the parameters and the limits of the server.

The examples assume

```sh
export FILEPROC_URL=http://127.0.0.1:8080
```

and, where keys are required, `-H "Authorization: Bearer $FILEPROC_KEY"` on every line.

What a file is, its bytes tell, not its name: types are named here by their usual extension, for
short. `curl -T` does not send the name of the file, so a kind of text is told by its name or by its
type: add `filename=report.csv` to the query (`?filename=...`, or `&filename=...` after other
parameters), or `-H 'Content-Type: text/csv'`. A CSV file of one column is plain text otherwise.

An operation that needs a program is offered where that is installed, one that needs a service
where that is configured. A job has at most `FILEPROC_MAX_INPUTS` files (100 unless it is set), also
where its operation takes more. Any job can also fail for what it runs on, such as `timeout` or
`out_of_memory`: `/docs` explains every code.
"""
_GROUPS = {
    "archive": "Archives",
    "audio": "Sound",
    "document": "Office documents",
    "file": "Files of any type",
    "image": "Pictures",
    "media": "Sound and film",
    "pdf": "PDF",
    "table": "Tables",
    "video": "Film",
}


def markdown() -> str:
    """The whole page; every operation that is not for tests only."""
    groups = [
        (_GROUPS.get(noun, noun.capitalize()), list(entries))
        for noun, entries in groupby(catalogue().values(), lambda entry: entry.name.split(".")[0])
    ]
    lines = [_HEAD, *_contents(groups)]
    for title, entries in groups:
        lines += [f"## {title}", "", *(_section(entry) for entry in entries)]
    return "\n".join(lines)


def _contents(groups: Iterable[tuple[str, list[Operation]]]) -> Iterator[str]:
    yield "| Operation | What it does |"
    yield "|---|---|"
    for title, entries in groups:
        yield f"| **[{title}](#{title.lower().replace(' ', '-')})** | |"
        for entry in entries:
            anchor = entry.name.replace(".", "")
            yield f"| [`{entry.name}`](#{anchor}) | {_cell(entry.summary)} |"
    yield ""


def _section(entry: Operation) -> str:
    lines = [
        f"### {entry.name}",
        "",
        f"{entry.summary}.",
        "",
        "\n\n".join(paragraphs(entry)),
        "",
        *(f"- {name}: {value}" for name, value in _marked(entry)),
        "",
        *_table(parameters(entry)),
        "```sh",
        *examples(entry),
        "```",
        "",
    ]
    return "\n".join(lines)


def _marked(entry: Operation) -> Iterator[tuple[str, str]]:
    for name, values in facts(entry):
        yield name, ", ".join(value if " " in value else f"`{value}`" for value in values)


def _table(rows: Iterable[Parameter]) -> list[str]:
    lines = [
        f"| `{row.name}` | {_codes(row.values)} | {row.default and f'`{_cell(row.default)}`'} |"
        f" {_cell(row.meaning)} |"
        for row in rows
    ]
    head = ["| Parameter | Values | Default | Meaning |", "|---|---|---|---|"]
    return [*head, *lines, ""] if lines else []


def _codes(values: str | list[str]) -> str:
    return values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# --- for the page and for a shell --------------------------------------------------------------


def paragraphs(entry: Operation) -> list[str]:
    """The description, each paragraph on one line."""
    parts = entry.description.split("\n\n")
    return [" ".join(part.split()) for part in parts if part.strip()]


def facts(entry: Operation, most_files: int = sys.maxsize) -> Iterator[tuple[str, list[str]]]:
    """What stands over the parameters, as names and lists of values.

    Args:
        entry: the operation.
        most_files: that a job may have, whatever its operation.
    """
    yield "Takes", _short(entry.accepts)
    if entry.accepts_later:
        yield "Later files also", _short(entry.accepts_later)
    if entry.max_inputs != 1:
        most = min(entry.max_inputs, most_files)
        yield "Files", [f"{entry.min_inputs:,} to {most:,} in one job"]
    yield "Makes", _short(entry.produces)
    yield "Lane", [entry.lane]
    if needed := needs(entry):
        yield "Needs", needed


def needs(entry: Operation) -> list[str]:
    """The programs and the service without which it is not offered."""
    return [*entry.programs, *([entry.service] if entry.service else [])]


def _short(media_types: Iterable[str]) -> list[str]:
    """Extensions, which are shorter than media types; those where there is none."""
    return ["any type" if name == "*/*" else _extension(name) or name for name in media_types]


def _extension(media_type: str) -> str | None:
    extension = types.extension_for_type(media_type)
    return extension[1:] if types.type_for_extension(extension) == media_type else None


class Parameter(NamedTuple):
    """One line of the table of parameters; `values` is a list where only those are taken."""

    name: str
    values: str | list[str]
    default: str
    meaning: str


def parameters(entry: Operation) -> Iterator[Parameter]:
    """The parameters of an operation, in their order."""
    schema = entry.params.model_json_schema()
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        yield Parameter(name, _kind(field), default, field["description"])


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else json.dumps(value).strip('"')


def _kind(field: Mapping[str, Any]) -> str | list[str]:
    """What a parameter may be."""
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    found = {**options[0], **{key: value for key, value in field.items() if key != "anyOf"}}
    if "enum" in found:
        return [str(value) for value in found["enum"]]
    if found.get("type") == "array":
        return _list(found)
    if "$ref" in found:
        return "object"
    return str(found.get("type", "any")) + _range(found)


def _list(field: Mapping[str, Any]) -> str:
    kinds = {
        _kind(item) if "enum" not in item else "string"
        for item in field["items"].get("anyOf", [field["items"]])
    }
    # "numbers from 0 to 9": it is the word that has several.
    words = (str(kind).partition(" ") for kind in sorted(map(str, kinds)))
    named = " or ".join(f"{word}s{blank}{rest}" for word, blank, rest in words)
    return f"list of {named}"


def _range(field: Mapping[str, Any]) -> str:
    said = [
        f" {word} {field[key]:,}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in field
    ]
    return "".join(said)


def examples(entry: Operation) -> Iterator[str]:
    """Lines for a shell that make a useful job: of one file, and of several where that works."""
    suffix = _extension(entry.accepts[0])
    name = f"FILE.{suffix}" if suffix else "FILE"
    if secret_params(entry.name) & set(entry.example):  # an address may stand in somebody's log
        yield from _form(entry.name, entry.example, [name])
    elif entry.min_inputs <= 1:
        query = "&".join(_queried(entry.example))
        yield f'curl -T {name} "$FILEPROC_URL/v1/jobs/{entry.name}{"?" + query if query else ""}"'
    if entry.max_inputs > 1:
        later = [_extension(kind) for kind in entry.accepts_later]
        other = f"OTHER.{later[0]}" if later else name.replace("FILE", "OTHER")
        yield from _form(entry.name, _for_several(entry), [name, other])


def _form(operation: str, params: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    job = json.dumps({"operation": operation, "params": dict(params)}, ensure_ascii=False)
    yield f"""curl "$FILEPROC_URL/v1/jobs" -F 'job={job}' \\"""
    yield "  " + " ".join(f"-F file=@{name}" for name in names)


def _for_several(entry: Operation) -> dict[str, Any]:
    """The example without the text that the second file stands for."""
    instead = entry.max_inputs == 2 and "text" in entry.example  # noqa: PLR2004 - a file, and its mark
    return {
        name: value for name, value in entry.example.items() if not (instead and name == "text")
    }


def _queried(example: Mapping[str, Any]) -> Iterator[str]:
    """The parameters as they stand in a query: lists one by one, objects as JSON."""
    for name, value in example.items():
        for part in value if isinstance(value, list) else [value]:
            plain = part if isinstance(part, str) else json.dumps(part, separators=(",", ":"))
            yield f"{name}={quote(plain, safe=',:')}"


if __name__ == "__main__":
    sys.stdout.write(markdown())
