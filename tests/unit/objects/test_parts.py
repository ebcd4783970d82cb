from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from fileproc.objects.upload import PART_BYTES, Parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def chunked(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
@pytest.mark.parametrize("sizes", [[], [0, 1, 0, 0, 65536], [PART_BYTES], [PART_BYTES + 5]])
async def test_parts_hold_every_byte_in_order(size: int, sizes: list[int]) -> None:
    data = random.Random(size).randbytes(size)
    parts = Parts(chunked(data, sizes))
    bodies = [(await parts.take()).getvalue()]
    bodies += [body.getvalue() async for body in parts]
    assert b"".join(bodies) == data
    assert [len(body) for body in bodies[:-1]] == [PART_BYTES] * (len(bodies) - 1)
    assert len(bodies) == max(1, -(-size // PART_BYTES))
    assert parts.stored.size == size
    assert parts.stored.sha256 == hashlib.sha256(data).hexdigest()
