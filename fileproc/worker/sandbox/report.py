"""What the sandbox of this worker holds, in words for `/readyz` and the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fileproc.worker.zygote.kernel import Kernel
from fileproc.worker.zygote.selftest import PROBES


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """After the self-test.

    Attributes:
        landlock: ABI, 0 without.
        layers: for people, such as `{"landlock": "ABI 7", "seccomp": "yes", ...}`.
        missing: sentences on what is open; empty on a kernel with everything.
        broken: those of `missing` that a layer which is there should have held.
        advice: sentences on what would be better, and is no hole.
    """

    landlock: int
    seccomp: bool
    rlimits: bool
    layers: Mapping[str, str]
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every layer is there and every attempt of the self-test was refused."""
        return not self.missing


def report_of(kernel: Kernel, found: Mapping[str, bool]) -> SandboxReport:
    """From what the kernel has and what the self-test found (probe -> got through)."""
    through = [PROBES[name] for name, open_ in found.items() if open_]
    missing = [*_absent(kernel), *(f"A job can {probe.could}." for probe in through)]
    return SandboxReport(
        landlock=kernel.landlock,
        seccomp=kernel.seccomp,
        rlimits=kernel.rlimits,
        layers={
            "landlock": f"ABI {kernel.landlock}" if kernel.landlock else "no",
            "seccomp": _yes(kernel.seccomp),
            "rlimits": _yes(kernel.rlimits),
            "self_test": f"{len(found) - len(through)} of {len(found)} refused",
        },
        missing=tuple(missing),
        broken=tuple(f"A job can {item.could}." for item in through if item.held_by(kernel)),
        advice=_advice(),
    )


def _absent(kernel: Kernel) -> list[str]:
    sentences = []
    if not kernel.landlock:
        sentences.append(
            "The kernel has no Landlock (Linux 5.13, enabled at boot): files are open."
        )
    if not kernel.seccomp:
        sentences.append("There is no seccomp on this kernel or architecture: calls are open.")
    return sentences


def _advice() -> tuple[str, ...]:
    if os.geteuid() == 0:
        return ("The worker runs as root: give it a user of its own.",)
    return ()


def _yes(value: bool) -> str:
    return "yes" if value else "no"
