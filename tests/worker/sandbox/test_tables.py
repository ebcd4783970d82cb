"""Damaged tables inside every layer that this kernel has: a native crash would be seen here."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fileproc.operations import Input, Limits, find
from fileproc.operations.types import PARQUET
from fileproc.settings import Settings
from fileproc.worker.sandbox import Assignment, Ending, Sandbox
from samples import parquet

MIB = 1024 * 1024
# What may be said of a damaged file; an operation that does not look at what is damaged succeeds.
CODES = {None, "corrupt_input", "bad_query", "unsupported_table", "too_many_outputs"}
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("table.convert", {"to": "csv"}),
    ("table.convert", {"to": "jsonl"}),
    ("table.convert", {"to": "xlsx"}),
    ("table.convert", {"to": "csv", "schema": {"id": "text"}, "on_error": "reject"}),
    ("table.profile", {"report": "json"}),
    ("table.query", {"sql": "SELECT * FROM data ORDER BY 1"}),
    ("table.deduplicate", {}),
    ("table.split", {"rows": 100}),
    ("file.probe", {}),
    ("table.query", {"aggregate": [{"function": "count"}]}),
]
NUMBERS = (
    "SELECT i AS id, i * 1.5 AS f, 'row ' || i AS s, [i, i + 1] AS l, {'a': i, 'b': 'x'} AS o,"
    " DATE '2026-01-01' + i::INT AS d, i % 2 = 0 AS y, NULL AS n FROM range(300) t(i)"
)
WORDS = (
    "SELECT i AS id, CASE WHEN i % 3 = 0 THEN NULL ELSE 'v' || (i % 7) END AS s,"
    " i::DECIMAL(30, 5) AS d, MAP {'k': i} AS m, ('x' || i)::BLOB AS b FROM range(500) t(i)"
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = Settings(scratch_dir=tmp_path_factory.mktemp("scratch"))
    async with Sandbox.open(settings) as sandbox:
        yield sandbox


async def run(
    sandbox: Sandbox, folder: Path, operation: str, data: bytes, params: dict[str, Any]
) -> Ending:
    """Confined to 512 MiB and half a minute."""
    (folder / "in").mkdir(parents=True)
    path = folder / "in" / "0"
    path.write_bytes(data)
    given = Input(path, "given", len(data), "0" * 64, PARQUET)
    limits = replace(Limits(), timeout_s=30, memory_bytes=512 * MIB)
    read = find(operation).parse(params)
    assignment = Assignment("job", operation, read, 1, folder, [given], limits)
    return await sandbox.run(assignment, lambda _: None)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes exchanged in the footer or the pages, a footer of another length, or cut."""
    made, size = bytearray(data), len(data)
    footer = int.from_bytes(data[-8:-4], "little")
    way = chance.choice(["footer", "footer", "footer", "pages", "length", "cut"])
    if way == "length":
        made[-8:-4] = chance.choice([0, 1, footer + 1, size, 2**31, 2**32 - 1]).to_bytes(
            4, "little"
        )
    elif way == "cut":
        made = made[: chance.randrange(8, size)] + b"PAR1"
    else:
        start, room = (size - 8 - footer, footer) if way == "footer" else (4, size - footer - 12)
        for _ in range(chance.randint(1, 6)):
            odd = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            made[start + chance.randrange(room)] = odd
    return bytes(made)


@pytest.mark.parametrize("way", range(len(WAYS)))
async def test_damaged_parquet_is_said_to_be_that_and_nothing_crashes(
    sandbox: Sandbox, tmp_path: Path, way: int
) -> None:
    operation, params = WAYS[way]
    chance = random.Random(way)
    for number in range(8):
        data = damaged(parquet((NUMBERS, WORDS)[number % 2]), chance)
        ending = await run(sandbox, tmp_path / str(number), operation, data, params)
        code = ending.error.job_code if ending.error else None
        assert code in CODES, ending.error
