"""The Elasticsearch clients of the application, found by themselves.

A client made from now on is seen when it is made: synchronous, asynchronous, the DSL's connections.
Those made before are looked for once among all objects of the process. The clones of `.options()`
share the transport of the client that they come from, and are not counted again.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import wrapt

_MODULES = ("elasticsearch._sync.client._base", "elasticsearch._async.client._base")
_MARK = "_otel_search_health"
_MAX = 256

_lock = threading.Lock()
_clients: dict[int, tuple[weakref.ref[Any], weakref.ref[Any]]] = {}
"""By the id of the transport: the transport and a client that uses it."""
_state = {"searched": False}


def watch() -> None:
    """See each client that is made from now on; a second call does nothing."""
    for name in _MODULES:
        wrapt.register_post_import_hook(_hook, name)


def found() -> list[tuple[Any, Any]]:
    """The transports of living clients, each with one of its clients."""
    if not _state["searched"] or any(client() is None for _, client in list(_clients.values())):
        _search()
        _state["searched"] = True
    living = [(transport(), client()) for transport, client in list(_clients.values())]
    return [(transport, client) for transport, client in living if transport is not None and client is not None]


def _hook(module: Any) -> None:
    cls = getattr(module, "BaseClient", None)
    original: Callable[..., None] | None = getattr(cls, "__init__", None)
    if cls is None or original is None or hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it is one
        original(self, *args, **kwargs)
        transport = getattr(self, "_transport", None)
        if id(transport) not in _clients:
            _remember(transport, self)

    setattr(__init__, _MARK, True)
    cls.__init__ = __init__


def _remember(transport: Any, client: Any) -> None:
    key = id(transport)
    try:
        entry = weakref.ref(transport, lambda _: _clients.pop(key, None)), weakref.ref(client)
    except TypeError:
        return
    with _lock:
        if len(_clients) < _MAX:
            _clients[key] = entry


def _search() -> None:
    """Look at all objects: some ten milliseconds, in a thread, the first time and after a client has gone."""
    classes = tuple(cls for name in _MODULES if (cls := getattr(sys.modules.get(name), "BaseClient", None)) is not None)
    dead = [key for key, (_, client) in list(_clients.items()) if client() is None]
    for key in dead:
        _clients.pop(key, None)
    if not classes:
        return
    for candidate in gc.get_objects():
        # `type(...)` and not `isinstance`, which asks proxies for what they stand for.
        if issubclass(type(candidate), classes):
            transport = getattr(candidate, "_transport", None)
            if transport is not None and id(transport) not in _clients and not hasattr(candidate, "_client"):
                _remember(transport, candidate)
