"""Calls that take as long as they take, waited for no longer than a bound."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from otel_search.delivery.losses import say


class _Call:
    """One call, its end and whether it succeeded."""

    def __init__(self, signal: str, function: Callable[[], Any]) -> None:
        self._signal = signal
        self._function = function
        self.ended = threading.Event()
        self.done = False

    def run(self) -> None:
        try:
            self.done = self._function() is not False
        except Exception as error:
            self.done = True  # it has ended, and an error will not get better by waiting
            cause = f"{type(error).__name__}: {error}"
            say(logging.WARNING, "telemetry could not be flushed", signal=self._signal, cause=cause)
        finally:
            self.ended.set()


class Flushers:
    """One standing thread for each signal.

    They are started before they are needed: at the end of the interpreter, when they are needed
    most, Python 3.12 and later start no threads any more.
    """

    def __init__(self) -> None:
        self._queues: dict[str, queue.SimpleQueue[_Call]] = {}
        self._threads: set[threading.Thread] = set()

    def start(self, signal: str) -> None:
        """Start the thread of `signal`, if it is not running."""
        if signal in self._queues:
            return
        calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._queues[signal] = calls
        thread = threading.Thread(target=_serve, args=(calls,), name=f"otel-search flush {signal}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def are_calling(self) -> bool:
        """Whether this is asked by one of the threads themselves, which must not wait for one another."""
        return threading.current_thread() in self._threads

    def restart(self) -> None:
        """In a forked child: start the threads, which stayed in the parent."""
        signals, self._queues, self._threads = list(self._queues), {}, set()
        for signal in signals:
            self.start(signal)

    def within(self, seconds: float, functions: Mapping[str, Callable[[], Any]]) -> bool:
        """Make all calls at once.

        Args:
            seconds: How long to wait for all of them together; what takes longer goes on by itself.
            functions: What to call, by signal; a result of `False` is a failure.

        Returns:
            Whether all of them ended in time and none failed.
        """
        deadline = time.monotonic() + seconds
        calls = [_Call(signal, function) for signal, function in functions.items()]
        for signal, call in zip(functions, calls, strict=True):
            self._queues[signal].put(call)
        for call in calls:
            call.ended.wait(max(0.0, deadline - time.monotonic()))
        return all(call.done for call in calls)


def _serve(calls: queue.SimpleQueue[_Call]) -> None:
    while True:
        calls.get().run()
