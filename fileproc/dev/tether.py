"""Become another program that dies with its parent: `python tether.py PARENT_PID PROGRAM ARGS...`.

Run as a script, without site-packages, between fork and the program itself, so that nothing runs
in the forked child of a process that may have threads (`preexec_fn` would). The process id stays.
Linux only; elsewhere the program simply runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then exec."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(parent):  # it died before the kernel knew
            os._exit(1)
    os.execvp(command[0], command)  # noqa: S606 - that is the purpose


if __name__ == "__main__":
    main()
