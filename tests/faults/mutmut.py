"""Changes the Python of the queue at random, one expression at a time, and counts who notices.

    python tests/faults/mutmut.py [--seed 1] [--sample 300]

A seeded sample of all small changes to `fileproc/store/`, `jobs.py` and the executor: a comparison
turned round, a condition negated, a number or a word changed, a call left out. For each, the tests
that run the changed lines are run on a copy of the tree until one fails. At least nine in ten must
be noticed; the last line says how many were.

The mutmut of PyPI forks its mutants from a process that has run the suite, and takes no sample.
Ours start servers, threads and template processes: they are given a process of their own each.
"""
# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import argparse
import itertools
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from coverage import CoverageData

sys.path[:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from faults.mutants import ROOT, copy_tree, run_pytest  # noqa: E402 - the path comes first
from faults.mutations import Mutation, mutations_of  # noqa: E402 - the path comes first

MUTATED = ("fileproc/store/*.py", "fileproc/jobs.py", "fileproc/worker/executor.py")
# Those that take long, and are about other things.
_OTHERS = frozenset(
    f"test_{name}"
    for name in (
        *("browsers", "clamd", "connections", "engines", "event_source", "generators", "imports"),
        *("multipart", "openapi", "options", "process", "stopping", "tus_clients", "verifiers"),
        *("visitors", "worker"),
    )
)
TESTS = (
    "tests/integration/store",
    *(
        str(path.relative_to(ROOT))
        for folder in ("unit", "worker", "api")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
        if path.stem not in _OTHERS
    ),
)
# Random by nature, and it takes too long for one mutant.
LEFT_OUT = "tests/integration/store/test_model.py"
FIRST = 30  # tests that are run at first; only where they all pass, the others are too
MOST_S = 60  # that the others may take by themselves
GOAL = 0.9


@dataclass(frozen=True)
class Coverage:
    """Which tests run which lines, and how long each takes."""

    tests: dict[str, dict[int, set[str]]]  # file -> line -> node ids
    seconds: dict[str, float]

    def of(self, mutation: Mutation) -> list[str]:
        """The tests for a mutation: those of its module, then from one file after the other.

        The quickest of each come first.
        """
        lines = self.tests.get(mutation.path, {})
        found = set().union(*(lines.get(n, set()) for n in range(*mutation.lines)))
        if not found:  # run at import only: whoever uses the module may notice
            found = set().union(*lines.values())
        by_file: dict[str, list[str]] = defaultdict(list)
        for node in sorted(found, key=lambda node: self.seconds.get(node, 1.0)):
            by_file[node.partition("::")[0]].append(node)
        stem = Path(mutation.path).stem
        own = [name for name in by_file if Path(name).stem.startswith(f"test_{stem}")]
        ordered = [node for name in own for node in by_file.pop(name)]
        while by_file:
            for name in list(by_file):
                ordered.append(by_file[name].pop(0))
                if not by_file[name]:
                    del by_file[name]
        return ordered

    def within(self, most_s: float, tests: Sequence[str]) -> list[str]:
        """As many of the tests as take no longer in all."""
        ends = itertools.accumulate(self.seconds.get(node, 1.0) for node in tests)
        return [node for node, end in zip(tests, ends, strict=True) if end <= most_s]


def measure(folder: Path, jobs: int) -> Coverage:
    """Run all tests once, unchanged."""
    report = folder / "report.xml"
    status, output = run_pytest(
        folder,
        [
            f"--numprocesses={jobs}",
            *("--cov=fileproc", "--cov-context=test", "--cov-report=", f"--junitxml={report}"),
            *("-o", "junit_family=xunit1", f"--deselect={LEFT_OUT}"),
            *(test for test in TESTS if (folder / test).exists()),
        ],
        3600,
    )
    if status != 0:
        raise SystemExit(f"mutmut: the tests do not pass without a mutant:\n{output[-4000:]}")
    data = CoverageData(str(folder / ".coverage"))
    data.read()
    tests: dict[str, dict[int, set[str]]] = {}
    for path in sorted({path for pattern in MUTATED for path in folder.glob(pattern)}):
        contexts = data.contexts_by_lineno(str(path))
        tests[str(path.relative_to(folder))] = {
            line: {name.partition("|")[0] for name in names if name}
            for line, names in contexts.items()
        }
    seconds = {}
    for case in ET.parse(report).iter("testcase"):
        name = "::".join([case.get("file", ""), *_inner_class(case), case.get("name", "")])
        seconds[name] = float(case.get("time", 1))
    return Coverage(tests, seconds)


def _inner_class(case: ET.Element) -> list[str]:
    last = case.get("classname", "").rpartition(".")[2]
    return [last] if last[:1].isupper() else []


def compile_once(folder: Path) -> None:
    """So that a changed source is never taken for its compiled form, however quick we are."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*command, str(folder / "fileproc")], check=True)


def try_out(folder: Path, mutation: Mutation, coverage: Coverage) -> str:
    """killed, timeout, survived or uncovered."""
    target = folder / mutation.path
    original = target.read_text(encoding="utf-8")
    tests = coverage.of(mutation)
    if not tests:
        return "uncovered"
    target.write_text(mutation.applied_to(original), encoding="utf-8")
    try:
        for part in (tests[:FIRST], coverage.within(MOST_S, tests[FIRST:])):
            if part:
                # Only what hangs takes so much longer than without the mutation.
                most_s = 60 + 4 * sum(coverage.seconds.get(node, 1.0) for node in part)
                status, _ = run_pytest(folder, ["--timeout=20", *part], most_s)
                if status:
                    return "killed"
                if status is None:
                    return "timeout"
    finally:
        target.write_text(original, encoding="utf-8")
    return "survived"


def run(mutations: Iterable[Mutation], folders: Sequence[Path], coverage: Coverage) -> list[str]:
    """One verdict a mutation; prints them as they come."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for folder in folders:
        free.put(folder)
    talking = threading.Lock()

    def one(mutation: Mutation) -> str:
        folder, start = free.get(), time.monotonic()
        try:
            verdict = try_out(folder, mutation, coverage)
        finally:
            free.put(folder)
        with talking:
            print(f"{verdict:9} {time.monotonic() - start:5.1f} s  {mutation}", flush=True)
        return verdict

    with ThreadPoolExecutor(len(folders)) as pool:
        return list(pool.map(one, mutations))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--sample", type=int, default=300, help="mutants to try (300)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--only", default="", help="paths that contain this")
    arguments = parser.parse_args()
    start = time.monotonic()
    paths = sorted({path for pattern in MUTATED for path in ROOT.glob(pattern)})
    everything = [
        mutation
        for path in paths
        for mutation in mutations_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        if arguments.only in mutation.path
    ]
    chance = random.Random(arguments.seed)
    sample = chance.sample(everything, min(arguments.sample, len(everything)))
    with tempfile.TemporaryDirectory(prefix="fileproc-mutmut-") as name:
        folders = []
        for number in range(arguments.jobs):
            (folder := Path(name) / str(number)).mkdir()
            folders.append(copy_tree(folder))
            compile_once(folder)
        coverage = measure(folders[0], arguments.jobs)
        print(f"{len(everything)} mutants, {len(sample)} tried, seed {arguments.seed}", flush=True)
        verdicts = run(sample, folders, coverage)
    killed = sum(verdict in {"killed", "timeout"} for verdict in verdicts)
    share, seconds = killed / len(verdicts), time.monotonic() - start
    print(f"mutmut: {killed} of {len(verdicts)} killed ({share:.1%}) in {seconds:.0f} s")
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
