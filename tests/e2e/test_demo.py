"""`make demo`: exit status 0 only if the picture is right, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from fileproc.dev.pictures import read_picture
from support.commands import all_gone, descendants, photo, run, start
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


async def follow(demo: subprocess.Popen[bytes]) -> set[int]:
    """Wait for its end; every process that it has started."""
    pids: set[int] = set()
    while demo.poll() is None:
        pids |= descendants(demo.pid)
        await asyncio.sleep(0.02)
    return pids


async def test_the_demo_makes_a_thumbnail_and_leaves_nothing_but_it(tmp_path: Path) -> None:
    photo(tmp_path / "holiday.jpg", size=(1600, 1200))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {"TMPDIR": str(temporary), "FILEPROC_AUTH": "required"}
    log = tmp_path / "log"
    demo = start("demo", "holiday.jpg", cwd=tmp_path, log=log, settings=settings)
    pids = await follow(demo)
    said = log.read_text(encoding="utf-8")
    assert demo.returncode == 0, said
    assert len(pids) >= 5  # Valkey, rclone, its front, the api, the worker
    await all_gone(pids)
    picture = read_picture(tmp_path / "out" / "holiday.webp")
    assert picture
    assert (picture.width, picture.height) == (800, 1067)
    assert str(Path("out") / "holiday.webp") in said
    assert "succeeded, attempt 1" in said
    assert "All is right" in said
    assert os.listdir(temporary) == []  # noqa: PTH208 - names only


def test_the_demo_of_a_truncated_photo_is_exit_status_1_and_says_why(tmp_path: Path) -> None:
    whole = photo(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    done = run("demo", "cut.jpg", cwd=tmp_path, timeout_s=120)
    assert done.returncode == 1, done.stdout
    assert "It went wrong: the job failed:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_the_demo_of_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture\n" * 50, encoding="utf-8")
    done = run("demo", "text.jpg", cwd=tmp_path, timeout_s=120)
    assert done.returncode == 1
    assert "fileproc: " in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_demo_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    photo(tmp_path / "holiday.jpg")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {"TMPDIR": str(temporary)}
    log = tmp_path / "log"
    demo = start("demo", "holiday.jpg", cwd=tmp_path, log=log, settings=settings)
    try:
        await eventually(lambda: len(descendants(demo.pid)) >= 3)
        pids = descendants(demo.pid)
        demo.terminate()
        pids |= await follow(demo)
        await all_gone(pids)
        assert demo.returncode == 130
        assert "Everything is stopped." in log.read_text(encoding="utf-8")
        assert os.listdir(temporary) == []  # noqa: PTH208 - names only
    finally:
        demo.kill()
        demo.wait()
