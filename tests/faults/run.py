"""The harness: breaks a deployment in every way we know, and proves that nothing was lost.

    python tests/faults/run.py --smoke            every fault once, in five minutes
    python tests/faults/run.py --full             the figures of docs/faults-report.md
    python tests/faults/run.py --soak --minutes 60

`--seed` repeats the choices of a run (not its timing). The last line says what was found; the
exit status is 1 if anything is off. What the clients saw stands in FOLDER/history.jsonl.
"""
# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import uvloop  # noqa: E402 - the path comes first

from faults import report  # noqa: E402
from faults.plan import FULL, SMOKE, SOAK, Plan  # noqa: E402
from faults.scenario import PARTS, play  # noqa: E402


def main() -> int:
    """Parse, run, report; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_FORMAT)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--smoke", action="store_const", const=SMOKE, dest="plan")
    form.add_argument("--full", action="store_const", const=FULL, dest="plan")
    form.add_argument("--soak", action="store_const", const=SOAK, dest="plan")
    parser.add_argument("--seed", type=int, default=None, help="of all chance; any, if not given")
    parser.add_argument("--minutes", type=float, default=60, help="length of the soak (60)")
    parser.add_argument(
        "--only",
        default="",
        type=_parts,
        help=f"parts to play, separated by commas, without a report: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--keep", type=Path, help="an empty or new folder for logs and history, kept afterwards"
    )
    options = parser.parse_args()
    plan: Plan = options.plan
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}, plan {plan.name}", flush=True)
    began = time.monotonic()
    with _folder(options.keep) as folder:
        outcome = uvloop.run(
            play(folder, plan, random.Random(seed), only=options.only, minutes=options.minutes)
        )
    outcome.seed, outcome.seconds = seed, time.monotonic() - began
    for sentence in outcome.findings.all()[:100]:
        print(f"  ! {sentence}")
    print(report.summary(outcome))
    if plan.writes_report and not options.only:
        report.write(outcome)
    print(report.last_line(outcome), flush=True)
    return 1 if outcome.findings.all() else 0


_FORMAT = argparse.RawDescriptionHelpFormatter


def _parts(text: str) -> str:
    if unknown := {name for name in text.split(",") if name} - set(PARTS):
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(sorted(unknown))}")
    return text


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise SystemExit(f"{keep} is not empty: name a folder that is, or a new one.")
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="fileproc-faults-") as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
