"""The page of `table.profile`: one file of HTML that loads nothing and runs nothing.

Everything that comes from the table passes through `html.escape`; the policy in its head forbids
scripts and requests even if something did not.
"""

from __future__ import annotations

from html import escape
from typing import Any, Final

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_STYLE: Final = """
:root{color-scheme:light dark;--line:#8885;--bar:#4a7fc155;--soft:#8889}
body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:0;overflow-wrap:anywhere}
p{margin:.2rem 0;color:GrayText}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600}
.wide{overflow-x:auto;margin:1.5rem 0}
.wide td,.wide th{border-bottom:1px solid var(--line);white-space:nowrap}
.wide td:first-child{white-space:normal;min-width:8rem}
.n{text-align:right;padding-right:1.2rem}
section{border-top:1px solid var(--line);padding:1rem 0;display:grid;gap:.5rem 2rem;
grid-template-columns:minmax(14rem,1fr) 2fr;align-items:start}
header{grid-column:1/-1}
header span{color:GrayText;margin-left:.6rem;font-weight:400}
.top td:first-child{width:75%;white-space:pre-wrap}
.top td{background-repeat:no-repeat}
i{color:GrayText}
@media(max-width:42rem){section{grid-template-columns:1fr}}
"""
_FIGURES: Final = {
    "nulls": "Null",
    "empty": "Empty",
    "distinct": "Different",
    "min": "Smallest",
    "max": "Largest",
    "mean": "Mean",
    "stddev": "Standard deviation",
    "min_length": "Shortest",
    "max_length": "Longest",
    "mean_length": "Mean length",
}


def page(told: dict[str, Any]) -> str:
    """The whole page, from the document that `table.profile` writes as JSON."""
    name = escape(_shown(told["name"]))
    columns = told["columns"]
    facts = (
        f"{told['format'].upper()}, {told['bytes']:,} bytes, {told['rows']:,} rows,"
        f" {len(columns):,} columns"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{name}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{name}</h1><p>{facts}</p>",
            _overview(columns),
            *(_section(column, number, told["rows"]) for number, column in enumerate(columns, 1)),
            "</body></html>\n",
        ]
    )


def _overview(columns: list[dict[str, Any]]) -> str:
    rows = (
        f'<tr><td><a href="#c{number}">{_name(column)}</a></td>'
        f"<td>{escape(column['type'][:80])}</td>"
        f'<td class="n">{_share(column)}</td><td class="n">{_different(column)}</td>'
        f"<td>{_brief(column.get('min'))}</td><td>{_brief(column.get('max'))}</td></tr>"
        for number, column in enumerate(columns, 1)
    )
    return (
        '<div class="wide"><table><tr><th>Column</th><th>Type</th><th class="n">Null</th>'
        '<th class="n">Different</th><th>Smallest</th><th>Largest</th></tr>'
        + "\n".join(rows)
        + "</table></div>"
    )


def _section(column: dict[str, Any], number: int, rows: int) -> str:
    kind = escape(column["type"][:200])
    figures = [
        f'<tr><th>{label}</th><td class="n">{_figure(column, key)}</td></tr>'
        for key, label in _FIGURES.items()
        if column.get(key) is not None
    ]
    figures += [
        f'<tr><th>{escape(key)}</th><td class="n">{_value(value)}</td></tr>'
        for key, value in (column.get("quantiles") or {}).items()
    ]
    return (
        f'<section id="c{number}"><header><h2>{_name(column)}<span>{kind}</span></h2></header>'
        f'<table class="figures">{"".join(figures)}</table>{_top(column, rows)}</section>'
    )


def _figure(column: dict[str, Any], key: str) -> str:
    if key == "nulls":
        return f"{column['nulls']:,} ({_share(column)})"
    return _different(column) if key == "distinct" else _value(column[key])


def _top(column: dict[str, Any], rows: int) -> str:
    """The frequent values, each with a bar as long as its share of all rows."""
    if not any(entry["count"] > 1 for entry in column["top"]):
        return "<p>No value is there more than once.</p>"
    lines = (
        f'<tr><td style="background-image:linear-gradient(var(--bar),var(--bar));'
        f'background-size:{100 * entry["count"] / max(1, rows):.1f}% 100%">'
        f'{_value(entry["value"])}</td><td class="n">{entry["count"]:,}</td></tr>'
        for entry in column["top"]
    )
    return f'<table class="top">{"".join(lines)}</table>'


def _name(column: dict[str, Any]) -> str:
    return escape(_shown(column["name"][:200])) or "<i>(no name)</i>"


def _share(column: dict[str, Any]) -> str:
    return f"{100 * column['null_share']:.1f} %"


def _different(column: dict[str, Any]) -> str:
    about = "" if column["distinct_exact"] else "about "
    return f"{about}{column['distinct']:,}"


def _brief(value: Any) -> str:
    shown = 40
    if isinstance(value, str) and len(value) > shown:
        value = value[:shown] + "\u2026"
    return _value(value)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return escape(_shown(value)) or "<i>(empty)</i>"


def _shown(text: str) -> str:
    """A text without characters that HTML does not have, or that turn the page around."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
