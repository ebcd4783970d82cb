"""DuckDB beside polars: what three kinds of work on a table cost in time and memory.

    pip install polars
    python bench/table_engines.py [--rows 1000000]

Each runs in a process of its own, with two threads. What is told is its processor time, which other
work on the machine hardly changes, and its peak resident memory. The sort has five times the rows,
and DuckDB's memory limit of 256 MB, which polars has nothing like.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SORTED_TIMES = 5


def make(path: Path, rows: int) -> None:
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("id,name,amount,day,note\n")
        for row in range(rows):
            day = f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
            note = f'"{chance.choice("abc") * 20}, ""q"" {row}"'
            amount = chance.uniform(0, 1e4)
            file.write(f"{row},name {chance.randrange(10_000)},{amount:.2f},{day},{note}\n")


def with_duckdb(work: str, source: str, target: str) -> str:
    import duckdb

    table = f"read_csv('{source}')"
    wanted = {
        "convert": f"SELECT * FROM {table}",
        "group": f"SELECT name, sum(amount) AS total FROM {table} GROUP BY name ORDER BY total",
        "sort": f"SELECT * FROM {table} ORDER BY note, amount",
    }[work]
    limits: Any = {"threads": 2, "memory_limit": "256MB", "temp_directory": f"{target}.spill"}
    duckdb.connect(config=limits).execute(f"COPY ({wanted}) TO '{target}' (FORMAT parquet)")
    return str(duckdb.__version__)


def with_polars(work: str, source: str, target: str) -> str:
    import polars as pl  # type: ignore[import-not-found, unused-ignore]

    table = pl.scan_csv(source, try_parse_dates=True)
    if work == "group":
        total = pl.col("amount").sum().alias("total")
        table = table.group_by("name").agg(total).sort("total")
    elif work == "sort":
        table = table.sort("note", "amount")
    table.sink_parquet(target)
    return str(pl.__version__)


def one(engine: str, work: str, source: str, target: str) -> None:
    """In a process of its own: do it, and tell what it cost."""
    version = (with_duckdb if engine == "duckdb" else with_polars)(work, source, target)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
    print(f"{work:8} {engine} {version}: {seconds:5.2f} s of CPU, {peak:5} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(*args.one)
        return
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name, "small.csv"), Path(name, "large.csv")
        make(small, args.rows)
        make(large, args.rows * SORTED_TIMES)
        for work, source in (("convert", small), ("group", small), ("sort", large)):
            for engine in ("duckdb", "polars"):
                subprocess.run(
                    [sys.executable, __file__, "--one", engine, work, source, f"{name}/{engine}"],
                    check=True,
                    env={"POLARS_MAX_THREADS": "2"},
                )


if __name__ == "__main__":
    main()
