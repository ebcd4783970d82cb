"""Breaks the queue on purpose, one patch at a time, and shows that the tests notice.

    python tests/faults/mutants.py [NAME ...]

Each patch in `mutants/` takes away one thing that the queue's promise rests on; its header says
what, and which tests catch it (pytest's node ids, 60 s at most). The patches are applied to copies
of the tree. First the tests of all patches must pass on a copy without any; then each must fail on
its own, and by an assertion: an import that breaks or a script that does not compile shows nothing.
A patch that no longer applies is an error. The last line is `mutants: N caught, 0 missed`.
"""
# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "mutants"
COPIED = ("fileproc", "tests", "pyproject.toml", "setup.cfg", "README.md")
MOST_S = 60
# What a mutant that is broken rather than wrong leaves in the output.
BROKEN = re.compile(
    r"Error compiling script|user_script:\d+|^E +.*(?:Syntax|Import|Name)Error", re.MULTILINE
)
ASSERTED = re.compile(r"^E +(?:AssertionError: )?assert ", re.MULTILINE)


class MutantError(Exception):
    """A patch or its header is not usable."""


@dataclass(frozen=True)
class Mutant:
    name: str
    patch: Path
    breaks: str
    scenario: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    caught: bool
    reason: str
    seconds: float


def read(patch: Path) -> Mutant:
    """The header: `Breaks: ...` and `Scenario: ...`, which may go on in indented lines."""
    header, found, _ = patch.read_text(encoding="utf-8").partition("\n--- ")
    fields = dict(re.findall(r"^(Breaks|Scenario):(.*(?:\n .*)*)", header, re.MULTILINE))
    if not found or fields.keys() != {"Breaks", "Scenario"}:
        raise MutantError(f"{patch.name}: no diff, or no header with Breaks and Scenario")
    breaks = " ".join(fields["Breaks"].split())
    return Mutant(patch.stem, patch, breaks, tuple(fields["Scenario"].split()))


def copy_tree(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def apply(mutant: Mutant, folder: Path, *options: str) -> None:
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", *options, str(mutant.patch)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MutantError(f"{mutant.patch.name} no longer applies: {done.stderr.strip()}")


def run_pytest(folder: Path, arguments: Sequence[str], most_s: float) -> tuple[int | None, str]:
    """(exit status, or None if it took too long; output), on a copy of the tree."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FILEPROC_")
    }
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
        *("-p", "no:randomly", f"--basetemp={folder / 'tmp'}", *arguments),
    ]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its servers can be ended with it
    )
    try:
        output, _ = process.communicate(timeout=most_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    return process.returncode, output


def complaint(report: Path) -> str | None:
    """What the first test that failed says; None if none failed, but something broke instead."""
    if not report.exists():
        return None
    for case in ET.parse(report).iter("testcase"):
        for failure in case.findall("failure"):
            return _first_line(case, failure)
        for error in case.findall("error"):
            # Books that do not balance show when the fixture ends.
            if "teardown" in error.get("message", "") and ASSERTED.search(error.text or ""):
                return _first_line(case, error)
    return None


def _first_line(case: ET.Element, failure: ET.Element) -> str:
    message = failure.get("message", "").strip().splitlines() or [""]
    return f"{case.get('name')}: {message[0][:160]}"


def try_out(mutant: Mutant) -> Verdict:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fileproc-mutant-") as name:
        folder = copy_tree(Path(name))
        apply(mutant, folder)
        report = folder / "report.xml"
        options = (f"--junitxml={report}", f"--timeout={MOST_S * 0.75:.0f}")
        status, output = run_pytest(folder, [*options, *mutant.scenario], MOST_S)
        said = complaint(report)
    seconds = time.monotonic() - start
    if status is None:
        return Verdict(mutant, caught=False, reason=f"took more than {MOST_S} s", seconds=seconds)
    if status == 0:
        return Verdict(mutant, caught=False, reason="nothing noticed", seconds=seconds)
    if said is None or BROKEN.search(output):
        reason = f"broken, not wrong (pytest's status {status}):\n{output[-2000:]}"
        return Verdict(mutant, caught=False, reason=reason, seconds=seconds)
    return Verdict(mutant, caught=True, reason=said, seconds=seconds)


def check_unmutated(mutants: Sequence[Mutant]) -> None:
    """All scenarios pass on the tree as it is, and it is the copy that they test."""
    with tempfile.TemporaryDirectory(prefix="fileproc-mutant-") as name:
        folder = copy_tree(Path(name))
        for mutant in mutants:
            apply(mutant, folder, "--check")
        where = subprocess.run(
            [sys.executable, "-c", "import fileproc; print(fileproc.__file__)"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if not Path(where).is_relative_to(folder):
            raise MutantError(f"the tests would import {where}, not the copy in {folder}")
        scenario = sorted({node for mutant in mutants for node in mutant.scenario})
        status, output = run_pytest(folder, scenario, MOST_S * 10)
    if status != 0:
        raise MutantError(f"the scenarios do not pass without a mutant:\n{output[-4000:]}")


def judged(mutants: Sequence[Mutant], jobs: int) -> tuple[int, int]:
    """Try them all, and print how each went; how many were caught, and missed.

    Raises:
        MutantError: a patch no longer applies, or the tests fail without any.
    """
    caught, missed = 0, 0
    check_unmutated(mutants)
    print(f"{len(mutants)} mutants; their tests pass without them", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        for verdict in pool.map(try_out, mutants):
            caught, missed = caught + verdict.caught, missed + (not verdict.caught)
            word = "caught" if verdict.caught else "MISSED"
            name, breaks = verdict.mutant.name, verdict.mutant.breaks
            print(f"{word} {verdict.seconds:5.1f} s  {name}: {breaks}")
            print(f"                {verdict.reason}", flush=True)
    return caught, missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        help="patches of tests/faults/mutants by name; all (three minutes) if none is given",
    )
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    arguments = parser.parse_args()
    try:
        mutants = [read(patch) for patch in sorted(PATCHES.glob("*.patch"))]
        if arguments.names:
            mutants = [mutant for mutant in mutants if mutant.name in arguments.names]
        caught, missed = judged(mutants, arguments.jobs)
    except MutantError as exc:
        print(f"mutants: {exc}", file=sys.stderr)
        return 1
    print(f"mutants: {caught} caught, {missed} missed")
    return 1 if missed or not caught else 0


if __name__ == "__main__":
    sys.exit(main())
