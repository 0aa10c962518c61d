"""The attempts of a call: each request that a node got, seen where the transport hands it over."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from otel_search.elasticsearch import faults
from otel_search.elasticsearch.call import CURRENT

if TYPE_CHECKING:
    from otel_search.elasticsearch.hooks import Hooks


class NodeHooks:
    """Hooks the node classes that clients use, which may be the application's own.

    Args:
        hooks: Where the replaced methods are kept.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._hooked: set[type] = set()
        self._lock = Lock()

    def add(self, node_class: type) -> None:
        """See the attempts of nodes of this class, if they are not seen yet."""
        owner = next((cls for cls in node_class.__mro__ if "perform_request" in cls.__dict__), None)
        with self._lock:
            if owner is None or owner in self._hooked:
                return
            self._hooked.add(owner)
            is_async = inspect.iscoroutinefunction(owner.__dict__["perform_request"])
            self._hooks.replace(owner, "perform_request", _async_hook if is_async else _sync_hook)


def _sync_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def perform_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = CURRENT.get()
        # A node class that calls its base class makes one attempt, not two.
        if call is None or call.attempting:
            return original(self, *args, **kwargs)
        call.attempt_begins(self, kwargs.get("headers"))
        try:
            response = original(self, *args, **kwargs)
        except BaseException as error:
            call.attempt_ends(type(error).__name__)
            raise
        call.attempt_ends(_status(response))
        return response

    return perform_request


def _async_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def perform_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = CURRENT.get()
        if call is None or call.attempting:
            return await original(self, *args, **kwargs)
        call.attempt_begins(self, kwargs.get("headers"))
        try:
            response = await original(self, *args, **kwargs)
        except BaseException as error:
            call.attempt_ends(type(error).__name__)
            raise
        call.attempt_ends(_status(response))
        return response

    return perform_request


def _status(response: Any) -> str:
    try:
        return str(response.meta.status)
    except Exception:
        faults.report("reading the status of an attempt")
        return "unknown"
