from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fileproc.errors import Crashed, ErrorClass, JobError
from fileproc.operations import BadInput, OutOfResources, catalogue, find
from samples import run

ROOT = Path(__file__).parents[3]


def test_debug_operations_are_hidden_unless_asked_for() -> None:
    assert not any(name.startswith("debug.") for name in catalogue())
    assert {"debug.sleep", "debug.fail", "debug.crash"} <= catalogue(debug=True).keys()


def test_sleep_tells_how_far_it_is(tmp_path: Path) -> None:
    ran = run("debug.sleep", tmp_path, None, seconds=0.12)
    done = [report[1] for report in ran.reports]
    assert done == sorted(done)
    assert ran.reports[-1] == ("sleep", 0.12, 0.12, "seconds")
    assert not ran.work.outputs


def test_sleep_makes_a_file_on_request(tmp_path: Path) -> None:
    assert run("debug.sleep", tmp_path, None, seconds=0, output_bytes=1000).data == bytes(1000)


@pytest.mark.parametrize(
    ("error_class", "kind"),
    [
        ("permanent", BadInput),
        ("resource", OutOfResources),
        ("crash", Crashed),
        ("transient", JobError),
        ("worker_lost", JobError),
    ],
)
def test_fail_fails_so_many_times(error_class: str, kind: type, tmp_path: Path) -> None:
    params: dict[str, Any] = {"class": error_class, "times": 2}
    for attempt in (1, 2):
        with pytest.raises(kind) as caught:
            run("debug.fail", tmp_path, None, attempt=attempt, **params)
        assert isinstance(caught.value, JobError)
        assert caught.value.job_class == ErrorClass(error_class)
        assert caught.value.job_code == "debug_fail"
    assert run("debug.fail", tmp_path, None, attempt=3, **params).data == b"3\n"


def test_parameters_survive_the_way_through_the_store() -> None:
    entry = find("debug.fail", debug=True)
    stored = entry.parse({"class": "crash", "times": "3"})
    assert stored == {"class": "crash", "times": 3}
    assert entry.params.model_validate(stored).model_dump(mode="json") == stored


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("segv", -signal.SIGSEGV),
        ("abort", -signal.SIGABRT),
        ("kill", -signal.SIGKILL),
        ("exit", 3),
        ("raise", 1),
        ("oom", 1),
        ("open_files", 1),
        ("fill_disk", 1),
    ],
)
def test_crash_ends_its_process(how: str, code: int, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path;"
        "from fileproc.operations import Work, find;"
        "r = resource; r.setrlimit(r.RLIMIT_DATA, (200 << 20,) * 2);"
        "r.setrlimit(r.RLIMIT_FSIZE, (1 << 20,) * 2); r.setrlimit(r.RLIMIT_CORE, (0, 0));"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 64));"
        "e = find('debug.crash', debug=True);"
        "e.run(Work([], Path(sys.argv[1])), e.params(how=sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), how],
        capture_output=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == code, done.stderr[-300:]
