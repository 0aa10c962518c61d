"""How much was hidden: plain numbers, which a metric reads."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter

MARKER = re.compile(r"\[redacted: ([^\[\]]{1,64})\]")
"""What stands in the place of a value, and its kind."""

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def marker(kind: str) -> str:
    """What stands in the place of a value."""
    return f"[redacted: {kind}]"


def count(kind: str) -> None:
    """A value of this kind was hidden."""
    with _lock:
        _counts[kind] += 1


def count_new(before: str, after: str) -> None:
    """The values were hidden whose markers a text has after it was redacted, and had not before."""
    found = Counter(MARKER.findall(after))
    if MARKER.search(before):
        found -= Counter(MARKER.findall(before))
    with _lock:
        _counts.update(found)


def counts() -> dict[str, int]:
    """How many values of each kind this process has hidden so far."""
    with _lock:
        return dict(_counts)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _counts.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
