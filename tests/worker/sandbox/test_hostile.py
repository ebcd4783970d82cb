"""Whatever an operation does, the attempt ends with a named error, and the worker goes on."""

from __future__ import annotations

import json
import platform
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fileproc.errors import ErrorClass, JobError
from fileproc.jobs import Progress
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox, remove_scratch

HERE = Path(__file__).parent
MIB = 1024 * 1024
Run = Callable[..., Awaitable[Ending]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """One for all tests here: its zygote must live through everything."""
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings, preload=[str(HERE / "hostile.py")]) as sandbox:
        zygote = sandbox.zygote_pid
        yield sandbox
        assert sandbox.zygote_pid == zygote


def failure(ending: Ending) -> tuple[str, ErrorClass]:
    assert ending.outputs == []
    assert isinstance(ending.error, JobError)
    return ending.error.job_code, ending.error.job_class


# --- good behaviour ----------------------------------------------------------------------------


async def test_outputs_come_back_in_order_with_their_names(run: Run) -> None:
    ending = await run("copy", inputs=(("a.txt", b"first"), ("b.txt", b"second")))

    assert ending.error is None
    assert [output.name for output in ending.outputs] == ["a.copy", "b.copy"]
    assert [output.path.read_bytes() for output in ending.outputs] == [b"first", b"second"]
    assert ending.engine == "hostile 1.0"
    assert ending.usage.wall_s > 0
    assert ending.usage.peak_rss_bytes > MIB


async def test_a_thousand_inputs_and_long_parameters_fit(run: Run) -> None:
    inputs = tuple((f"{number}-{'n' * 150}.txt", b"x") for number in range(1000))
    ending = await run("say_length", inputs=inputs, text="long" * MIB)

    assert ending.error is None
    assert ending.outputs[0].path.read_text() == str(4 * MIB)


async def test_progress_is_thinned_and_the_last_of_it_arrives(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    heard: list[Progress] = []
    ending = await sandbox.run(assign("progress_often", amount=20_000), heard.append)

    assert ending.error is None
    assert heard[-1] == Progress(phase="work", done=20_000, total=20_000, unit=None, percent=100.0)
    assert len(heard) <= 2 + 5 * (ending.usage.wall_s + 1)


async def test_threads_that_are_left_do_not_keep_the_process(run: Run) -> None:
    assert (await run("threads_at_the_end")).error is None


async def test_outputs_larger_than_a_message_are_named_one_by_one(run: Run) -> None:
    limits = {"output_files": 2000}
    ending = await run("sparse_output", amount=2, limits=limits)
    assert len(ending.outputs) == 2


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code", "error_class"),
    [
        ("bad_input", "no_pixels", ErrorClass.PERMANENT),
        ("odd_code", "job_failed", ErrorClass.TRANSIENT),
        ("unforeseen", "internal_error", ErrorClass.CRASH),
        ("rust_panic", "internal_error", ErrorClass.CRASH),
        ("system_exit", "internal_error", ErrorClass.CRASH),
        ("no_space", "scratch_full", ErrorClass.RESOURCE),
        ("engine_out_of_memory", "out_of_memory", ErrorClass.RESOURCE),
        ("segfault", "crashed", ErrorClass.CRASH),
        ("start_processes", "internal_error", ErrorClass.CRASH),
        ("leave", "ended_early", ErrorClass.CRASH),
        ("output_not_written", "output_missing", ErrorClass.CRASH),
        ("output_is_folder", "output_missing", ErrorClass.CRASH),
        ("output_unreadable", "output_missing", ErrorClass.CRASH),
        ("endless_line", "protocol_broken", ErrorClass.CRASH),
        ("flood_progress", "protocol_broken", ErrorClass.CRASH),
        ("no such way", "internal_error", ErrorClass.CRASH),
    ],
)
async def test_every_failure_has_a_code_and_a_class(
    run: Run, how: str, code: str, error_class: ErrorClass
) -> None:
    assert failure(await run(how)) == (code, error_class)


async def test_a_sentence_is_printable_and_no_inner_detail_reaches_it(run: Run) -> None:
    bad = (await run("bad_input")).error
    unforeseen = (await run("unforeseen")).error

    assert bad is not None
    assert bad.detail == "The picture has no pixels. [31m"
    assert unforeseen is not None
    assert "secret" not in unforeseen.detail


@pytest.mark.parametrize(
    ("number", "code", "error_class"),
    [
        (signal.SIGABRT, "crashed", ErrorClass.CRASH),
        (signal.SIGBUS, "crashed", ErrorClass.CRASH),
        (signal.SIGILL, "crashed", ErrorClass.CRASH),
        (signal.SIGFPE, "crashed", ErrorClass.CRASH),
        (signal.SIGSYS, "crashed", ErrorClass.CRASH),
        (signal.SIGXCPU, "cpu_time", ErrorClass.RESOURCE),
        (signal.SIGKILL, "killed", ErrorClass.RESOURCE),
    ],
)
async def test_death_by_a_signal_is_named(
    run: Run, number: int, code: str, error_class: ErrorClass
) -> None:
    assert failure(await run("die", amount=int(number))) == (code, error_class)


async def test_an_unknown_operation_and_foreign_parameters_are_permanent(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    unknown = await sandbox.run(assign("", operation="debug.nothing"), lambda _: None)
    foreign = await sandbox.run(assign("copy", colour="blue"), lambda _: None)

    assert failure(unknown) == ("unknown_operation", ErrorClass.PERMANENT)
    assert failure(foreign) == ("invalid_params", ErrorClass.PERMANENT)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is of x86_64")
async def test_the_second_set_of_call_numbers_ends_the_process(run: Run) -> None:
    ending = await run("foreign_call")
    assert failure(ending) == ("crashed", ErrorClass.CRASH)
    assert ending.error is not None
    assert "SIGSYS" in ending.error.detail


# --- greed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hang", "burn"])
async def test_the_wall_clock_ends_an_attempt(run: Run, how: str) -> None:
    begun = time.monotonic()
    ending = await run(how, limits={"timeout_s": 0.5})

    assert failure(ending) == ("timeout", ErrorClass.RESOURCE)
    assert time.monotonic() - begun < 2.5


async def test_processor_time_is_limited_even_if_the_clock_is_not(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    # The limit follows from the timeout and the threads: here it is two seconds of one second.
    ending = await sandbox.run(
        assign("burn", limits={"timeout_s": 3.5, "threads": 0}), lambda _: None
    )
    assert failure(ending) == ("cpu_time", ErrorClass.RESOURCE)
    assert ending.error is not None
    assert "the 1 seconds of processor time" in ending.error.detail


async def test_memory_runs_out_before_the_machine_does(run: Run) -> None:
    ending = await run("eat_memory", limits={"memory_bytes": 256 * MIB})

    assert failure(ending) == ("out_of_memory", ErrorClass.RESOURCE)
    assert ending.usage.peak_rss_bytes < 512 * MIB


async def test_shared_memory_counts_as_well(run: Run) -> None:
    ending = await run("eat_shared_memory", amount=300, limits={"memory_bytes": 200 * MIB})
    assert failure(ending) == ("out_of_memory", ErrorClass.RESOURCE)


async def test_threads_are_counted(run: Run) -> None:
    ending = await run("start_threads", amount=1000)
    assert failure(ending) == ("too_many_threads", ErrorClass.RESOURCE)


@pytest.mark.parametrize("how", ["fill_file", "fill_files", "fill_deleted_files"])
async def test_scratch_space_is_limited_however_it_is_used(run: Run, how: str) -> None:
    ending = await run(how, amount=40, limits={"scratch_bytes": 20 * MIB})
    assert failure(ending) == ("scratch_full", ErrorClass.RESOURCE)


async def test_a_folder_that_may_not_be_listed_hides_nothing(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    assignment = assign("fill_hidden_folder", amount=40, limits={"scratch_bytes": 20 * MIB})
    ending = await sandbox.run(assignment, lambda _: None)

    assert failure(ending) == ("scratch_full", ErrorClass.RESOURCE)
    remove_scratch(assignment.folder)
    assert not assignment.folder.exists()


async def test_folders_nested_deeper_than_any_path_can_be_removed(
    sandbox: Sandbox, assign: Callable[..., Assignment]
) -> None:
    assignment = assign("nest_folders", amount=5000)
    ending = await sandbox.run(assignment, lambda _: None)

    assert failure(ending) == ("scratch_full", ErrorClass.RESOURCE)
    remove_scratch(assignment.folder)
    assert not assignment.folder.exists()


async def test_outputs_with_holes_are_counted_in_full(run: Run) -> None:
    ending = await run("sparse_output", amount=40, limits={"scratch_bytes": 20 * MIB})
    assert failure(ending) == ("scratch_full", ErrorClass.RESOURCE)


async def test_a_flood_on_stdout_and_stderr_costs_nobody_anything(run: Run) -> None:
    assert (await run("flood_stderr", amount=10_000)).error is None


# --- lies --------------------------------------------------------------------------------------

MADE = '{"kind":"made","index":0,"name":"x","type":"text/plain"}\n'
DONE = '{"kind":"succeeded"}\n'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense\n", "protocol_broken"),
        ("\n", "protocol_broken"),
        ("[]\n", "protocol_broken"),
        ('{"kind":"reaped","key":1,"status":0,"cpu_s":0,"peak_rss_bytes":0}\n', "protocol_broken"),
        ('{"kind":"made","index":7,"name":"x","type":"text/plain"}\n', "protocol_broken"),
        ('{"kind":"made","index":0,"name":"x","type":"a/b\\r\\nX: y"}\n', "protocol_broken"),
        ('{"kind":"advance","phase":"x","done":NaN}\n', "protocol_broken"),
        ('{"kind":"advance","phase":"x","done":1e999}\n', "protocol_broken"),
        (DONE + DONE, "protocol_broken"),
        (MADE + DONE, "output_missing"),
        (
            '{"kind":"gave","code":"x","error_class":"worker_lost","detail":"x"}\n',
            "protocol_broken",
        ),
        ('{"kind":"succeeded"}', "ended_early"),
    ],
)
async def test_what_the_child_says_is_not_believed(run: Run, text: str, code: str) -> None:
    ending = await run("say", text=text)
    assert ending.error is not None
    assert ending.error.job_code == code


async def test_the_name_of_an_output_is_cleaned_again(run: Run) -> None:
    ending = await run("output_named_badly")

    assert ending.error is None
    assert [output.name for output in ending.outputs] == ["passwd"]


async def test_more_outputs_than_allowed_are_refused(run: Run) -> None:
    text = "".join(json.dumps({**json.loads(MADE), "index": n}) + "\n" for n in range(3))
    ending = await run("say", text=text + DONE, limits={"output_files": 2})
    assert failure(ending) == ("protocol_broken", ErrorClass.CRASH)


# --- the log -----------------------------------------------------------------------------------


async def test_the_log_has_what_the_client_is_not_told(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("unforeseen")
    await run("segfault")

    log = capsys.readouterr()
    assert "secret detail" in log.out + log.err
    assert "Segmentation fault" in log.out + log.err


async def test_descriptors_of_the_worker_are_as_many_as_before(run: Run) -> None:
    await run("copy", inputs=(("a.txt", b"x"),))
    before = _open_files()
    for how in ("copy", "unforeseen", "die", "say"):
        await run(how, amount=9, text="nonsense\n")
    assert _open_files() == before


def _open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())
