from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fileproc.operations import catalogue, find, offered, programs, tesseract
from fileproc.operations.programs import Program, installed, missing, run

PYTHON = Program(Path(sys.executable))


def test_what_is_missing_is_named_as_people_name_it() -> None:
    assert missing(("ffmpeg",), {}) == ("ffmpeg",)
    assert missing(("ffmpeg",), {"ffmpeg": PYTHON}) == ()
    assert missing(()) == ()


def test_an_operation_without_its_program_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "installed", dict)
    assert "media.info" not in offered()
    assert "image.resize" in offered()
    assert "media.info" in catalogue()
    assert find("media.info").programs == ("ffmpeg",)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on PATH; nothing is known yet."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_in_wheel", lambda *_: None)
    return tmp_path


def looked() -> Program | None:
    return installed.__wrapped__().get("ffmpeg")


def test_a_program_on_the_path_is_found_behind_its_links(path: Path) -> None:
    real = path / "real"
    real.write_bytes(b"\x7fELF")
    real.chmod(0o755)
    (path / "ffmpeg").symlink_to(real)
    found = looked()
    assert found is not None
    assert found.path == real


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere scripts may be executed")
def test_what_could_not_be_executed_in_a_sandbox_is_not_found(path: Path) -> None:
    assert looked() is None
    (path / "ffmpeg").write_text("#!/bin/sh\nexec /opt/ffmpeg\n")
    (path / "ffmpeg").chmod(0o755)
    assert looked() is None
    (path / "ffmpeg").write_bytes(b"\x7fELF")
    (path / "ffmpeg").chmod(0o644)
    assert looked() is None


@pytest.mark.skipif(sys.platform != "linux", reason="as on Linux")
def test_libreoffice_is_the_program_behind_the_script_with_all_its_parts(path: Path) -> None:
    folder = path / "libreoffice" / "program"
    folder.mkdir(parents=True)
    for name in ("soffice", "soffice.bin", "libswlo.so", "libsclo.so"):
        (folder / name).write_bytes(b"\x7fELF" if name == "soffice.bin" else b"#!/bin/sh")
        (folder / name).chmod(0o755)
    (path / "soffice").symlink_to(folder / "soffice")
    assert "soffice" not in installed.__wrapped__()  # Impress is not there
    (folder / "libsdlo.so").touch()
    found = installed.__wrapped__()["soffice"]
    assert found.path == folder / "soffice.bin"
    assert found.reads[0] == path / "libreoffice"
    assert found.mute_socket
    assert missing(("soffice",), {}) == ("LibreOffice",)


@pytest.mark.skipif(sys.platform != "linux", reason="as on Linux")
def test_what_this_user_may_not_read_is_not_offered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything: the modes decide, as they do for others.
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).stat().st_mode >> 6 & mode == mode
    )
    data = path / "tessdata"
    data.mkdir()
    monkeypatch.setattr(programs, "_TESSDATA", (str(data.relative_to("/")),))
    monkeypatch.setattr(programs, "Path", lambda name: Path("/" if name == "/usr" else name))
    names = ("soffice", "soffice.bin", "libswlo.so", "libsclo.so", "libsdlo.so", "tesseract")
    for name in (*names, "tessdata/eng.traineddata"):
        (path / name).write_bytes(b"\x7fELF")
        (path / name).chmod(0o755)
    assert {"soffice", "tesseract"} <= set(installed.__wrapped__())
    (path / "libsclo.so").chmod(0)
    (data / "eng.traineddata").chmod(0)
    assert not {"soffice", "tesseract"} & set(installed.__wrapped__())
    assert tesseract.languages(Program(path / "tesseract", (data,))) == []


def test_the_wheel_has_one_where_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = looked()
    assert found is not None
    assert "imageio_ffmpeg" in str(found.path)


# --- running -------------------------------------------------------------------------------------


def python(
    folder: Path, script: str, tail_bytes: int = 16_384, **environment: str
) -> tuple[programs.Ended, bytes]:
    heard = bytearray()
    ended = run(
        PYTHON,
        ["-c", script],
        folder,
        heard.extend,
        tail_bytes=tail_bytes,
        environment=environment,
    )
    return ended, bytes(heard)


def test_what_it_writes_is_heard_and_what_it_says_is_kept(tmp_path: Path) -> None:
    ended, heard = python(
        tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    assert (heard, ended.code, ended.said) == (b"out\n", 3, "err\n")


def test_a_flood_on_both_pipes_blocks_nobody_and_only_its_end_is_kept(tmp_path: Path) -> None:
    script = (
        "import os\nfor _ in range(300):\n os.write(1, b'o' * 9999); os.write(2, b'e' * 9999)\n"
        "os.write(2, b'the end')"
    )
    ended, heard = python(tmp_path, script, tail_bytes=1000)
    assert len(heard) == 300 * 9999
    assert len(ended.said) == 1000
    assert ended.said.endswith("the end")


def test_it_knows_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    script = "import os, sys; print(sorted(os.environ), os.getcwd(), sys.stdin.read())"
    _, heard = python(tmp_path, script, OMP_THREAD_LIMIT="2")
    assert b"AWS" not in heard
    assert b"OMP_THREAD_LIMIT" in heard
    assert str(tmp_path).encode() in heard


def test_an_error_of_ours_ends_it(tmp_path: Path) -> None:
    seen: list[int] = []

    def heard(chunk: bytes) -> None:
        seen.append(int(chunk))
        raise RuntimeError("enough")

    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(RuntimeError, match="enough"):
        run(PYTHON, ["-c", script], tmp_path, heard)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def test_a_signal_is_told_by_a_negative_code(tmp_path: Path) -> None:
    ended, _ = python(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert ended.code == -9
