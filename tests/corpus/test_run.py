"""The check over a corpus, as a user runs it; and what it calls a finding."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.checks import found
from corpus.files import found_in, mutated, sampled
from fileproc.errors import BadInput, Crashed, JobError, OutOfResources
from fileproc.jobs import Usage
from fileproc.operations import Limits
from fileproc.worker.sandbox import Ending
from samples import jpeg, pdf, png_that_claims

PROGRAM = Path(__file__).with_name("run.py")
BASE = Path("/a/scratch/folder")
LIMITS = Limits(timeout_s=10)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A good file, a broken one, and a bomb."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(jpeg())
    (folder / "broken.pdf").write_bytes(pdf()[:200])
    (folder / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def started(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "FILEPROC_SANDBOX": "best-effort"}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        # Whoever starts the tests in the background may have them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )


def test_every_operation_runs_on_every_file_that_it_takes(corpus: Path, scratch: Path) -> None:
    kept = scratch.with_name("kept")
    options = ("--generated", 1, "--seed", 3, "--scratch", scratch, "--keep", kept)
    process = started(corpus, *options, "--timeout", 60)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert re.search(r"corpus: files=4 runs=\d+ succeeded=\d+ findings=0 ", said), said
    assert "image_too_large (permanent)" in said
    assert "corrupt_input (permanent)" in said
    book = (kept / "runs.jsonl").read_text()
    assert '"operation": "image.resize"' in book
    assert '"operation": "pdf.info"' in book
    assert not list(scratch.iterdir())


def test_it_tidies_up_when_it_is_interrupted(corpus: Path, scratch: Path) -> None:
    process = started(corpus, "--scratch", scratch)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("seed ")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 130, said
    assert "corpus: files=" in said
    assert not list(scratch.iterdir())


def ending(error: JobError | None = None) -> Ending:
    return Ending([], None, Usage(wall_s=1, cpu_s=1, peak_rss_bytes=1), error)


FAIR = [
    None,
    BadInput("The file is damaged.", code="corrupt_input"),
    BadInput("An entry would be written to /no/such/folder.", code="unsafe_path"),
    BadInput("Its ratio is 1/2; in/out were swapped.", code="corrupt_input"),
    OutOfResources("It took too long.", code="timeout"),
]
FOUL = [
    Crashed("The operation crashed (SIGSEGV)."),
    Crashed("Nobody foresaw that.", code="internal_error"),
    OutOfResources("It was killed from outside.", code="killed"),
    JobError("There is no process.", code="no_process"),
    BadInput(f"There is no {BASE}/run-1/in/0.", code="corrupt_input"),
    BadInput("in/0: not a picture", code="corrupt_input"),
    BadInput(f"{sys.executable} does not like it.", code="corrupt_input"),
]


@pytest.mark.parametrize("error", FAIR, ids=str)
def test_what_a_file_may_do_is_no_finding(error: JobError | None) -> None:
    assert not found(ending(error), 10.9, LIMITS, BASE)


@pytest.mark.parametrize("error", FOUL, ids=str)
def test_what_nobody_may_see_is_a_finding(error: JobError) -> None:
    assert len(found(ending(error), 1, LIMITS, BASE)) == 1


def test_late_end_and_dead_zygote_are_findings() -> None:
    assert found(ending(), 11.1, LIMITS, BASE) == ["1.1 s longer than it may take"]
    assert found(None, 1, LIMITS, BASE) == ["not an answer that a file may have"]


def test_seed_repeats_the_sample_and_the_mutations(corpus: Path, tmp_path: Path) -> None:
    for number in range(9):
        (corpus / f"note-{number}.txt").write_text(f"Note {number}.\n" * 40)
    (corpus / "copy.txt").write_text("Note 1.\n" * 40)
    everything = found_in([corpus], 10**6)
    assert len(everything) == 12  # each content once

    def chosen(seed: int, name: str) -> Iterator[tuple[str, bytes]]:
        choice, folder = random.Random(seed), tmp_path / name
        folder.mkdir()
        few = sampled(everything, 2, choice)
        assert len(few) == 5  # two notes, and one of each other type
        for specimen in [*few, *mutated(few, 20, choice, folder)]:
            yield specimen.shown, specimen.path.read_bytes()

    once, again, other = (list(chosen(seed, name)) for seed, name in ((1, "a"), (1, "b"), (2, "c")))
    assert once == again
    assert once != other
