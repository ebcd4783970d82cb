"""A change to the queue that a mutant no longer fits is noticed with it, not when all are tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.mutants import PATCHES, ROOT, apply, read

ALL = sorted(PATCHES.glob("*.patch"))


def test_there_are_mutants() -> None:
    assert len(ALL) >= 20


@pytest.mark.parametrize("patch", ALL, ids=lambda patch: patch.stem)
def test_mutant_applies(patch: Path) -> None:
    mutant = read(patch)
    apply(mutant, ROOT, "--check")
    for test in mutant.scenario:
        assert (ROOT / test.partition("::")[0]).exists(), test
