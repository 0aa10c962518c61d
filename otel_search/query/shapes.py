"""Tells the shapes of searches to whoever wants to know: those that are described anyway, on a span or a line.

Here, below those who tell and those who listen: importing one must not import the other, since either
may be imported in the middle of the library that it instruments.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, str, float], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Let `listener` be told the hash, the summary and the duration in seconds of each search from now on."""
    if listener not in _listeners:
        _listeners.append(listener)


def unlisten(listener: Listener) -> None:
    """Tell it no longer."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell(shape: str, summary: str, duration: float) -> None:
    """A search has ended.

    Args:
        shape: The hash of its query; `-` if that is not known.
        summary: Its query's summary.
        duration: Seconds that it took.

    Raises:
        Exception: What a listener raises.
    """
    for listener in _listeners:
        listener(shape, summary, duration)
