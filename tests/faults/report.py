"""What a run says at its end, and the page that the full one writes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import redis as redis_py

from fileproc import __version__
from fileproc.dev.binaries import find_rclone, find_valkey

if TYPE_CHECKING:
    from faults.scenario import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "faults-report.md"


def percentile(values: list[float], share: float) -> float:
    """Of sorted values; 0 where there are none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def last_line(outcome: Outcome) -> str:
    """What scripts read."""
    found, counts = outcome.findings, outcome.counts
    others = f" others={len(found.others)}" if found.others else ""
    return (
        f"faults: jobs={outcome.jobs} kills={counts.get('kills', 0)}"
        f" pauses={counts.get('pauses', 0)} cuts={counts.get('cuts', 0)}"
        f" lost={len(found.lost)} doubled={len(found.doubled)} dangling={len(found.dangling)}"
        f" orphans={len(found.orphans)}{others}"
        f" recovery_p99_s={_figure(outcome.recovery_s)}"
    )


def _figure(values: list[float]) -> str:
    return f"{percentile(values, 0.99):.1f}" if values else "unknown"


def summary(outcome: Outcome) -> str:
    """Counts and figures, a line each."""
    rows = [
        *((name, str(number)) for name, number in sorted(outcome.counts.items())),
        *((name, str(value)) for name, value in outcome.figures.items()),
        ("recovery", _spread(outcome.recovery_s)),
        ("recovery in the storm", _spread(outcome.storm_s)),
        (
            "failed, by code",
            ", ".join(f"{code} {n}" for code, n in sorted(outcome.failures.items())),
        ),
        ("seconds", f"{outcome.seconds:.0f}"),
        ("answers", ", ".join(_answers(outcome))),
    ]
    return "\n".join(f"  {name}: {value}" for name, value in rows)


def _spread(took: list[float]) -> str:
    shares = [percentile(took, 0.5), percentile(took, 0.99), max(took, default=0.0)]
    p50, p99, most = (f"{seconds:.1f}" for seconds in shares)
    return f"p50 {p50} s, p99 {p99} s, max {most} s, of {len(took)} jobs"


def _answers(outcome: Outcome) -> list[str]:
    return [
        f"{what} {status or ''}".strip() + f" x{number}"
        for (what, status), number in sorted(outcome.statuses.items())
    ]


def _findings(outcome: Outcome) -> str:
    """Everything that was off: a page without it would be worth nothing."""
    return "".join(f"- **{sentence}**\n" for sentence in outcome.findings.all()[:100])


def _commit() -> str:
    command = ["git", "-C", str(PAGE.parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _version(program: Path, question: str) -> str:
    said = subprocess.run([program, question], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(?:\.\d+)+", said)
    return found[0] if found else "of no version that it tells"


def write(outcome: Outcome) -> None:
    """Write docs/faults-report.md."""
    versions = {
        "fileproc": f"{__version__} (commit {_commit()})",
        "Python": platform.python_version(),
        "redis-py": redis_py.__version__,
        "Valkey": _version(find_valkey(), "--version"),
        "rclone": _version(find_rclone(), "version"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    parts = "\n".join(f"| {name} | {took:.0f} |" for name, took in outcome.parts.items())
    page = f"""\
# What the harness measured

Written by `make faults-full` on {datetime.now(UTC):%Y-%m-%d}; seed {outcome.seed}.
{", ".join(f"{name} {value}" for name, value in versions.items())}.

    {last_line(outcome)}

{_findings(outcome)}
{summary(outcome).replace("  ", "- ", 1).replace(chr(10) + "  ", chr(10) + "- ")}

| Part | Seconds |
| --- | --- |
{parts}
"""
    PAGE.write_text(page, encoding="utf-8")
