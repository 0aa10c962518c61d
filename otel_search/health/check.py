"""What a health check is, and what it says."""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

F = TypeVar("F", bound=Callable[[], Any])

READY = "ready"
"""The group of checks that decide on readiness."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}", re.ASCII)
_MAX_CHECKS = 100


class Status(IntEnum):
    """How a component is; the numbers are the values of `search.health.status`."""

    UNHEALTHY = 0
    DEGRADED = 1
    HEALTHY = 2


@dataclass(frozen=True)
class HealthResult:
    """What a check has found.

    Attributes:
        status: How the component is.
        message: In words, without what must not be shown to everybody.
        reason: A short code for programs, such as `unreachable`.
        details: More, shown only to whom `OTEL_SEARCH_HEALTH_DETAILS` allows.
    """

    status: Status = Status.HEALTHY
    message: str = ""
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def healthy(cls, message: str = "", **details: Any) -> HealthResult:
        """It works."""
        return cls(Status.HEALTHY, message, None, details)

    @classmethod
    def degraded(cls, message: str, *, reason: str | None = None, **details: Any) -> HealthResult:
        """It works, but not as it should."""
        return cls(Status.DEGRADED, message, reason, details)

    @classmethod
    def unhealthy(cls, message: str, *, reason: str | None = None, **details: Any) -> HealthResult:
        """It does not work."""
        return cls(Status.UNHEALTHY, message, reason, details)


class HealthCheck:
    """A health check of the application's own, given to a function that takes nothing.

    The function says what it finds by what it returns: nothing or `True` is healthy, `False` is
    unhealthy, a text is a message, a mapping is details, a `HealthResult` is all of it. An exception
    is unhealthy. It may be a coroutine function, which runs on the application's event loop; any
    other runs in a thread.

    Args:
        name: Of the component, as it is shown: a letter, then up to 63 letters, digits and `_ . : -`.
        critical: Whether the service is unhealthy when this is; if not, it is degraded.
        timeout: Seconds that it may take; by default `OTEL_SEARCH_HEALTH_TIMEOUT`.
        groups: `ready` decides on readiness, if the check is critical; `/health?group=…` asks for any.

    Raises:
        ValueError: The name or the timeout cannot be used.
    """

    _registered: ClassVar[dict[str, HealthCheck]] = {}
    _lock = threading.Lock()

    def __init__(
        self,
        name: str,
        *,
        critical: bool = True,
        timeout: float | None = None,
        groups: tuple[str, ...] | list[str] = (READY,),
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"HealthCheck name={name!r} is not accepted; accepted: a letter, then letters, digits and _ . : -"
            )
        if timeout is not None and not 0 < timeout <= 60:
            raise ValueError(f"HealthCheck timeout={timeout!r} is not accepted; accepted: seconds, above 0 to 60")
        self.name = name
        self.critical = critical
        self.timeout = timeout
        self.groups = frozenset(groups)
        self.function: Callable[[], Any | Awaitable[Any]] = lambda: None

    def __call__(self, function: F) -> F:
        """Register `function` as this check, in place of an earlier one of the same name.

        Raises:
            ValueError: There are 100 checks already.
        """
        self.function = function
        with self._lock:
            if len(self._registered) >= _MAX_CHECKS and self.name not in self._registered:
                raise ValueError(f"HealthCheck {self.name!r} is not accepted: there are {_MAX_CHECKS} checks already")
            self._registered[self.name] = self
        return function

    def remove(self) -> None:
        """Check this no longer."""
        with self._lock:
            if self._registered.get(self.name) is self:
                del self._registered[self.name]

    @classmethod
    def registered(cls) -> list[HealthCheck]:
        """All checks of the application, in the order of their registration."""
        with cls._lock:
            return list(cls._registered.values())


def as_result(found: Any) -> HealthResult:
    """What a check has returned, as a result."""
    if isinstance(found, HealthResult):
        return found
    if found is None or found is True:
        return HealthResult()
    if found is False:
        return HealthResult.unhealthy("the check says no", reason="failed")
    if isinstance(found, str):
        return HealthResult.healthy(found[:500])
    if isinstance(found, Mapping):
        return HealthResult(details=dict(found))
    return HealthResult.unhealthy(f"the check returned a {type(found).__name__}", reason="failed")
