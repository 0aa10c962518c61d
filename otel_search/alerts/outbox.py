"""Notifications on their way to one receiver: one after the other, tried again for a while, never for ever.

All of it happens on a thread of its own and in threads of single attempts, so that neither the
service nor the evaluation of rules ever waits for a mail server.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics

from otel_search import __version__, semconv
from otel_search.alerts.lines import say
from otel_search.alerts.mail import DeliveryError
from otel_search.alerts.saved import UnreadableError, listing
from otel_search.alerts.states import Notification
from otel_search.aside import in_thread

DELAYS = (2.0, 10.0, 60.0)
"""Seconds before each further attempt."""

_MAX_WAITING = 200
_GRACE = 2.0


@dataclass
class _Item:
    notification: Notification
    attempts: int = 0
    due: float = 0.0


class Outbox:
    """What one receiver is to be told.

    Args:
        receiver: `mail` or `webhook`, for the log.
        send: Delivers one notification, or raises `DeliveryError`.
        timeout: Seconds that an attempt may take.
        keep: Told what waits whenever that has changed, at once: who goes on after a sudden end must not send
            again what was sent.
        delays: Seconds before each further attempt.
    """

    def __init__(
        self,
        receiver: str,
        send: Callable[[Notification], None],
        timeout: float,
        keep: Callable[[list[Any]], None] = lambda _: None,
        delays: tuple[float, ...] = DELAYS,
    ) -> None:
        self.receiver = receiver
        self._send = send
        self._timeout = timeout
        self._keep = keep
        self._delays = delays
        self._waiting: list[_Item] = []
        self._condition = threading.Condition()
        self._ended = False
        self._attempt: Future[None] | None = None
        self._thread: Future[None] | None = None
        meter = metrics.get_meter(semconv.SCOPE, __version__)
        self._counter = semconv.ALERT_NOTIFICATIONS.on(meter)

    def put(self, notifications: Iterable[Notification]) -> None:
        """Deliver these after all that is waiting."""
        with self._condition:
            self._waiting += [_Item(notification) for notification in notifications]
            self._bound()
            if self._waiting and not self._ended:
                self._begin()
                self._keep(self._state())
                self._condition.notify()

    def _bound(self) -> None:
        while len(self._waiting) > _MAX_WAITING:
            self._give_up(self._waiting.pop(0), "too many are waiting")

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = in_thread(self._run, f"alerts {self.receiver}")

    def end(self) -> None:
        """Begin nothing more; what waits stays in `state`."""
        with self._condition:
            self._ended = True
            self._condition.notify()

    def state(self) -> list[Any]:
        """What is waiting, for JSON."""
        with self._condition:
            return self._state()

    def _state(self) -> list[Any]:
        return [[item.notification.state(), item.attempts] for item in self._waiting]

    def restore(self, state: Any) -> None:
        """Deliver what another process has left waiting.

        Raises:
            UnreadableError: It is not what `state` returns.
        """
        items = []
        for each in listing("what is waiting", state):
            match each:
                case [waiting, int(attempts)]:
                    items.append(_Item(Notification.restored(waiting), attempts))
                case _:
                    raise UnreadableError("what is waiting is no notification with its attempts")
        with self._condition:
            self._waiting = [*items, *self._waiting]
            if items:
                self._begin()
                self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._ended and (not self._waiting or self._waiting[0].due > time.monotonic()):
                    left = self._waiting[0].due - time.monotonic() if self._waiting else None
                    self._condition.wait(left)
                if self._ended:
                    return
                item = self._waiting[0]
            self._try(item)

    def _try(self, item: _Item) -> None:
        item.attempts += 1
        try:
            self._deliver(item.notification)
        except DeliveryError as error:
            last = error.permanent or item.attempts > len(self._delays)
            self._count("failed")
            self._say(logging.WARNING, f"alert {self.receiver} failed", item, reason=str(error), attempt=item.attempts)
            with self._condition:
                if last:
                    self._remove(item)
                    self._give_up(item, str(error))
                else:
                    item.due = time.monotonic() + self._delays[item.attempts - 1]
                self._keep(self._state())
        else:
            with self._condition:
                self._remove(item)
                self._keep(self._state())
            self._count("sent")
            self._say(logging.INFO, f"alert {self.receiver} sent", item, attempt=item.attempts)

    def _deliver(self, notification: Notification) -> None:
        if self._attempt is not None and not self._attempt.done():
            raise DeliveryError("an earlier attempt still hangs")
        self._attempt = in_thread(lambda: self._send(notification), f"alerts {self.receiver} attempt")
        try:
            self._attempt.result(self._timeout + _GRACE)
        except LateError as error:
            if self._attempt.done():
                raise DeliveryError(f"{type(error).__name__}: {error}") from error
            raise DeliveryError(f"it took longer than {self._timeout:g} s") from error
        except DeliveryError:
            raise
        except Exception as error:
            raise DeliveryError(f"{type(error).__name__}: {error}") from error

    def _remove(self, item: _Item) -> None:
        if item in self._waiting:
            self._waiting.remove(item)

    def _give_up(self, item: _Item, reason: str) -> None:
        self._count("dropped")
        self._say(logging.ERROR, f"alert {self.receiver} was given up", item, reason=reason, attempts=item.attempts)

    def _count(self, outcome: str) -> None:
        self._counter.add(1, {semconv.NOTIFICATION_RECEIVER: self.receiver, semconv.NOTIFICATION_OUTCOME: outcome})

    @staticmethod
    def _say(level: int, event: str, item: _Item, **fields: Any) -> None:
        told = item.notification
        known = {semconv.ALERT_NAME: told.rule, "status": told.status, **fields}
        say(level, event, trace_id=told.trace, span_id=told.span, **known)
