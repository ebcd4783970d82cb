"""Writes what the pages take from the code: `python docs/generate.py [settings] [faults] ...`."""  # noqa: INP001 - a script

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

from fileproc import telemetry
from fileproc.crashpoints import POINTS
from fileproc.jobs import FINAL, MOVES, JobState, Transition
from fileproc.operations import reference
from fileproc.settings import CHAPTERS, GIB, MIB, Settings, shown, variables

DOCS = Path(__file__).parent
GUARDS = DOCS.parent / "tests" / "faults" / "guards.toml"

_SETTINGS = """\
# Settings

Every setting is an environment variable. `NAME_FILE=/path` takes the value of `NAME` from a file,
such as a mounted secret. A `.env` file in the working directory is read too; the environment wins
over `NAME_FILE`, and that over `.env`. What is wrong is said at start, all of it at once;
`python -m fileproc config` prints what is in effect, with secrets masked. Sizes are bytes, times
seconds.

This page is written by `make pages` from `fileproc/settings/`.
"""

_CHAPTER = """
## {title}

| Variable | Default | What it does |
| --- | --- | --- |
"""


def settings_page() -> str:
    """A table for each chapter of settings."""
    page = _SETTINGS
    for chapter in CHAPTERS:
        title = (chapter.__doc__ or "").removesuffix(".")
        page += _CHAPTER.format(title=title) + "".join(map(_row, shown(chapter)))
    return page


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    first, *others = variables(name)
    also = f" Also {', '.join(f'`{other}`' for other in others)}." if others else ""
    about = (field.description or "").replace("|", "\\|")
    return f"| `{first}` | {_default(first, field.default)} | {about}{also} |\n"


def _default(variable: str, value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return "`1`" if value else "`0`"
    if variable.endswith("_BYTES"):
        unit, size = ("GiB", GIB) if value >= GIB else ("MiB", MIB)
        return f"`{value}` ({value // size} {unit})"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


_DIAGRAM = re.compile(r"(<!-- state diagram: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def architecture_page() -> str:
    """The page as it is, with the diagram of states drawn anew."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    return _DIAGRAM.sub(lambda found: f"{found[1]}\n{state_diagram()}\n{found[2]}", page)


def state_diagram() -> str:
    """`MOVES` as a Mermaid diagram; moves between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for move, transition in MOVES.items():
        for source, target in _pairs(transition):
            arrows.setdefault((source, target), []).append(str(move))
    arrows.update({(str(state), "[*]"): [] for state in JobState if state in FINAL})
    lines = [
        f"    {source} --> {target}" + (f": {', '.join(moves)}" if moves else "")
        for (source, target), moves in arrows.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _pairs(transition: Transition) -> list[tuple[str, str]]:
    sources = [str(state) for state in JobState if state in transition.sources] or ["[*]"]
    targets = [str(state) for state in JobState if state in transition.targets]
    return [(source, target) for source in sources for target in targets]


_POINTS = re.compile(r"(<!-- crash points: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def faults_page() -> str:
    """The page as it is, with the list of crash points written anew."""
    page = (DOCS / "faults.md").read_text(encoding="utf-8")
    rows = "\n".join(f"| `{name}` | {role} | {then} |" for name, (role, then) in POINTS.items())
    table = f"| Point | Role | By then |\n| --- | --- | --- |\n{rows}"
    return _POINTS.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", page)


_ATTACKS = re.compile(r"(<!-- attacks: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def attacks_page() -> str:
    """The page as it is, with the list of attacks written anew."""
    page = (DOCS / "attacks.md").read_text(encoding="utf-8")
    listed = tomllib.loads(GUARDS.read_text(encoding="utf-8"))["attack"]
    rows = "\n".join(map(_attack, listed))
    table = f"| Row | Attack | What holds it off | Tests | Guards |\n|---|---|---|---|---|\n{rows}"
    return _ATTACKS.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", page)


def _attack(attack: dict[str, Any]) -> str:
    files = dict.fromkeys(test.partition("::")[0] for test in attack["tests"])
    tests = ", ".join(f"`{file.removeprefix('tests/')}`" for file in files)
    guards = len(attack.get("guard", ()))
    return f"| {attack['row']} | {attack['name']} | {attack['answer']} | {tests} | {guards} |"


_FIGURES = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def running_page() -> str:
    """The page as it is, with the list of figures written anew."""
    page = (DOCS / "running.md").read_text(encoding="utf-8")
    told = [found for found in vars(telemetry).values() if isinstance(found, MetricWrapperBase)]
    rows = "\n".join(map(_figure, told))
    table = f"| Name | Kind | Labels | What it tells |\n|---|---|---|---|\n{rows}"
    return _FIGURES.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", page)


def _figure(figure: MetricWrapperBase) -> str:
    (family,) = figure.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in figure._labelnames)  # noqa: SLF001 - nothing else tells
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


PAGES = {
    "architecture": architecture_page,
    "attacks": attacks_page,
    "faults": faults_page,
    "operations": reference.markdown,
    "running": running_page,
    "settings": settings_page,
}


def main() -> None:
    for name in sys.argv[1:] or PAGES:
        (DOCS / f"{name}.md").write_text(PAGES[name](), encoding="utf-8")


if __name__ == "__main__":
    main()
