"""A service that sends numbered items of all signals all the time, each again until it is taken, as an SDK does."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import httpx

from tests.collector import otlp


class Sender:
    """Sends in a thread of its own for each signal, until it is left.

    Args:
        url: Of a Collector's OTLP/HTTP receiver.
        service: The name under which the items are found.

    Attributes:
        taken: For each signal, when each number was accepted (`time.monotonic`).
    """

    def __init__(self, url: str, service: str) -> None:
        self.service = service
        self.taken: dict[str, dict[int, float]] = {signal: {} for signal in otlp.SIGNALS}
        self.refused = 0
        self._url = url
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(signal,), daemon=True) for signal in otlp.SIGNALS]

    def _send(self, signal: str) -> None:
        number = 0
        with httpx.Client(timeout=10) as client:
            while not self._ended.is_set():
                number += 1
                request = otlp.numbered(signal, self.service, number)
                while True:
                    try:
                        otlp.send(client, self._url, signal, request)
                    except httpx.HTTPError:
                        self.refused += 1
                        if self._ended.wait(0.05):
                            return
                    else:
                        self.taken[signal][number] = time.monotonic()
                        break
                self._ended.wait(0.01)

    def numbers(self, signal: str) -> set[int]:
        """What has been accepted."""
        return set(self.taken[signal])

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(20)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
