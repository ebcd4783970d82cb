"""The documentation as one static page, rendered from the OpenAPI document.

No script and no other origin: it works behind any policy and without a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from html import escape
from typing import Any, Final

from fileproc.api.job_codes import JOB_CODES
from fileproc.api.problems import RETRYABLE
from fileproc.errors import FileprocError, MethodNotAllowedError, RouteNotFoundError
from fileproc.jobs import ATTEMPTS

Json = dict[str, Any]

# Stands in the page for the address it is asked at, which only the answer knows.
ADDRESS: Final = "@ADDRESS@"

# What answers where no endpoint does.
_OF_NO_ENDPOINT: Final[tuple[type[FileprocError], ...]] = (
    RouteNotFoundError,
    MethodNotAllowedError,
)

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_LIMITS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minLength", "{} characters or more"),
    ("maxLength", "{} characters at most"),
    ("minItems", "{} or more"),
    ("maxItems", "{} at most"),
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} API</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<a class="skip" href="#top">Skip to content</a>
<nav aria-label="Contents">
<p class="brand"><a href="#top">{title}</a> <span>{version}</span></p>
{contents}
<p class="raw"><a href="/openapi.json">openapi.json</a></p>
</nav>
<main id="top">
<header>
<h1>{title} API</h1>
{introduction}
{start}
</header>
{body}
</main>
</body>
</html>
"""
_START: Final = """<section class="start" aria-labelledby="start">
<h2 id="start">In two requests</h2>
<pre tabindex="0"><code>export FILEPROC_URL={address}
curl -T photo.jpg -H 'Prefer: wait=30' \\
  "$FILEPROC_URL/v1/jobs/image.resize?width=800&amp;format=webp"
curl -L -o small.webp "$FILEPROC_URL/v1/jobs/JOB_ID/result"</code></pre>
<p>Where keys are required, add <code>-H "Authorization: Bearer $FILEPROC_KEY"</code>.
<code>curl -T</code> does not send the name of the file: for a text file add
<code>&amp;filename=report.csv</code> or <code>-H 'Content-Type: text/csv'</code>.</p>
</section>"""


def render(document: Json) -> str:
    """The page."""
    chapters = _chapters(document)
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        introduction=_prose(info["description"]),
        start=_START.format(address=ADDRESS),
        contents=_contents(document, chapters),
        body="\n".join(
            [
                *(_chapter(document, tag, entries) for tag, entries in chapters.items()),
                _errors(document),
                _failures(_problems(document)),
            ]
        ),
    )


def _chapters(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Tag -> (method, path, operation), in the document's order."""
    chapters: dict[str, list[tuple[str, str, Json]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                chapters[item[method]["tags"][0]].append((method, path, item[method]))
    return chapters


def _contents(document: Json, chapters: dict[str, list[tuple[str, str, Json]]]) -> str:
    parts = []
    for tag in document["tags"]:
        links = "".join(
            f'<li><a href="#{entry["operationId"]}"><b class="{method}">{method.upper()}</b> '
            f"<span>{_breakable(path)}</span></a></li>"
            for method, path, entry in chapters[tag["name"]]
        )
        name = escape(tag["name"])
        parts.append(f'<h2><a href="#{name.lower()}">{name}</a></h2><ul>{links}</ul>')
    parts.append('<h2><a href="#errors">Errors</a></h2>')
    parts.append('<h2><a href="#failures">How a job can fail</a></h2>')
    return "".join(parts)


def _breakable(path: str) -> str:
    """A path that may wrap after its slashes and dots."""
    return re.sub(r"([/.])", r"\1<wbr>", escape(path))


def _chapter(document: Json, tag: str, entries: list[tuple[str, str, Json]]) -> str:
    text = next(item["description"] for item in document["tags"] if item["name"] == tag)
    shown = "".join(_entry(document, *entry) for entry in entries)
    name = escape(tag)
    head = f'<section class="chapter" id="{name.lower()}"><h2>{name}</h2>'
    return f"{head}{_prose(text)}{shown}</section>"


def _entry(document: Json, method: str, path: str, entry: Json) -> str:
    identity = entry["operationId"]
    verb = f'<b class="{method}">{method.upper()}</b>'
    parts = [
        f'<article id="{identity}">',
        f'<h3><a href="#{identity}">{verb} <code>{_breakable(path)}</code></a></h3>',
        f'<p class="summary">{_inline(entry["summary"])}</p>',
        _prose(entry.get("description", "")),
        *(_sample(sample) for sample in entry.get("x-codeSamples", [])),
        _parameters(entry.get("parameters", [])),
        _body(document, entry.get("requestBody")),
        _responses(document, entry["responses"]),
        "</article>",
    ]
    return "".join(parts)


def _sample(sample: Json) -> str:
    return f'<pre tabindex="0"><code>{escape(sample["source"])}</code></pre>'


# --- parameters and bodies ---------------------------------------------------------------------


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        _row(
            item["name"],
            item["schema"],
            required=item["required"],
            place=item["in"],
            text=item.get("description", ""),
        )
        for item in parameters
    )
    return f"<h4>Parameters</h4>{_table(rows)}"


def _table(rows: str) -> str:
    head = "<thead><tr><th>Name</th><th>Type</th><th>Meaning</th></tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _row(name: str, schema: Json, *, required: bool, place: str = "", text: str = "") -> str:
    marks = f' <em class="place">{place}</em>' if place else ""
    if required:
        marks += ' <em class="required">required</em>'
    said = (
        [_inline(text or schema.get("description", ""))] if text or "description" in schema else []
    )
    said += _facts(schema)
    return (
        f"<tr><td><code>{escape(name)}</code>{marks}</td>"
        f"<td>{_type_of(schema)}</td><td>{' '.join(said)}</td></tr>"
    )


def _facts(schema: Json) -> list[str]:
    """Limits, choices and the default, as short sentences."""
    facts = []
    for kind in (schema, *schema.get("anyOf", ())):
        if "enum" in kind:
            choices = ", ".join(f"<code>{escape(str(value))}</code>" for value in kind["enum"])
            facts.append(f"One of {choices}.")
        limits = [text.format(kind[name]) for name, text in _LIMITS if name in kind]
        if limits:
            facts.append((", ".join(limits) + ".").capitalize())
    if schema.get("default") not in (None, [], {}):
        default = schema["default"]
        shown = default if isinstance(default, str) else json.dumps(default)
        facts.append(f"Default <code>{escape(shown)}</code>.")
    return facts


def _type_of(schema: Json) -> str:
    if "$ref" in schema:
        return escape(schema["$ref"].rpartition("/")[2])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type_of(kind) for kind in schema[union]))
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type_of(schema.get('items', {}))}"
    kind = schema.get("format") or schema.get("type") or "anything"
    return escape(str(kind))


def _body(document: Json, body: Json | None) -> str:
    if body is None:
        return ""
    parts = ["<h4>Body</h4>", _prose(body.get("description", ""))]
    kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in body["content"])
    parts.append(f"<p>As {kinds}.</p>")
    schema = body["content"].get("application/json", {}).get("schema")
    if schema is not None:
        for kind in _resolved(document, schema).get("oneOf", [schema]):
            resolved = _resolved(document, kind)
            parts.append(_prose(resolved.get("description", "")))
            parts.append(_variants(document, resolved.get("oneOf", [kind])))
    return "".join(parts)


def _variants(document: Json, variants: list[Json]) -> str:
    """The members that all variants share; what differs stands with each operation."""
    first = _resolved(document, variants[0])
    rows = ""
    for name, field in first["properties"].items():
        shown = field
        if name == "operation" and "const" in field:
            each = [_resolved(document, item)["properties"][name] for item in variants]
            names = [constant["const"] for constant in each]
            shown = {"type": "string", "enum": names, "description": "What to do."}
        elif name == "params":
            text = "Parameters of the operation: those that its own PUT takes in the query."
            shown = {"type": "object", "description": text}
        elif name == "inputs":
            text = 'Files that other jobs of yours brought: `{"file_id": "file_..."}` each.'
            shown = {"type": "array", "items": {"type": "object"}, "description": text}
        rows += _row(name, shown, required=name in {"operation", "steps", "template"})
    return _table(rows) + _steps(document, first["properties"].get("steps"))


def _steps(document: Json, schema: Json | None) -> str:
    """The members of one step."""
    if schema is None:
        return ""
    step = _resolved(document, schema["additionalProperties"])
    rows = "".join(
        _row(name, field, required=name in step["required"])
        for name, field in step["properties"].items()
    )
    return "<p>A step:</p>" + _table(rows)


def _resolved(document: Json, schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    resolved: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved


# --- answers -----------------------------------------------------------------------------------


def _responses(document: Json, responses: Json) -> str:
    fine = {status: item for status, item in responses.items() if status < "400"}
    bad = {status: item for status, item in responses.items() if status >= "400"}
    parts = ["<h4>Answers</h4>", *(_response(document, *pair) for pair in fine.items())]
    codes = [code for item in bad.values() for code in _codes(item)]
    links = " ".join(f'<a class="code" href="#error-{code}">{code}</a>' for code in codes)
    if links:
        parts.append(f'<p class="codes">Errors: {links}</p>')
    return "".join(parts)


def _codes(response: Json) -> list[str]:
    content = response.get("content", {}).get("application/problem+json", {})
    return list(content.get("examples", {}))


def _response(document: Json, status: str, response: Json) -> str:
    text = f'<b class="status">{status}</b> {_inline(response["description"])}'
    headers = "".join(
        f"<li><code>{escape(name)}</code> {_inline(item['description'])}</li>"
        for name, item in response.get("headers", {}).items()
    )
    inner = f"<ul>{headers}</ul>" if headers else ""
    for content in response.get("content", {}).values():
        if "example" in content:
            example = content["example"]
            shown = example if isinstance(example, str) else json.dumps(example, indent=2)
            inner += f'<pre tabindex="0"><code>{escape(shown)}</code></pre>'
        elif "schema" in content:
            rows = _members(document, content["schema"])
            inner += _table(rows) if rows else ""
    if not inner:
        return f'<p class="answer">{text}</p>'
    return f'<details class="answer"><summary>{text}</summary>{inner}</details>'


def _members(document: Json, schema: Json) -> str:
    resolved = _resolved(document, schema)
    return "".join(
        _row(name, field, required=False) for name, field in resolved.get("properties", {}).items()
    )


def _problems(document: Json) -> dict[str, Json]:
    """Every code that a request can be answered with, once: status, title, retryable."""
    found: dict[str, Json] = {
        error.code: {
            "status": error.status,
            "title": error.title,
            "retryable": error.code in RETRYABLE,
        }
        for error in _OF_NO_ENDPOINT
    }
    title = "HTTP itself does not allow the request"
    found["http_error"] = {"status": "4xx", "title": title, "retryable": False}
    for item in document["paths"].values():
        for entry in item.values():
            for response in entry["responses"].values():
                content = response.get("content", {}).get("application/problem+json", {})
                for code, example in content.get("examples", {}).items():
                    found.setdefault(code, example["value"])
    return found


def _errors(document: Json) -> str:
    found = sorted(_problems(document).items(), key=lambda pair: (str(pair[1]["status"]), pair[0]))
    rows = "".join(
        f"{_anchored(code)}<td>{value['status']}</td>"
        f"<td>{escape(value['title'])}.{' Worth trying again.' if value['retryable'] else ''}</td>"
        "</tr>"
        for code, value in found
    )
    text = (
        "Every error is `application/problem+json`. Act on `code`, show `detail`, and quote "
        "`request_id` (also in `X-Request-ID`) when you ask the operator."
    )
    return _codes_chapter("errors", "Errors", text, "Status", rows)


def _failures(elsewhere: Collection[str]) -> str:
    """Every code of a failed job; those `elsewhere` have their anchor there already."""
    rows = "".join(
        (f"<tr><td>{_link(code)}</td>" if code in elsewhere else _anchored(code))
        + f"<td>{failure.error_class}</td><td>{escape(failure.says)}</td></tr>"
        for code, failure in sorted(JOB_CODES.items())
    )
    attempts = ", ".join(f"`{kind}` {most}" for kind, most in ATTEMPTS.items())
    text = (
        "A job whose `state` is `failed` has the reason in `error`: act on its `code`, show its "
        "`detail`. Its `class` says how often the job is attempted in all, unless the job itself "
        f"allows less: {attempts}."
    )
    return _codes_chapter("failures", "How a job can fail", text, "Class", rows)


def _anchored(code: str) -> str:
    return f'<tr id="error-{code}"><td><code>{code}</code></td>'


def _link(code: str) -> str:
    return f'<a href="#error-{code}"><code>{code}</code></a>'


def _codes_chapter(identity: str, title: str, text: str, second: str, rows: str) -> str:
    head = f"<thead><tr><th>Code</th><th>{second}</th><th>Meaning</th></tr></thead>"
    return (
        f'<section class="chapter" id="{identity}"><h2>{title}</h2>{_prose(text)}'
        f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div></section>'
    )


# --- text --------------------------------------------------------------------------------------


def _prose(text: str) -> str:
    """Paragraphs; line breaks within one are spaces."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs)


def _inline(text: str) -> str:
    """Escaped, with `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
