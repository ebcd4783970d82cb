"""Pipelines at work: every step a child inside every layer that this kernel has."""

from __future__ import annotations

import errno
import io
import os
import random
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from PIL import Image

from fileproc.errors import ErrorClass
from fileproc.jobs import JOB_INPUTS, PipelineProgress, Progress, Step, StepState
from fileproc.operations import Input, Limits
from fileproc.operations.types import detect
from fileproc.settings import Settings
from fileproc.worker.pipeline import PipelineRun
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from hostile_archives import nested
from pdfs import book, saved
from samples import jpeg

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
MIB = 1024 * 1024
SUCCEEDED, SKIPPED, FAILED = StepState.SUCCEEDED, StepState.SKIPPED, StepState.FAILED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings, preload=[str(HERE / "hostile.py")]) as sandbox:
        yield sandbox


def step(name: str, operation: str, *needs: str, **others: Any) -> Step:
    return Step(name=name, operation=operation, needs=list(needs or (JOB_INPUTS,)), **others)


class Pipes:
    """A pipeline over files in a folder of its own, and what was seen of it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self.assignments: list[Assignment] = []
        self.on_disk: list[set[str]] = []  # kept files, at the begin of each run
        self.progress: list[PipelineProgress] = []
        self.run: PipelineRun

    async def through(
        self, steps: Sequence[Step], *files: tuple[str, bytes], **limits: Any
    ) -> Ending:
        (self._folder / "in").mkdir()
        given = []
        for number, (name, data) in enumerate(files):
            path = self._folder / "in" / str(number)
            path.write_bytes(data)
            kind = detect(data, name=name, declared=None, whole=True)
            given.append(Input(path, name, len(data), "0" * 64, kind))
        most = replace(Limits(), **{"timeout_s": 60, "memory_bytes": 512 * MIB, **limits})
        assignment = Assignment("job", "pipeline", {}, 1, self._folder, given, most, debug=True)
        self.run = PipelineRun(steps, assignment, self._child, self._hear)
        return await self.run.run()

    async def _child(self, assignment: Assignment, report: Any) -> Ending:
        self.assignments.append(assignment)
        made = self._folder / "made"
        self.on_disk.append({str(p.relative_to(made)) for p in made.glob("*/*")})
        return await self._sandbox.run(assignment, report)

    def _hear(self, progress: Progress) -> None:
        assert isinstance(progress, PipelineProgress)
        self.progress.append(progress)

    @property
    def states(self) -> dict[str, str]:
        return {status.name: str(status.state) for status in self.run.statuses}


@pytest.fixture
def pipes(sandbox: Sandbox, tmp_path: Path) -> Pipes:
    return Pipes(sandbox, tmp_path)


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


def width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


PAGES = step("pages", "pdf.to_images", params={"dpi": 36})
THUMBS = step("thumbs", "image.resize", "pages", params={"width": 40}, for_each=True)
ZIP = step("zip", "archive.create", "thumbs", params={"name": "thumbs"})


async def test_every_page_becomes_a_thumbnail_and_all_are_joined(pipes: Pipes) -> None:
    ending = await pipes.through([PAGES, THUMBS, ZIP], ("book.pdf", saved(book())))
    assert ending.error is None
    [output] = ending.outputs
    assert (output.name, output.type) == ("thumbs.zip", "application/zip")
    with zipfile.ZipFile(output.path) as archive:
        names = archive.namelist()
        sizes = {Image.open(archive.open(name)).width for name in names}
    assert [Path(name).stem for name in names] == [f"book-00{number}" for number in (1, 2, 3, 4)]
    assert sizes == {40}
    counts = [(status.name, status.state, status.outputs) for status in pipes.run.statuses]
    assert counts == [("pages", SUCCEEDED, 4), ("thumbs", SUCCEEDED, 4), ("zip", SUCCEEDED, 1)]
    assert all(status.engine and status.usage for status in pipes.run.statuses)
    assert ending.usage.wall_s == pytest.approx(
        sum(status.usage.wall_s for status in pipes.run.statuses if status.usage)
    )


async def test_a_child_sees_the_files_of_its_run_and_no_others(pipes: Pipes) -> None:
    await pipes.through([PAGES, THUMBS, ZIP], ("book.pdf", saved(book())))
    folders = [assignment.folder for assignment in pipes.assignments]
    assert len(set(folders)) == len(folders) == 6
    assert not any(one in other.parents for one in folders for other in folders)
    for assignment in pipes.assignments:
        assert all(assignment.folder in given.path.parents for given in assignment.inputs)
        assert not assignment.folder.exists()
    assert [len(assignment.inputs) for assignment in pipes.assignments] == [1, 1, 1, 1, 1, 4]
    assert {given.type for given in pipes.assignments[1].inputs} == {"image/png"}


async def test_files_are_dropped_once_no_step_needs_them(pipes: Pipes) -> None:
    await pipes.through([PAGES, THUMBS, ZIP], ("book.pdf", saved(book())))
    pages = {f"pages/{number}" for number in range(4)}
    assert pipes.on_disk[1] == pages
    assert pipes.on_disk[4] == pages | {f"thumbs/{number}" for number in range(3)}
    assert pipes.on_disk[5] == {f"thumbs/{number}" for number in range(4)}
    assert list((pipes.run._assignment.folder / "made").glob("*/*")) == [
        pipes.run._assignment.folder / "made" / "zip" / "0"
    ]


async def test_progress_tells_of_the_job_and_of_each_step(pipes: Pipes) -> None:
    await pipes.through([PAGES, THUMBS, ZIP], ("book.pdf", saved(book())))
    percents = [said.percent or 0 for said in pipes.progress]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert {said.phase for said in pipes.progress} == {"pages", "thumbs", "zip"}
    runs = [
        (status.progress.done, status.progress.total)
        for said in pipes.progress
        for status in said.steps or []
        if status.name == "thumbs" and status.progress
    ]
    assert [runs[0], runs[-1]] == [(0, 4), (3, 4)]


async def test_outputs_of_several_steps_have_names_of_their_own(pipes: Pipes) -> None:
    steps = [
        step("small", "image.resize", params={"width": 20, "format": "png"}),
        step("large", "image.resize", params={"width": 80, "format": "png"}),
        step("facts", "image.info", "large"),
        step("unseen", "archive.create", "small", "large"),
    ]
    steps = [each.model_copy(update={"output": each.name != "unseen"}) for each in steps]
    ending = await pipes.through(steps, ("photo.jpg", jpeg()))
    assert ending.error is None
    names = [output.name for output in ending.outputs]
    assert names[:2] == ["photo.png", "photo-2.png"]
    assert len(names) == 3
    assert [width(output.path) for output in ending.outputs[:2]] == [20, 80]


async def test_every_picture_of_an_archive_and_what_is_none_is_skipped(pipes: Pipes) -> None:
    data = packed(a_jpg=jpeg(), b_txt=b"no picture\n", c_jpg=jpeg(64, 64), d_jpg=jpeg()[:500])
    steps = [
        step("files", "archive.extract"),
        step(
            "thumbs", "image.resize", "files", params={"width": 9}, for_each=True, on_error="skip"
        ),
        step("zip", "archive.create", "thumbs"),
    ]
    ending = await pipes.through(steps, ("all.zip", data))
    assert ending.error is None
    _, thumbs, _ = pipes.run.statuses
    assert (thumbs.state, thumbs.outputs, thumbs.skipped) == (SUCCEEDED, 2, 2)
    assert thumbs.error is not None
    assert (thumbs.error.code, thumbs.error.input) == ("type_mismatch", "b.txt")
    with zipfile.ZipFile(ending.outputs[0].path) as archive:
        assert [Path(name).stem for name in archive.namelist()] == ["a", "c"]


async def test_a_failure_ends_the_job_and_names_its_step_and_file(pipes: Pipes) -> None:
    steps = [step("thumbs", "image.resize", params={"width": 9}, for_each=True), ZIP]
    files = [("a.jpg", jpeg()), ("cut.jpg", jpeg()[:500]), ("c.jpg", jpeg())]
    ending = await pipes.through(steps, *files)
    assert ending.error is not None
    assert ending.outputs == []
    assert ending.error.job_class is ErrorClass.PERMANENT
    assert ending.error.detail.startswith("Step thumbs, cut.jpg: ")
    assert pipes.states == {"thumbs": "failed", "zip": "waiting"}
    assert len(pipes.assignments) == 2


@pytest.mark.parametrize("how", ["segv", "exit", "raise"])
async def test_a_crash_is_skipped_where_that_is_wanted(pipes: Pipes, how: str) -> None:
    steps = [
        step("a", "debug.crash", params={"how": how}, on_error="skip"),
        step("b", "file.hash"),
        step("c", "archive.create", "a", "b"),
    ]
    ending = await pipes.through(steps, ("a.txt", b"hello"))
    assert ending.error is None
    assert pipes.states == {"a": "skipped", "b": "succeeded", "c": "succeeded"}
    assert [given.name for given in pipes.assignments[-1].inputs] != []


async def test_what_passes_by_itself_is_not_skipped(pipes: Pipes) -> None:
    ending = await pipes.through(
        [step("a", "debug.fail", params={"class": "transient"}, on_error="skip")], ("a", b"a")
    )
    assert ending.error is not None
    assert (ending.error.job_class, pipes.states) == (ErrorClass.TRANSIENT, {"a": "failed"})


async def test_a_join_of_nothing_fails_unless_it_is_skipped_too(pipes: Pipes) -> None:
    bad = step("a", "debug.fail", params={"class": "permanent"}, on_error="skip")
    ending = await pipes.through([bad, step("b", "archive.create", "a")], ("a", b"a"))
    assert ending.error is not None
    assert ending.error.job_code == "count_mismatch"
    assert pipes.states == {"a": "skipped", "b": "failed"}


async def test_a_step_after_a_skipped_one_can_be_skipped_as_well(pipes: Pipes) -> None:
    bad = step("a", "debug.fail", params={"class": "permanent"}, on_error="skip")
    after = step("b", "archive.create", "a", on_error="skip")
    ending = await pipes.through([bad, after, step("c", "file.hash")], ("a", b"a"))
    assert ending.error is None
    assert pipes.states == {"a": "skipped", "b": "skipped", "c": "succeeded"}
    assert len(ending.outputs) == 1


async def test_a_step_that_hangs_has_the_time_of_the_job(pipes: Pipes) -> None:
    steps = [
        step("a", "debug.crash", params={"how": "hang"}, on_error="skip"),
        step("b", "file.hash"),
    ]
    ending = await pipes.through(steps, ("a", b"a"), timeout_s=0.5)
    assert ending.error is not None
    assert ending.error.job_code == "timeout"
    assert "0.5 seconds" in ending.error.detail
    assert pipes.states == {"a": "failed", "b": "waiting"}


async def test_files_of_a_step_are_counted_over_all_its_runs(pipes: Pipes) -> None:
    steps = [PAGES.model_copy(update={"for_each": True})]
    files = [(f"{name}.pdf", saved(book())) for name in "ab"]
    ending = await pipes.through(steps, *files, output_files=6)
    assert ending.error is not None
    assert ending.error.job_code == "too_many_outputs"
    assert [assignment.limits.output_files for assignment in pipes.assignments] == [6, 2]


async def test_outputs_of_all_steps_are_counted_together(pipes: Pipes) -> None:
    steps = [PAGES, PAGES.model_copy(update={"name": "again"})]
    ending = await pipes.through(steps, ("book.pdf", saved(book())), output_files=6)
    assert ending.error is not None
    assert ending.error.job_code == "too_many_outputs"


async def test_kept_files_take_from_the_space_of_later_runs(pipes: Pipes) -> None:
    data = random.Random(4).randbytes(3 * MIB)
    steps = [
        step("a", "archive.create", params={"format": "tar.gz"}),
        step("b", "archive.extract", "a"),
        step("c", "archive.create", "b", JOB_INPUTS),
    ]
    ending = await pipes.through(steps, ("noise.bin", data), scratch_bytes=16 * MIB)
    room = [assignment.limits.scratch_bytes for assignment in pipes.assignments]
    assert ending.error is None
    assert room[0] == 16 * MIB
    assert room[1] < 16 * MIB - len(data) + MIB  # the noise is still kept for c
    assert room[2] >= 16 * MIB - MIB  # all that is kept is in its own folder


async def test_a_file_without_rights_is_no_trap_for_the_next_step(
    pipes: Pipes, tmp_path: Path
) -> None:
    await pipes.through([PAGES, THUMBS], ("book.pdf", saved(book())))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "made" / "thumbs").iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize("on_error", ["fail", "skip"])
async def test_inputs_that_grow_end_the_job(pipes: Pipes, on_error: str) -> None:
    """They are hard links: what a child adds stays, beyond the space that is counted."""
    params = {"how": "grow_inputs", "amount": MIB}
    grown = step("a", "debug.hostile", params=params, for_each=True, on_error=on_error)
    ending = await pipes.through([grown], *[(f"{name}.txt", b"x") for name in "abc"])
    assert ending.error is not None
    assert ending.error.job_code == "protocol_broken"
    assert len(pipes.assignments) == 1


async def test_archives_within_archives_end_at_the_files_of_a_job(pipes: Pipes) -> None:
    """Each level is an archive of ten: five of them would be a hundred thousand files."""
    steps = [step("a", "archive.extract")]
    for need, name in pairwise("abcde"):
        steps.append(step(name, "archive.extract", need, for_each=True))
    ending = await pipes.through(steps, ("deep.zip", nested(4)), output_files=25)
    assert ending.error is not None
    assert ending.error.job_code == "too_many_outputs"
    assert len(pipes.assignments) == 4


async def test_disk_that_is_full_between_two_steps_is_a_limit(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked: list[object] = []

    def link(source: object, target: object, **_: object) -> None:
        if linked:
            raise OSError(errno.ENOSPC, "No space left on device")
        linked.append(source)
        Path(str(target)).write_bytes(Path(str(source)).read_bytes())

    monkeypatch.setattr(os, "link", link)
    ending = await pipes.through([PAGES, THUMBS], ("book.pdf", saved(book())))
    assert ending.error is not None
    assert ending.error.job_code == "scratch_full"
    assert pipes.states == {"pages": "succeeded", "thumbs": "failed"}
