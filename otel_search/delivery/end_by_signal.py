"""SIGTERM and SIGINT: the process ends as it would without us, but for the bounded flush before it.

By their default action they end the process at once and skip `atexit`. Servers put their own
handler before ours and, like uvicorn from 0.29 on, put ours back and raise the signal again when
they have stopped serving. A handler of the application's own is left alone.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import wrapt

from otel_search.delivery.end import Delivery


class EndBySignal:
    """Ends the telemetry before a signal ends the process.

    Args:
        delivery: What is to end.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def install(self) -> None:
        """Stand in for the default action of SIGTERM, now and whenever uvicorn starts to serve."""
        self._replace_default_actions(signal.SIGTERM)
        wrapt.register_post_import_hook(self._hook_uvicorn, "uvicorn.server")

    def _replace_default_actions(self, *numbers: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in numbers:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end_and_die)

    def _hook_uvicorn(self, module: Any) -> None:
        # gunicorn's workers have put the default actions back by the time they run uvicorn.
        original: Callable[..., Any] | None = getattr(module.Server, "capture_signals", None)
        if original is None or hasattr(original, "_otel_search"):
            return

        @functools.wraps(original)
        @contextlib.contextmanager
        def capture_signals(server: Any) -> Iterator[None]:
            self._replace_default_actions(signal.SIGTERM, signal.SIGINT)
            with original(server):
                yield

        capture_signals._otel_search = True  # type: ignore[attr-defined]
        module.Server.capture_signals = capture_signals

    def _end_and_die(self, number: int, _frame: FrameType | None) -> None:
        if self._delivery.ending and not self._delivery.ended:
            return  # a second signal: the end is near, and it is bounded
        # In a thread, for this one may hold a lock at the moment that the end has to wait for.
        ending = threading.Thread(target=self._delivery.end, daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending already, and so is the telemetry
            ending.start()
            ending.join(self._delivery.timeout + 1)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
