"""The Lua scripts: each is the generated table of moves, the shared prelude, and its own file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fileproc.jobs import MOVES


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    source: str
    sha: str


def moves_table() -> str:
    """`MOVES` of fileproc.jobs as a Lua table: name -> {from = {...}, to = {...}}."""
    rows = []
    for move, transition in MOVES.items():
        sources = ", ".join(f"{state} = true" for state in sorted(transition.sources))
        targets = ", ".join(f"{state} = true" for state in sorted(transition.targets))
        rows.append(f"  {move} = {{from = {{{sources}}}, to = {{{targets}}}}},")
    return "local MOVES = {\n" + "\n".join(rows) + "\n}\n"


@cache
def scripts() -> dict[str, Script]:
    """Every script by name."""
    folder = resources.files("fileproc.store") / "lua"
    texts = {
        entry.name.removesuffix(".lua"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }
    head = moves_table() + texts.pop("prelude")
    loaded = {}
    for name, text in texts.items():
        source = head + text
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        loaded[name] = Script(name, source, sha)
    return loaded
