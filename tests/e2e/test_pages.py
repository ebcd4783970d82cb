"""The lines of curl on our pages do what is said there, and a client that was generated works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fileproc.dev.pictures import read_picture
from samples import pdf
from support.commands import ROOT, dev, photo
from support.http import jpeg

if TYPE_CHECKING:
    from support.commands import Dev

pytestmark = pytest.mark.timeout(240)
PAGES = ("api", "access", "events", "limits", "links", "schedules", "webhooks")
# The buckets of the page of schedules; nobody listens there.
NOWHERE = {"endpoint": "http://127.0.0.1:9", "bucket": "b", "owners": ["*"], "write": True}
KEYS = {"access_key_id": "a", "secret_access_key": "b"}
CONNECTIONS = json.dumps({name: {**NOWHERE, **KEYS} for name in ("inbox", "archive")})
# What is said of an answer that is not shown: a refusal is one, and streams end when we do.
CURL = """
curl() {
  command curl --silent --show-error --fail-with-body --max-time 60 "$@"
}
streamed() {
  command curl --silent --show-error --fail-with-body --max-time 1 "$@" || test $? = 28
}
command -v jq >/dev/null || jq() {  # as far as the pages need it
  "$PYTHON" -c 'import functools, json, sys
print(functools.reduce(dict.get, sys.argv[2].strip(".").split("."), json.load(sys.stdin)))' "$@"
}
set -eu -o pipefail
"""
# A job that has failed for good, behind a step that was done.
FAILING = """
curl "$FILEPROC_URL/v1/jobs?wait=30" -F 'file=@photo.jpg' -F 'job={"steps": {
  "hash": {"operation": "file.hash"},
  "fail": {"operation": "debug.fail", "params": {"class": "permanent"}, "needs": ["hash"]}}}'
"""


def blocks(page: str) -> list[str]:
    """The indented and the fenced blocks of a page that call curl."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    indented = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    found = [re.sub("^ {4}", "", block, flags=re.MULTILINE) for block in indented]
    found += re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [block for block in found if re.search(r"^\w*=?\$?\(?curl ", block, re.MULTILINE)]


def runnable(block: str) -> str:
    """Other commands of the block have their own tests."""
    lines = [line for line in block.splitlines() if not line.startswith("python -m")]
    return re.sub(r"^curl -N", "streamed -N", "\n".join(lines), flags=re.MULTILINE)


async def run(block: str, folder: Path, known: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", CURL + runnable(block)),
        cwd=folder,
        env={**os.environ, **known},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{block}\n{output.decode()}\n{errors.decode()}"
    return output.decode()


CALLED = {
    "job": ("JOB", "id"),
    "batch": ("BATCH", "id"),
    "link": ("CODE", "code"),
    "schedule": ("SCHEDULE", "id"),
}


def learned(said: str) -> dict[str, str]:
    """What the pages call things by: the last job that was told is $JOB."""
    names: dict[str, str] = {}
    decoder = json.JSONDecoder()
    for begin in (found.start() for found in re.finditer(r"^\{|(?<=\})\{", said, re.MULTILINE)):
        thing: Any = decoder.raw_decode(said[begin:])[0]
        name, field = CALLED.get(thing.get("object"), ("", ""))
        if name and thing.get("state", "queued") != "scheduled":
            names[name] = thing[field]
    return names


def prepared(folder: Path) -> None:
    photo(folder / "photo.jpg", (400, 300))
    (folder / "report.pdf").write_bytes(pdf())
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg())


async def file_id(running: Dev, folder: Path) -> str:
    line = f"curl --data-binary @photo.jpg '{running.url}/v1/files?filename=photo.jpg'"
    return str(json.loads(await run(line, folder, {}))["id"])


@pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("curl") is None, reason="the pages use both"
)
async def test_lines_of_curl_on_the_pages_and_a_generated_client_are_served(
    tmp_path: Path,
) -> None:
    prepared(tmp_path)
    async with dev(tmp_path, settings={"FILEPROC_CONNECTIONS": CONNECTIONS}) as running:
        await asyncio.gather(curl(running, tmp_path), client(running, tmp_path))
    for name, width in (("small.webp", 300), ("client.webp", 40)):
        picture = read_picture(tmp_path / name)
        assert picture, name
        assert (picture.format, picture.width) == ("webp", width)


async def curl(running: Dev, folder: Path) -> None:
    """Every block of every page, with what the answers of those before it have told."""
    known = {"FILEPROC_URL": running.url, "FILEPROC_KEY": "fp_of_nobody", "PYTHON": sys.executable}
    known["FILE"], known["OTHER"] = [await file_id(running, folder) for _ in range(2)]
    failed = learned(await run(FAILING, folder, known))
    each = [{"operation": "file.hash", "inputs": [{"file_id": known["FILE"]}]}] * 2
    (folder / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in each))
    number = 0
    for page in PAGES:
        for block in blocks(page):
            number += len(re.findall(r"\bcurl ", block))
            here = known | failed if "$JOB/retry" in block else known
            known |= learned(await run(block, folder, here))
    assert number > 25  # none of the pages is passed over by a change of its form


async def client(running: Dev, folder: Path) -> None:
    """One that openapi-python-client makes of the document does a job."""
    await generate(f"{running.url}/openapi.json", folder)
    script = ROOT / "tests" / "clients" / "generated.py"
    await done(
        *(str(script), running.url, "fp_of_nobody", "photo.jpg", "client.webp"), folder=folder
    )


async def generate(url: str, folder: Path) -> None:
    """The package `generated_client`; nothing may be left out of it."""
    given = ROOT / "tests" / "clients" / "openapi-python-client.yaml"
    config = folder / "config.yaml"
    config.write_text(given.read_text(encoding="utf-8") + "post_hooks: []\n")  # no formatting
    await done(
        *("-m", "openapi_python_client", "generate", "--url", url, "--config", str(config)),
        *("--meta", "none", "--output-path", "generated_client", "--fail-on-warning"),
        folder=folder,
    )


async def done(*arguments: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-4000:]
