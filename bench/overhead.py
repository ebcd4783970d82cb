"""What a job costs beside its work: a 24-megapixel JPEG thumbnail on a warm, otherwise idle worker.

    python bench/overhead.py [--jobs 40]

For each job, one at a time: total = finished_at - created_at (Redis' clock); the worker's log gives
fetch and publish (the storage transfers); the library call is the operation's own function, called
on the same file in a warm process of ours, in turns with the jobs. Overhead = total - fetch -
publish - library. Pickup = started_at - created_at.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

from accept import environment_for, start

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port
from fileproc.operations import Input, Work, find

PARAMS = {"width": 400, "height": 300}


def make_photo(path: Path) -> None:
    """6000 x 4000 pixels with the detail of a photo rather than of a gradient."""
    import pyvips

    noise = pyvips.Image.gaussnoise(1500, 1000, mean=128, sigma=60, seed=7)
    picture = noise.resize(4, kernel="cubic").gaussblur(1.2)
    bands = picture.bandjoin([picture.flip("horizontal"), picture.flip("vertical")])
    bands.cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=88)


def library_s(photo: Path) -> float:
    """One call of the operation's function, here."""
    folder = Path(tempfile.mkdtemp())
    work = Work([Input(photo, "photo.jpg", photo.stat().st_size, "", "image/jpeg")], folder)
    operation = find("image.resize")
    begin = time.monotonic()
    operation.run(work, operation.params.model_validate(PARAMS))
    took = time.monotonic() - begin
    shutil.rmtree(folder)
    return took


def call(url: str, body: bytes | None = None, method: str = "POST", **headers: str) -> Any:
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def phases(log: Path, job_id: str) -> dict[str, float]:
    """fetch, run and publish of a job, from the worker's log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if job_id in line and '"attempt ended"' in line:
                return dict(json.loads(line)["seconds"])
        time.sleep(0.01)
    raise TimeoutError(job_id)


def one_job(api: str, body: bytes, log: Path) -> dict[str, float]:
    headers = {"Content-Type": "application/json", "Prefer": "wait=60"}
    job = call(f"{api}/v1/jobs", body, **headers)
    if job["state"] != "succeeded":
        raise SystemExit(f"the job {job['state']}: {job['error']}")
    total = moment(job["finished_at"]) - moment(job["created_at"])
    pickup = moment(job["started_at"]) - moment(job["created_at"])
    return {"total": total, "pickup": pickup, **phases(log, job["id"])}


def report(rows: list[dict[str, float]]) -> None:
    for name in ("pickup", "fetch", "run", "publish", "library", "total", "overhead"):
        values = sorted(row[name] * 1000 for row in rows)
        p90 = values[int(len(values) * 0.9)]
        print(f"{name:9} p50 {statistics.median(values):7.1f} ms   p90 {p90:7.1f} ms")
    print(f"{len(rows)} jobs")


def run(args: argparse.Namespace, folder: Path, valkey: Valkey, s3: S3Server) -> None:
    port, worker_port = free_port(), free_port()
    environment = {
        **environment_for(valkey, s3, port),
        "FILEPROC_WORKER_PORT": str(worker_port),
        "FILEPROC_LOG_LEVEL": "info",
        "FILEPROC_LOG_FORMAT": "json",
        "FILEPROC_SCRATCH_DIR": str(folder / "scratch"),
        "PATH": os.environ["PATH"],
    }
    log = folder / "worker.log"
    api = start(
        [sys.executable, "-m", "fileproc", "api"], environment, f"http://127.0.0.1:{port}/readyz"
    )
    with log.open("wb") as sink:
        worker = subprocess.Popen(
            [sys.executable, "-m", "fileproc", "worker"], env=environment, stderr=sink
        )
    try:
        photo = folder / "photo.jpg"
        make_photo(photo)
        url = f"http://127.0.0.1:{port}"
        first = call(
            f"{url}/v1/jobs/image.resize?width=400&height=300",
            photo.read_bytes(),
            "PUT",
            Prefer="wait=60",
        )
        body = json.dumps(
            {
                "operation": "image.resize",
                "params": PARAMS,
                "inputs": [{"file_id": first["inputs"][0]["file_id"]}],
            }
        ).encode()
        for _ in range(3):
            one_job(url, body, log)
            library_s(photo)
        rows = []
        for _ in range(args.jobs):
            row = one_job(url, body, log)
            row["library"] = library_s(photo)
            row["overhead"] = row["total"] - row["fetch"] - row["publish"] - row["library"]
            rows.append(row)
        report(rows)
        print(f"photo: 6000 x 4000, {photo.stat().st_size} bytes")
    finally:
        for process in (worker, api):
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valkey, s3 = Valkey(folder / "valkey"), S3Server(folder / "s3")
        valkey.start()
        s3.start()
        try:
            run(args, folder, valkey, s3)
        finally:
            s3.stop()
            valkey.stop()


if __name__ == "__main__":
    main()
