"""LibreOffice confined: it works, it hears nobody, and what it may do opens no way out."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest

import papers
from fileproc.errors import ErrorClass
from fileproc.jobs import Progress
from fileproc.operations import Input, Limits
from fileproc.operations.programs import Program, installed
from fileproc.operations.types import detect_file
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from fileproc.worker.zygote.kernel import detect

HERE = Path(__file__).parent
PRELOAD = (str(HERE / "hostile.py"), str(HERE / "escapes.py"))
MIB = 1024 * 1024
OFFICE = ("soffice",)
HARMLESS = {
    *("stat_outside", "chdir_root", "start_thread", "executable_memory"),
    *("fork", "clone_process"),
}

needs_office = pytest.mark.skipif(
    "soffice" not in installed(), reason="LibreOffice (Writer, Calc, Impress) is not installed"
)


def ignore(progress: Progress) -> None:
    del progress


async def convert(
    sandbox: Sandbox, folder: Path, data: bytes, limits: Limits | None = None
) -> Ending:
    folder.mkdir(exist_ok=True, mode=0o700)  # noqa: ASYNC240 - of a test
    (folder / "in").write_bytes(data)
    found = detect_file(folder / "in")
    given = Input(folder / "in", "paper", len(data), "0" * 64, found)
    limits = limits or Limits()
    return await sandbox.run(
        Assignment("job", "document.to_pdf", {}, 1, folder, [given], limits, programs=OFFICE),
        ignore,
    )


@needs_office
@pytest.mark.parametrize(
    "data",
    [
        papers.docx("words on a page"),
        papers.xlsx(("words on a page",)),
        papers.odf("odp", "words on a page"),
        papers.rtf("words on a page"),
    ],
    ids=["docx", "xlsx", "odp", "rtf"],
)
async def test_documents_are_converted_in_it(sandbox: Sandbox, data: bytes, tmp_path: Path) -> None:
    ending = await convert(sandbox, tmp_path / "job", data)
    assert ending.error is None, ending.error
    (output,) = ending.outputs
    with pypdfium2.PdfDocument(output.path) as document:
        assert "words on a page" in document[0].get_textpage().get_text_range()
    assert "LibreOffice" in (ending.engine or "")
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"in", "out"}


@needs_office
async def test_what_a_document_links_to_is_not_fetched(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        data = papers.linked_docx(f"http://127.0.0.1:{listener.getsockname()[1]}/canary.png")
        ending = await convert(sandbox, tmp_path / "a", data)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert ending.error is None
    canary = tmp_path / "canary.txt"
    canary.write_text("a canary")
    ending = await convert(sandbox, tmp_path / "b", papers.linked_docx(canary.as_uri()))
    assert ending.error is None
    with pypdfium2.PdfDocument(ending.outputs[0].path) as document:
        text = "".join(page.get_textpage().get_text_range() for page in document)
    assert "words of its own" in text
    assert "canary" not in text


@needs_office
async def test_memory_that_it_lacks_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    limits = Limits(memory_bytes=100 * MIB)
    ending = await convert(sandbox, tmp_path / "job", papers.docx("x"), limits)
    assert ending.error is not None
    assert ending.error.job_class in {ErrorClass.RESOURCE, ErrorClass.CRASH}
    assert ending.error.job_code in {"out_of_memory", "crashed"}


@pytest.mark.parametrize("abi", [2, 99])
async def test_a_mute_socket_opens_no_way_out(
    abi: int, settings: Settings, assign: Callable[..., Assignment], tmp_path: Path
) -> None:
    kernel = detect()
    if not kernel.landlock or not kernel.seccomp:
        pytest.skip("what holds the escapes is not there, and some of them do harm")
    kernel = type(kernel)(landlock=min(abi, kernel.landlock), seccomp=True)
    (tmp_path / "outside").write_bytes(b"a file of the worker's user")
    (tmp_path / "sibling").write_bytes(b"another job's file")
    there = {"soffice": Program(Path("/nowhere/soffice.bin"), mute_socket=True)}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "unix"))
        listener.listen()
        async with Sandbox.open(
            settings, preload=PRELOAD, kernel=kernel, programs=there
        ) as sandbox:
            targets = {
                "outside": str(tmp_path / "outside"),
                "sibling": str(tmp_path / "sibling"),
                "worker": os.getpid(),
                "zygote": sandbox.zygote_pid,
                "port": 9,
                "unix": str(tmp_path / "unix"),
                "library": json.__file__,
                "without": ("vfork",),  # its child shares our stack: not from Python
            }
            ending = await sandbox.run(
                assign("", operation="debug.escape", programs=OFFICE, **targets), ignore
            )
    assert ending.error is None
    found = json.loads(ending.outputs[0].path.read_bytes())
    assert {name for name, held in found.items() if held == "open"} == HARMLESS
    for name in ("unix_path", "unix_abstract", "unix_listen", "tcp", "udp", "socket_pair"):
        assert found[name] == "EPERM", name
