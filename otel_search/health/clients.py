"""The Elasticsearch clients of the application, found by themselves.

A client made from now on is seen when it is made: synchronous, asynchronous, the DSL's connections.
Those made before are looked for once among all objects of the process. The clones of `.options()`
share the transport of the client that they come from, and are not counted again. What the DSL is told
to connect to by `connections.configure` is a client only when it is first used: until then one like it
is made here, which opens no connection.
"""

from __future__ import annotations

import functools
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import wrapt

_logger = logging.getLogger("otel_search.health")

_CLASSES = {"elasticsearch._sync.client": "Elasticsearch", "elasticsearch._async.client": "AsyncElasticsearch"}
"""The clients, by their modules. Each has some forty more for its namespaces, which are looked at with it."""
_REGISTRIES = (
    "elasticsearch.dsl.connections",
    "elasticsearch.dsl.async_connections",
    "elasticsearch_dsl.connections",
    "elasticsearch_dsl.async_connections",
)
_MARK = "_otel_search_health"
_MAX = 256
_MAX_CONFIGURED = 16

_lock = threading.Lock()
_clients: dict[int, tuple[weakref.ref[Any], weakref.ref[Any]]] = {}
"""By the id of the transport: the transport and a client that uses it."""
_configured: dict[tuple[str, str], tuple[dict[str, Any], Any]] = {}
"""Connections of the DSL's that are not open yet, by module and alias: how they are configured, and one of that kind."""
_state = {"searched": False}


def watch() -> None:
    """See each client that is made from now on; a second call does nothing."""
    for name in _CLASSES:
        wrapt.register_post_import_hook(_hook, name)


def found() -> list[tuple[Any, Any]]:
    """The transports of living clients, each with one of its clients."""
    _look_into_registries()
    if not _state["searched"] or any(client() is None for _, client in list(_clients.values())):
        _search()
        _state["searched"] = True
    living = [(transport(), client()) for transport, client in list(_clients.values())]
    return [(transport, client) for transport, client in living if transport is not None and client is not None]


def _hook(module: Any) -> None:
    cls = getattr(module, _CLASSES[module.__name__], None)
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


def _look_into_registries() -> None:
    for name in _REGISTRIES:
        registry: Any = getattr(sys.modules.get(name), "connections", None)
        configured, opened = getattr(registry, "_kwargs", {}), getattr(registry, "_conns", {})
        for alias, arguments in list(configured.items()):
            key = (name, alias)
            if alias in opened:
                _configured.pop(key, None)  # the application's own one is found as any other client
            elif _configured.get(key, (None,))[0] != arguments and len(_configured) < _MAX_CONFIGURED:
                plain = {option: value for option, value in arguments.items() if not option.startswith("sniff")}
                try:
                    _configured[key] = dict(arguments), registry.elasticsearch_class(**plain)
                except Exception as error:
                    _logger.debug("the connection %s of the DSL cannot be made: %r", alias, error)
        for key in [key for key in _configured if key[0] == name and key[1] not in configured]:
            del _configured[key]


def _search() -> None:
    """Look at all objects: some ten milliseconds, in a thread, the first time and after a client has gone."""
    bases = (getattr(sys.modules.get(f"{name}._base"), "BaseClient", None) for name in _CLASSES)
    classes = tuple(cls for cls in bases if cls is not None)
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
