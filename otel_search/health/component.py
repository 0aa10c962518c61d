"""One component: its check run within a bound, its result kept for a while and shared by all who ask."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextvars import Context as Variables
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context

from otel_search import semconv
from otel_search.aside import context_without_telemetry, in_thread
from otel_search.health.check import HealthCheck, HealthResult, Status, as_result

_logger = logging.getLogger("otel_search.health")
_LEVELS = {Status.UNHEALTHY: logging.ERROR, Status.DEGRADED: logging.WARNING, Status.HEALTHY: logging.INFO}


@dataclass(frozen=True)
class Policy:
    """How components are asked.

    Attributes:
        timeout: Seconds that a check may take, if it says nothing else.
        cache: Seconds for which a result counts.
        failures: Results in a row that turn readiness off.
        successes: Results in a row that turn it on again.
    """

    timeout: float = 1.0
    cache: float = 2.0
    failures: int = 2
    successes: int = 1


class _Run:
    def __init__(self, timeout: float) -> None:
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self.future: Future[HealthResult] = Future()
        self.settled = False
        self.begun = False
        self.over = False

    def hangs(self) -> bool:
        return self.begun and not self.over


class Component:
    """One component and what is known of it.

    Args:
        check: Its check.
        policy: How it is asked.

    Attributes:
        latest: The last result, `None` before the first.
        took: Seconds that it took.
        down: Whether it keeps the service from being ready, hysteresis included; `None` before the first result.
    """

    def __init__(self, check: HealthCheck, policy: Policy) -> None:
        self.check = check
        self.timeout = check.timeout or policy.timeout
        self.latest: HealthResult | None = None
        self.took = 0.0
        self.down: bool | None = None
        self._policy = policy
        self._lock = threading.RLock()
        self._fresh_until = 0.0
        self._streak = 0
        self._run: _Run | None = None

    async def refreshed(self) -> HealthResult:
        """A result that is fresh, waited for on the event loop."""
        run = self.begin(asyncio.get_running_loop())
        if run is not None:
            left = max(0.0, run.deadline - time.monotonic())
            waiting = asyncio.wrap_future(_shielded(run.future))
            try:
                await asyncio.wait([waiting], timeout=left)
            finally:
                waiting.cancel()
            self._settle(run)
        return self.latest or HealthResult()

    def refreshed_in_thread(self, loop: asyncio.AbstractEventLoop | None) -> HealthResult:
        """A result that is fresh, waited for in a thread.

        Args:
            loop: The application's event loop, for checks that are coroutines.
        """
        run = self.begin(loop)
        if run is not None:
            wait_for([run.future], max(0.0, run.deadline - time.monotonic()))
            self._settle(run)
        return self.latest or HealthResult()

    def begin(self, loop: asyncio.AbstractEventLoop | None) -> _Run | None:
        """The run to wait for: the one that is on its way, a new one, or none if the last result counts still."""
        with self._lock:
            now = time.monotonic()
            run = self._run
            if run is not None and not run.settled:
                if now < run.deadline:
                    return run
                self._settle(run)
            if now < self._fresh_until:
                return None
            if run is not None and run.hangs():
                # One at a time: what hangs must not become a thread for each probe.
                late = now - run.started
                self._accept(HealthResult.unhealthy(f"the check has not ended for {late:.0f} s", reason="timeout"), 0.0)
                return None
            run = self._run = _Run(self.timeout)
            self._start(run, loop)
            return run

    def _start(self, run: _Run, loop: asyncio.AbstractEventLoop | None) -> None:
        function = self.check.function
        try:
            if not _is_coroutine_function(function):
                run.begun = True
                run.future = in_thread(lambda: _called(function, run), f"check {self.check.name}")
            elif loop is None or loop.is_closed() or not loop.is_running():
                run.future.set_result(HealthResult.unhealthy("the event loop is not running", reason="failed"))
            else:
                run.future = asyncio.run_coroutine_threadsafe(_awaited(function, run), loop)
        except Exception as error:
            run.over = True
            run.future.set_result(_failure(error))
        run.future.add_done_callback(lambda _: self._settle(run))

    def _settle(self, run: _Run) -> None:
        with self._lock:
            if run.settled:
                return
            took = time.monotonic() - run.started
            if run.future.done() and not run.future.cancelled():
                error = run.future.exception()
                result = run.future.result() if error is None else _failure(error)
            elif run.future.done():
                result = HealthResult.unhealthy("the check was cancelled", reason="failed")
            else:
                result = HealthResult.unhealthy(f"no answer within {self.timeout:g} s", reason="timeout")
            run.settled = True
            self._accept(result, took)
        if not run.future.done():
            run.future.cancel()

    def _accept(self, result: HealthResult, took: float) -> None:
        before, self.latest, self.took = self.latest, result, took
        self._fresh_until = time.monotonic() + self._policy.cache
        failing = result.status is Status.UNHEALTHY
        if self.down is None:
            self.down = failing
        elif failing == self.down:
            self._streak = 0
        else:
            self._streak += 1
            if self._streak >= (self._policy.failures if failing else self._policy.successes):
                self.down, self._streak = failing, 0
        was = Status.HEALTHY if before is None else before.status
        if was is not result.status:
            fields = {semconv.HEALTH_COMPONENT: self.check.name, semconv.HEALTH_REASON: result.reason}
            # By itself: a probe's request has no trace that could be looked at.
            Variables().run(
                _logger.log,
                _LEVELS[result.status],
                "%s is %s%s",
                self.check.name,
                result.status.name.lower(),
                f": {result.message}" if result.message else "",
                extra={"otel_search_fields": {name: value for name, value in fields.items() if value is not None}},
            )


def _shielded(future: Future[HealthResult]) -> Future[HealthResult]:
    """A future that ends with another; who cancels it leaves the other alone, which others wait for too."""
    shield: Future[HealthResult] = Future()

    def end(_: object) -> None:
        with contextlib.suppress(InvalidStateError):
            shield.set_result(HealthResult())

    future.add_done_callback(end)
    return shield


def _is_coroutine_function(function: Callable[[], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an asynchronous __call__
    )


def _called(function: Callable[[], Any], run: _Run) -> HealthResult:
    try:
        return as_result(function())
    except Exception as error:
        return _failure(error)
    finally:
        run.over = True


async def _awaited(function: Callable[[], Any], run: _Run) -> HealthResult:
    run.begun = True
    token = otel_context.attach(context_without_telemetry())
    try:
        return as_result(await function())
    except Exception as error:
        return _failure(error)
    finally:
        otel_context.detach(token)
        run.over = True


def _failure(error: BaseException) -> HealthResult:
    # The message may hold an address or a secret: who may see details sees it.
    return HealthResult.unhealthy(f"failed with {type(error).__name__}", reason="failed", error=str(error)[:500])
