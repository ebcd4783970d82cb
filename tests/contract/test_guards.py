"""The list of attacks names tests that are there, and guards that stand where it says."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ATTACKS: list[dict[str, Any]] = tomllib.loads(
    (ROOT / "tests" / "faults" / "guards.toml").read_text(encoding="utf-8")
)["attack"]
GUARDS = [guard for attack in ATTACKS for guard in attack.get("guard", ())]
WITHOUT_GUARD = {"T43"}  # what others publish of our dependencies is no line of ours


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_every_row_has_its_tests_and_its_guards() -> None:
    rows = [attack["row"] for attack in ATTACKS]
    assert rows == [f"T{number}" for number in (*range(1, 17), *range(28, 47))]
    assert {attack["row"] for attack in ATTACKS if "guard" not in attack} == WITHOUT_GUARD
    named = [test for attack in (*ATTACKS, *GUARDS) for test in attack.get("tests", ())]
    for test in named:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not name or name in names_in(file), test


@pytest.mark.parametrize("guard", GUARDS, ids=[guard["without"] for guard in GUARDS])
def test_guard_stands_where_the_list_says(guard: dict[str, str]) -> None:
    source = (ROOT / guard["file"]).read_text(encoding="utf-8")
    assert source.count(guard["old"]) == 1
    changed = source.replace(guard["old"], guard["new"])
    assert changed != source
    if guard["file"].endswith(".py"):
        ast.parse(changed)
