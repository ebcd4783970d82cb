"""The list of crash points, the code and the page say the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from fileproc.crashpoints import POINTS, arm, crash_point, parse

ROOT = Path(__file__).parents[2]
_PASSED = re.compile(r'crash_point\("([a-z-]+)"\)')


_TWICE = {"before-accept", "accepted"}  # of a job, and of a batch


def test_every_point_stands_in_the_code_where_it_says() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "fileproc").rglob("*.py"))
    passed = Counter(name for source in sources for name in _PASSED.findall(source))
    assert passed == Counter([*POINTS, *_TWICE])


def test_the_page_lists_every_point() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    for name, (role, then) in POINTS.items():
        assert f"| `{name}` | {role} | {then} |" in page


def test_an_armed_point_ends_the_process_and_the_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    died: list[int] = []
    monkeypatch.setattr("os.kill", lambda _, number: died.append(number))
    monkeypatch.setattr("os.write", lambda *_: 0)
    arm("claimed")
    crash_point("popped")
    assert died == []
    crash_point("claimed")
    assert len(died) == 1
    arm(None)
    crash_point("claimed")
    assert len(died) == 1


@pytest.mark.parametrize("wrong", ["nowhere", "claimed:0", "claimed:2", "claimed:often"])
def test_what_is_no_point_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"crash point|probability|float"):
        parse(wrong)
