"""Damaged tables inside every layer that this kernel has: a native crash would be seen here."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fileproc.operations.types import PARQUET
from samples import parquet
from support.confined import MIB, Confined, RunOperation

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


@pytest.fixture
def run(confined: Confined) -> RunOperation:
    return confined.run


@pytest.mark.slow
@pytest.mark.parametrize(("width", "memory_bytes"), [(5_000, 2048 * MIB), (9_900, 2560 * MIB)])
async def test_thousands_of_columns_are_no_more_work_than_there_is_time_for(
    confined: Confined, tmp_path: Path, width: int, memory_bytes: int
) -> None:
    """What takes the square of their number would take an hour. Half of the memory is touched."""
    row = ",".join(str(number) if number % 2 else f"{number}.5" for number in range(width))
    names = ",".join(f"c{number}" for number in range(width))
    data = f"{names}\n{row}\n{row}\n".encode()
    ending = await replace(confined, memory_bytes=memory_bytes, timeout_s=300).run(
        tmp_path, "table.convert", (data, "text/csv"), to="parquet"
    )
    assert ending.error is None, ending.error


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
    run: RunOperation, tmp_path: Path, way: int
) -> None:
    operation, params = WAYS[way]
    chance = random.Random(way)
    for number in range(8):
        data = damaged(parquet((NUMBERS, WORDS)[number % 2]), chance)
        ending = await run(tmp_path / str(number), operation, (data, PARQUET), **params)
        code = ending.error.job_code if ending.error else None
        assert code in CODES, ending.error
