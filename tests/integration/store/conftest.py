from __future__ import annotations

import pytest

from support.books import Books


@pytest.fixture(autouse=True)
def _balanced(books: Books) -> None:
    """The books are checked after every test here."""
    del books
