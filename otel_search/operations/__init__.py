"""Business operations: what the service does, in the words of those who run it.

    @operation("product_search", arguments=("category",))
    async def search(category: str, query: str) -> list[Product]: ...

Each run is one span, one point of `search.operation.duration` and one log line at its end.
Arguments are recorded only if they are named; an exception passes as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import context as otel_context

from otel_search.operations.kinds import running
from otel_search.operations.run import LOGGER, Run, begun, current, detach

__all__ = ["Operation", "Run", "operation"]

F = TypeVar("F", bound=Callable[..., Any])


class Operation:
    """An operation: a decorator, and a context manager, by `with` and `async with`. Made by `operation`.

    Args:
        name: Its name: one of few, since it is a metric's attribute.
        arguments: Parameters of the decorated function to record, or parameters with the attribute's name.
        attributes: What to record of each run.
        expected: Exceptions that are an answer rather than a failure; one with a `status_code` below 500
            is one anyway.
        log: Whether a line is logged at the end.
        log_start: Whether a line is logged at the start.
    """

    def __init__(
        self,
        name: str,
        *,
        arguments: Iterable[str] | Mapping[str, str] = (),
        attributes: Mapping[str, Any] | None = None,
        expected: tuple[type[BaseException], ...] = (),
        log: bool = True,
        log_start: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self.log_start = log_start
        named = (arguments,) if isinstance(arguments, str) else arguments
        self._arguments = dict(named) if isinstance(named, Mapping) else {word: word for word in named}
        self._attributes = dict(attributes or {})
        self._expected = expected
        self._entered: list[tuple[Run, Any]] = []

    def outcome(self, error: BaseException | None, failed: bool) -> str:
        """`ok`, `error`, `rejected` (an expected exception) or `cancelled`."""
        if error is None:
            return "error" if failed else "ok"
        status = getattr(error, "status_code", None)
        if isinstance(error, self._expected) or (isinstance(status, int) and status < 500):
            return "rejected"
        return "error" if isinstance(error, Exception) else "cancelled"

    # -- as a context manager -----------------------------------------------------------------
    def __enter__(self) -> Run:
        run = begun(self, self._attributes)
        self._entered.append((run, otel_context.attach(run.context)))
        return run

    def __exit__(self, kind: object, error: BaseException | None, trace_back: TracebackType | None) -> None:
        here = current()
        # The current one; but left in another context than entered, as FastAPI's sync dependencies are, the last.
        entry = next((entry for entry in self._entered if entry[0] is here), self._entered[-1])
        self._entered.remove(entry)
        run, token = entry
        detach(token)
        run.end(error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, trace_back: TracebackType | None) -> None:
        self.__exit__(kind, error, trace_back)

    # -- as a decorator -----------------------------------------------------------------------
    def __call__(self, function: F) -> F:
        """Make each call of `function` a run; it may be a coroutine function or a generator of either kind."""
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        if isinstance(function, type):
            LOGGER.warning("operation %r: %r is a class; accepted: a function or method", self.name, function)
            return function
        begin = functools.partial(self._begin, self._readers(function))
        wrapped: F = running(function, begin)
        return wrapped

    def _readers(self, function: Callable[..., Any]) -> list[tuple[str, str, int, Any]]:
        """The chosen parameters: attribute, parameter, position, default."""
        if not self._arguments:
            return []
        parameters = inspect.signature(function).parameters
        any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        readers = []
        for name, attribute in self._arguments.items():
            if name in parameters and parameters[name].kind not in (
                inspect.Parameter.VAR_POSITIONAL,
                inspect.Parameter.VAR_KEYWORD,
            ):
                keyword_only = parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
                position = -1 if keyword_only else list(parameters).index(name)
                readers.append((attribute, name, position, parameters[name].default))
            elif any_keyword:
                readers.append((attribute, name, -1, inspect.Parameter.empty))
            else:
                accepted = ", ".join(parameters) or "none, there are no parameters"
                LOGGER.warning("operation %r: no argument %r to record; accepted: %s", self.name, name, accepted)
        return readers

    def _begin(self, readers: list[tuple[str, str, int, Any]], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run:
        attributes = self._attributes
        if readers:
            attributes = dict(attributes)
            for attribute, name, position, default in readers:
                value = args[position] if 0 <= position < len(args) else kwargs.get(name, default)
                if value is not inspect.Parameter.empty:
                    attributes[attribute] = value
        return begun(self, attributes)


class _Operations:
    """`operation("name")`: makes an `Operation`. `operation.set(…)`: adds to the one that is running."""

    def __call__(self, name: Any, **options: Any) -> Any:
        """An operation, to decorate a function with or to enter with `with` or `async with`; see `Operation` for the options.

        Args:
            name: Its name. Without parentheses, `@operation`, it is the function's.
            **options: As `Operation` takes them.

        Returns:
            An `Operation`; without parentheses the decorated function.
        """
        if isinstance(name, str):
            return Operation(name, **options)
        inner = name.__func__ if isinstance(name, (classmethod, staticmethod)) else name
        return Operation(getattr(inner, "__name__", type(inner).__name__))(name)

    def set(self, attributes: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Add attributes to the innermost operation that is running here; without one nothing happens.

        Args:
            attributes: By name, for names that are no identifiers.
            **more: Others.
        """
        run = current()
        if run is not None:
            run.set(attributes, **more)


operation = _Operations()
"""See `Operation`."""
