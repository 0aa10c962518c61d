"""The client's helper functions: each run is one span above the calls that it makes.

The functions are replaced where the client's packages keep them. Who holds one from before still gets
its span through the client's own `helpers_span`, without the totals of retried items.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from elasticsearch import helpers as client_helpers
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.helper_span import HelperSpan, current_helper
from otel_search.elasticsearch.telemetry import Telemetry

PARENT = "_otel_search_parent"
"""Attribute of a client's telemetry: the context of its calls where there is no other, as in a pool's threads."""

# What a helper calls itself belongs to its own run.
_INNER = {
    "helpers.async_bulk": {"async_streaming_bulk"},
    "helpers.async_reindex": {"async_bulk", "async_scan", "async_streaming_bulk"},
    "helpers.bulk": {"streaming_bulk"},
    "helpers.reindex": {"bulk", "scan", "streaming_bulk"},
}
_COUNTING = frozenset({"async_streaming_bulk", "streaming_bulk"})
# Whose result has the items that failed, or their number.
_TELLING = frozenset({"async_bulk", "bulk"})


class Helpers:
    """The replaced helper functions.

    Args:
        telemetry: What all calls share.
        tracer_of: Finds the tracer of a client, `None` if its telemetry is off.
    """

    def __init__(self, telemetry: Telemetry, tracer_of: Callable[[Any], Tracer | None]) -> None:
        self._telemetry = telemetry
        self._tracer_of = tracer_of
        self._active = True
        self._replaced: dict[str, tuple[Any, Any]] = {}
        kinds = {
            self._function: ("bulk", "reindex"),
            self._coroutine: ("async_bulk", "async_reindex"),
            self._generator: ("parallel_bulk", "scan", "streaming_bulk"),
            self._async_generator: ("async_scan", "async_streaming_bulk"),
        }
        for make, names in kinds.items():
            for name in names:
                original = getattr(client_helpers, name, None)
                if original is not None:
                    self._replaced[name] = (original, make(name, original))
        _exchange(self._replaced)

    def restore(self) -> None:
        """Put the functions back; whoever holds a replacement has the original's behaviour."""
        self._active = False
        _exchange({name: (ours, original) for name, (original, ours) in self._replaced.items()})

    # -- one replacement for each kind of function ---------------------------------------------
    def _function(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def helper(*args: Any, **kwargs: Any) -> Any:
            span = self._begin(name, args, kwargs)
            if span is None:
                return original(*args, **kwargs)
            with span, span.current():
                result = original(*args, **kwargs)
                span.count_result(result)
                return result

        return helper

    def _coroutine(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def helper(*args: Any, **kwargs: Any) -> Any:
            span = self._begin(name, args, kwargs)
            if span is None:
                return await original(*args, **kwargs)
            with span, span.current():
                result = await original(*args, **kwargs)
                span.count_result(result)
                return result

        return helper

    def _generator(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            span = self._begin(name, args, kwargs)
            if span is None:
                yield from self._counted(name, original(*args, **kwargs))
                return
            if name == "parallel_bulk":
                args, kwargs = _for_threads(span, args, kwargs)
            items = iter(original(*args, **kwargs))
            with span:
                try:
                    while True:
                        # Current for each step alone: between the steps the context is the caller's.
                        with span.current():
                            try:
                                item = next(items)
                            except StopIteration:
                                break
                        span.count_item(item)
                        yield item
                finally:
                    with span.current():
                        items.close()

        return self._unless_its_result_tells(name, original, observed)

    def _counted(self, name: str, items: Iterable[Any]) -> Iterable[Any]:
        """The items of a helper within a helper, counted for the outer one."""
        outer = self._counting_for(name)
        if outer is None:
            return items
        return _counting(outer, items)

    def _async_generator(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        async def observed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            span = self._begin(name, args, kwargs)
            items = original(*args, **kwargs)
            if span is None:
                outer = self._counting_for(name)
                try:
                    async for item in items:
                        if outer is not None:
                            outer.count_item(item)
                        yield item
                finally:
                    await items.aclose()
                return
            with span:
                try:
                    while True:
                        with span.current():
                            try:
                                item = await anext(items)
                            except StopAsyncIteration:
                                break
                        span.count_item(item)
                        yield item
                finally:
                    with span.current():
                        await items.aclose()

        return self._unless_its_result_tells(name, original, observed)

    def _unless_its_result_tells(
        self, name: str, original: Callable[..., Any], observed: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Leave the items to a helper whose result says what failed: a step in between costs more than all else."""

        @functools.wraps(original)
        def helper(*args: Any, **kwargs: Any) -> Any:
            outer = self._counting_for(name)
            if outer is not None and outer.sees_result and name in _INNER.get(outer.name, ()):
                return original(*args, **kwargs)
            return observed(*args, **kwargs)

        return helper

    def _counting_for(self, name: str) -> HelperSpan | None:
        """The helper around one that hands out items one by one, if there is one."""
        return current_helper() if name in _COUNTING and self._active else None

    def _begin(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HelperSpan | None:
        """The span of a run, or `None` if it gets none: silent, or a part of another helper."""
        try:
            if not self._active or not is_instrumentation_enabled():
                return None
            outer = current_helper()
            if outer is not None and name in _INNER.get(outer.name, ()):
                if name in _COUNTING:
                    outer.sees_items = True
                return None
            client = args[0] if args else kwargs.get("client")
            tracer = self._tracer_of(client)
            if not isinstance(tracer, Tracer):  # nor a double in somebody's test
                return None
            index = kwargs.get("index", kwargs.get("target_index"))
            if index is None and name.endswith("reindex"):
                index = args[2]
            span = HelperSpan(self._telemetry, tracer, f"helpers.{name}", index, address_of(client))
            span.sees_items = name in {"parallel_bulk", *_COUNTING}
            span.sees_result = name in _TELLING and _is_told(args, kwargs)
        except Exception:
            faults.report("starting a helper's span")
            return None
        return span


def _is_told(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether what a bulk helper returns says all of the items that failed, with what the replies have said."""
    given = {**dict(zip(("client", "actions", "stats_only", "ignore_status"), args, strict=False)), **kwargs}
    if not given.get("stats_only"):
        return True
    # Of mere numbers nobody knows which were tried again, or were in requests without a reply.
    is_known = len(args) <= 4 and not given.get("max_retries") and not given.get("ignore_status")
    return is_known and bool(given.get("raise_on_exception", True))


def _counting(outer: HelperSpan, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        outer.count_item(item)
        yield item


def _for_threads(
    span: HelperSpan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `parallel_bulk` whose client and actions bring the helper's context into the pool's threads."""
    try:
        arguments = {**dict(zip(("client", "actions"), args, strict=False)), **kwargs}
        client = arguments["client"].options()
        setattr(getattr(client, "_otel", client), PARENT, span.context)
        arguments |= {"client": client, "actions": _in_context(span, arguments["actions"])}
        head = tuple(arguments.pop(name) for name in ("client", "actions"))
    except Exception:
        faults.report("preparing parallel_bulk")
        return args, kwargs
    return (*head, *args[2:]), arguments


def _in_context(span: HelperSpan, actions: Iterable[Any]) -> Iterator[Any]:
    iterator = iter(actions)
    while True:
        with span.current():
            try:
                action = next(iterator)
            except StopIteration:
                return
        yield action


def address_of(client: Any) -> tuple[str, int] | None:
    """Host and port of a client's first node."""
    return address_behind(getattr(client, "transport", None))


def address_behind(transport: Any) -> tuple[str, int] | None:
    """Host and port of a transport's first node."""
    try:
        first = transport.node_pool.all()[0]
    except Exception:
        # A double of a client in somebody's test.
        return None
    return (first.host, first.port) if isinstance(first.host, str) else None


def _exchange(pairs: dict[str, tuple[Any, Any]]) -> None:
    """Replace the first by the second of each pair in the client's modules, the DSL's among them."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in {"elasticsearch", "elasticsearch_dsl"}:
            for attribute, (old, new) in pairs.items():
                if getattr(module, "__dict__", {}).get(attribute) is old:
                    setattr(module, attribute, new)


def parent_of(owner: Any) -> Any:
    """The context for calls of a client (or its telemetry) that come from a thread without one."""
    parent = getattr(owner, PARENT, None)
    return parent if parent is not None and current_helper() is None else None
