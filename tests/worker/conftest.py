"""Fixtures of the worker's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fileproc.resources import Resources
from fileproc.worker.shipper import Shipper
from support.origin import Origin, serving_files
from support.stage import Stage


@pytest.fixture
async def stage(resources: Resources, tmp_path: Path) -> Stage:
    return Stage(resources, tmp_path)


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server of files that a test says the answers of."""
    async with serving_files() as opened:
        yield opened


@pytest.fixture
async def shipper(resources: Resources) -> Shipper:
    await resources.store.ensure_schema()
    return Shipper(resources, "test")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches may be compacted at once."""
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
