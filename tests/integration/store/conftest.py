from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.books import Books

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fileproc.dev.engines import Valkey
    from fileproc.settings import Settings


@pytest.fixture(autouse=True)
def books(valkey: Valkey, settings: Settings) -> Iterator[Books]:
    """Balanced after the test, whatever the test was about."""
    ledger = Books(valkey.url, settings.redis_prefix)
    yield ledger
    assert ledger.complaints() == []
    ledger.redis.close()
