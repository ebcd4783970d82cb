from __future__ import annotations

import json
from pathlib import Path

import pytest

from fileproc.errors import JobError
from fileproc.operations import BadInput, Input, Work, catalogue, find, lacking, offered
from fileproc.operations.file_scan import Scan, scan
from fileproc.settings import Settings, clamd_address, services


def work(folder: Path, **findings: str | None) -> Work:
    return Work([Input(folder / "in", "a", 1, "", "text/plain")], folder, findings=findings)


def test_what_the_daemon_said_is_told(tmp_path: Path) -> None:
    done = work(tmp_path, signature="Bad.Thing", engine="ClamAV 1.4.6")
    scan(done, Scan())
    assert json.loads(done.outputs[0].path.read_bytes()) == {
        "clean": False,
        "signature": "Bad.Thing",
        "scanner": "ClamAV 1.4.6",
    }
    with pytest.raises(BadInput) as error:
        scan(work(tmp_path, signature="Bad.Thing"), Scan(fail_if_infected=True))
    assert error.value.job_code == "infected"


def test_without_an_answer_nothing_is_clean(tmp_path: Path) -> None:
    with pytest.raises(JobError) as error:
        scan(work(tmp_path), Scan())
    assert error.value.job_code == "scanner_unavailable"


def test_it_is_offered_where_a_daemon_is_configured() -> None:
    assert "file.scan" in catalogue()
    assert "file.scan" not in offered()
    assert "file.scan" in offered(services=services(Settings(clamd="127.0.0.1:3310")))
    assert services(Settings()) == frozenset()
    assert "FILEPROC_CLAMD" in lacking(find("file.scan"))[0]
    assert lacking(find("image.resize")) == ()


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("127.0.0.1:3310", ("127.0.0.1", 3310)),
        ("tcp://clamav:3310", ("clamav", 3310)),
        ("[::1]:3310", ("::1", 3310)),
        ("/run/clamav/clamd.ctl", Path("/run/clamav/clamd.ctl")),
        ("unix:/run/clamd", Path("/run/clamd")),
        ("unix:///run/clamd", Path("/run/clamd")),
    ],
)
def test_addresses_are_understood(said: str, address: object) -> None:
    assert clamd_address(said) == address


@pytest.mark.parametrize("said", ["clamav", "clamav:", "http://clamav:3310", "a:99999", "a:1/x"])
def test_addresses_that_are_none_are_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"port|Port"):
        Settings(clamd=said)
