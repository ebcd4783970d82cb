"""Takes the guards of the service away, one at a time, and shows that the tests notice.

    python tests/faults/guards.py [T5 T9 ...]

`guards.toml` lists the attacks, what holds each off, and the tests. Each guard becomes a mutant,
and is tried as those of the queue are (see `mutants.py`): its tests must pass with it, and fail
without it by an assertion. The last line is `guards: N caught, 0 missed`.
"""
# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from faults.mutants import ROOT, Mutant, MutantError, judged  # noqa: E402 - the path comes first

LIST = Path(__file__).parent / "guards.toml"


def attacks() -> list[dict[str, Any]]:
    """As they stand in the list: row, name, answer, tests, and their guards."""
    found: list[dict[str, Any]] = tomllib.loads(LIST.read_text(encoding="utf-8"))["attack"]
    return found


def patch_of(guard: dict[str, Any]) -> str:
    """What takes it away.

    Raises:
        MutantError: it does not stand in its file, or several times.
    """
    file, old, new = guard["file"], guard["old"], guard["new"]
    source = (ROOT / file).read_text(encoding="utf-8")
    if source.count(old) != 1 or old == new:
        raise MutantError(f"{file} has {source.count(old)} times, and not once: {old.strip()}")
    lines = difflib.unified_diff(
        source.splitlines(keepends=True),
        source.replace(old, new).splitlines(keepends=True),
        fromfile=f"a/{file}",
        tofile=f"b/{file}",
    )
    return "".join(lines)


def mutants_of(rows: list[str], folder: Path) -> Iterator[Mutant]:
    """All guards of these rows, or of every row, as patches in the folder."""
    for attack in attacks():
        if rows and attack["row"] not in rows:
            continue
        for number, guard in enumerate(attack.get("guard", ()), 1):
            patch = folder / f"{attack['row']}-{number}.patch"
            patch.write_text(patch_of(guard), encoding="utf-8")
            scenario = tuple(guard.get("tests", attack["tests"]))
            yield Mutant(patch.stem, patch, guard["without"], scenario)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="rows of the list; all if none is given")
    parser.add_argument("--jobs", type=int, default=2, help="guards at a time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fileproc-guards-") as name:
        try:
            found = list(mutants_of(arguments.rows, Path(name)))
            caught, missed = judged(found, arguments.jobs)
        except MutantError as exc:
            print(f"guards: {exc}", file=sys.stderr)
            return 1
    print(f"guards: {caught} caught, {missed} missed")
    return 1 if missed or not caught else 0


if __name__ == "__main__":
    sys.exit(main())
