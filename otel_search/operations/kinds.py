"""The kinds of functions that an operation may be: what it takes to end their run when they end, and not before."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any

from otel_search.operations.run import Run

Begin = Callable[[tuple[Any, ...], Mapping[str, Any]], Run]
"""Begins a run, given the positional and the keyword arguments of a call."""


def running(function: Callable[..., Any], begin: Begin) -> Any:
    """A function of the same kind as `function`, each call of which is a run."""
    kinds = (function, getattr(function, "__call__", None))  # noqa: B004 - its kind, not whether it has one
    if any(map(inspect.isasyncgenfunction, kinds)):
        wrapper: Any = _async_generator(function, begin)
    elif any(map(inspect.isgeneratorfunction, kinds)):
        wrapper = _generator(function, begin)
    elif any(map(inspect.iscoroutinefunction, kinds)):
        wrapper = _coroutine(function, begin)
    else:
        wrapper = _plain(function, begin)
    return functools.wraps(function, updated=("__dict__",) if hasattr(function, "__dict__") else ())(wrapper)


def _plain(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        run = begin(args, kwargs)
        try:
            with run.active():
                result = function(*args, **kwargs)
        except BaseException as error:
            run.end(error)
            raise
        if inspect.iscoroutine(result):  # of a function that hides what it is
            return _awaited(run, result)
        run.end()
        return result

    return call


def _coroutine(function: Callable[..., Awaitable[Any]], begin: Begin) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await _awaited(begin(args, kwargs), function(*args, **kwargs))

    return call


async def _awaited(run: Run, result: Awaitable[Any]) -> Any:
    try:
        with run.active():
            value = await result
    except BaseException as error:
        run.end(error)
        raise
    run.end()
    return value


def _generator(
    function: Callable[..., Generator[Any, Any, Any]], begin: Begin
) -> Callable[..., Generator[Any, Any, Any]]:
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begin(args, kwargs)
        try:
            inner = function(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, inner)
            while True:
                # Between two items the consumer runs, to whom the operation's context does not belong.
                try:
                    with run.active():
                        item = step()
                except StopIteration as end:
                    run.end()
                    return end.value
                try:
                    step = functools.partial(inner.send, (yield item))
                except GeneratorExit:
                    with run.active():
                        inner.close()
                    run.end(outcome="closed")
                    raise
                except BaseException as error:
                    step = functools.partial(inner.throw, error)
        except BaseException as error:
            run.end(error)
            raise

    return generate


def _async_generator(
    function: Callable[..., AsyncGenerator[Any, Any]], begin: Begin
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begin(args, kwargs)
        try:
            inner = function(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = functools.partial(inner.asend, None)
            while True:
                try:
                    with run.active():
                        item = await step()
                except StopAsyncIteration:
                    run.end()
                    return
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    with run.active():
                        await inner.aclose()
                    run.end(outcome="closed")
                    raise
                except BaseException as error:
                    step = functools.partial(inner.athrow, error)
        except BaseException as error:
            run.end(error)
            raise

    return generate
