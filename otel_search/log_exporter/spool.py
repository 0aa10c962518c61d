"""Bulk requests that wait on disk until Elasticsearch takes them: a file each, bounded together.

The names are in the order in which the files were written, by any number of workers. Whoever holds the
lock replays them all; a file goes when all of its documents are taken, and documents have ids of their
own, so that a process that is killed in between costs and doubles nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from otel_search.log_exporter.documents import Action

_logger = logging.getLogger("otel_search.log_exporter")

_SUFFIX = ".ndjson"
_UNFINISHED = ".unfinished"
_UNREADABLE = ".unreadable"

_LONGEST_WRITE = 60.0
"""Seconds after which nobody is writing a file any more."""


class SpoolFullError(OSError):
    """There is no room for more."""


class Spool:
    """A directory of bulk requests.

    Args:
        directory: Where; made if it is missing.
        max_bytes: How large all of them may be together.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory.absolute()
        self._max_bytes = max_bytes
        self._numbers = count()

    def _files(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(found for found in self._directory.iterdir() if found.suffix == _SUFFIX)
        return []

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to send."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            return any(entry.name.endswith(_SUFFIX) for entry in entries)
        return False

    def add(self, actions: list[Action]) -> None:
        """Keep documents; raises `SpoolFullError` or another `OSError` if that cannot be."""
        body = b"".join(action.lines for action in actions)
        used = 0
        for found in self._files():
            with contextlib.suppress(FileNotFoundError):
                used += found.stat().st_size
        if used + len(body) > self._max_bytes:
            raise SpoolFullError(f"the spool {self._directory} is full: {used} of {self._max_bytes} bytes")
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers):06d}{_SUFFIX}"
        unfinished = self._directory / f"{name}{_UNFINISHED}"
        try:
            with unfinished.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._directory / name)
        except OSError:  # a full disk, which is not to fill with what nobody can read
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise

    def replay(self, send: Callable[[bytes], None]) -> bool:
        """Send what waits, in its order.

        Args:
            send: Sends one request's body; what it raises ends the replay, and what is left waits on.

        Returns:
            Whether nothing waits any more.
        """
        files = self._files()
        if not files:
            return True
        with self._alone() as alone:
            if not alone:
                return False
            for path in self._files():
                try:
                    body = path.read_bytes()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._set_aside(path, error)
                    continue
                try:
                    send(body)
                except (ValueError, KeyError, TypeError) as error:
                    self._set_aside(path, error)  # not what was written
                    continue
                path.unlink()
            self._set_aside_unfinished()
        return not self._files()

    def _set_aside(self, path: Path, error: object) -> None:
        """Let what cannot be read not stand in the way of all that comes after it."""
        path.replace(path.with_suffix(_UNREADABLE))
        _logger.error("%s in the spool %s cannot be read and was set aside: %s", path.name, self._directory, error)

    def _set_aside_unfinished(self) -> None:
        """What a process that was killed has written in part; a living one is done in a moment."""
        for path in self._directory.glob(f"*{_UNFINISHED}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LONGEST_WRITE:
                    self._set_aside(path, "whoever wrote it was ended before it was whole")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        fd = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(fd)
