"""Who evaluates the rules: one worker of a server, and where it keeps what the next one needs.

A lock of the kernel is held by at most one process and ends with it, however it ends. So no worker
has to notice the death of another: each tries now and then, and one succeeds.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from otel_search.alerts.lines import say
from otel_search.alerts.saved import State
from otel_search.delivery.forks import after_fork

_MAX_SLOTS = 64


class Lock:
    """A lock on a file, for as long as this process lives; a forked child does not share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: IO[bytes] | None = None
        after_fork(self._in_child)

    def take(self) -> bool:
        """Whether this process has it now.

        Raises:
            OSError: The file cannot be opened.
        """
        if self._held is None:
            held = self._path.open("a+b")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.close()
                return False
            self._held = held
        return True

    def is_first(self) -> bool:
        """Whether nobody has had it before, as far as its file tells; from now on somebody has."""
        if self._held is None:
            return False
        first = os.fstat(self._held.fileno()).st_size == 0
        if first:
            self._held.write(b".")
            self._held.flush()
        return first

    def release(self) -> None:
        """Let another have it."""
        if self._held is not None:
            self._held.close()
            self._held = None

    _in_child = release  # closing a copy of the file leaves the parent's lock alone


class Place:
    """Where what the next evaluator needs is kept, for as long as this process evaluates.

    Args:
        lock: What keeps all others out.
        state: The files.
    """

    def __init__(self, lock: Lock, state: State) -> None:
        self.state = state
        self._lock = lock
        self._unwritable: set[Path | None] = set()

    def keep(self, part: str, content: Mapping[str, Any]) -> None:
        """Write a part of the state; a file that cannot be written is said once, until it can."""
        file = self.state.part(part)
        try:
            file.write(content)
        except OSError as error:
            if file.path not in self._unwritable:
                self._unwritable.add(file.path)
                what = "the state of alerts cannot be written to %s, a restart forgets it: %s"
                say(logging.WARNING, what, file.path, error.strerror or error)
        else:
            if file.path in self._unwritable:
                self._unwritable.discard(file.path)
                say(logging.INFO, "the state of alerts is written to %s again", file.path)

    def leave(self) -> None:
        """Let another have it."""
        self._lock.release()


def free_place(directory: Path, service: str) -> Place | None:
    """A place for the state of a service that no other process uses: the first that is free.

    Two servers of one service on one machine have one each, and find them again after a restart.

    Args:
        directory: Where the places are.
        service: The name of the service.

    Raises:
        OSError: The directory cannot be used.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", service)[:64] or "service"
    for number in range(_MAX_SLOTS):
        lock = Lock(directory / f"{name}-{number}.lock")
        with contextlib.suppress(PermissionError):
            if lock.take():
                return Place(lock, State(directory / f"{name}-{number}.json"))
    return None
