"""Stands between a process and the command that it starts: the command does not outlive a parent that was killed.

Run as `python -I guard.py PIPE GRACE COMMAND…`. Nobody but the parent holds the other end of the pipe: its
end is the parent's end, however that came about, and then the command is asked to end and, after `GRACE`
seconds, is ended with all that it has started. Else the guard is as if it was not there: signals go through,
and it ends as the command ends. A byte in the pipe is the number of a signal for the command; of an
interrupt the parent tells always, and the guard passes it on if the command has not got it as well.

Linux alone has a signal for this (PR_SET_PDEATHSIG), which goes to the direct child and not to its workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_SAME_INTERRUPT = 0.3
"""Seconds between an interrupt of the whole group and the parent's word of it."""


def guard(pipe: int, grace: float, command: Sequence[str]) -> int:
    """Run a command to its end.

    Args:
        pipe: A file descriptor that reads end-of-file when the parent ends.
        grace: Seconds between the request to end and the end, once the parent has ended.
        command: The program and its arguments.

    Returns:
        Its status as `subprocess` has it, or 127 if it cannot be started.
    """
    # From the keyboard, and from who signals a whole group, an interrupt reaches us and the command alike, which
    # must not get it twice: for many servers the second one means "at once". A handler and not SIG_IGN, which
    # the command would inherit.
    reached = threading.Event()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: reached.set())
    held: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child is None:
            held.append(number)
        else:
            child.send_signal(number)

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - there is nobody else to say it
        return 127
    for early in held:
        child.send_signal(early)
    threading.Thread(target=_watch, args=(pipe, grace, child, reached), daemon=True).start()
    return child.wait()


def _watch(pipe: int, grace: float, child: subprocess.Popen[bytes], reached: threading.Event) -> None:
    while told := os.read(pipe, 1):
        if told[0] == signal.SIGKILL:
            _kill(child)
        elif told[0] == signal.SIGINT and reached.wait(_SAME_INTERRUPT):
            reached.clear()  # and has reached the command
        else:
            child.send_signal(told[0])
    child.send_signal(signal.SIGTERM)
    # Not `wait`, which is the main thread's: the two would come between each other.
    threading.Event().wait(grace)
    _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(child.pid)
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                each.kill()


def end_as(status: int) -> None:
    """End this process with the status of another, which may have been ended by a signal."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no action to set
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    end_as(guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
