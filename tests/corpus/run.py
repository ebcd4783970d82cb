"""Every operation on every file of some folders, and proof that none of them hurts a worker.

    python tests/corpus/run.py ~/pillow/Tests/images ~/pdf.js/test/pdfs
    python tests/corpus/run.py --sample 3 --generated 500 --seed 7 FOLDER...

The type of each file is detected as the api does it, and every operation that takes such a file
alone runs on it, with the parameters of its example, through the sandbox of a worker: a real
zygote, a real child for each run. A run may succeed, or fail with a code that says what is wrong
with the file or which limit it met. A finding is anything else: an error that nobody foresaw, a
crash, a process that was killed from outside or lives on, a zygote that died, a timeout that was
overrun by more than a second, scratch files that stay, a sentence that tells a path.

`--seed` repeats a sample and the mutations. With `--keep FOLDER` the files with findings, a line
for each run (runs.jsonl) and the worker's log with its tracebacks (log.jsonl) are kept there. The
last line says what was found; the exit status is 1 if anything was.
"""
# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import uvloop  # noqa: E402 - the path comes first

from corpus import files, report  # noqa: E402
from corpus.checks import Checker, Pulse, Run, runs_of  # noqa: E402
from corpus.files import Specimen  # noqa: E402
from fileproc.operations import Limits, Operation  # noqa: E402
from fileproc.settings import Settings  # noqa: E402
from fileproc.telemetry import configure_logging  # noqa: E402
from fileproc.worker.sandbox import Sandbox, remove_scratch  # noqa: E402

MIB = 1024 * 1024
INTERRUPTED = 130
_PROGRESS_EVERY_S = 30.0
_FORMAT = argparse.RawDescriptionHelpFormatter


def main() -> int:
    """Parse, run, report; returns the exit status."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    runs: list[Run] = []
    interrupted = False
    began = time.monotonic()
    try:
        with _scratch(options.scratch) as base, _kept(options.keep, base) as keep:
            work = _work(options, random.Random(seed), base / "mutations")
            given = len({specimen.path for specimen, _ in work})
            print(f"seed {seed}: {given:,} files, {len(work):,} runs", flush=True)
            uvloop.run(_run_all(options, work, base, keep, runs))
    except KeyboardInterrupt:
        interrupted = True
    print(report.table(runs, time.monotonic() - began))
    print(report.last_line(runs), flush=True)
    if interrupted:
        return INTERRUPTED
    return 1 if any(run.findings for run in runs) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_FORMAT)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of files, or files")
    parser.add_argument("--sample", type=int, help="so many files of each folder and type")
    parser.add_argument("--generated", type=int, default=0, help="so many mutations of the files")
    parser.add_argument("--seed", type=int, help="of the sample and the mutations")
    parser.add_argument("--only", default="*", help="operations, as patterns: 'pdf.*,image.info'")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--timeout", type=float, default=10, help="of a run, in seconds")
    parser.add_argument("--memory", type=int, default=2048, help="of a run, in MiB")
    parser.add_argument("--largest", type=int, default=64, help="no file above so many MiB")
    parser.add_argument("--keep", type=Path, help="folder for what explains the findings")
    parser.add_argument("--scratch", type=Path, help="where the scratch folders are made")
    options = parser.parse_args()
    for folder in options.folders:
        if not folder.exists():
            parser.error(f"There is no {folder}.")
    return options


@contextlib.contextmanager
def _scratch(where: Path | None) -> Iterator[Path]:
    """A folder for everything that is made on the way; gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="fileproc-corpus-", dir=where)).resolve()
    try:
        yield base
    finally:
        remove_scratch(base)


@contextlib.contextmanager
def _kept(keep: Path | None, base: Path) -> Iterator[Path]:
    """The folder of explanations, with the log in it; a passing one if nobody wants it."""
    keep = keep or base / "kept"
    keep.mkdir(parents=True, exist_ok=True)
    configure_logging("warning", "json")
    with (keep / "log.jsonl").open("w", encoding="utf-8") as log:
        (handler,) = logging.getLogger().handlers
        if not isinstance(handler, logging.StreamHandler):
            raise TypeError("the log goes to a stream")
        stderr = handler.setStream(log)
        try:
            yield keep
        finally:
            handler.setStream(stderr or sys.stderr)


def _work(
    options: argparse.Namespace, choice: random.Random, mutations: Path
) -> list[tuple[Specimen, Operation]]:
    """Every run there is to do."""
    specimens = files.found_in(options.folders, options.largest * MIB)
    if options.sample is not None:
        specimens = files.sampled(specimens, options.sample, choice)
    if specimens and options.generated:
        mutations.mkdir()
        specimens += files.mutated(specimens, options.generated, choice, mutations)
    patterns = options.only.split(",")
    return [
        (specimen, entry)
        for specimen, entry in runs_of(specimens)
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns)
    ]


async def _run_all(
    options: argparse.Namespace,
    work: list[tuple[Specimen, Operation]],
    base: Path,
    keep: Path,
    runs: list[Run],
) -> None:
    """Do the work, `--jobs` at a time; `runs` grows by each that has ended."""
    settings = Settings(scratch_dir=base / "self-test")
    limits = Limits(
        memory_bytes=options.memory * MIB,
        timeout_s=options.timeout,
        pixels=settings.max_pixels,
        output_files=settings.max_output_files,
        threads=os.cpu_count() or 1,
    )
    pulse, waiting = Pulse(), iter(work)
    (base / "runs").mkdir()
    with (keep / "runs.jsonl").open("w", encoding="utf-8") as book:
        async with Sandbox.open(settings) as sandbox, asyncio.TaskGroup() as group:
            checker = Checker(sandbox, pulse, limits, base / "runs")
            beside = [group.create_task(pulse.beat()), group.create_task(_tell(runs, len(work)))]

            async def worker() -> None:
                for specimen, entry in waiting:
                    run = await checker.check(specimen, entry)
                    runs.append(run)
                    book.write(json.dumps(run.as_json()) + "\n")
                    if run.findings:
                        shutil.copyfile(specimen.path, keep / f"{run.id}-{specimen.path.name}")

            await asyncio.gather(*(group.create_task(worker()) for _ in range(options.jobs)))
            for task in beside:
                task.cancel()
    if left := [path.name for path in (base / "runs").iterdir()]:
        raise AssertionError(f"left in the scratch folder: {left}")


async def _tell(runs: list[Run], total: int) -> None:
    """A line every now and then, until cancelled."""
    while True:
        await asyncio.sleep(_PROGRESS_EVERY_S)
        faulty = sum(bool(run.findings) for run in runs)
        print(f"  {len(runs):,} of {total:,} runs, {faulty:,} with findings", flush=True)


if __name__ == "__main__":
    sys.exit(main())
