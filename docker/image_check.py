"""What docker/image-check.sh leaves to Python: pip's mounts, and a job on the built image."""  # noqa: INP001 - a script

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from PIL import Image, ImageDraw, ImageFont

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port

IMAGE_USER = 10001
START_S = 60
STOP_S = 45


def pip_mounts(work: Path) -> list[str]:
    """Options that give a build this machine's pip configuration and the local indexes in it."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    options = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = value.strip("'\"")
    conf = work / "pip.conf"
    conf.write_text("[global]\n" + "".join(f"{name} = {options[name]}\n" for name in options))
    paths = {word.removeprefix("file://") for value in options.values() for word in value.split()}
    # `file:///srv/pypi/simple` refers to files beside it
    folders = {str(Path(path).parent) if path.endswith("simple") else path for path in paths}
    local = sorted(path for path in folders if path.startswith("/") and Path(path).exists())
    mounts = [f"--volume={path}:{path}:ro" for path in local]
    return [f"--volume={conf}:/etc/pip.conf:ro", *mounts]


class Role:
    """One role run from the image, as its entrypoint does."""

    def __init__(self, name: str, buildah: list[str], work: Path, container: str) -> None:
        image = json.loads((work / "image.json").read_text())["Docker"]["config"]
        self.name = name
        self.log = work / f"{name}.log"
        self._command = [*buildah, container, "--", *image["Entrypoint"]]
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the image's entrypoint with these arguments until it ends."""
        command = [*self._command, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        with self.log.open("wb") as log:
            command = [*self._command, self.name]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def await_ready(self, url: str) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            try:
                with OPENER.open(url, timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.2)
        raise SystemExit(f"image-check: the {self.name} is not ready at {url}:\n{self.tail()}")

    def pid(self) -> int:
        """Of the role itself, not of the buildah around it."""
        assert self._process is not None  # noqa: S101 - started
        for pid in _descendants(self._process.pid):
            command = _command_line(pid)
            if f"fileproc {self.name}" in command and "buildah" not in command:
                return pid
        raise SystemExit(f"image-check: the {self.name} is gone:\n{self.tail()}")

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None  # noqa: S101 - started
        os.kill(self.pid(), signal.SIGTERM)
        return self._process.wait(STOP_S)

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _descendants(pid: int) -> list[int]:
    """Children first found, then theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        children = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:  # it just ended
        return []
    return children + [below for child in children for below in _descendants(child)]


class _NoRedirect(HTTPRedirectHandler):
    """The key is for the api, and is not sent on to the storage."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


OPENER = build_opener(_NoRedirect)


def _secrets(folder: Path, **values: str) -> list[str]:
    """Files as compose mounts them, only for the image's user; returns buildah's options."""
    folder.mkdir(mode=0o711)
    options = [f"--volume={folder}:/run/secrets:ro"]
    for variable, value in values.items():
        path = folder / variable.lower()
        path.write_text(value + "\n")
        path.chmod(0o600)
        os.chown(path, IMAGE_USER, IMAGE_USER)
        options.append(f"--env={variable}_FILE=/run/secrets/{path.name}")
    return options


def _picture() -> bytes:
    """A 1600 x 1200 JPEG that stands upright only after its orientation (6) is obeyed."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.radial_gradient("L").resize((1600, 1200)).convert("RGB").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def _sound() -> bytes:
    """A second of a tone."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(b"".join((at % 100 * 200).to_bytes(2, "little") for at in range(8_000)))
    return buffer.getvalue()


def _scan() -> bytes:
    """A word, as large as on a poster."""
    sheet = Image.new("L", (900, 300), 255)
    ImageDraw.Draw(sheet).text((60, 80), "INVOICE", fill=0, font=ImageFont.load_default(120))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


# Operations that start a program, with a file for each; those that the image lacks are not offered.
_WITH_PROGRAMS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "audio.convert?format=mp3&filename=tone.wav": ("audio/mpeg", _sound),
    "image.ocr?filename=scan.png": ("text/plain", _scan),
    "document.to_pdf?filename=letter.rtf": ("application/pdf", lambda: rb"{\rtf1 Dear reader}"),
}


def _offered(api: str, key: str) -> set[str]:
    """Names of the operations that this image has."""
    request = Request(f"{api}/v1/operations", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with OPENER.open(request, timeout=10) as response:
        return {entry["name"] for entry in json.load(response)["data"]}


def _programs(api: str, key: str) -> list[str]:
    """A job for each program there is, under the filter that containers get; the operations."""
    done = []
    offered = _offered(api, key)
    for asked, (wanted, make) in _WITH_PROGRAMS.items():
        name = asked.partition("?")[0]
        if name in offered:
            made = _job(api, key, asked, make())["outputs"][0]["type"]
            if made != wanted:
                raise SystemExit(f"image-check: {name} made {made}")
            done.append(name)
    return done


def _job(api: str, key: str, asked: str, data: bytes) -> dict[str, Any]:
    """Submit a file for `operation?query`, and wait for the job's end."""
    request = Request(  # noqa: S310 - our own loopback address
        f"{api}/v1/jobs/{asked}",
        data=data,
        method="PUT",
        headers={"Authorization": f"Bearer {key}", "Prefer": "wait=50"},
    )
    with OPENER.open(request, timeout=60) as response:
        job: dict[str, Any] = json.load(response)
    if job["state"] != "succeeded":
        raise SystemExit(f"image-check: {asked} did not succeed: {json.dumps(job['error'])}")
    return job


def _result(api: str, key: str, job: dict[str, Any], storage: str) -> Image.Image:
    """Download by the presigned URL, and check it against the record."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        OPENER.open(Request(f"{api}/v1/jobs/{job['id']}/result", headers=headers), timeout=10)  # noqa: S310
        raise SystemExit("image-check: the result did not redirect to the storage.")
    except HTTPError as redirect:
        location = redirect.headers["Location"]
    if urlsplit(location).netloc != urlsplit(storage).netloc:
        raise SystemExit("image-check: the presigned URL does not name the public endpoint.")
    with OPENER.open(location, timeout=10) as response:
        body = response.read()
    if len(body) != job["outputs"][0]["size"]:
        raise SystemExit("image-check: the download has another size than the record says.")
    return Image.open(io.BytesIO(body))


def run(work: Path, container: str, buildah: list[str]) -> str:
    """Both roles on real engines, one job; returns the closing line."""
    key = f"fp_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    with ExitStack() as stack:
        valkey, s3 = Valkey(work / "valkey"), S3Server(work / "s3")
        for engine in (valkey, s3):
            stack.callback(engine.stop)
            engine.start()
        port, worker_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        options = [
            *_secrets(
                work / "secrets",
                FILEPROC_REDIS_URL=valkey.url,
                AWS_ACCESS_KEY_ID=s3.access_key,
                AWS_SECRET_ACCESS_KEY=s3.secret_key,
                FILEPROC_ADMIN_KEY=key,
            ),
            f"--env=FILEPROC_S3_ENDPOINT={s3.endpoint}",
            f"--env=FILEPROC_S3_PUBLIC_ENDPOINT={s3.endpoint}",
            f"--env=FILEPROC_PORT={port}",
            f"--env=FILEPROC_WORKER_PORT={worker_port}",
        ]
        api = Role("api", [*buildah, *options], work, container)
        worker = Role("worker", [*buildah, *options], work, container)
        for role, at in ((api, port), (worker, worker_port)):
            stack.callback(role.kill)
            role.start()
            role.await_ready(f"http://127.0.0.1:{at}/readyz")
        return _check(api, worker, f"http://127.0.0.1:{port}", key, s3.endpoint)


def _check(api: Role, worker: Role, url: str, key: str, storage: str) -> str:
    version = api.run("--version").stdout.strip()
    for role in (api, worker):
        status = Path(f"/proc/{role.pid()}/status").read_text()
        if f"Uid:\t{IMAGE_USER}\t" not in status:
            raise SystemExit(f"image-check: the {role.name} does not run as user {IMAGE_USER}.")
        if "Seccomp:\t2\n" not in status:
            raise SystemExit(f"image-check: the {role.name} runs without a container's filter.")
        health = role.run("healthcheck", "--role", role.name)
        if health.returncode != 0:
            raise SystemExit(f"image-check: healthcheck of the {role.name}: {health.stderr}")
    picture = _picture()
    job = _job(url, key, "image.resize?width=300&format=webp&filename=photo.jpg", picture)
    small = _result(url, key, job, storage)
    if (small.format, small.size) != ("WEBP", (300, 400)):
        raise SystemExit(f"image-check: the result is {small.format} {small.size}")
    programs = _programs(url, key)
    for role in (worker, api):
        code = role.stop()
        if code != 0:
            raise SystemExit(f"image-check: the {role.name} ended with {code}:\n{role.tail()}")
    return (
        f"image-check: {version}, api and worker as user {IMAGE_USER}: a photo of {len(picture)} "
        f"bytes became a WebP of {job['outputs'][0]['size']}; done with programs:"
        f" {', '.join(programs)}; both stopped cleanly"
    )


def main() -> None:
    what, work, *rest = sys.argv[1:]
    if what == "pip-mounts":
        sys.stdout.write("\n".join(pip_mounts(Path(work))) + "\n")
    else:
        sys.stdout.write(run(Path(work), rest[0], rest[1:]) + "\n")


if __name__ == "__main__":
    main()
