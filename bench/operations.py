"""What operations cost end to end, through the api, S3 and the sandbox, against their bare engines.

    python bench/operations.py [--rounds 3] [--photos 200] [--rows 1000000] [--pages 40]
        [--only thumbnails table pdf]

Three jobs people have, each on a warm worker with its default slots, in turns with the same work
done without us on local files, in the same run:

- thumbnails: photos of 12 to 24 megapixels, one job each, against `vipsthumbnail` run by
  `xargs -P2` (or, where that program is missing, a pool of two warm processes with pyvips);
- table: a CSV to Parquet, against DuckDB's `read_csv(...).write_parquet(...)` in a warm process;
- pdf: pages at 150 dpi as JPEG, against a loop over pypdfium2's `render(...).to_pil().save(...)`.

Files are uploaded beforehand. A job's time runs from its submission until it is seen to be done:
its file is fetched from S3, and what it made is in S3 by then. The ratio is that of the medians:
the share of the bare throughput that is left.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import math
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from accept import environment_for, start

from fileproc.dev.engines import S3Server, Valkey
from fileproc.dev.processes import free_port

BOX = (400, 300)
QUALITY = 82  # what image.resize gives a JPEG
SCENES = 12  # pictures that differ; the others are these again, as files of their own
WANTED = {"thumbnails": 0.7, "table": 0.8, "pdf": 0.9}


# --- the files ---------------------------------------------------------------------------------


def make_photos(folder: Path, count: int) -> list[Path]:
    """JPEG files of 12 to 24 megapixels, with the detail of photos rather than of gradients."""
    import pyvips

    scenes: list[bytes] = []
    for number in range(min(SCENES, count)):
        megapixels = 12 + 12 * number / max(1, SCENES - 1)
        height = round(math.sqrt(megapixels * 1e6 / 1.5))
        noise = pyvips.Image.gaussnoise(
            height * 3 // 8, height // 4, mean=128, sigma=60, seed=number
        )
        picture = noise.resize(4, kernel="cubic").gaussblur(1.2)
        bands = picture.bandjoin([picture.flip("horizontal"), picture.flip("vertical")])
        scenes.append(bands.cast("uchar").copy(interpretation="srgb").jpegsave_buffer(Q=88))
    paths = []
    for number in range(count):
        path = folder / f"photo-{number:03}.jpg"
        path.write_bytes(scenes[number % len(scenes)] + number.to_bytes(4, "big"))
        paths.append(path)
    return paths


def make_table(path: Path, rows: int) -> Path:
    chance = random.Random(7)
    towns = ["Oslo", "Bergen", "Trondheim, Øst", "Tromsø", "Bodø", 'the "old" town']
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "when", "town", "amount", "paid", "note"])
        for number in range(rows):
            day = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
            amount = f"{chance.random() * 1000:.2f}"
            note = f"order {chance.randrange(10**9)}"
            writer.writerow(
                [
                    number,
                    day,
                    towns[number % len(towns)],
                    amount,
                    "true" if number % 3 else "false",
                    note,
                ]
            )
    return path


def make_document(path: Path, pages: int) -> Path:
    """Pages of A4 with text in two sizes, rules and curves."""
    import pikepdf

    chance = random.Random(7)
    words = [f"word{chance.randrange(10**4)}" for _ in range(500)]
    document = pikepdf.Pdf.new()
    font = pikepdf.Dictionary(
        Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
    )
    for _ in range(pages):
        page = document.add_blank_page(page_size=(595, 842))
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        lines = [f"BT /F1 10 Tf 50 {780 - 12 * at} Td ({' '.join(chance.sample(words, 11))}) Tj ET"
                 for at in range(58)]  # fmt: skip
        curves = [
            " ".join(str(chance.randrange(40, 560)) for _ in range(2)) + " m "
            + " ".join(str(chance.randrange(40, 560)) for _ in range(6)) + " c S"
            for _ in range(60)
        ]  # fmt: skip
        page.Contents = document.make_stream("\n".join([*lines, "0.5 w", *curves]).encode())
    document.save(path)
    return path


# --- through fileproc --------------------------------------------------------------------------


class Service:
    """The api, over one connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {data.decode()[:500]}")
        return json.loads(data)

    def upload(self, path: Path) -> str:
        """Bring a file along with a small job, and give its name in the storage."""
        query = urlencode({"details": "false", "filename": path.name, "wait": 60})
        size = str(path.stat().st_size)
        with path.open("rb") as file:
            target = f"/v1/jobs/file.probe?{query}"
            job = self.call("PUT", target, file, **{"Content-Length": size})
        return str(self._done(job)["inputs"][0]["file_id"])

    def run(self, operation: str, params: dict[str, Any], files: list[str]) -> None:
        """A job for each file; returns when all are done."""
        jobs = []
        for file in files:
            job = {"operation": operation, "params": params, "inputs": [{"file_id": file}]}
            body = json.dumps(job).encode()
            jobs.append(self.call("POST", "/v1/jobs", body, **{"Content-Type": "application/json"}))
        for job in jobs:
            self._done(job)

    def _done(self, job: dict[str, Any]) -> dict[str, Any]:
        while job["state"] not in {"succeeded", "failed", "canceled"}:
            job = self.call("GET", f"/v1/jobs/{job['id']}?wait=60")
        if job["state"] != "succeeded":
            raise SystemExit(f"the job {job['state']}: {job['error']}")
        return job


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """Valkey, an S3 server, the api and a worker."""
    valkey, s3 = Valkey(folder / "valkey"), S3Server(folder / "s3")
    valkey.start()
    s3.start()
    port = free_port()
    environment = {
        **environment_for(valkey, s3, port),
        "FILEPROC_WORKER_PORT": str(free_port()),
        "FILEPROC_SCRATCH_DIR": str(folder / "scratch"),
        "PATH": os.environ["PATH"],
    }
    command = [sys.executable, "-m", "fileproc"]
    processes = [start([*command, "api"], environment, f"http://127.0.0.1:{port}/readyz")]
    processes.append(subprocess.Popen([*command, "worker"], env=environment))
    try:
        yield Service(port)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        s3.stop()
        valkey.stop()


# --- without -----------------------------------------------------------------------------------


def thumbnail(task: tuple[Path, Path]) -> None:
    import pyvips

    source, target = task
    image = pyvips.Image.thumbnail(str(source), BOX[0], height=BOX[1], size="down")
    image.jpegsave(str(target / source.name), Q=QUALITY, keep="none")


def thumbnails_bare(program: str | None, photos: list[Path], target: Path, pool: Pool) -> None:
    """The program gets ten files at a time, so that its start is not what is measured."""
    if program is None:
        pool.map(thumbnail, [(path, target) for path in photos], chunksize=1)
        return
    size, name = f"{BOX[0]}x{BOX[1]}>", f"{target}/%s.jpg[Q={QUALITY},strip]"
    subprocess.run(
        ["xargs", "-0", "-P2", "-n10", program, "--size", size, "-o", name],
        input="\0".join(map(str, photos)).encode(), check=True,
    )  # fmt: skip


def convert_table(task: tuple[Path, Path]) -> None:
    import duckdb

    source, target = task
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.read_csv(str(source)).write_parquet(str(target / "table.parquet"))


def render_pages(task: tuple[Path, Path]) -> None:
    import pypdfium2

    source, target = task
    document = pypdfium2.PdfDocument(source)
    for number, page in enumerate(document):
        page.render(scale=150 / 72).to_pil().save(target / f"{number}.jpg", quality=85)
        page.close()
    document.close()


# --- in turns ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work, both ways; `what` says how much it is."""

    name: str
    what: str
    ours: Callable[[], None]
    bare: Callable[[], None]


def cases(args: argparse.Namespace, folder: Path, api: Service, pool: Pool) -> Iterator[Case]:
    """Each is made when its turn has come."""
    out = folder / "bare"
    out.mkdir()
    if "thumbnails" in args.only:
        photos = make_photos(folder, args.photos)
        files = [api.upload(path) for path in photos]
        params = {"width": BOX[0], "height": BOX[1]}
        program = shutil.which("vipsthumbnail")
        yield Case(
            "thumbnails",
            f"{len(photos)} photos, against {'vipsthumbnail' if program else 'a pool of pyvips'}",
            lambda: api.run("image.resize", params, files),
            lambda: thumbnails_bare(program, photos, out, pool),
        )
    if "table" in args.only:
        table = make_table(folder / "table.csv", args.rows)
        uploaded = api.upload(table)
        yield Case(
            "table",
            f"{args.rows:,} rows, {table.stat().st_size:,} bytes, against duckdb",
            lambda: api.run("table.convert", {"to": "parquet"}, [uploaded]),
            lambda: pool.apply(convert_table, [(table, out)]),
        )
    if "pdf" in args.only:
        paper = make_document(folder / "paper.pdf", args.pages)
        document = api.upload(paper)
        yield Case(
            "pdf",
            f"{args.pages} pages at 150 dpi, against pypdfium2",
            lambda: api.run("pdf.to_images", {"dpi": 150, "format": "jpeg"}, [document]),
            lambda: pool.apply(render_pages, [(paper, out)]),
        )


def seconds(work: Callable[[], None]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def compare(case: Case, rounds: int) -> None:
    """One round of each to warm up, then rounds in turns."""
    print(f"{case.name}: {case.what}", flush=True)
    took: dict[str, list[float]] = {"fileproc": [], "bare": []}
    for number in range(rounds + 1):
        for who, work in (("fileproc", case.ours), ("bare", case.bare)):
            spent = seconds(work)
            if number:
                took[who].append(spent)
                print(f"  {who:8} {spent:8.2f} s", flush=True)
    ours, bare = (statistics.median(took[who]) for who in ("fileproc", "bare"))
    print(
        f"{case.name}: {ours:.2f} s against {bare:.2f} s bare: ratio {bare / ours:.2f}"
        f" (wanted: {WANTED[case.name]})\n",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--only", choices=sorted(WANTED), nargs="*", default=sorted(WANTED))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, multiprocessing.Pool(2) as pool:
        folder = Path(name)
        with service(folder) as api:
            for case in cases(args, folder, api, pool):
                compare(case, args.rounds)


if __name__ == "__main__":
    main()
