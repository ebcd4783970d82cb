"""Fixtures of the worker's tests."""

from __future__ import annotations

import pytest

from fileproc.resources import Resources
from fileproc.worker.shipper import Shipper


@pytest.fixture
async def shipper(resources: Resources) -> Shipper:
    await resources.store.ensure_schema()
    return Shipper(resources, "test")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches may be compacted at once."""
    monkeypatch.setattr("fileproc.worker.shipper.SETTLED_S", -60.0)
