"""Each attempt in a process of its own that may touch its scratch folder and nothing else.

This is the worker's side: `Sandbox` orders children from the zygote (`fileproc.worker.zygote`),
hears them, kills them, and judges how they ended. `docs/sandbox.md` says what holds them.
"""

from fileproc.worker.sandbox.assignment import Assignment, Ending, ZygoteLost
from fileproc.worker.sandbox.report import SandboxReport
from fileproc.worker.sandbox.sandbox import Sandbox
from fileproc.worker.sandbox.scratch import remove_scratch
from fileproc.worker.zygote.libc import hide_process

__all__ = [
    "Assignment",
    "Ending",
    "Sandbox",
    "SandboxReport",
    "ZygoteLost",
    "hide_process",
    "remove_scratch",
]
