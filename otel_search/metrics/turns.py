"""A reading of metrics lets others have their turn, as it is not urgent and a request is.

Whoever waits for Python's one lock gets it when its holder waits for something, or else after 5 ms. A reading waits for
nothing, so it rests every so often, and the event loop's thread goes on after a fraction of that.
"""

from __future__ import annotations

from time import perf_counter, sleep

_SLICE_SECONDS = 0.0003
_REST_SECONDS = 0.0002


class Turns:
    """The turns of one reading."""

    def __init__(self) -> None:
        self._began = perf_counter()

    def give(self) -> None:
        """Rest for a moment, if it is time to."""
        if perf_counter() - self._began > _SLICE_SECONDS:
            sleep(_REST_SECONDS)
            self._began = perf_counter()
