"""The README's commands do what it says: they are taken from the page and run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fileproc.dev.pictures import read_picture
from support.commands import ROOT, dev

pytestmark = pytest.mark.timeout(240)
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command of the page's shell blocks, continued lines joined, comments dropped."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("    #")[0].strip() for line in lines if line.strip()]


def curls() -> list[str]:
    return [command for command in commands() if command.startswith("curl")]


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", PAGE)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make runs the page's make commands")
def test_every_make_command_of_the_page_exists() -> None:
    targets = [command.split()[1] for command in commands() if command.startswith("make ")]
    assert {"demo", "test", "dev"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl runs the page's curl commands")
async def test_the_job_of_the_page_is_done_by_its_curl_lines(tmp_path: Path) -> None:
    submit, download = curls()
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    async with dev(tmp_path) as running:

        async def shell(command: str) -> str:
            here = command.replace("http://127.0.0.1:8080", running.url)
            assert here != command
            process = await asyncio.create_subprocess_shell(
                here, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            return output.decode()

        job = json.loads(await shell(submit))
        assert job["state"] == "succeeded"
        await shell(download.replace("JOB_ID", job["id"]))
    picture = read_picture(tmp_path / "small.webp")
    assert picture
    assert (picture.format, picture.width) == ("webp", 800)
