"""A log file that several processes write to and rotate, together with an external logrotate.

Everyone who writes or rotates holds an advisory lock (`flock`) on the file itself, and looks, with the
lock in hand, whether the file is still the one of that name: whoever finds it renamed opens the new one.
So a batch of lines is written whole into one file, rotation happens once, and nobody writes to a file
that was deleted. Without the lock of its own, logrotate may rename the file in the midst of a batch,
which then is in the renamed file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from otel_search.settings.values import Rotation

_MODE = 0o640


class LogFile:
    """A file of lines.

    Args:
        path: Where it is; missing directories are made.
        rotation: When it is renamed to `<path>.1`, and the older ones to `.2` and so on.
        keep: How many renamed files are kept.
    """

    def __init__(self, path: Path, rotation: Rotation, keep: int) -> None:
        self.path = path
        self._rotation = rotation
        self._keep = keep
        self._fd = -1

    def write(self, data: bytes) -> None:
        """Append whole lines; raises `OSError` if the file does not take them, and then holds no part of them."""
        self._lock()
        try:
            while self._is_due(len(data)):  # again, for others may fill the new file before we have its lock
                self._rotate()
            size = os.fstat(self._fd).st_size
            written = 0
            try:
                while written < len(data):
                    written += os.write(self._fd, data[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> None:
        """Hold the lock of the file that has the path's name at this moment."""
        while True:
            if self._fd < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                    return
            except FileNotFoundError:
                pass
            self.close()

    def _is_due(self, more: int) -> bool:
        now = os.fstat(self._fd)
        if not now.st_size:
            return False
        if self._rotation.max_bytes:
            return now.st_size + more > self._rotation.max_bytes
        period = self._rotation.period
        return bool(period) and int(now.st_mtime) // period != int(time.time()) // period

    def _rotate(self) -> None:
        if not self._keep:
            os.ftruncate(self._fd, 0)
            return
        for number in range(self._keep, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number - 1).replace(self._numbered(number))
        self.path.replace(self._numbered(1))
        self.close()
        self._lock()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def after_fork(self) -> None:
        """In a forked child: a lock belongs to whoever opened the file, so the parent's must not be shared."""
        self.close()
