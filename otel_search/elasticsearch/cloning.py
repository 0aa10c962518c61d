"""The making of a client, which `.options()` does anew, with forty more clients for its namespaces: next to nothing is added.

Rather something is taken away. The client's own telemetry reads two variables of the environment for each of them,
which is a third of what `.options()` takes; here they are read again when they have changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otel_search import settings
from otel_search.elasticsearch import faults

if TYPE_CHECKING:
    from otel_search.elasticsearch.hooks import Hooks

TRANSPORT = "_otel_search_transport"
"""Where a client's telemetry has its transport, so that the address is known when a span starts."""


def hook_clients(hooks: Hooks, *, lean: bool) -> None:
    """Tell each client's telemetry which transport it uses.

    Args:
        hooks: Where the replaced methods are kept.
        lean: Whether to take away what the client does too often.
    """
    from elasticsearch import _otel
    from elasticsearch._async.client._base import BaseClient as AsyncBaseClient
    from elasticsearch._sync.client._base import BaseClient

    def init_hook(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (it is one)
            original(self, *args, **kwargs)
            try:
                setattr(self._otel, TRANSPORT, self._transport)
            except Exception:
                faults.report("reading a client's transport")

        return __init__

    hooks.replace(BaseClient, "__init__", init_hook)
    hooks.replace(AsyncBaseClient, "__init__", init_hook)
    variables = [getattr(_otel, name, None) for name in ("ENABLED_ENV_VAR", "BODY_STRATEGY_ENV_VAR")]
    look = settings.look_at(*(name for name in variables if isinstance(name, str)))
    if lean and look is not None and hasattr(_otel, "_tracer"):
        hooks.replace(_otel.OpenTelemetry, "__init__", _reading_once(_otel, look))


def _reading_once(module: Any, look: Callable[[], object]) -> Callable[..., Any]:
    """Makes the replacement of `OpenTelemetry.__init__`.

    Args:
        module: The client's own, whose tracer the telemetry takes.
        look: Looks at the variables that it reads.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        known: tuple[object, Any, Mapping[str, Any]] = (None, None, {})

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (it is one)
            nonlocal known
            if args or kwargs:
                original(self, *args, **kwargs)
                return
            seen = look()
            before, tracer, attributes = known
            if seen == before and tracer is module._tracer:
                self.__dict__.update(attributes)
                return
            tracer = module._tracer
            original(self)
            known = (seen, tracer, dict(self.__dict__))

        return __init__

    return make
