"""What to say where a package that fileproc needs is not installed; needs none itself."""

from __future__ import annotations

import sys


def sentence(exc: ModuleNotFoundError) -> str:
    """Which package is missing for which Python, and where there is one that has it."""
    return (
        f"The package {exc.name} is not installed for {sys.executable}. In a copy of the"
        " repository, `make install` puts everything into .venv; then use"
        " `.venv/bin/python -m fileproc`."
    )
