"""What computes here, as one short mark: two of the same mark make the same of the same."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from importlib import metadata

from fileproc.operations.programs import installed

_LENGTH = 16


@cache
def environment() -> str:
    """Sixteen hex digits over Python, every distribution with its version, and every program.

    More than any one operation uses; a mark that changes too often costs some work, one that does
    not change would give out what another version has made.
    """
    distributions = sorted(f"{found.name} {found.version}" for found in metadata.distributions())
    programs = []
    for name, program in sorted(installed().items()):
        status = program.path.stat()
        programs.append([name, status.st_size, status.st_mtime_ns])
    told = json.dumps([sys.version, distributions, programs])
    return hashlib.sha256(told.encode()).hexdigest()[:_LENGTH]
