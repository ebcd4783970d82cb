"""The log: an entry is one line, whatever clients have put into it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fileproc.telemetry import configure_logging, get_logger

HOSTILE = 'x\n2026-11-22 [error] forged\r\x1b[2J\x1b]0;title\x07\u2028\u202e\x9b31m"\x00'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, settings = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**settings)


def logged(monkeypatch: pytest.MonkeyPatch, log_format: str) -> str:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging("info", log_format)
    get_logger("test").info("the client went away", path=HOSTILE, nested={"name": HOSTILE})
    logging.getLogger("elsewhere").info("said %s", HOSTILE)
    return stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_is_logged_stays_on_its_line(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = logged(monkeypatch, log_format)
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    if log_format == "json":
        first, second = (json.loads(line) for line in text.splitlines())
        assert (first["path"], second["event"]) == (HOSTILE, f"said {HOSTILE}")
