"""What a run over a corpus says at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter

from corpus.checks import SUCCEEDED, Run

MIB = 1024 * 1024
_SHOWN = 5


def table(runs: list[Run], seconds: float) -> str:
    """Counts by code, the slowest and the largest, then every finding."""
    files = len({run.specimen.path for run in runs})
    codes = Counter((run.code, run.error_class) for run in runs)
    faulty = [run for run in runs if run.findings]
    lines = [
        f"{files:,} files, {len(runs):,} runs, {seconds:,.0f} s",
        "",
        *(f"{count:>9,}  {_code(*which)}" for which, count in codes.most_common()),
        "",
        "slowest",
        *_rows(sorted(runs, key=attrgetter("wall_s"), reverse=True)[:_SHOWN]),
        "largest",
        *_rows(sorted(runs, key=attrgetter("peak_rss_bytes"), reverse=True)[:_SHOWN]),
        "",
        f"{len(faulty):,} runs with findings",
        *(f"  ! {_finding(run)}" for run in faulty),
    ]
    return "\n".join(lines)


def last_line(runs: list[Run]) -> str:
    """What scripts read."""
    files = len({run.specimen.path for run in runs})
    good = sum(run.code == SUCCEEDED for run in runs)
    faulty = sum(bool(run.findings) for run in runs)
    longest = max((run.wall_s for run in runs), default=0.0)
    return (
        f"corpus: files={files} runs={len(runs)} succeeded={good} findings={faulty}"
        f" longest_s={longest:.1f}"
    )


def _code(code: str, error_class: str) -> str:
    return f"{code} ({error_class})" if error_class else code


def _rows(runs: Iterable[Run]) -> list[str]:
    return [
        f"  {run.wall_s:6.2f} s {run.peak_rss_bytes / MIB:7,.0f} MiB  {run.operation:<18}"
        f" {run.code:<18} {run.specimen.shown}"
        for run in runs
    ]


def _finding(run: Run) -> str:
    return (
        f"{run.id}: {run.operation} on {run.specimen.shown} ({run.specimen.type}): {run.code}"
        f" after {run.wall_s:.1f} s; {'; '.join(run.findings)}. {run.detail}"
    )
