"""Lines that wait to be written: bounded, in their order, and the least severe give way first."""

from __future__ import annotations

from collections import Counter, deque
from itertools import count

MAX_LINES = 20_000
MAX_BYTES = 16 * 1024 * 1024


class Backlog:
    """A queue of lines. Not safe for threads by itself.

    Args:
        max_lines: How many lines it holds.
        max_bytes: How many bytes the lines may have together.
    """

    def __init__(self, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._by_level: dict[int, deque[tuple[int, bytes]]] = {}
        self._numbers = count()
        self._lines = self._bytes = 0
        self.dropped: Counter[int] = Counter()
        """Lines that gave way since somebody last looked, by level."""

    def __len__(self) -> int:
        return self._lines

    def put(self, level: int, line: bytes) -> int:
        """Append a line.

        Returns:
            How many lines had to give way: the oldest of the lowest level first, this one itself if
            nothing is less severe.
        """
        gone = 0
        while self._lines >= self._max_lines or (self._lines and self._bytes + len(line) > self._max_bytes):
            lowest = min(self._by_level)
            gone += 1
            if lowest >= level:
                self.dropped[level] += 1
                return gone
            self._pop(lowest)
            self.dropped[lowest] += 1
        queue = self._by_level.get(level)
        if queue is None:
            queue = self._by_level[level] = deque()
        queue.append((next(self._numbers), line))
        self._lines += 1
        self._bytes += len(line)
        return gone

    def take(self, size: int) -> list[bytes]:
        """The oldest lines: as many as have at most `size` bytes together, but at least one if there is one."""
        taken: list[bytes] = []
        while self._by_level:
            level = min(self._by_level, key=lambda level: self._by_level[level][0][0])
            if taken and len(self._by_level[level][0][1]) > size:
                break
            line = self._pop(level)
            size -= len(line)
            taken.append(line)
        return taken

    def _pop(self, level: int) -> bytes:
        queue = self._by_level[level]
        _, line = queue.popleft()
        if not queue:
            del self._by_level[level]
        self._lines -= 1
        self._bytes = self._bytes - len(line) if self._lines else 0
        return line

    def clear(self) -> int:
        """Forget all lines; how many there were."""
        lines = self._lines
        self._by_level.clear()
        self._lines = self._bytes = 0
        return lines
