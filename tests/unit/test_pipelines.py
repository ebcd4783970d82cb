"""Which pipelines are taken, in which order their steps run, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.jobs import JOB_INPUTS, Step
from fileproc.operations import catalogue
from fileproc.pipelines import Pipeline, output_steps, planned

PDF, PNG, ZIP = "application/pdf", "image/png", "application/zip"


def step(name: str, operation: str = "file.probe", *needs: str, **others: Any) -> Step:
    return Step(name=name, operation=operation, needs=list(needs or (JOB_INPUTS,)), **others)


def plan(*steps: Step) -> Pipeline:
    known = catalogue(debug=True)
    return planned(steps, {each.name: known[each.operation] for each in steps})


def complaints(*steps: Step) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        plan(*steps)
    return {str(entry["pointer"]): str(entry["detail"]) for entry in caught.value.errors}


def thumbnails(**others: Any) -> tuple[Step, ...]:
    return (
        step("zip", "archive.create", "thumbs"),
        step("thumbs", "image.resize", "pages", for_each=True, **others),
        step("pages", "pdf.to_images"),
    )


def test_steps_run_after_those_they_need_else_as_written() -> None:
    assert [each.name for each in plan(*thumbnails()).steps] == ["pages", "thumbs", "zip"]
    parallel = [step("b"), step("a"), step("c", "archive.create", "a", "b"), step("d")]
    assert [each.name for each in plan(*parallel).steps] == ["b", "a", "c", "d"]


def test_a_pipeline_takes_what_its_first_steps_take() -> None:
    pipeline = plan(*thumbnails())
    assert pipeline.takes(PDF)
    assert not pipeline.takes(PNG)
    assert pipeline.accepts == (PDF,)
    assert (pipeline.min_inputs, pipeline.max_inputs, pipeline.lane) == (1, 1, "default")
    both = plan(step("a", "pdf.info"), step("b", "pdf.merge"), step("c"))
    assert both.accepts == (PDF,)
    assert plan(step("a", "pdf.info"), step("b", "image.info")).accepts == ()


def test_numbers_of_files_are_those_of_the_steps_that_take_the_jobs() -> None:
    merge = plan(step("a", "pdf.merge"))
    assert merge.max_inputs > 1
    each = plan(step("a", "image.info", for_each=True))
    assert (each.min_inputs, each.max_inputs) == (1, 10_000)
    also = plan(step("a"), step("b", "archive.create", JOB_INPUTS, "a"))
    assert (also.min_inputs, also.max_inputs) == (1, 1)


def test_other_files_may_come_where_each_is_skipped_alone() -> None:
    pictures = step("a", "image.info", for_each=True, on_error="skip")
    assert plan(pictures).takes(PDF)
    assert not plan(pictures.model_copy(update={"for_each": False})).takes(PDF)


def test_one_heavy_step_makes_the_pipeline_heavy() -> None:
    heavy = plan(step("a", "video.thumbnails"), step("b", "image.resize", "a", for_each=True))
    assert heavy.lane == "heavy"


def test_outputs_are_those_of_the_last_steps_or_of_those_marked() -> None:
    pages, thumbs, zipped = plan(*thumbnails()).steps
    assert output_steps([pages, thumbs, zipped]) == {"zip"}
    assert output_steps([pages, thumbs]) == {"thumbs"}
    marked = thumbs.model_copy(update={"output": True})
    assert output_steps([pages, marked, zipped]) == {"thumbs"}


@pytest.mark.parametrize("length", [1, 2, 3, 32])
def test_a_circle_is_refused_and_named(length: int) -> None:
    ring = [
        step(f"s{i}", "file.probe", f"s{(i + 1) % length}", for_each=True) for i in range(length)
    ]
    found = complaints(*ring)
    if length == 1:
        assert found == {"/steps/s0/needs/0": "There is no other step 's0'."}
    else:
        assert set(found) == {f"/steps/s{i}/needs" for i in range(length)}


def test_of_a_circle_only_its_own_steps_are_named() -> None:
    found = complaints(
        step("after", "file.probe", "a"),
        step("a", "file.probe", "b"),
        step("b", "archive.create", "a", "fine"),
        step("fine"),
    )
    assert set(found) == {"/steps/a/needs", "/steps/b/needs"}


def test_a_long_chain_and_a_wide_join_are_no_circle() -> None:
    chain = [step("s0"), *(step(f"s{i}", "file.hash", f"s{i - 1}") for i in range(1, 32))]
    assert len(plan(*reversed(chain)).steps) == 32
    wide = [step(f"s{i}") for i in range(31)]
    join = step("join", "archive.create", *(each.name for each in wide))
    assert plan(join, *wide).steps[-1] == join


def test_names_that_do_not_fit_are_all_told() -> None:
    found = complaints(
        step("a", "file.probe", "nobody"), step("b", "archive.create", "a", "a"), step("inputs")
    )
    assert found["/steps/a/needs/0"] == "There is no other step 'nobody'."
    assert found["/steps/b/needs"] == "A step is named twice."
    assert "/steps/inputs" in found


def test_types_that_can_never_fit_are_refused() -> None:
    found = complaints(step("a", "pdf.to_images"), step("b", "pdf.info", "a", for_each=True))
    assert found == {"/steps/b/needs/0": "pdf.info takes nothing that pdf.to_images makes."}


@pytest.mark.parametrize("taker", ["image.resize", "archive.create", "pdf.info"])
def test_whatever_may_come_is_not_refused(taker: str) -> None:
    plan(step("a", "archive.extract"), step("b", taker, "a", for_each=True))


def test_a_mark_is_taken_beside_the_document_but_not_alone() -> None:
    stamp = step("b", "pdf.stamp", JOB_INPUTS, "a")
    plan(step("a", "pdf.to_images"), stamp)
    alone = step("b", "pdf.stamp", "a", for_each=True)
    assert list(complaints(step("a", "pdf.to_images"), alone)) == ["/steps/b/needs/0"]


def test_numbers_that_can_never_fit_are_refused() -> None:
    two = step("c", "image.resize", "a", "b")
    images = [step("a", "pdf.to_images"), step("b", "pdf.to_images"), two]
    assert complaints(*images) == {
        "/steps/c/needs": "image.resize takes at most 1: say `for_each`."
    }
    nothing = Step(name="a", operation="image.resize", needs=[])
    assert complaints(nothing) == {"/steps/a/needs": "image.resize works on files."}
    each = Step(name="a", operation="debug.sleep", needs=[], for_each=True)
    assert list(complaints(each)) == ["/steps/a/for_each"]
