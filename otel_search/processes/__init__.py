"""Processes that a command starts, and ends again whatever happens to itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

HOST = "127.0.0.1"

_GUARD = Path(__file__).with_name("guard.py")


class Guarded(subprocess.Popen[bytes]):
    """A process that ends when this one ends, in whatever way that comes about.

    Its signals, status and output are those of the command; its process id is that of the guard between.

    Args:
        command: The program and its arguments.
        grace: Seconds from the request to end to the end, once this process has ended.
        **options: As for `subprocess.Popen`.

    Raises:
        OSError: If there is no such program.
    """

    def __init__(self, command: Sequence[str], *, grace: float = 10.0, **options: Any) -> None:
        search = (options.get("env") or {}).get("PATH")
        if shutil.which(command[0], path=search) is None:
            raise FileNotFoundError(2, "no such program", command[0])
        reading, self._pipe = os.pipe()
        try:
            super().__init__(
                [sys.executable, "-I", str(_GUARD), str(reading), str(grace), *command], pass_fds=(reading,), **options
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)

    def tell(self, number: int) -> None:
        """Send a signal to the command alone; SIGKILL goes to all that it has started, too.

        SIGINT is not sent if it has reached the process group of the command by itself, as from the keyboard.
        """
        with contextlib.suppress(OSError):  # it has ended
            os.write(self._pipe, bytes([number]))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, as `subprocess.Popen` does."""
        status = super().wait(timeout)
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        return status


@dataclass
class Process:
    """One started process, its output in a file.

    Attributes:
        name: What to call it in messages.
        output: The file that has its stdout and stderr.
    """

    name: str
    output: Path
    popen: subprocess.Popen[bytes]

    def last_lines(self, count: int = 15) -> str:
        """The end of what it has written; of a JSON log line, its level, event and exception."""
        return "\n".join(map(_readable, self.output.read_text(errors="replace").splitlines()[-count:]))

    def stop(self, grace: float) -> None:
        """Ask it to end, and end it if it has not after `grace` seconds."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(grace)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@dataclass
class Processes:
    """Starts processes, and ends them in reverse order when its context is left.

    While it is open, SIGINT, SIGTERM and SIGHUP raise `KeyboardInterrupt` in the main thread, and
    do nothing once it is being left. They never come between a process and the note of it.

    Attributes:
        interrupted_by: The signal that came, if one did.
        started: The processes, in the order of their start.
    """

    directory: Path
    grace: float = 10.0
    interrupted_by: int | None = None
    started: list[Process] = field(default_factory=list)
    _previous: dict[int, signal.Handlers] = field(default_factory=dict)
    _held: bool = False

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> Process:
        """Start a process.

        Args:
            name: What to call it, and its output file.
            command: The program and its arguments.
            environ: Its whole environment.

        Raises:
            OSError: If it cannot be started.
        """
        output = self.directory / f"{name}.log"
        with self._signals_held(), output.open("wb") as file:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we end the
            # processes in an order in which none misses another.
            popen = Guarded(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
            process = Process(name, output, popen)
            self.started.append(process)
        return process

    @contextmanager
    def _signals_held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self.interrupted_by is not None:
                raise KeyboardInterrupt

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        first = self.interrupted_by is None
        self.interrupted_by = number
        if first and not self._held:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # as nohup and background jobs want it
            self._previous[number] = signal.signal(number, self._on_signal)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = True  # from here on a signal must not interrupt the end
        for process in reversed(self.started):
            process.stop(self.grace)
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _readable(line: str) -> str:
    try:
        entry = json.loads(line)
        return f"{entry['level']}: {entry['event']} {entry.get('exception.message', '')}".rstrip()
    except (ValueError, TypeError, KeyError):
        return line


def free_port(preferred: int = 0) -> int:
    """A port of the loopback address that can be listened on: `preferred` if it can, else any."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {HOST}")
