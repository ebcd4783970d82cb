"""What the sandbox of this worker holds, in words for `/readyz` and the log."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fileproc.worker.zygote.kernel import Kernel
from fileproc.worker.zygote.selftest import PROBES, PROBES_WITH_PROGRAMS, Probe


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


def report_of(
    kernel: Kernel, found: Mapping[str, bool], with_programs: Sequence[Mapping[str, bool]] = ()
) -> SandboxReport:
    """From what the kernel has and what the self-test found (probe -> got through).

    `with_programs` has the same of children that may execute programs, for each kind of them.
    """
    through = _through(found, PROBES, kernel, "A job can {}.")
    for each in with_programs:
        sentence = "A job that starts a program can {}."
        through |= _through(each, PROBES_WITH_PROGRAMS, kernel, sentence)
    count, refused = 0, 0
    for each in (found, *with_programs):
        count, refused = count + len(each), refused + sum(not open_ for open_ in each.values())
    return SandboxReport(
        landlock=kernel.landlock,
        seccomp=kernel.seccomp,
        rlimits=kernel.rlimits,
        layers={
            "landlock": f"ABI {kernel.landlock}" if kernel.landlock else "no",
            "seccomp": _yes(kernel.seccomp),
            "rlimits": _yes(kernel.rlimits),
            "self_test": f"{refused} of {count} refused",
        },
        missing=(*_absent(kernel), *through),
        broken=tuple(sentence for sentence, held in through.items() if held),
        advice=_advice(),
    )


def _through(
    found: Mapping[str, bool], probes: Mapping[str, Probe], kernel: Kernel, sentence: str
) -> dict[str, bool]:
    """A sentence for each attempt that got through -> whether a layer should have held it."""
    return {
        sentence.format(probes[name].could): probes[name].held_by(kernel)
        for name, open_ in found.items()
        if open_
    }


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
